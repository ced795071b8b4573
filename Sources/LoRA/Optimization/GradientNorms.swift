internal import TensorCore

/// The norms of a batch's gradient, exact from the dense blocks, and clipping by them.
struct GradientNorms {
    let down: Double
    let up: Double
    let bias: Double

    /// The norm over all blocks together.
    let global: Double

    /// From norms known in another way.
    ///
    /// - Throws: ``LoRAError`` (`nonFinite`): a gradient that is NaN, infinite or so large that its square overflows.
    @inline(__always)
    init(down: Double, up: Double, bias: Double) throws(LoRAError) {
        self.down = down
        self.up = up
        self.bias = bias
        global = (down * down + up * up + bias * bias).squareRoot()
        guard global.isFinite else {
            throw LoRAError(
                .nonFinite, "update", "the gradient is beyond the range of Float: scale the embeddings down")
        }
    }

    init(_ squared: SquaredNorms) throws(LoRAError) {
        try self.init(
            down: Double(squared.down).squareRoot(), up: Double(squared.up).squareRoot(),
            bias: Double(squared.bias).squareRoot())
    }

    /// Of a dense gradient, laid out like the parameters.
    init(_ gradient: FloatBuffer, _ shape: AdapterShape) throws(LoRAError) {
        func norm(_ range: Range<Int>) -> Double {
            Double(Kernels.squaredNorm(gradient.slice(range), columns: shape.dimension)).squareRoot()
        }
        try self.init(down: norm(shape.downRange), up: norm(shape.upRange), bias: norm(shape.biasRange))
    }

    /// What each block is multiplied by under a rule that works on norms; ones otherwise.
    struct Factors {
        var down = 1.0
        var up = 1.0
        var bias = 1.0
        var smallest: Double { min(down, up, bias) }

        /// Calls `body` for each block of the parameters with its factor.
        func forEachBlock(_ shape: AdapterShape, _ body: (_ range: Range<Int>, _ factor: Double) -> Void) {
            body(shape.downRange, down)
            body(shape.upRange, up)
            if shape.hasBias { body(shape.biasRange, bias) }
        }
    }

    @inline(__always)
    func factors(_ rule: Clipping, _ threshold: Double) -> Factors {
        switch rule {
        case .off, .byValue: return Factors()
        case .globalNorm:
            let factor = Clipping.factor(norm: global, threshold: threshold)
            return Factors(down: factor, up: factor, bias: factor)
        case .perMatrix:
            return Factors(
                down: Clipping.factor(norm: down, threshold: threshold),
                up: Clipping.factor(norm: up, threshold: threshold),
                bias: Clipping.factor(norm: bias, threshold: threshold))
        }
    }

    /// Clips a dense gradient in place; returns the (smallest) factor applied.
    func clip(_ gradient: FloatBuffer, _ shape: AdapterShape, _ rule: Clipping, _ threshold: Double) -> Double {
        if rule == .byValue {
            let before = global
            Kernels.clamp(gradient, limit: Float(threshold))
            let after = Double(Kernels.squaredNorm(gradient)).squareRoot()
            return before > 0 ? min(1, after / before) : 1
        }
        let factors = factors(rule, threshold)
        factors.forEachBlock(shape) { range, factor in
            if factor < 1 { Kernels.scale(gradient.slice(range), by: Float(factor)) }
        }
        return factors.smallest
    }
}
