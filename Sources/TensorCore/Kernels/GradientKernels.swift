internal import CKernels

/// Vectors of one length, in memory that somebody lends.
@safe
@usableFromInline
package struct RowList {
    @usableFromInline
    let pointers: UnsafeMutablePointer<UnsafePointer<Float>>
    @usableFromInline
    package private(set) var count = 0
    @usableFromInline
    package let dimension: Int

    /// The most vectors of a list.
    @inlinable
    package static var limit: Int { 64 }

    /// An empty list in memory for ``limit`` pointers, which lives as long as the list is used.
    @unsafe
    @inlinable
    package init(pointers: UnsafeMutablePointer<UnsafePointer<Float>>, dimension: Int) {
        unsafe self.pointers = pointers
        self.dimension = dimension
    }

    /// An empty list for up to ``limit`` vectors; both live as long as `body` runs.
    @inline(__always)
    package static func with<R>(dimension: Int, _ body: (inout RowList) -> R) -> R {
        unsafe withUnsafeTemporaryAllocation(of: UnsafePointer<Float>.self, capacity: limit) { memory in
            guard let first = memory.baseAddress else { preconditionFailure("no stack memory") }
            var rows = unsafe RowList(pointers: first, dimension: dimension)
            return body(&rows)
        }
    }

    /// Appends a vector, which has to be lent for as long as the list is used.
    @inlinable
    package mutating func append(_ row: FloatBuffer) {
        precondition(row.count == dimension && count < Self.limit, "RowList: another length, or too many")
        unsafe (pointers + count).initialize(to: UnsafePointer(row.base))
        count += 1
    }

    /// Lends the rows of a matrix `[count, dimension]`.
    package static func with<R>(_ matrix: FloatBuffer, dimension: Int, _ body: (RowList) -> R) -> R {
        precondition(matrix.count % dimension == 0, "RowList: not whole rows")
        return with(dimension: dimension) { rows in
            for i in 0..<(matrix.count / dimension) {
                rows.append(matrix.slice((i * dimension)..<((i + 1) * dimension)))
            }
            return body(rows)
        }
    }
}

/// Samples with targets, and where what comes of them goes.
@safe
package struct TargetBatch {
    private let xs: RowList
    private let targets: RowList
    /// What each sample counts, `[count]`.
    package let weights: FloatBuffer
    /// Each sample's error, `[count, dimension]`.
    package let errors: FloatBuffer
    /// Each sample's weight times its ``AdapterGradient/scaled``, and its ``AdapterGradient/back``, `[count, rank]`.
    package let scaled: FloatBuffer
    package let back: FloatBuffer
    /// Each sample's ‖y − target‖², `[count]`; not finite where anything is not.
    package let residuals: FloatBuffer

    package init(
        xs: RowList, targets: RowList, weights: FloatBuffer, errors: FloatBuffer, scaled: FloatBuffer,
        back: FloatBuffer, residuals: FloatBuffer
    ) {
        let count = xs.count
        precondition(
            count <= Int(ATTUNE_BATCH_LIMIT) && targets.count == count && weights.count == count
                && residuals.count == count && xs.dimension == targets.dimension
                && errors.count == count * xs.dimension && scaled.count == back.count
                && scaled.count % max(count, 1) == 0, "TargetBatch: lengths disagree")
        self.xs = xs
        self.targets = targets
        self.weights = weights
        self.errors = errors
        self.scaled = scaled
        self.back = back
        self.residuals = residuals
    }

    /// - Parameter gradient: Where the gradients' sum goes; anything where it is not asked for.
    fileprivate func lend(
        factor: Float, gradient: AdapterMap, _ body: (UnsafeMutablePointer<attune_batch>) -> Void
    ) -> attune_batch {
        var batch = unsafe attune_batch(
            count: xs.count, xs: UnsafePointer(xs.pointers), targets: UnsafePointer(targets.pointers),
            weights: weights.base, factor: factor,
            errors: errors.base, scaled: scaled.base, back: back.base, residuals: residuals.base,
            down: gradient.map.down, up: gradient.map.up, bias: gradient.map.bias, squared_down: 0, squared_up: 0,
            squared_bias: 0)
        unsafe withUnsafeMutablePointer(to: &batch) { unsafe body($0) }
        return unsafe batch
    }

    fileprivate func fits(_ map: AdapterMap) -> Bool {
        xs.dimension == map.dimension && scaled.count == xs.count * map.rank
    }
}

/// The squared norms of a gradient's parts, each as ``Kernels/squaredNorm(_:columns:)`` has it.
package struct SquaredNorms {
    package let down: Float
    package let up: Float
    package let bias: Float
}

extension Kernels {
    /// The sum of every sample's weighted gradient of `factor/2·‖y − target‖²`. Scratch: `hidden`, `scaled` and `back`, `[rank]`.
    ///
    /// - Parameter gradient: Receives the sum, laid out like the parameters.
    package static func targetGradients(
        _ map: AdapterMap, _ batch: TargetBatch, factor: Float, gradient: FloatBuffer, hidden: FloatBuffer,
        scaled: FloatBuffer, back: FloatBuffer
    ) -> SquaredNorms {
        precondition(
            batch.fits(map) && hidden.count == map.rank && scaled.count == map.rank && back.count == map.rank,
            "targetGradients")
        let sums = map.another(gradient)
        let result = unsafe batch.lend(factor: factor, gradient: sums) { batch in
            unsafe map.lend { unsafe attune_target_batch($0, batch, hidden.base, scaled.base, back.base) }
        }
        return unsafe SquaredNorms(down: result.squared_down, up: result.squared_up, bias: result.squared_bias)
    }

