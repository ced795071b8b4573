internal import TensorCore

/// The embeddings and targets of a batch of ``Feedback/hasPlausibleTarget(_:)``, lent to the kernels all at once, with their
/// weights.
struct LentTargets {
    var xs: RowList
    var targets: RowList
    /// Room for ``RowList/limit``.
    let weights: FloatBuffer
    var totalWeight = 0.0

    /// Calls `body` with a batch's embeddings and targets; with `nil` where there are other signals, or too many.
    static func with<R>(_ feedback: [Feedback], _ shape: AdapterShape, _ body: (LentTargets?) -> R) -> R {
        guard feedback.count <= RowList.limit else { return body(nil) }
        return RowList.temporary(dimension: shape.dimension) { xs in
            RowList.temporary(dimension: shape.dimension) { targets in
                FloatBuffer.temporary(RowList.limit) { weights in
                    var lent = LentTargets(xs: xs, targets: targets, weights: weights)
                    let isWhole = lent.append(feedback, shape)
                    return withExtendedLifetime(feedback) { body(isWhole ? lent : nil) }
                }
            }
        }
    }

    /// Appends all, and says whether each has a plausible target. Whoever asks holds the feedback for as long as this is used.
    @inline(__always)
    private mutating func append(_ feedback: [Feedback], _ shape: AdapterShape) -> Bool {
        // A closure for each, one inside another, would take longer than the arithmetic.
        for i in feedback.indices {
            guard feedback[i].hasPlausibleTarget(shape), case .target(let target) = feedback[i].signal else {
                return false
            }
            unsafe xs.append(feedback[i].embedding.heldFloats)
            unsafe targets.append(target.heldFloats)
            weights[i] = feedback[i].weight
            totalWeight += Double(feedback[i].weight)
        }
        return true
    }
}
