import LoRA
import TensorCore

/// A low-rank adapter per user from a cold start: stochastic gradient descent on the pairwise loss, one update per
/// like.
struct ColdAdapterMethod: RankingMethod {
    private let shape: AdapterShape
    private let catalogue: ItemCatalogue
    private let configuration: UpdateConfiguration
    private let seed: UInt64
    let negativeCount = PairwiseTraining.negatives
    var isSeeded: Bool { true }

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

    func ranker(for userID: String, seed replicate: Int) -> any Ranker {
        let stream = ReplicateStream.name(userID: userID, replicate: replicate)
        return AdapterRanker(
            method: self,
            adapter: LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: seed, stream: stream)))
    }

    private final class AdapterRanker: Ranker {
        private let method: ColdAdapterMethod
        private var adapter: LoRAAdapter
        private let scratch = UpdateScratch()

        init(method: ColdAdapterMethod, adapter: LoRAAdapter) {
            self.method = method
            self.adapter = adapter
        }

        func vector(for query: [Float]) throws -> [Float] { try adapter.forward(query) }

        func learn(from event: LearningEvent) throws {
            let feedback = Feedback(
                embedding: event.query,
                signal: .preference(
                    .catalogued(event.positive, method.catalogue),
                    over: event.negatives.map { .catalogued($0, method.catalogue) }))
            _ = try adapter.update(
                with: [feedback], configuration: method.configuration, overrides: UpdateOverrides(), scratch: scratch)
        }
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
