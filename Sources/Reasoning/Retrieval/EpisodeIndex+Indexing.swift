internal import TensorCore

extension EpisodeIndex {
    /// Whether there is work for ``indexMore()``; O(1).
    package var isIndexingDue: Bool {
        guard !plan.efforts.isEmpty else { return false }
        return graphs.isBusy || graphs.hasWorn
            || graphs.waiting >= (graphs.isOpen(plan) ? plan.slack : graphs.rowsToBegin)
    }

    /// What the graphs hold; O(graphs).
    package var graphStatistics: GraphStatistics {
        var statistics = GraphStatistics()
        if graphs.wasRefused { statistics.refused = 1 }
        statistics.failure = graphs.failure?.description
        for range in graphs.ranges {
            if range.graph == nil { statistics.refused += 1 }
            guard let service = range.service else { continue }
            var own = GraphStatistics()
            (own.indexed, own.graphs, own.effort, own.recall) = (
                range.live, 1, service.effort(among: range.graph?.count ?? 0), service.recall
            )
            statistics.add(own)
        }
        return statistics
    }

    /// One piece of work on the graphs: a few rows more in one of them, or a part of a check. Says whether more is left.
    ///
    /// In this order: a graph of which more than half is gone is made anew from the same range, and serves until then; the
    /// last graph is checked when it has grown to twice what it was; rows that wait are added to it; where it is full,
    /// the next one begins. A graph that does not pass is given up, and made again from twice as many rows.
    ///
    /// The same episodes in the same order give the same graphs, however the work is cut into calls.
    ///
    /// - Complexity: two rows added (O(log n) each, 0.1 to 0.3 ms each at 10⁵ rows), or 4,096 looked at; a new
    ///   graph's tables, 7 MB.
    @discardableResult
    package mutating func indexMore() -> Bool {
        guard isIndexingDue else { return false }
        graphs.isBusy = graphs.renewal != nil ? renewMore() : graphs.hasWorn ? beginRenewal() : growMore()
        return graphs.isBusy
    }

    /// The rows added in one piece.
    private static var rowsInPiece: Int { 2 }

    private mutating func makeGraph(_ first: EpisodeID) -> NeighborGraph? {
        do throws(GraphError) {
            return try NeighborGraph(
                dimension: ContextFeatures.count, capacity: plan.mostRows, links: plan.links,
                construction: plan.construction, seed: plan.seed &+ first.value)
        } catch {
            graphs.failure = error
            return nil
        }
    }

    /// Adds the next rows of a range to its graph, which nobody else holds. Says whether it could.
    private func extend(_ range: inout IndexedRange, before end: EpisodeID?) -> Bool {
        guard let graph = range.graph else { return false }
        var row = firstRow(notBefore: range.end)
        var left = Self.rowsInPiece
        // No further than the next check, which is then of the same rows however the work is cut.
        if range.checkAt > graph.count { left = min(left, range.checkAt - graph.count) }
        let width = ContextFeatures.count
        while left > 0, row < ids.count, end.map({ ids[row] < $0 }) ?? true, graph.count < plan.mostRows {
            if facts[row].reward >= 0 {
                range.failure = features.span.withBuffer { matrix in
                    do throws(GraphError) {
                        try graph.add(ids[row], matrix.slice((row * width)..<((row + 1) * width)))
                        return nil
                    } catch {
                        return error
                    }
                }
                guard range.failure == nil else { return false }
                left -= 1
            }
            range.end = EpisodeID(ids[row].value + 1)
            row += 1
        }
        if let end, row == ids.count || ids[row] >= end { range.end = end }
        return true
    }

    // MARK: - The last range

    private mutating func growMore() -> Bool {
        let last = graphs.ranges.count - 1
        if graphs.isOpen(plan) || last >= 0 && graphs.ranges[last].check != nil {
            // A copy of this index may look things up in its graph.
            guard isKnownUniquelyReferenced(&graphs.ranges[last].graph) else {
                graphs.ranges.removeLast()
                graphs.waiting = ids.count - firstRow(notBefore: graphs.end)
                return graphs.waiting >= graphs.rowsToBegin
            }
            if graphs.ranges[last].check != nil { return checkMore(last) }
            let isDone = growLast(last)
            return startCheck(last, isDone: isDone) || !isDone
                || !graphs.isOpen(plan) && graphs.waiting >= graphs.rowsToBegin
        }
        guard graphs.waiting >= graphs.rowsToBegin else { return false }
        let first = graphs.ranges.isEmpty ? ids[start] : graphs.end
        guard let graph = makeGraph(first) else {
            postpone(rows: graphs.waiting)
            return false
        }
        graphs.ranges.append(IndexedRange(first: first, graph: graph, checkAt: graphs.rowsToBegin))
        return true
    }

