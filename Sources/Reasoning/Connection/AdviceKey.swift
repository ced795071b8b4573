package import LoRA

/// The question behind an answer in the cache: every argument of it, continuous features in buckets, else nothing would be
/// asked twice.
package struct AdviceKey: Hashable, Sendable {
    private let objective: ObjectiveKind
    private let dimension: Int
    private let rank: Int
    private let model: UInt64
    private let initialization: PriorID?
    private let learningRate: Float
    private let user: UserDigest
    private let buckets: SIMD16<UInt8>

    package init(
        _ tracker: ContextTracker, objective: ObjectiveKind, batchSize: Int, shape: AdapterShape, model: UInt64,
        initialization: PriorID?, learningRate: Float, user: UserDigest, uptime: Double
    ) {
        self.objective = objective
        dimension = shape.dimension
        rank = shape.rank
        self.model = model
        self.initialization = initialization
        self.learningRate = learningRate
        self.user = user
        var buckets = SIMD16<UInt8>()
        buckets[0] = Self.log4Bucket(tracker.seen)
        buckets[1] = Self.log4Bucket(batchSize)
        buckets[2] = Self.bucket(tracker.reward, from: -1, step: 0.5)
        buckets[3] = Self.bucket(tracker.rewardVariance, from: 0, step: 0.25)
        buckets[4] = tracker.strongestTaste
        buckets[5] = Self.bucket(tracker.dispersion, from: 0, step: 0.5)
        buckets[6] = Self.bucket(tracker.gradientNoise, from: 0, step: 0.5)
        // Near 1 the statistic comes and goes with single feedbacks; a drift that lasts goes on rising.
        buckets[7] = tracker.drift > 4 ? 1 : 0
        buckets[8] = Self.idleBucket(tracker.idleSeconds(at: uptime))
        // The cosine of the last two gradients is in one bucket: it changes its sign with single feedbacks, and telling the signs
        // apart took the hit rate on MovieLens from 0.735 to 0.686.
        self.buckets = buckets
    }

    /// 0, 1–3, 4–15, 16–63, …
    private static func log4Bucket(_ count: Int) -> UInt8 {
        UInt8((Int.bitWidth - max(0, count).leadingZeroBitCount + 1) / 2)
    }

    private static func bucket(_ value: Float, from low: Float, step: Float) -> UInt8 {
        UInt8(max(0, min(255, ((value - low) / step).rounded(.down))))
    }

    /// Under a day, under a month, longer. Finer ones are left as soon as a session goes on: two questions where one would do.
    private static func idleBucket(_ seconds: Double) -> UInt8 {
        seconds < 86_400 ? 0 : seconds < 2_592_000 ? 1 : 2
    }
}
