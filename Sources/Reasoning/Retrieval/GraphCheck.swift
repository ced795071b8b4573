internal import TensorCore

/// A graph's check: the answers to a sample of queries, by looking at all of its range and by the graph.
///
/// The queries are episodes' features with noise, those of one half admitting every reward and of the other the usual ones, and
/// ten answers are wanted; recall is the share of the true answers among those that the graph gives with one search. Done in pieces:
/// first what is true, then one number of candidates after the other, until one reaches the least recall.
struct GraphCheck: Sendable {
    enum Verdict: Sendable {
        /// There is more to do.
        case unfinished
        case passed(IndexedRange.Service)
        /// With the best recall that was reached; with an error where the graph could not be asked.
        case refused(recall: Double, failure: GraphError? = nil)
    }

    struct Question: Sendable {
        let vector: [Float]
        let scoring: EpisodeIndex.Scoring
        var expected: [EpisodeID] = []
    }

    static let answers = 10
    /// The rows looked at in one piece.
    static let rowsInPiece = 4_096

    var questions: [Question] = []
    /// The number of the question that is next, first of all for what is true and then for each effort.
    var question = 0
    /// Where looking at all goes on; `nil` when all questions' true answers are known.
    var cursor: EpisodeID?
    var kept = BoundedHeap(limit: answers)
    /// The number of the effort that is tried.
    var effort = 0
    var hits = 0
    var wanted = 0
    var best = 0.0
}

extension EpisodeIndex {
    /// The check of a range's graph, which begins.
    func makeCheck(of range: IndexedRange) -> GraphCheck {
        var check = GraphCheck()
        check.cursor = range.first
        let rows = firstRow(notBefore: range.first)..<firstRow(notBefore: range.end)
        guard !rows.isEmpty else { return check }
        var random = PhiloxGenerator(seed: plan.seed, stream: range.first.value, purpose: .sampling)
        let now = facts[rows.upperBound - 1].recordedAt
        for i in 0..<plan.queries {
            var vector = vector(at: random.integer(in: rows))
            // Noise of 0.6 of its length: a cosine of 0.86 with the row, as between new contexts of a group.
            for j in vector.indices { vector[j] += Float(random.normal()) * 0.6 / Float(vector.count).squareRoot() }
            let norm = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
            check.questions.append(
                GraphCheck.Question(
                    vector: vector.map { $0 / norm },
                    scoring: Scoring(minimumReward: i % 2 == 0 ? 0 : 0.7, weights: plan.weights, now: now)))
        }
        return check
    }

    /// One piece of a check: a few thousand rows, or one search.
    func advance(_ check: inout GraphCheck, of range: IndexedRange) -> GraphCheck.Verdict {
        guard let graph = range.graph, !check.questions.isEmpty else { return .refused(recall: 0) }
        if let cursor = check.cursor {
            let question = check.questions[check.question]
            let end = firstRow(notBefore: range.end)
            let row = firstRow(notBefore: cursor)
            let rows = row..<max(row, min(row + GraphCheck.rowsInPiece, end))
            scan(rows, question.vector, question.scoring, into: &check.kept)
            guard rows.upperBound >= end else {
                check.cursor = ids[rows.upperBound]
                return .unfinished
            }
            check.questions[check.question].expected = check.kept.sorted().map(\.id)
            check.kept = BoundedHeap(limit: GraphCheck.answers)
            check.question = (check.question + 1) % check.questions.count
            check.cursor = check.question == 0 ? nil : range.first
            return .unfinished
        }
        guard check.effort < plan.efforts.count, plan.efforts[check.effort] * plan.rowsPerCandidate <= graph.count
        else {
            return .refused(recall: check.best)
        }
        let effort = plan.efforts[check.effort]
        let question = check.questions[check.question]
        let found: NeighborGraph.Neighbors
        do throws(GraphError) {
            found = try graph.search(question.vector, limit: effort)
        } catch {
            return .refused(recall: 0, failure: error)
        }
        var kept = BoundedHeap(limit: GraphCheck.answers)
        _ = consider(found, question.scoring, into: &kept)
        let given = Set(kept.sorted().map(\.id))
        for id in question.expected where row(of: id) != nil {
            check.wanted += 1
            if given.contains(id) { check.hits += 1 }
        }
        check.question = (check.question + 1) % check.questions.count
        guard check.question == 0 else { return .unfinished }
        // Nothing to find: all that was there is gone.
        let recall = check.wanted == 0 ? 0 : Double(check.hits) / Double(check.wanted)
        check.best = max(check.best, recall)
        if recall >= plan.leastRecall {
            return .passed(IndexedRange.Service(effort: effort, vectors: graph.count, recall: recall))
        }
        check.effort += 1
        (check.hits, check.wanted) = (0, 0)
        return .unfinished
    }
}
