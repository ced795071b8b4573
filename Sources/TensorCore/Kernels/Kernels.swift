internal import CKernels

/// The kernels whose results enter adapter state: the same bits on every machine, for any thread count and instruction
/// set (`CKernels/include/ckernels.h` states the arithmetic). Shapes are checked once, here.
package enum Kernels {
    /// The instruction sets that the kernels exist for.
    package enum InstructionSet: String, CaseIterable, Sendable {
        case portable
        case avx2 = "AVX2+FMA"
        case avx512 = "AVX-512"
    }

    /// The instruction set in use: the best that the processor offers, unless a test forced another.
    package static var instructionSet: InstructionSet { name(attune_kernels_level()) }

    /// Forces an instruction set, or the best one below it; returns what is in use. Kernels that run in other threads
    /// meanwhile give the same bits either way.
    package static func select(_ wanted: InstructionSet) -> InstructionSet {
        switch wanted {
        case .portable: name(attune_kernels_select(ATTUNE_KERNEL_PORTABLE))
        case .avx2: name(attune_kernels_select(ATTUNE_KERNEL_AVX2))
        case .avx512: name(attune_kernels_select(ATTUNE_KERNEL_AVX512))
        }
    }

    private static func name(_ level: attune_kernel_level) -> InstructionSet {
        switch level {
        case ATTUNE_KERNEL_AVX512: .avx512
        case ATTUNE_KERNEL_AVX2: .avx2
        default: .portable
        }
    }

    /// Σ aᵢ·bᵢ.
    package static func dot(_ a: FloatBuffer, _ b: FloatBuffer) -> Float {
        precondition(a.count == b.count, "dot: \(a.count) and \(b.count) elements")
        return unsafe attune_dot(a.base, b.base, a.count)
    }

    /// Σ aᵢ².
    package static func squaredNorm(_ a: FloatBuffer) -> Float { unsafe attune_squared_norm(a.base, a.count) }

    /// `out[k] = matrix[k] · x`; `matrix` is `[out.count, x.count]`, row-major.
    package static func rowDots(_ matrix: FloatBuffer, _ x: FloatBuffer, into out: FloatBuffer) {
        precondition(matrix.count == out.count * x.count, "rowDots: the matrix is not [\(out.count), \(x.count)]")
        unsafe attune_row_dots(matrix.base, out.count, x.count, x.base, out.base)
    }

    /// `y ← y + Σₖ c[k]·matrix[k]`, rows in rising order; `matrix` is `[c.count, y.count]`.
    package static func addRows(_ matrix: FloatBuffer, _ c: FloatBuffer, to y: FloatBuffer) {
        precondition(matrix.count == c.count * y.count, "addRows: the matrix is not [\(c.count), \(y.count)]")
        unsafe attune_add_rows(matrix.base, c.count, y.count, c.base, y.base)
    }

    /// `matrix[k] ← matrix[k] + c[k]·x`; `matrix` is `[c.count, x.count]`.
    package static func rankOne(_ matrix: FloatBuffer, _ c: FloatBuffer, _ x: FloatBuffer) {
        precondition(matrix.count == c.count * x.count, "rankOne: the matrix is not [\(c.count), \(x.count)]")
        unsafe attune_rank_one(matrix.base, c.count, x.count, c.base, x.base)
    }

    /// `y ← y + factor·x`.
    package static func axpy(_ factor: Float, _ x: FloatBuffer, to y: FloatBuffer) {
        precondition(x.count == y.count, "axpy: \(x.count) and \(y.count) elements")
        var factor = factor
        unsafe attune_rank_one(y.base, 1, x.count, &factor, x.base)
    }

    /// `y ← a·y + b·x`, each product rounded.
    package static func blend(_ y: FloatBuffer, _ a: Float, _ x: FloatBuffer, _ b: Float) {
        precondition(x.count == y.count, "blend: \(x.count) and \(y.count) elements")
        unsafe attune_blend(y.base, x.base, x.count, a, b)
    }

    /// `v ← factor·v`.
    package static func scale(_ v: FloatBuffer, by factor: Float) {
        unsafe attune_blend(v.base, v.base, v.count, factor, 0)
    }

    /// `v[i] ← exp((v[i] − shift)·inverseTemperature)`; returns the sum. `shift` is at least every `v[i]`.
    package static func expSum(_ v: FloatBuffer, shift: Float, inverseTemperature: Float) -> Float {
        unsafe attune_exp_sum(v.base, v.count, shift, inverseTemperature)
    }

    /// The largest element; `v` is not empty and holds no NaN.
    package static func maximum(_ v: FloatBuffer) -> Float {
        precondition(v.count > 0, "maximum of nothing")
        return unsafe attune_max(v.base, v.count)
    }

    /// `out[i mod 64] += x[i]·signs[i]`, out `[64]`, signs +1 or −1.
    package static func foldSigns(_ x: FloatBuffer, _ signs: FloatBuffer, into out: FloatBuffer) {
        precondition(x.count == signs.count && out.count == 64, "foldSigns: lengths disagree")
        unsafe attune_fold_signs(x.base, signs.base, x.count, out.base)
    }

    /// Whether no element is NaN or infinite.
    package static func allFinite(_ v: FloatBuffer) -> Bool { unsafe attune_all_finite(v.base, v.count) != 0 }

    /// Clamps every element to ±limit.
    package static func clamp(_ v: FloatBuffer, limit: Float) { unsafe attune_clamp(v.base, v.count, limit) }

    /// `total[k][j] += weight·(c[k]·x[j])²`; `total` is `[c.count, x.count]`.
    package static func addSquaredOuter(_ total: FloatBuffer, _ c: FloatBuffer, _ x: FloatBuffer, weight: Float) {
        precondition(total.count == c.count * x.count, "addSquaredOuter: not [\(c.count), \(x.count)]")
        unsafe attune_add_squared_outer(total.base, c.count, x.count, c.base, x.base, weight)
    }
}

