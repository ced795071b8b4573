import TensorCore

/// Learns one vector per user that is added to every query: y = x + b.
///
/// Pairwise loss: the mean over the negatives n of log(1 + exp(−((y·p + o_p) − (y·n + o_n)))), o = κ·popularity, so
/// that ∂L/∂b = mean over n of σ(−margin)·(n − p); the gradient is clipped to a Euclidean norm of 0.3 and b moves
/// against it.
struct BiasVectorMethod: RankingMethod {
    let vectors: Matrix<Float>
    /// κ·log(1 + donor likes), shape `[items]`.
    let offsets: [Float]
    let rate: Float
    var clip: Float = PairwiseTraining.clip
    let negativeCount = PairwiseTraining.negatives
    var isSeeded: Bool { true }
    var bytesPerAdapter: Int? { vectors.columns * MemoryLayout<Float>.stride }

    func ranker(for userID: String, seed: Int) -> any Ranker { BiasRanker(self) }

    private final class BiasRanker: Ranker {
        private let method: BiasVectorMethod
        private var bias: [Float]

        init(_ method: BiasVectorMethod) {
            self.method = method
            bias = [Float](repeating: 0, count: method.vectors.columns)
        }

        func vector(for query: [Float]) -> [Float] { zip(query, bias).map { $0 + $1 } }

        func learn(from event: LearningEvent) {
            guard !event.negatives.isEmpty else { return }
            let y = vector(for: event.query)
            let positive = method.score(y, event.positive)
            var gradient = [Float](repeating: 0, count: y.count)
            for negative in event.negatives {
                let margin = positive - method.score(y, negative)
                let weight = Float(1 / (1 + Elementary.exp(Double(margin)))) / Float(event.negatives.count)
                method.vectors.withRow(negative) { n in
                    method.vectors.withRow(event.positive) { p in
                        for j in gradient.indices { gradient[j] += weight * (n[j] - p[j]) }
                    }
                }
            }
            let norm = gradient.reduce(Float(0)) { $0 + $1 * $1 }.squareRoot()
            let step = method.rate * min(1, method.clip / max(norm, 1e-20))
            for j in bias.indices { bias[j] -= step * gradient[j] }
        }
    }

    private func score(_ y: [Float], _ item: Int) -> Float {
        vectors.withRow(item) { row in
            var sum: Float = 0
            for j in row.indices { sum += y[j] * row[j] }
            return sum + offsets[item]
        }
    }
}

/// The settings that every pairwise method shares, so that they are comparable.
enum PairwiseTraining {
    /// Negatives per event.
    static let negatives = 10
    /// The largest norm of a gradient over all parameters together.
    static let clip: Float = 0.3
    /// The rates that are tried on the donors.
    static let rates: [Float] = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]
}