    /// Every sample's ‖y − target‖² alone. Scratch: `hidden`, `[rank]`, `output`, `[dimension]`, and ``TargetBatch/scaled``.
    package static func targetResiduals(
        _ map: AdapterMap, _ batch: TargetBatch, hidden: FloatBuffer, output: FloatBuffer
    ) {
        precondition(
            batch.fits(map) && hidden.count == map.rank && output.count == map.dimension, "targetResiduals")
        _ = unsafe batch.lend(factor: 0, gradient: map) { batch in
            unsafe map.lend { unsafe attune_target_losses($0, batch, hidden.base, output.base) }
        }
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

/// What is wanted of the new rows of a factor as they are written.
@safe
package struct RowFollower {
    fileprivate let follow: attune_follow
    fileprivate let dots: FloatBuffer?
    fileprivate let output: FloatBuffer?

    /// Nothing.
    package static var nothing: RowFollower {
        unsafe RowFollower(
            follow: attune_follow(dots: nil, next: nil, from: nil, after: nil), dots: nil, output: nil)
    }

    /// Their dots with x.
    package static func dots(into dots: FloatBuffer) -> RowFollower {
        unsafe RowFollower(
            follow: attune_follow(dots: dots.base, next: nil, from: nil, after: nil), dots: dots, output: nil)
    }

    /// `output ← from + Σₖ next[k]·row k`; `from` may be the output.
    package static func sum(_ next: FloatBuffer, from: FloatBuffer, into output: FloatBuffer) -> RowFollower {
        precondition(from.count == output.count, "RowFollower: lengths disagree")
        return unsafe RowFollower(
            follow: attune_follow(dots: nil, next: next.base, from: from.base, after: output.base), dots: next,
            output: output)
    }

    @unsafe
    private init(follow: attune_follow, dots: FloatBuffer?, output: FloatBuffer?) {
        unsafe self.follow = follow
        self.dots = dots
        self.output = output
    }

    fileprivate func fits(rows: Int, columns: Int) -> Bool {
        dots?.count ?? rows == rows && output?.count ?? columns == columns
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
        _ adam: AdamScalars, _ follower: RowFollower = .nothing
    ) {
        precondition(
            first.count == parameters.count && second.count == parameters.count
                && parameters.count == c.count * x.count && follower.fits(rows: c.count, columns: x.count),
            "adamRankOne: counts")
        unsafe withUnsafePointer(to: adam.scalars) { adam in
            unsafe withUnsafePointer(to: follower.follow) {
                unsafe attune_adam_rank_one(
                    parameters.base, first.base, second.base, c.count, x.count, c.base, x.base, adam, $0)
            }
        }
    }

    /// `parameters ← anchorStep(parameters + c·xᵀ)` and `next ← decay·next + (1 − decay)·(g·xᵀ)²`, entry by entry.
    package static func protectedRankOne(
        _ parameters: FloatBuffer, anchor: FloatBuffer, fisher: FloatBuffer, next: FloatBuffer, _ c: FloatBuffer,
        _ g: FloatBuffer, _ x: FloatBuffer, strength: Float, decay: Float,
        _ follower: RowFollower = .nothing
    ) {
        let count = parameters.count
        precondition(
            anchor.count == count && fisher.count == count && next.count == count && count == c.count * x.count
                && g.count == c.count && follower.fits(rows: c.count, columns: x.count), "protectedRankOne: counts")
        var state = unsafe attune_protected(
            theta: parameters.base, anchor: anchor.base, fisher: fisher.base, next: next.base)
        unsafe withUnsafePointer(to: follower.follow) {
            unsafe attune_protected_rank_one(
                &state, c.count, x.count, c.base, g.base, x.base, strength, decay, $0)
        }
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
        _ = unsafe attune_outer_sum(
            u.base, UnsafePointer(rows.pointers), rows.count, rank, rows.dimension, adds ? 1 : 0, matrix.base)
    }

    /// `parameters ← parameters + factor·gradient`, and the gradient's memory takes what the parameters were.
    package static func exchange(_ parameters: FloatBuffer, with gradient: FloatBuffer, times factor: Float) {
        precondition(parameters.count == gradient.count, "exchange: counts")
        unsafe attune_exchange(parameters.base, gradient.base, parameters.count, factor)
    }

    /// The largest squared norm among the rows; 0 without any.
    package static func largestSquaredNorm(_ rows: RowList) -> Float {
        (0..<rows.count).reduce(0) { unsafe max($0, attune_squared_norm(rows.pointers[$1], rows.dimension)) }
    }

    /// `out ← M·Mᵀ`, M `[rows, columns]`.
    package static func gram(_ matrix: FloatBuffer, columns: Int, into out: FloatBuffer) {
        let rows = matrix.count / columns
        precondition(matrix.count == rows * columns && out.count == rows * rows, "gram: lengths disagree")
        unsafe attune_gram(matrix.base, rows, columns, out.base)
    }

    /// `down ← (BᵀB + damping·I)⁻¹·down` and `up ← (AAᵀ + damping·I)⁻¹·up`, both `[rank]`, for the usual ranks.
    ///
    /// - Returns: The squared norms of both; `nil`, having done nothing, for other ranks.
    package static func preconditionRankOne(
        _ map: AdapterMap, down: FloatBuffer, up: FloatBuffer, damping: Float
    ) -> (down: Double, up: Double)? {
        precondition(down.count == map.rank && up.count == map.rank, "preconditionRankOne: not [\(map.rank)]")
        var gradient = unsafe attune_preconditioned(
            damping: damping, down: down.base, up: up.base, squared_down: 0, squared_up: 0)
        var isDone = false
        unsafe map.lend { isDone = unsafe attune_precondition($0, &gradient) != 0 }
        return isDone ? unsafe (gradient.squared_down, gradient.squared_up) : nil
    }
}
