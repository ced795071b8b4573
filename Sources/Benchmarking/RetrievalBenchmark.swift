internal import LoRA
public import Reasoning
internal import TensorCore

/// Episodes of made-up users, for retrieval: in groups of like taste, as real ones are, or with tastes in every direction, which
/// is as hard as it gets.
public struct RetrievalEpisodes: Sendable {
    /// The kind of all episodes.
    public let kind: AdapterKind
    private var random: PhiloxGenerator
    private var centers: [[Float]] = []
    private var version: UInt64 = 0

    /// - Parameters:
    ///   - groups: The groups of users; 0 for tastes in every direction.
    ///   - seed: Draws everything.
    public init(kind: AdapterKind, groups: Int, seed: UInt64) {
        self.kind = kind
        random = PhiloxGenerator(seed: seed, purpose: .simulation)
        for _ in 0..<groups { centers.append(direction()) }
    }

    private mutating func direction() -> [Float] {
        let values = (0..<AdaptationContext.tasteDimension).map { _ in random.normal() }
        let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return values.map { Float($0 / norm) }
    }

    /// A taste: a group's direction and half as much of a random one.
    public mutating func taste() -> [Float] {
        var taste = direction()
        if !centers.isEmpty {
            let center = centers[random.integer(below: centers.count)]
            for i in taste.indices { taste[i] = center[i] + 0.5 * taste[i] }
        }
        return taste
    }

    /// A situation.
    public mutating func context() -> AdaptationContext {
        let taste = taste()
        return AdaptationContext(
            objective: kind.objective, seen: random.integer(below: 200), batchSize: 1 + random.integer(below: 8),
            rewardMean: random.uniform(in: Float(-1)..<1), rewardVariance: random.uniformFloat(), taste: taste,
            dispersion: random.uniformFloat(), gradientNoise: random.uniformFloat(),
            gradientCosine: random.uniform(in: Float(-1)..<1), drift: 3 * random.uniformFloat(),
            idleSeconds: 1e5 * random.uniformDouble(), dimension: kind.dimension, rank: kind.rank, model: kind.model)
    }

    /// The next episode, resolved, of one of 10,000 users and of the last 60 days; rewards are ranks.
    public mutating func next(now: Timestamp) -> Episode {
        version += 1
        let reward = random.uniformDouble()
        let age = Int64(random.integer(below: 60 * 86_400))
        return Episode(
            user: UserDigest(high: UInt64(random.integer(below: 10_000)), low: 1), version: version, sessionID: "made",
            task: kind.objective.rawValue, context: context(),
            action: AdaptationAction(learningRate: 0.25, clipThreshold: 2), lossBefore: 1, lossAfter: 0.9,
            outcome: AdaptationOutcome(
                gain: reward - 0.5, benefit: reward - 0.5, reward: reward, success: reward > 0.5),
            recordedAt: Timestamp(microseconds: now.microseconds - age * 1_000_000))
    }
}

/// What retrieval takes among so many episodes.
public struct RetrievalResult: Sendable, Codable {
    /// Whether the users are in groups.
    public var isGrouped = true
    public var episodes = 0
    /// A look-up that reads every episode, in microseconds.
    public var exactP50 = 0.0
    public var exactP99 = 0.0
    /// One that begins with `effort` candidates in each graph, in microseconds; at every size, also where none would be used.
    public var graphP50 = 0.0
    public var graphP99 = 0.0
    /// The share of look-ups for which a graph was asked.
    public var graphShare = 0.0
    /// The share of the true ten best, of rewards of 0.7 and more.
    public var recall = 0.0
    /// The same of all rewards.
    public var recallOfAll = 0.0
    public var graphs = 0
    public var refused = 0
    public var effort = 0
    /// To take an episode into a graph, checks included, in microseconds.
    public var indexingPerEpisode = 0.0
    /// The longest piece of that, in milliseconds.
    public var longestPiece = 0.0
    /// The memory of an episode without graphs, and what graphs add, in bytes; by the process's memory.
    public var bytesPerEpisode = 0.0
    public var graphBytesPerEpisode = 0.0
}

/// Look-ups in an index by graphs and by reading everything.
public enum RetrievalBenchmark {
    /// Measures one size.
    ///
    /// - Parameters:
    ///   - queries: Look-ups of each sort.
    ///   - memory: The process's memory in bytes.
    public static func run(
        episodes: Int, isGrouped: Bool, queries: Int, memory: () throws -> Int
    ) throws -> RetrievalResult {
        let kind = AdapterKind(AdaptationContext(dimension: 384, rank: 8))
        var made = RetrievalEpisodes(kind: kind, groups: isGrouped ? 200 : 0, seed: 5)
        let now = Timestamp(microseconds: 1_700_000_000_000_000)
        var plan = GraphPlan()
        // At every size, so that the table shows where graphs begin to pay.
        plan.leastRows = min(plan.leastRows, episodes)
        var result = RetrievalResult()
        (result.isGrouped, result.episodes) = (isGrouped, episodes)
        var index = EpisodeIndex(plan)
        let before = try memory()
        for id in 1...UInt64(episodes) { index.append(EpisodeID(id), made.next(now: now)) }
        let exact = index
        let filled = try memory()
        result.bytesPerEpisode = Double(filled - before) / Double(episodes)
        let clock = ContinuousClock()
        let start = clock.now
        var last = start
        while index.indexMore() {
            let end = clock.now
            result.longestPiece = max(result.longestPiece, (end - last) / .milliseconds(1))
            last = end
        }
        result.indexingPerEpisode = (clock.now - start) / .microseconds(1) / Double(episodes)
        result.graphBytesPerEpisode = Double(try memory() - filled) / Double(episodes)
        let statistics = index.graphStatistics
        (result.graphs, result.refused, result.effort) = (statistics.graphs, statistics.refused, statistics.effort)
        let weights = RetrievalWeights()
        var (times, exactTimes): ([Double], [Double]) = ([], [])
        for least in [0.7, 0] {
            var (hits, wanted, byGraph) = (0, 0, 0)
            for _ in 0..<queries {
                let query = PatternQuery(context: made.context(), limit: 10, minimumReward: least)
                let first = clock.now
                let found = index.answer(10, for: query, weights: weights, now: now)
                let second = clock.now
                let expected = exact.best(10, for: query, weights: weights, now: now)
                let third = clock.now
                if least > 0 {
                    times.append((second - first) / .microseconds(1))
                    exactTimes.append((third - second) / .microseconds(1))
                }
                byGraph += found.isByGraph ? 1 : 0
                wanted += expected.count
                hits += Set(found.matches.map(\.id)).intersection(expected.map(\.id)).count
            }
            let recall = Double(hits) / Double(max(1, wanted))
            if least > 0 {
                (result.recall, result.graphShare) = (recall, Double(byGraph) / Double(queries))
            } else {
                result.recallOfAll = recall
            }
        }
        times.sort()
        exactTimes.sort()
        (result.graphP50, result.graphP99) = (times[times.count / 2], times[times.count * 99 / 100])
        (result.exactP50, result.exactP99) = (exactTimes[times.count / 2], exactTimes[times.count * 99 / 100])
        return result
    }
}
