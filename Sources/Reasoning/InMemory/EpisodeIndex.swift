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
package struct EpisodeIndex: Sendable {
    private(set) var ids: [EpisodeID] = []
    /// `[ids.count, ContextFeatures.count]`; the rows of holes are not used.
    private var features: [Float] = []
    /// What a look-up asks of each episode, apart from the episodes so that it reads 48 bytes of each and no more.
    private var facts: [Facts] = []
    /// The number of episodes.
    package private(set) var count = 0
    /// No episode lies before this row.
    private var start = 0

    package init() {}

    private struct Facts {
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
    }

    /// The row of an identifier; O(log n).
    private func row(of id: EpisodeID) -> Int? {
        let row = firstRow(notBefore: id)
        return row < ids.count && ids[row] == id && !facts[row].isHole ? row : nil
    }

    private func firstRow(notBefore id: EpisodeID) -> Int {
        var (low, high) = (start, ids.count)
        while low < high {
            let middle = (low + high) / 2
            if ids[middle] < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Removes an episode; says whether it was there.
    package mutating func remove(_ id: EpisodeID) -> Bool {
        guard let row = row(of: id) else { return false }
        facts[row].isHole = true
        facts[row].reward = -1
        count -= 1
        while start < ids.count, facts[start].isHole { start += 1 }
        let holes = ids.count - count
        if holes > 64, holes * 4 > ids.count { closeHoles() }
        return true
    }

    private mutating func closeHoles() {
        var closed = EpisodeIndex()
        closed.ids.reserveCapacity(count)
        closed.features.reserveCapacity(count * ContextFeatures.count)
        closed.facts.reserveCapacity(count)
        for row in start..<ids.count where !facts[row].isHole {
            closed.ids.append(ids[row])
            closed.features += features[(row * ContextFeatures.count)..<((row + 1) * ContextFeatures.count)]
            closed.facts.append(facts[row])
        }
        closed.count = count
        self = closed
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
}

extension EpisodeIndex {
    /// An episode that matches a query.
    package struct Match: Sendable {
        package let id: EpisodeID
        package let similarity: Float
        package let score: Double
        /// Its features, `[80]`; empty unless asked for.
    }

    /// All rows' cosines with a vector, `[ids.count]`, in one pass.
    func similarities(to vector: [Float]) -> [Float] {
        var result = [Float](repeating: 0, count: ids.count)
        features.span.withBuffer { matrix in
            vector.span.withBuffer { x in
                var span = result.mutableSpan
                unsafe span.withUnsafeMutableBufferPointer { out in
                    guard let base = out.baseAddress else { return }
                    unsafe Kernels.rowDots(matrix, x, into: FloatBuffer(base: base, count: out.count))
                }
            }
        }
        return result
    }

    /// The features of an episode, `[80]`; empty when it is not there.
    package func vector(_ id: EpisodeID) -> [Float] {
        guard let row = row(of: id) else { return [] }
        return Array(features[(row * ContextFeatures.count)..<((row + 1) * ContextFeatures.count)])
    }

    /// The best matches of a query by score, ties by identifier, at most `limit`.
    ///
    /// - Complexity: O(n) for the scores, O(n·log limit) at worst for the choice.
    package func best(_ limit: Int, for query: PatternQuery, weights: RetrievalWeights, now: Timestamp) -> [Match] {
        guard count > 0 else { return [] }
        let similarities = similarities(to: ContextFeatures.vector(query.context))
        let decay = -Elementary.log(2) / (weights.halfLifeDays * 86_400)
        var kept = BoundedHeap(limit: limit)
        for row in start..<ids.count {
            let facts = facts[row]
            guard facts.reward >= query.minimumReward, facts.success || !query.onlySuccesses,
                !facts.success || !query.onlyFailures, facts.user != query.excluding
            else { continue }
            let similarity = min(max(similarities[row], -1), 1)
            let known = weights.similarity * Double(similarity) + weights.confidence * facts.confidence
            // Most rows lose even if they were new: no need for their age.
            guard kept.admits(known + weights.recency) else { continue }
            let age = max(0, now.seconds(since: facts.recordedAt))
            let score = known + weights.recency * Elementary.exp(decay * age)
            kept.insert(Match(id: ids[row], similarity: similarity, score: score))
        }
        return kept.sorted()
    }
}

/// The highest `limit` matches seen, the lowest of them on top.
private struct BoundedHeap {
    private let limit: Int
    private var matches: [EpisodeIndex.Match] = []

    init(limit: Int) { self.limit = limit }

    /// Whether `left` comes before `right` in an answer.
    private static func precedes(_ left: EpisodeIndex.Match, _ right: EpisodeIndex.Match) -> Bool {
        left.score != right.score ? left.score > right.score : left.id < right.id
    }

    /// Whether a later row with this score, or less, may come in.
    func admits(_ score: Double) -> Bool { matches.count < limit || score > matches[0].score }

    mutating func insert(_ match: EpisodeIndex.Match) {
        if matches.count < limit {
            matches.append(match)
            var child = matches.count - 1
            while child > 0, Self.precedes(matches[(child - 1) / 2], matches[child]) {
                matches.swapAt(child, (child - 1) / 2)
                child = (child - 1) / 2
            }
        } else if Self.precedes(match, matches[0]) {
            matches[0] = match
            var parent = 0
            while true {
                var last = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < matches.count {
                    if Self.precedes(matches[last], matches[child]) { last = child }
                }
                guard last != parent else { return }
                matches.swapAt(parent, last)
                parent = last
            }
        }
    }

    func sorted() -> [EpisodeIndex.Match] { matches.sorted(by: Self.precedes) }
}
