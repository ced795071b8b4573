internal import CKernels

/// One adapter's parameters as the kernels see them: y = x + scale·Bᵀ·(A·x) + b, in memory that somebody lends.
@safe
package struct AdapterMap {
    let map: attune_map

    /// - Parameter all: A `[rank, dimension]`, then B transposed `[rank, dimension]`, then b `[dimension]` if there is one.
    package init(_ all: FloatBuffer, rank: Int, dimension: Int, hasBias: Bool, scale: Float) {
        let size = rank * dimension
        precondition(all.count == 2 * size + (hasBias ? dimension : 0), "AdapterMap: \(all.count) parameters")
        unsafe map = attune_map(
            down: all.base, up: all.base + size, bias: hasBias ? all.base + 2 * size : nil, rank: rank, n: dimension,
            scale: scale)
    }

    /// The same for other numbers, laid out alike.
    func another(_ all: FloatBuffer) -> AdapterMap {
        unsafe AdapterMap(all, rank: rank, dimension: dimension, hasBias: map.bias != nil, scale: map.scale)
    }

    var rank: Int { unsafe map.rank }
    var dimension: Int { unsafe map.n }

    func lend(_ body: (UnsafePointer<attune_map>) -> Void) { unsafe withUnsafePointer(to: map) { unsafe body($0) } }

    fileprivate func isRow(_ buffer: FloatBuffer) -> Bool { unsafe buffer.count == map.n }
    fileprivate func isColumn(_ buffer: FloatBuffer) -> Bool { unsafe buffer.count == map.rank }
}

/// The factors of one sample's gradient: ∂A = back·xᵀ, ∂B = scaled·errorᵀ (stored transposed), ∂b = error.
@safe
package struct AdapterGradient {
    fileprivate var parts: attune_gradient
    /// A·x, `[rank]`.
    package let hidden: FloatBuffer
    /// scale·A·x, `[rank]`.
    package let scaled: FloatBuffer
    /// scale·(B·error), `[rank]`.
    package let back: FloatBuffer
    /// ∂loss/∂y, `[dimension]`.
    package let error: FloatBuffer

    /// - Parameter output: Receives y, `[dimension]`, where it is wanted.
    package init(
        hidden: FloatBuffer, scaled: FloatBuffer, back: FloatBuffer, error: FloatBuffer, output: FloatBuffer?
    ) {
        precondition(hidden.count == scaled.count && hidden.count == back.count, "AdapterGradient: ranks")
        precondition(output?.count ?? error.count == error.count, "AdapterGradient: dimensions")
        self.hidden = hidden
        self.scaled = scaled
        self.back = back
        self.error = error
        unsafe parts = attune_gradient(
            hidden: hidden.base, scaled: scaled.base, back: back.base, error: error.base, output: output?.base,
            squared_input: 0, squared_residual: 0, squared_scaled: 0, squared_back: 0)
    }

    /// ‖x‖².
    package var squaredInput: Float { unsafe parts.squared_input }
    /// ‖y − target‖², after ``Kernels/targetGradient(_:_:target:factor:into:)``.
    package var squaredResidual: Float { unsafe parts.squared_residual }
    /// ‖scaled‖².
    package var squaredScaled: Float { unsafe parts.squared_scaled }
    /// ‖back‖².
    package var squaredBack: Float { unsafe parts.squared_back }
}

extension Kernels {
    /// `hidden ← A·x`, `scaled ← scale·hidden`, which may be the same memory, and `output ← y`; says whether y is finite, which
    /// it is only where x is.
    package static func forward(
        _ map: AdapterMap, _ x: FloatBuffer, hidden: FloatBuffer, scaled: FloatBuffer, output: FloatBuffer
    ) -> Bool {
        precondition(map.isRow(x) && map.isRow(output) && map.isColumn(hidden) && map.isColumn(scaled), "forward")
        return unsafe withUnsafePointer(to: map.map) {
            unsafe attune_forward($0, x.base, hidden.base, scaled.base, output.base) != 0
        }
    }

    /// `output ← x + Σₖ c[k]·Bᵀ[k] + b`.
    package static func mapUp(_ map: AdapterMap, _ c: FloatBuffer, _ x: FloatBuffer, output: FloatBuffer) {
        precondition(map.isRow(x) && map.isRow(output) && map.isColumn(c), "mapUp")
        unsafe withUnsafePointer(to: map.map) { unsafe attune_map_up($0, c.base, x.base, output.base) }
    }