// MARK: - Optimizer steps, elementwise on parameters of one count

extension Kernels {
    package static func momentumStep(
        _ parameters: FloatBuffer, velocity: FloatBuffer, gradient: FloatBuffer, rate: Float, momentum: Float,
        dampening: Float, nesterov: Bool, first: Bool
    ) {
        precondition(velocity.count == parameters.count && gradient.count == parameters.count, "momentumStep: counts")
        unsafe attune_momentum_step(
            parameters.base, velocity.base, gradient.base, parameters.count, rate, momentum, dampening,
            nesterov ? 1 : 0, first ? 1 : 0)
    }

    package static func adaGradStep(
        _ parameters: FloatBuffer, sum: FloatBuffer, gradient: FloatBuffer, rate: Float, epsilon: Float
    ) {
        precondition(sum.count == parameters.count && gradient.count == parameters.count, "adaGradStep: counts")
        unsafe attune_adagrad_step(parameters.base, sum.base, gradient.base, parameters.count, rate, epsilon)
    }

    /// `parameters ← (parameters + strength·fisher·anchor) / (1 + strength·fisher)`.
    package static func anchorStep(
        _ parameters: FloatBuffer, anchor: FloatBuffer, fisher: FloatBuffer, strength: Float
    ) {
        precondition(anchor.count == parameters.count && fisher.count == parameters.count, "anchorStep: counts")
        unsafe attune_anchor_step(parameters.base, anchor.base, fisher.base, parameters.count, strength)
    }
}

extension Kernels {
    /// Asks for a line of memory.
    @unsafe
    package static func prefetch(_ memory: UnsafeRawPointer) { unsafe attune_prefetch(memory) }

    /// Asks for the KiB of memory at an address, whatever is there: one that is nobody's does no harm.
    package static func prefetchKiB(address: UInt) { attune_prefetch_kib(address) }

    /// Asks for an object's header, to be in the cache when somebody asks whether the object is uniquely referenced.
    package static func prefetch(_ object: AnyObject) {
        unsafe attune_prefetch(Unmanaged.passUnretained(object).toOpaque())
    }
}
