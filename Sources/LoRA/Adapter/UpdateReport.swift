/// What one update did.
public struct UpdateReport: Sendable, Hashable {
    /// The batch's mean loss before the step; NaN when there was no feedback.
    public var lossBefore: Double
    /// The batch's mean loss after it, against the same items; NaN when there was no feedback, and where it was not to be
    /// measured (``UpdateConfiguration/measuresLossAfter``).
    public var lossAfter: Double
    /// The Euclidean norm of the data gradient over A, B and b, before clipping.
    public var gradientNorm: Double
    /// The factor that clipping applied, 1 when nothing was clipped; the smallest one under per-matrix clipping.
    public var clipFactor: Double
    /// The learning rate used, schedule included. Certified steps may have moved by less.
    public var learningRate: Double
    /// The clipping threshold used.
    public var clipThreshold: Double
    /// The feedbacks in the batch.
    public var samples: Int
    /// The adapter's count of updates after this one.
    public var step: UInt64
    /// The adapter's version after this one.
    public var version: UInt64

    /// Nothing was there to update: no adapter, no feedback.
    package static var nothing: UpdateReport {
        UpdateReport(
            lossBefore: .nan, lossAfter: .nan, gradientNorm: 0, clipFactor: 1, learningRate: 0, clipThreshold: 0,
            samples: 0, step: 0, version: 0)
    }
}
