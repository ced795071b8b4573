import LoRA
import Reasoning
import StorageTesting
import TensorCore

@testable import Reasoning

/// Episodes of users in groups of like taste, or of tastes in every direction; the same for the same seed.
struct MadeEpisodes {
    private let builder = EpisodeBuilder()
    private var random: PhiloxGenerator
    private var centers: [[Float]]
    private var version: UInt64 = 0

    /// - Parameter groups: 0 for tastes that have nothing in common, the hardest to find.
    init(groups: Int, seed: UInt64) {
        random = PhiloxGenerator(seed: seed, purpose: .simulation)
        centers = []
        for _ in 0..<groups { centers.append(Population.direction(&random)) }
    }

    mutating func context() -> AdaptationContext {
        var taste = Population.direction(&random)
        if !centers.isEmpty {
            let center = centers[random.integer(below: centers.count)]
            for i in taste.indices { taste[i] = center[i] + 0.5 * taste[i] }
        }
        return AdaptationContext(
            seen: random.integer(below: 200), batchSize: 1 + random.integer(below: 8), taste: taste,
            dispersion: random.uniformFloat(), gradientNoise: random.uniformFloat(),
            idleSeconds: 1e5 * random.uniformDouble(), dimension: 32, rank: 4)
    }

    mutating func next() -> Episode {
        version += 1
        let reward = random.uniformDouble()
        var episode = builder.episode(
            user: "\(random.integer(below: 50))", version: version, gain: random.bernoulli(0.1) ? nil : reward - 0.5,
            reward: reward)
        episode.context = context()
        return episode
    }

    mutating func query(limit: Int = 10, minimumReward: Double = 0.7) -> PatternQuery {
        PatternQuery(context: context(), limit: limit, minimumReward: minimumReward)
    }
}

extension GraphPlan {
    /// Graphs of few rows, which debug builds make fast enough.
    static var small: GraphPlan {
        var plan = GraphPlan()
        (plan.leastRows, plan.mostRows, plan.slack) = (400, 1_000, 50)
        (plan.links, plan.construction) = (8, 32)
        (plan.efforts, plan.rowsPerCandidate, plan.queries) = ([32, 64, 128], 3, 16)
        return plan
    }
}

extension EpisodeIndex {
    mutating func finishIndexing() { while indexMore() {} }
}
