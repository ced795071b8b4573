internal import TensorCore

/// The embeddings and targets of a batch of ``Feedback/plausibleTarget(_:)``s, lent to the kernels all at once, with their
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
        return RowList.with(dimension: shape.dimension) { xs in
            RowList.with(dimension: shape.dimension) { targets in
                FloatBuffer.temporary(RowList.limit) { weights in
                    var lent = LentTargets(xs: xs, targets: targets, weights: weights)
                    // One call inside another for each feedback, so that all are lent when the body runs.
                    func lend(_ i: Int) -> R {
                        guard i < feedback.count else { return body(lent) }
                        guard let target = feedback[i].plausibleTarget(shape) else { return body(nil) }
                        return feedback[i].embedding.withFloats { x in
                            target.withFloats { target in
                                lent.xs.append(x)
                                lent.targets.append(target)
                                lent.weights[i] = feedback[i].weight
                                lent.totalWeight += Double(feedback[i].weight)
                                return lend(i + 1)
                            }
                        }
                    }
                    return lend(0)
                }
            }
        }
    }
}
