import LoRA
import TensorCore

/// How `cold`, `warm`, `similar` and `random` learn: one update of stochastic gradient descent on the pairwise loss per
/// like. They differ in where an adapter starts and in nothing else.
struct PairwiseAdapter: Sendable {
    /// The shape of the adapters: no bias, so that a prior is a product.
    let shape: AdapterShape
    private let catalogue: ItemCatalogue
    private let configuration: UpdateConfiguration
    private let seed: UInt64

    /// The memory of one adapter's numbers.
    var bytesPerAdapter: Int { shape.parameterCount * MemoryLayout<Float>.stride }

    /// - Parameters:
    ///   - offsets: κ·log(1 + donor likes), shape `[items]`.
    ///   - rate: The learning rate.
    init(vectors: Matrix<Float>, offsets: [Float], rank: Int, rate: Float, seed: UInt64) throws {
        shape = try AdapterShape(dimension: vectors.columns, rank: rank)
        catalogue = try ItemCatalogue(vectors: vectors, offsets: offsets)
        configuration = UpdateConfiguration(
            optimizer: .sgd, learningRates: PerObjective(all: rate), clipping: .globalNorm,
            clipThresholds: PerObjective(all: PairwiseTraining.clip))
        try configuration.validate(for: shape)
        self.seed = seed
    }

    /// A user's adapter before the first like, in one of the repetitions.
    ///
    /// - Parameter prior: Where it starts; cold without one.
    func start(userID: String, replicate: Int, from prior: AdapterPrior? = nil) throws -> LoRAAdapter {
        let identity = AdapterIdentity(
            seed: seed, stream: ReplicateStream.name(userID: userID, replicate: replicate))
        guard let prior else { return LoRAAdapter(shape: shape, identity: identity) }
        return try LoRAAdapter(shape: shape, identity: identity, startingFrom: prior)
    }

    /// One update from what came after a query.
    func learn(_ adapter: inout LoRAAdapter, from event: LearningEvent, scratch: UpdateScratch) throws {
        let feedback = Feedback(
            embedding: event.query,
            signal: .preference(
                .catalogued(event.positive, catalogue), over: event.negatives.map { .catalogued($0, catalogue) }))
        _ = try adapter.update(
            with: [feedback], configuration: configuration, overrides: UpdateOverrides(), scratch: scratch)
    }
}

/// The stream of random numbers of one user in one of the repetitions over which events are averaged.
enum ReplicateStream {
    static func name(userID: String, replicate: Int) -> UInt64 {
        var hash = StableHash()
        hash.combine(UInt64(replicate))
        hash.combine(userID)
        return hash.finalized()
    }
}