    /// Adds rows to the last range; says whether there are no more for now.
    private mutating func growLast(_ last: Int) -> Bool {
        var range = graphs.ranges[last]
        graphs.ranges[last].graph = nil
        let couldAdd = extend(&range, before: nil)
        guard couldAdd else {
            // No memory, as a rule: not at once again.
            graphs.failure = range.failure
            refuseLast(range.graph?.count ?? 0)
            postpone(rows: graphs.waiting)
            return true
        }
        graphs.ranges[last] = range
        graphs.waiting = ids.count - firstRow(notBefore: range.end)
        return graphs.waiting == 0 || !graphs.isOpen(plan)
    }

    /// Begins a check when it is time.
    private mutating func startCheck(_ last: Int, isDone: Bool) -> Bool {
        guard last < graphs.ranges.count, let graph = graphs.ranges[last].graph else { return false }
        let range = graphs.ranges[last]
        // Unresolved rows are in no graph: half of the rows that were waited for are enough.
        let isFirst =
            isDone && range.service == nil && (2 * graph.count >= range.checkAt || graph.count >= plan.mostRows)
        guard graph.count >= range.checkAt || isFirst else { return false }
        graphs.ranges[last].check = makeCheck(of: range)
        return true
    }

    private mutating func checkMore(_ last: Int) -> Bool {
        guard var check = graphs.ranges[last].check else { return false }
        graphs.ranges[last].check = nil
        switch advance(&check, of: graphs.ranges[last]) {
        case .unfinished: graphs.ranges[last].check = check
        case .passed(let service):
            graphs.ranges[last].service = service
            graphs.ranges[last].checkAt = 2 * (graphs.ranges[last].graph?.count ?? 0)
            (graphs.rowsToBegin, graphs.wasRefused) = (plan.leastRows, false)
        case .refused(_, let failure):
            graphs.failure = failure ?? graphs.failure
            refuseLast(graphs.ranges[last].graph?.count ?? 0)
        }
        return true
    }

    /// Gives the last graph up. A full one's range stays without; otherwise its rows wait until there are twice as many.
    private mutating func refuseLast(_ rows: Int) {
        let last = graphs.ranges.count - 1
        graphs.ranges[last].refuse()
        if rows >= plan.mostRows {
            graphs.rowsToBegin = plan.leastRows
            graphs.waiting = ids.count - firstRow(notBefore: graphs.end)
            return
        }
        graphs.ranges.removeLast()
        graphs.waiting = ids.count - firstRow(notBefore: graphs.end)
        postpone(rows: rows)
    }

    private mutating func postpone(rows: Int) {
        graphs.rowsToBegin = max(2 * rows, plan.leastRows)
        graphs.wasRefused = true
    }

    // MARK: - Worn ranges

    private mutating func beginRenewal() -> Bool {
        guard let i = graphs.ranges.firstIndex(where: \.isWorn) else {
            graphs.hasWorn = false
            return growMore()
        }
        let range = graphs.ranges[i]
        if range.live >= plan.leastRows / 2, let graph = makeGraph(range.first) {
            graphs.renewal = IndexedRange(first: range.first, graph: graph, checkAt: 0)
        } else {
            // Few enough to look at one by one; the last range's wait for more.
            graphs.ranges.remove(at: i)
            graphs.waiting = ids.count - firstRow(notBefore: graphs.end)
        }
        return true
    }

    private mutating func renewMore() -> Bool {
        guard isKnownUniquelyReferenced(&graphs.renewal!.graph), var renewal = graphs.renewal,
            let i = graphs.ranges.firstIndex(where: { $0.first == renewal.first })
        else {
            graphs.renewal = nil
            return true
        }
        graphs.renewal = nil
        if var check = renewal.check {
            renewal.check = nil
            switch advance(&check, of: renewal) {
            case .unfinished:
                renewal.check = check
                graphs.renewal = renewal
            case .passed(let service):
                renewal.service = service
                renewal.checkAt = 2 * (renewal.graph?.count ?? 0)
                replace(i, with: renewal)
            case .refused(_, let failure):
                graphs.failure = failure ?? graphs.failure
                replace(i, with: nil)
            }
            return true
        }
        guard extend(&renewal, before: graphs.ranges[i].end) else {
            graphs.failure = renewal.failure
            replace(i, with: nil)
            return true
        }
        if renewal.end >= graphs.ranges[i].end { renewal.check = makeCheck(of: renewal) }
        graphs.renewal = renewal
        return true
    }

    private mutating func replace(_ i: Int, with renewal: IndexedRange?) {
        if let renewal {
            graphs.ranges[i] = renewal
        } else if i == graphs.ranges.count - 1 {
            refuseLast(graphs.ranges[i].live)
        } else {
            graphs.ranges[i].refuse()
        }
        graphs.hasWorn = graphs.ranges.contains(where: \.isWorn)
    }
}

extension Dictionary where Key == AdapterKind, Value == KindState {
    /// Works on the graphs of the kinds for about so long; says whether more is left. One piece at least, where there is one.
    package mutating func indexMore(for budget: Duration = .microseconds(250)) -> Bool {
        let start = ContinuousClock.now
        // Names only: a second reference to the kinds would have each copied, and its graphs given up.
        for kind in Array(keys) {
            while self[kind]?.indexMore() ?? false {
                if ContinuousClock.now - start >= budget { return true }
            }
        }
        return false
    }
}