    /// The gradient of `factor/2·‖y − target‖²`. What is not finite in x or target, or overflows, shows in the squared norms.
    package static func targetGradient(
        _ map: AdapterMap, _ x: FloatBuffer, target: FloatBuffer, factor: Float, into gradient: inout AdapterGradient
    ) {
        precondition(
            map.isRow(x) && map.isRow(target) && map.isRow(gradient.error) && map.isColumn(gradient.hidden),
            "targetGradient")
        unsafe withUnsafePointer(to: map.map) {
            unsafe attune_target_gradient($0, x.base, target.base, factor, &gradient.parts)
        }
    }

    /// Multiplies the gradient's factors `back` and `scaled` by the rates of the step.
    ///
    /// - Parameter next: Receives scale·A·x after the step, `[rank]`.
    /// - Returns: `share`: what the change of B adds to the output, in units of `scale` times the error; the squared
    ///   norm of `next`.
    package static func stepCoefficients(
        _ gradient: AdapterGradient, next: FloatBuffer, downRate: Float, upRate: Float, scale: Float
    ) -> (share: Float, squaredNext: Double) {
        precondition(next.count == gradient.hidden.count, "stepCoefficients")
        let result = unsafe attune_step_coefficients(
            next.count, gradient.hidden.base, gradient.back.base, gradient.scaled.base, next.base, downRate, upRate,
            scale,
            gradient.squaredInput)
        return (result.share, result.squared_next)
    }

    /// Completes a gradient of which `hidden`, `scaled` and `error` are there.
    package static func pullBack(_ map: AdapterMap, _ x: FloatBuffer, _ gradient: inout AdapterGradient) {
        precondition(map.isRow(x) && map.isRow(gradient.error) && map.isColumn(gradient.hidden), "pullBack")
        let (back, rank) = (gradient.back, gradient.back.count)
        unsafe attune_row_dots(map.map.up, rank, map.map.n, gradient.error.base, back.base)
        scale(back, by: unsafe map.map.scale)
        unsafe gradient.parts.squared_input = squaredNorm(x)
        unsafe gradient.parts.squared_scaled = squaredNorm(gradient.scaled)
        unsafe gradient.parts.squared_back = squaredNorm(back)
    }

    /// `A ← A + down·xᵀ`, `B ← keep·(B + up·errorᵀ)`, `b ← keep·(b + biasRate·error)`.
    ///
    /// - Parameters:
    ///   - after: Coefficients `[rank]` of the new rows of B, and where the output that they give for x goes.
    ///   - target: What that output is compared with.
    /// - Returns: ‖after − target‖²; 0 without.
    @discardableResult
    package static func step(
        _ map: AdapterMap, _ x: FloatBuffer, error: FloatBuffer, down: FloatBuffer, up: FloatBuffer, biasRate: Float,
        keep: Float, after: (next: FloatBuffer, output: FloatBuffer)?, target: FloatBuffer? = nil
    ) -> Float {
        precondition(map.isRow(x) && map.isRow(error) && map.isColumn(down) && map.isColumn(up), "step")
        if let after { precondition(map.isColumn(after.next) && map.isRow(after.output), "step") }
        if let target { precondition(map.isRow(target), "step") }
        return unsafe withUnsafePointer(to: map.map) { map in
            var change = unsafe attune_change(
                x: x.base, error: error.base, down: down.base, up: up.base, bias_rate: biasRate, keep: keep,
                next: after?.next.base, after: after?.output.base, target: target?.base, squared_residual: 0)
            unsafe attune_step(map, &change)
            return unsafe change.squared_residual
        }
    }

    /// Σ (aᵢ − bᵢ)².
    package static func squaredDistance(_ a: FloatBuffer, _ b: FloatBuffer) -> Float {
        precondition(a.count == b.count, "squaredDistance: \(a.count) and \(b.count) elements")
        return unsafe attune_squared_distance(a.base, b.base, a.count)
    }

    /// The largest absolute value, NaN where there is one; 0 of nothing.
    package static func largestMagnitude(_ v: FloatBuffer) -> Float {
        unsafe attune_largest_magnitude(v.base, v.count)
    }
}
