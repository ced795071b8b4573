import LoRA
import TensorCore

@testable import Personalization

/// What users do in these tests: for each user and step a fixed batch of feedback of mixed kinds.
struct Script: Sendable {
    var dimension = 20
    var rank = 4
    var seed: UInt64 = 7
    let catalogue: ItemCatalogue

    init(dimension: Int = 20, rank: Int = 4, seed: UInt64 = 7) throws {
        self.dimension = dimension
        self.rank = rank
        self.seed = seed
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        let items = (0..<12).map { _ in Self.vector(dimension, &generator) }
        catalogue = try ItemCatalogue(vectors: Matrix(rows: items))
    }

    static func vector(_ dimension: Int, _ generator: inout PhiloxGenerator) -> [Float] {
        (0..<dimension).map { _ in generator.uniform(in: Float(-0.5)..<0.5) }
    }

    /// An embedding to personalize.
    func probe(_ number: Int = 0) -> [Float] {
        var generator = PhiloxGenerator(seed: seed, stream: UInt64(number), purpose: .general)
        return Self.vector(dimension, &generator)
    }

    func batch(_ user: String, _ step: Int) -> [Feedback] {
        var generator = PhiloxGenerator(
            seed: seed &+ UInt64(step) &+ 1, stream: StableHash.hash(user), purpose: .simulation)
        func vector() -> [Float] { Self.vector(dimension, &generator) }
        return (0..<1 + generator.integer(below: 3)).map { _ in
            let signal: Feedback.Signal =
                switch generator.integer(below: 7) {
                case 0: .target(vector())
                case 1: .preference(.vector(vector()), over: [.vector(vector()), .vector(vector())])
                case 2: .ranking(.vector(vector()), among: [.vector(vector()), .vector(vector())])
                case 3: .like(generator.integer(below: 12), in: catalogue, seen: [generator.integer(below: 12)])
                case 4: .reward(generator.uniform(in: Float(-1)..<1), for: .vector(vector()))
                case 5: .watch(WatchEvent(completion: 0.9, rating: 5, rewatched: true), of: .vector(vector()))
                default: .scaledInput(reward: generator.uniform(in: Float(-1)..<1))
                }
            return Feedback(embedding: vector(), signal: signal, weight: 1 + generator.uniformFloat())
        }
    }

    /// The settings of an engine for these users. Nothing here is a default, so that the reference hash speaks of arithmetic.
    func configuration(
        isStrict: Bool = false, embeddingModel: String = "test", update: UpdateConfiguration? = nil
    ) -> EngineConfiguration {
        EngineConfiguration(
            dimension: dimension, rank: rank, alpha: Float(rank), scaling: .standard, hasBias: false,
            normalizesOutput: false, embeddingModel: embeddingModel, seed: seed, update: update ?? self.update,
            isStrict: isStrict)
    }

    /// The optimizer keeps state, so that a lost or doubled step shows there too.
    var update: UpdateConfiguration {
        UpdateConfiguration(
            objective: ObjectiveConfiguration(
                like: .sampledSoftmax(negatives: 3), temperature: 0.7, rewardBaseline: 0, neutralWatchScore: 0.5,
                highestInversePropensity: 10),
            optimizer: .momentum(), learningRates: PerObjective(target: 1, preference: 0.3, ranking: 0.25, reward: 0.3),
            schedule: Schedule(.exponential(factor: 0.99)), clipping: .globalNorm,
            clipThresholds: PerObjective(target: 1, preference: 0.3, ranking: 2, reward: 0.3), weightDecay: 0,
            fading: PerObjective(target: 0, preference: 0, ranking: 0.03, reward: 0))
    }

    func engine(
        store: any AdapterStore = InMemoryAdapterStore(), isStrict: Bool = false
    ) throws -> PersonalizationEngine {
        try PersonalizationEngine(configuration: configuration(isStrict: isStrict), store: store)
    }

    func cold(_ user: String) throws -> LoRAAdapter {
        LoRAAdapter(
            shape: try configuration().validatedShape(), identity: AdapterIdentity(seed: seed, user: user))
    }

    /// The user's adapter at versions 0 to `steps`, one update after the other, without an engine.
    func history(_ user: String, steps: Int, from start: Int = 0) throws -> [LoRAAdapter] {
        var states = [try cold(user)]
        for step in start..<start + steps {
            states.append(try states[states.count - 1].updated(with: batch(user, step), configuration: update).adapter)
        }
        return states
    }
}
