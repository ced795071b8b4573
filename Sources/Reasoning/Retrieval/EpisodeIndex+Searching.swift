internal import TensorCore

extension EpisodeIndex {
    /// An episode that matches a query.
    package struct Match: Sendable {
        package let id: EpisodeID
        package let similarity: Float
        package let score: Double
    }

    /// The best matches, and how they were found.
    package struct Answer: Sendable {
        package let matches: [Match]
        /// Whether a graph was asked; otherwise every row was looked at and the matches are the best for certain.
        package let isByGraph: Bool
    }

    /// What passes a query and what it scores.
    struct Scoring: Sendable {
        let minimumReward: Double
        private(set) var onlySuccesses = false
        private(set) var onlyFailures = false
        private(set) var excluding: UserDigest?
        let weights: RetrievalWeights
        let now: Timestamp
        private let decay: Double

        init(minimumReward: Double, weights: RetrievalWeights, now: Timestamp) {
            self.minimumReward = minimumReward
            self.weights = weights
            self.now = now
            decay = -Elementary.log(2) / (weights.halfLifeDays * 86_400)
        }

        init(_ query: PatternQuery, weights: RetrievalWeights, now: Timestamp) {
            self.init(minimumReward: query.minimumReward, weights: weights, now: now)
            onlySuccesses = query.onlySuccesses
            onlyFailures = query.onlyFailures
            excluding = query.excluding
        }

        func admits(_ facts: Facts) -> Bool {
            facts.reward >= minimumReward && (facts.success || !onlySuccesses) && (!facts.success || !onlyFailures)
                && facts.user != excluding
        }

        /// Puts a row that is admitted where it belongs.
        func insert(_ id: EpisodeID, _ facts: Facts, _ product: Float, into kept: inout BoundedHeap) {
            let similarity = min(max(product, -1), 1)
            let known = weights.similarity * Double(similarity) + weights.confidence * facts.confidence
            // Most rows lose even if they were new: no need for their age.
            guard !kept.excludes(known + weights.recency) else { return }
            let age = max(0, now.seconds(since: facts.recordedAt))
            let score = known + weights.recency * Elementary.exp(decay * age)
            kept.insert(Match(id: id, similarity: similarity, score: score))
        }

        /// The most that a row can score whose inner product is at most this.
        func bound(_ product: Float) -> Double {
            weights.similarity * Double(min(max(product, -1), 1)) + weights.confidence + weights.recency
        }
    }

    /// The best matches of a query by score, ties by identifier, at most `limit`: as ``answer(_:for:weights:now:)``.
    package func best(_ limit: Int, for query: PatternQuery, weights: RetrievalWeights, now: Timestamp) -> [Match] {
        answer(limit, for: query, weights: weights, now: now).matches
    }

    /// The best matches of a query by score, ties by identifier, at most `limit`.
    ///
    /// Exact for the rows that no graph in use holds. In a graph, the most similar are fetched, scored, and passed over where
    /// the query does not admit them or they are gone, until none of the rest can score enough, or twice as many as
    /// are wanted were admitted; where that would take longer than looking at all of its rows, those are looked at. So a
    /// match that is missing is one that the graph missed, or one whose recency and batch outweigh that many more
    /// similar ones.
    ///
    /// - Complexity: O(n) for n rows that are in no graph, O(log n) expected for each graph; O(n) where few rows
    ///   are admitted.
    package func answer(
        _ limit: Int, for query: PatternQuery, weights: RetrievalWeights, now: Timestamp
    ) -> Answer {
        guard count > 0 else { return Answer(matches: [], isByGraph: false) }
        let vector = ContextFeatures.vector(query.context)
        let scoring = Scoring(query, weights: weights, now: now)
        var kept = BoundedHeap(limit: limit)
        var isByGraph = false
        var row = start
        for range in graphs.ranges where range.service != nil {
            let rows = firstRow(notBefore: range.first)..<firstRow(notBefore: range.end)
            scan(row..<max(row, rows.lowerBound), vector, scoring, into: &kept)
            if search(range, vector, scoring, into: &kept) {
                isByGraph = true
            } else {
                scan(rows, vector, scoring, into: &kept)
            }
            row = rows.upperBound
        }
        scan(row..<ids.count, vector, scoring, into: &kept)
        return Answer(matches: kept.sorted(), isByGraph: isByGraph)
    }

    /// Looks at all of some rows, `[80]` floats and some facts each, in parts that stay in the first cache.
    func scan(_ rows: Range<Int>, _ vector: [Float], _ scoring: Scoring, into kept: inout BoundedHeap) {
        guard !rows.isEmpty else { return }
        let width = ContextFeatures.count
        var products = [Float](repeating: 0, count: min(1_024, rows.count))
        for first in stride(from: rows.lowerBound, to: rows.upperBound, by: 1_024) {
            let part = min(1_024, rows.upperBound - first)
            features.span.withBuffer { matrix in
                vector.span.withBuffer { x in
                    var span = products.mutableSpan
                    unsafe span.withUnsafeMutableBufferPointer { out in
                        guard let base = out.baseAddress else { return }
                        let rows = matrix.slice((first * width)..<((first + part) * width))
                        unsafe Kernels.rowDots(rows, x, into: FloatBuffer(base: base, count: part))
                    }
                }
            }
            for i in 0..<part where scoring.admits(facts[first + i]) {
                scoring.insert(ids[first + i], facts[first + i], products[i], into: &kept)
            }
        }
    }

    /// Asks a range's graph; `false`, and nothing changed, where its rows are better looked at one by one.
    private func search(
        _ range: IndexedRange, _ vector: [Float], _ scoring: Scoring, into kept: inout BoundedHeap
    ) -> Bool {
        guard let graph = range.graph, let service = range.service else { return false }
        let enough = 2 * kept.limit
        var fetch = max(service.effort(among: graph.count), enough)
        while fetch * plan.rowsPerCandidate <= graph.count {
            let found: NeighborGraph.Neighbors
            // Without the graph the answer is the same, and true; what ails the graph is seen by its next check.
            do throws(GraphError) { found = try graph.search(vector, limit: fetch) } catch { return false }
            guard found.count == fetch else { return false }
            var attempt = kept
            let (passed, isCertain) = consider(found, scoring, into: &attempt)
            if isCertain || passed >= enough {
                kept = attempt
                return true
            }
            fetch *= 4
        }
        return false
    }

    /// Scores what a graph found: how many of them the query admits, and whether none of the rest can come in.
    func consider(
        _ found: NeighborGraph.Neighbors, _ scoring: Scoring, into kept: inout BoundedHeap
    ) -> (passed: Int, isCertain: Bool) {
        var passed = 0
        for i in 0..<found.count {
            if kept.excludes(scoring.bound(found.similarities[i])) { return (passed, true) }
            guard let row = row(of: EpisodeID(found.ids[i])), scoring.admits(facts[row]) else { continue }
            passed += 1
            scoring.insert(ids[row], facts[row], found.similarities[i], into: &kept)
        }
        return (passed, false)
    }
}
