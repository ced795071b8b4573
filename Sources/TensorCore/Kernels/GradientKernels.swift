internal import CKernels

/// Vectors of one length, in memory that somebody lends.
@safe
package struct RowList {
    fileprivate let pointers: UnsafePointer<UnsafePointer<Float>>
    fileprivate let count: Int
    fileprivate let dimension: Int

    /// The most vectors of a list.
    package static let limit = 64

    /// Lends the rows of a matrix `[count, dimension]`.
    package static func with<R>(_ matrix: FloatBuffer, dimension: Int, _ body: (RowList) -> R) -> R {
        let count = matrix.count / dimension
        precondition(matrix.count == count * dimension && count <= limit, "RowList: not whole rows, or too many")
        return unsafe withUnsafeTemporaryAllocation(of: UnsafePointer<Float>.self, capacity: limit) { memory in
            for i in 0..<count { unsafe memory.initializeElement(at: i, to: matrix.base + i * dimension) }
            guard let first = memory.baseAddress else { preconditionFailure("no stack memory") }
            let rows = unsafe RowList(pointers: UnsafePointer(first), count: count, dimension: dimension)
            return body(rows)
        }
    }

    /// Lends `count` arrays of `dimension` values each, all of them at once.
    package static func with<R>(
        count: Int, dimension: Int, _ array: (Int) -> [Float], _ body: (RowList) -> R
    ) -> R {
        precondition(count <= limit, "RowList: too many arrays")
        return unsafe withUnsafeTemporaryAllocation(of: UnsafePointer<Float>.self, capacity: limit) { memory in
            guard let first = memory.baseAddress else { preconditionFailure("no stack memory") }
            // One closure inside another for each array, so that all are lent when the body runs.
            func lend(_ i: Int) -> R {
                guard i < count else {
                    let rows = unsafe RowList(pointers: UnsafePointer(first), count: count, dimension: dimension)
                    return body(rows)
                }
                let values = array(i)
                precondition(values.count == dimension, "RowList: an array of another length")
                return values.span.withBuffer { buffer in
                    unsafe memory.initializeElement(at: i, to: UnsafePointer(buffer.base))
                    return lend(i + 1)
                }
            }
            return lend(0)
        }
    }

    @unsafe
    private init(pointers: UnsafePointer<UnsafePointer<Float>>, count: Int, dimension: Int) {
        unsafe self.pointers = pointers
        self.count = count
        self.dimension = dimension
    }
}

/// Adam's scalars of one step.
package struct AdamScalars {
    fileprivate let scalars: attune_adam

    /// - Parameters:
    ///   - step: The rate over the first moment's bias correction.
    ///   - inverseRootCorrection: One over the root of the second moment's.
    ///   - keep: What the parameters are multiplied by.
    package init(
        beta1: Float, beta2: Float, epsilon: Float, step: Float, inverseRootCorrection: Float, keep: Float
    ) {
        scalars = attune_adam(
            beta1: beta1, beta2: beta2, epsilon: epsilon, step: step, inverse_root_correction: inverseRootCorrection,
            keep: keep)
    }
}

extension Kernels {
    /// Adam's arithmetic once its scalars are known: see `attune_adam_step`.
    package static func adamStep(
        _ parameters: FloatBuffer, first: FloatBuffer, second: FloatBuffer, gradient: FloatBuffer,
        _ adam: AdamScalars
    ) {
        precondition(
            first.count == parameters.count && second.count == parameters.count && gradient.count == parameters.count,
            "adamStep: counts")
        unsafe withUnsafePointer(to: adam.scalars) {
            unsafe attune_adam_step(
                parameters.base, first.base, second.base, gradient.base, parameters.count, $0)
        }
    }

    /// The same with the gradient `c·xᵀ`; `parameters` is `[c.count, x.count]`.
    package static func adamRankOne(
        _ parameters: FloatBuffer, first: FloatBuffer, second: FloatBuffer, _ c: FloatBuffer, _ x: FloatBuffer,
        _ adam: AdamScalars
    ) {
        precondition(
            first.count == parameters.count && second.count == parameters.count
                && parameters.count == c.count * x.count, "adamRankOne: counts")
        unsafe withUnsafePointer(to: adam.scalars) {
            unsafe attune_adam_rank_one(
                parameters.base, first.base, second.base, c.count, x.count, c.base, x.base, $0)
        }
    }

    /// `parameters ← anchorStep(parameters + c·xᵀ)` and `next ← decay·next + (1 − decay)·(g·xᵀ)²`, entry by entry.
    package static func protectedRankOne(
        _ parameters: FloatBuffer, anchor: FloatBuffer, fisher: FloatBuffer, next: FloatBuffer, _ c: FloatBuffer,
        _ g: FloatBuffer, _ x: FloatBuffer, strength: Float, decay: Float
    ) {
        let count = parameters.count
        precondition(
            anchor.count == count && fisher.count == count && next.count == count && count == c.count * x.count
                && g.count == c.count, "protectedRankOne: counts")
        var state = unsafe attune_protected(
            theta: parameters.base, anchor: anchor.base, fisher: fisher.base, next: next.base)
        unsafe attune_protected_rank_one(&state, c.count, x.count, c.base, g.base, x.base, strength, decay)
    }

    /// The squared Frobenius norm of `matrix`, `[rows, columns]`.
    package static func squaredNorm(_ matrix: FloatBuffer, columns: Int) -> Float {
        precondition(columns > 0 && matrix.count % columns == 0, "squaredNorm: not whole rows")
        return unsafe attune_matrix_squared_norm(matrix.base, matrix.count / columns, columns)
    }

    /// `matrix ← matrix + Σₛ u[s]·rows[s]ᵀ`, in the order of the rows; or without what was there.
    ///
    /// - Parameters:
    ///   - matrix: `[rank, dimension]`.
    ///   - u: `[rows.count, rank]`.
    ///   - rows: Vectors `[dimension]`.
    package static func outerSum(_ matrix: FloatBuffer, _ u: FloatBuffer, _ rows: RowList, adds: Bool) {
        guard rows.count > 0 else { return adds ? () : matrix.fill(0) }
        let rank = u.count / rows.count
        precondition(
            u.count == rank * rows.count && matrix.count == rank * rows.dimension, "outerSum: lengths disagree")
        unsafe attune_outer_sum(
            u.base, rows.pointers, rows.count, rank, rows.dimension, adds ? 1 : 0, matrix.base)
    }

    /// `out ← M·Mᵀ`, M `[rows, columns]`.
    package static func gram(_ matrix: FloatBuffer, columns: Int, into out: FloatBuffer) {
        let rows = matrix.count / columns
        precondition(matrix.count == rows * columns && out.count == rows * rows, "gram: lengths disagree")
        unsafe attune_gram(matrix.base, rows, columns, out.base)
    }
}
