public import LoRA
public import Reasoning

/// Makes episodes for tests, with every field that a test does not care about filled in.
public struct EpisodeBuilder: Sendable {
    /// The dimension of the adapters.
    public var dimension = 32
    /// Their rank.
    public var rank = 4
    /// The hash of their embedding model's name.
    public var model: UInt64 = 0
    /// The objective.
    public var objective = ObjectiveKind.ranking
    /// Microseconds since 1970 of the first episode; each further version comes a second later.
    public var start = Timestamp(microseconds: 1_700_000_000_000_000)
    /// The key under which users are hashed.
    public var key = DigestKey(1, 2)

    /// The usual episodes.
    public init() {}

    /// A situation.
    public func context(taste: [Float] = [], seen: Int = 1) -> AdaptationContext {
        AdaptationContext(
            objective: objective, seen: seen, taste: taste, dimension: dimension, rank: rank, model: model)
    }

    /// A resolved episode, or an open one when no gain is given.
    public func episode(
        user: String, version: UInt64 = 1, taste: [Float] = [], learningRate: Float = 0.25, gain: Double? = 0.1,
        benefit: Double? = nil, reward: Double? = nil
    ) -> Episode {
        Episode(
            user: key.digest(of: user), version: version, sessionID: "test", task: objective.rawValue,
            context: context(taste: taste, seen: Int(version) - 1),
            action: AdaptationAction(learningRate: learningRate, clipThreshold: 2),
            lossBefore: 1, lossAfter: 0.9,
            outcome: gain.map {
                AdaptationOutcome(
                    gain: $0, benefit: benefit ?? $0, reward: reward ?? ($0 > 0 ? 0.9 : 0.1), success: $0 > 0)
            },
            recordedAt: Timestamp(microseconds: start.microseconds + Int64(version) * 1_000_000))
    }
}
