package import LoRA
internal import TensorCore

/// Keeps a user's features up to date, in a few hundred bytes and without allocating.
package struct ContextTracker: Sendable {
    /// The feedbacks that the adapter had learned from when tracking began, and since.
    package private(set) var seen: Int
    private var observed: Float = 0
    private var rewardMean: Float = 0
    private var rewardSquares: Float = 0
    private var likes: Float = 0
    private var liked = TasteSum()
    private var tasteSquares: Float = 0
    private var cosineMean: Float = 0
    private var lastCosine: Float = 0
    private var hasCosine = false
    private var batches = 0.0
    private var lossMean = 0.0
    private var rise = 0.0
    private var lowestRise = 0.0
    private var lastUptime: Double?

    /// The last 10 or so gradients count: the weight of the newest cosine in the mean.
    private static let cosineWeight: Float = 0.1
    /// The rise of the loss that Page–Hinkley forgives at each step, relative to the mean loss.
    private static let tolerance = 0.005

    package init(seen: Int) { self.seen = seen }

    /// Whether anything that was liked is known.
    package var hasTaste: Bool { tasteSquares > 0 }
    /// The direction of what was liked, of length 1, or zeros.
    package var taste: SIMD64<Float> { liked.direction }
    /// Where the taste points most strongly (``TasteSum/strongest``).
    var strongestTaste: UInt8 { liked.strongest }
    package var dispersion: Float {
        guard likes > 0, tasteSquares > 0, tasteSquares.isFinite else { return 0 }
        return max(0, min(1, 1 - liked.square / (likes * tasteSquares)))
    }
    /// ‖mean g‖²/mean ‖g‖² of gradients of one length is the mean cosine of two independent ones.
    package var gradientNoise: Float { hasCosine ? max(0, min(1, 1 - cosineMean)) : 0 }
    package var gradientCosine: Float { lastCosine }
    package var drift: Float { Float(min(1e6, rise - lowestRise)) }
    package var reward: Float { rewardMean }
    package var rewardVariance: Float { observed > 1 ? max(0, rewardSquares / observed) : 0 }

    package func idleSeconds(at uptime: Double) -> Double { lastUptime.map { max(0, uptime - $0) } ?? 0 }

    /// Takes in a batch that was learned from.
    ///
    /// - Parameters:
    ///   - loss: The batch's loss before its update.
    ///   - cosine: That of its gradient and the one before; `nil` where unknown.
    /// - Complexity: O(n · dimension).
    package mutating func observe(
        _ feedback: [Feedback], loss: Double, cosine: Float?, objective: ObjectiveConfiguration,
        projection: TasteProjection, uptime: Double
    ) {
        for sample in feedback {
            seen += 1
            let reward = sample.reward(objective)
            observed += 1
            let change = reward - rewardMean
            rewardMean += change / observed
            rewardSquares += change * (reward - rewardMean)
            sample.withLiked(reward: reward) { liked in
                guard liked.count == projection.dimension else { return }
                guard let square = self.liked.add(projection.project(liked)) else { return }
                likes += 1
                tasteSquares += square
            }
        }
        if let cosine {
            cosineMean = hasCosine ? cosineMean + Self.cosineWeight * (cosine - cosineMean) : cosine
            lastCosine = cosine
            hasCosine = true
        }
        batches += 1
        lossMean += (loss - lossMean) / batches
        let scale = max(abs(lossMean), 1e-6)
        rise += (loss - lossMean) / scale - Self.tolerance
        lowestRise = min(lowestRise, rise)
        lastUptime = uptime
    }

    /// The features as a bank gets them.
    package func context(
        objective: ObjectiveKind, batchSize: Int, shape: AdapterShape, model: UInt64, initialization: PriorID?,
        uptime: Double
    ) -> AdaptationContext {
        let taste = self.taste
        return AdaptationContext(
            objective: objective, seen: seen, batchSize: batchSize, rewardMean: rewardMean,
            rewardVariance: rewardVariance, taste: (0..<AdaptationContext.tasteDimension).map { taste[$0] },
            tasteLikes: Int(likes), dispersion: dispersion,
            gradientNoise: gradientNoise, gradientCosine: gradientCosine, drift: drift,
            idleSeconds: idleSeconds(at: uptime), dimension: shape.dimension, rank: shape.rank, model: model,
            initialization: initialization)
    }
}
