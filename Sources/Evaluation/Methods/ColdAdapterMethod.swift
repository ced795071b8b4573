import LoRA
import TensorCore

/// A low-rank adapter per user from a cold start: stochastic gradient descent on the pairwise loss, one update per
/// like.
struct ColdAdapterMethod: RankingMethod {
    private let training: PairwiseAdapter
    let negativeCount = PairwiseTraining.negatives
    var isSeeded: Bool { true }
    var bytesPerAdapter: Int? { training.bytesPerAdapter }

    init(_ training: PairwiseAdapter) { self.training = training }

    /// - Parameters:
    ///   - offsets: κ·log(1 + donor likes), shape `[items]`.
    ///   - rate: The learning rate.
    init(vectors: Matrix<Float>, offsets: [Float], rank: Int, rate: Float, seed: UInt64) throws {
        training = try PairwiseAdapter(vectors: vectors, offsets: offsets, rank: rank, rate: rate, seed: seed)
    }

    func ranker(for userID: String, seed replicate: Int) throws -> any Ranker {
        AdapterRanker(training: training, adapter: try training.start(userID: userID, replicate: replicate))
    }

    private final class AdapterRanker: Ranker {
        private let training: PairwiseAdapter
        private var adapter: LoRAAdapter
        private let scratch = UpdateScratch()

        init(training: PairwiseAdapter, adapter: LoRAAdapter) {
            self.training = training
            self.adapter = adapter
        }

        func vector(for query: [Float]) throws -> [Float] { try adapter.forward(query) }

        func learn(from event: LearningEvent) throws { try training.learn(&adapter, from: event, scratch: scratch) }
    }
}
