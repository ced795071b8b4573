internal import TensorCore

/// The embeddings and targets of a batch, lent to the kernels all at once.
struct LentTargets {
    let xs: RowList
    let targets: RowList

    /// Calls `body` with a batch's embeddings and targets; with `nil` where they are not plain targets in order, or too many.
    static func with<R>(_ feedback: [Feedback], _ shape: AdapterShape, _ body: (LentTargets?) -> R) -> R {
        guard feedback.count <= RowList.limit, feedback.arePlausibleTargets(shape) else { return body(nil) }
        return RowList.with(dimension: shape.dimension) { xs in
            RowList.with(dimension: shape.dimension) { targets in
                // One call inside another for each feedback, so that all are lent when the body runs.
                func lend(_ i: Int) -> R {
                    guard i < feedback.count else { return body(LentTargets(xs: xs, targets: targets)) }
                    return feedback[i].embedding.withFloats { x in
                        (feedback[i].plainTarget(shape) ?? []).withFloats { target in
                            xs.append(x)
                            targets.append(target)
                            return lend(i + 1)
                        }
                    }
                }
                return lend(0)
            }
        }
    }
}

extension Array<Float> {
    /// Lends the numbers to the kernels, which only read them.
    @inline(__always)
    func withFloats<R, E: Error>(_ body: (FloatBuffer) throws(E) -> R) throws(E) -> R {
        try unsafe withUnsafeBufferPointer { source throws(E) in
            guard let start = unsafe source.baseAddress ?? UnsafePointer(bitPattern: 64) else {
                preconditionFailure("the address 64 is not null")
            }
            return try body(unsafe FloatBuffer(base: UnsafeMutablePointer(mutating: start), count: source.count))
        }
    }
}

