internal import TensorCore

/// An episode with the identifier that its bank gave it.
public struct StoredEpisode: Sendable, Hashable {
    /// Its identifier.
    public var id: EpisodeID
    /// The episode.
    public var episode: Episode

    /// An episode with its identifier.
    public init(id: EpisodeID, episode: Episode) {
        self.id = id
        self.episode = episode
    }
}

/// What look-ups ask of the episodes of one kind: their features as one contiguous matrix, in the order of their
/// identifiers, and a few facts of each. The episodes themselves are elsewhere.
///
/// Removed episodes leave holes, which are closed once they are a quarter of the rows: O(1) amortised.
///
/// Above the rows of its ``GraphPlan``, look-ups find most of the likely answers by graphs. An index does not make them by
/// itself: its owner calls ``indexMore()`` as long as ``isIndexingDue``, whenever it suits. What no graph holds yet is looked
/// at row by row, and so is every range whose graph did not pass its check.
///
/// A value: copies share nothing that either can see change. The first to extend a graph that a copy holds too gives its own
/// graphs up from there on, and makes them again.
package struct EpisodeIndex: Sendable {
    private(set) var ids: [EpisodeID] = []
    /// `[ids.count, ContextFeatures.count]`; the rows of holes are not used.
    private(set) var features: [Float] = []
    /// What a look-up asks of each episode, apart from the episodes so that it reads 56 bytes of each and no more.
    private(set) var facts: [Facts] = []
    /// The number of episodes.
    package private(set) var count = 0
    /// No episode lies before this row.
    private(set) var start = 0
    let plan: GraphPlan
    var graphs = IndexedRanges()

    package init(_ plan: GraphPlan = GraphPlan()) {
        self.plan = plan
        graphs.rowsToBegin = plan.leastRows
    }

    struct Facts {
        var user: UserDigest
        /// −1 for a hole and while the outcome is unknown, so that no least reward lets it pass.
        var reward = -1.0
        var isHole = false
        var recordedAt: Timestamp
        /// b / (b + 4) for b feedbacks in the batch.
        var confidence: Double
        var success = false

        init(_ episode: Episode) {
            user = episode.user
            if let outcome = episode.outcome { (reward, success) = (outcome.reward, outcome.success) }
            recordedAt = episode.recordedAt
            confidence = Double(episode.context.batchSize) / (Double(episode.context.batchSize) + 4)
        }
    }

    /// The identifier of the oldest episode.
    package var oldest: EpisodeID? { count == 0 ? nil : ids[start] }

    /// Adds an episode, whose identifier is the highest so far.
    package mutating func append(_ id: EpisodeID, _ episode: Episode) {
        ids.append(id)
        features += ContextFeatures.vector(episode.context)
        facts.append(Facts(episode))
        count += 1
        graphs.waiting += 1
    }

    /// The row of an identifier; O(log n).
    func row(of id: EpisodeID) -> Int? {
        let row = firstRow(notBefore: id)
        return row < ids.count && ids[row] == id && !facts[row].isHole ? row : nil
    }

    func firstRow(notBefore id: EpisodeID) -> Int {
        guard start < ids.count, id > ids[start] else { return start }
        var (low, high) = (start, ids.count)
        // Identifiers rise by at least one from row to row; mostly by one.
        let distance = id.value - ids[start].value
        if distance < UInt64(high - low) {
            high = start + Int(distance)
            if ids[high] == id { return high }
        }
        while low < high {
            let middle = (low + high) / 2
            if ids[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Removes an episode; says whether it was there.
    package mutating func remove(_ id: EpisodeID) -> Bool {
        guard let row = row(of: id) else { return false }
        if facts[row].reward >= 0 { graphs.noteRemoval(of: id) }
        facts[row].isHole = true
        facts[row].reward = -1
        count -= 1
        while start < ids.count, facts[start].isHole { start += 1 }
        let holes = ids.count - count
        if holes > 64, holes * 4 > ids.count { closeHoles() }
        return true
    }

    /// Graphs know identifiers, not rows, and stay good.
    private mutating func closeHoles() {
        var closed = EpisodeIndex(plan)
        closed.ids.reserveCapacity(count)
        closed.features.reserveCapacity(count * ContextFeatures.count)
        closed.facts.reserveCapacity(count)
        for row in start..<ids.count where !facts[row].isHole {
            closed.ids.append(ids[row])
            closed.features += features[(row * ContextFeatures.count)..<((row + 1) * ContextFeatures.count)]
            closed.facts.append(facts[row])
        }
        (ids, features, facts, start) = (closed.ids, closed.features, closed.facts, 0)
        graphs.waiting = ids.count - firstRow(notBefore: graphs.end)
    }

    /// Up to `limit` identifiers that come after `id`, ascending; none at the end.
    func next(after id: EpisodeID, limit: Int) -> [EpisodeID] {
        var row = firstRow(notBefore: EpisodeID(id.value + 1))
        var found: [EpisodeID] = []
        while row < ids.count, found.count < limit {
            if !facts[row].isHole { found.append(ids[row]) }
            row += 1
        }
        return found
    }

    /// Up to `limit` of the newest resolved episodes that are not of a user, ascending; only the newest 256 rows are
    /// looked at, so that the time does not grow.
    package func newest(_ limit: Int, excluding user: UserDigest?) -> [EpisodeID] {
        var found: [EpisodeID] = []
        for row in (max(start, ids.count - 256)..<ids.count).reversed() where found.count < limit {
            guard facts[row].reward >= 0, facts[row].user != user else { continue }
            found.append(ids[row])
        }
        return found.reversed()
    }

    /// The features of an episode, `[80]`; empty when it is not there.
    package func vector(_ id: EpisodeID) -> [Float] { row(of: id).map(vector) ?? [] }

    func vector(at row: Int) -> [Float] {
        Array(features[(row * ContextFeatures.count)..<((row + 1) * ContextFeatures.count)])
    }
}
