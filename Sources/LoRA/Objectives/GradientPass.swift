internal import TensorCore

/// A batch's weights, resolved: propensities applied, rates, thresholds and fading averaged over the kinds of objective in it.
struct Batch {
    /// Each sample's weight, divided by their sum.
    let shares: [Double]
    let learningRate: Double
    let clipThreshold: Double
    let fading: Double
    let scratchCount: Int

    /// Each sample's weight, divided by their sum.
    static func shares(_ feedback: [Feedback], _ objective: ObjectiveConfiguration) throws(LoRAError) -> [Double] {
        let weights = feedback.map { sample in
            let inverse = sample.propensity.map { min(1 / Double($0), Double(objective.highestInversePropensity)) }
            return Double(sample.weight) * (inverse ?? 1)
        }
        let total = weights.reduce(0, +)
        guard total > 0 else {
            throw LoRAError(.invalidFeedback, "update", "all weights are zero: nothing can be learned from the batch")
        }
        // Shares first: a single sample's is exactly 1, so that its weight leaves no trace.
        return weights.map { $0 / total }
    }

    init(_ feedback: [Feedback], _ configuration: UpdateConfiguration) throws(LoRAError) {
        let scratch = feedback.reduce(0) {
            max($0, ObjectiveEvaluator.scratchCount(of: $1.signal, configuration.objective))
        }
        shares = try Self.shares(feedback, configuration.objective)
        var rate = 0.0
        var threshold = 0.0
        var fading = 0.0
        for (sample, share) in zip(feedback, shares) {
            let kind = ObjectiveEvaluator.kind(of: sample.signal, configuration.objective)
            rate += share * Double(configuration.learningRates[kind])
            threshold += share * Double(configuration.clipThresholds[kind])
            fading += share * Double(configuration.fading[kind])
        }
        learningRate = rate
        clipThreshold = threshold
        self.fading = fading
        scratchCount = scratch
    }
}

/// One pass over a batch at given parameters: its loss, and as asked its gradient and smoothness.
struct GradientPass {
    enum Wanted { case lossOnly, gradient, gradientAndCurvature }

    struct Result {
        /// The mean loss.
        var loss = 0.0
        /// A bound of the Lipschitz constant of ∂loss/∂(B, b) with A fixed.
        var smoothnessOfUp = 0.0
        /// The same of ∂loss/∂A with B fixed, but for the factor σ²(B).
        var smoothnessOfDown = 0.0
    }

    let shape: AdapterShape
    let identity: AdapterIdentity
    let step: UInt64
    let objective: ObjectiveConfiguration
    let batch: Batch
    /// A·x, `[rank]`.
    let hidden: FloatBuffer
    /// scale·A·x, `[rank]`; the coefficients of ∂B = scale·e·hᵀ.
    let scaled: FloatBuffer
    /// scale·B·e, `[rank]`; the coefficients of ∂A = scale·(Bᵀe)·xᵀ.
    let back: FloatBuffer
    /// y, `[dimension]`.
    let output: FloatBuffer
    /// e = ∂loss/∂y, `[dimension]`.
    let error: FloatBuffer
    let scores: FloatBuffer
    /// The mean gradient, laid out like the parameters; `nil` for one sample whose factors (`back`, x, `scaled`, `error`) are
    /// wanted instead.
    let gradient: FloatBuffer?
    /// The mean of squared per-sample gradients, where the protection wants it.
    let squares: FloatBuffer?
    /// Receives y before it is normalised, `[dimension]`, where somebody wants it.
    var raw: FloatBuffer?

    /// - Throws: ``LoRAError`` (`nonFinite`) with the sample's position when an output, loss or gradient is not finite.
    mutating func run(_ feedback: [Feedback], parameters: FloatBuffer, wants: Wanted) throws(LoRAError) -> Result {
        var evaluator = ObjectiveEvaluator(configuration: objective, identity: identity, step: step)
        var result = Result()
        if wants != .lossOnly {
            gradient?.fill(0)
            squares?.fill(0)
        }
        for (i, sample) in feedback.enumerated() {
            do throws(LoRAError) {
                try add(sample, share: batch.shares[i], parameters, wants, &evaluator, &result)
            } catch {
                throw error.at(i)
            }
        }
        return result
    }

    private func add(
        _ sample: Feedback, share: Double, _ parameters: FloatBuffer, _ wants: Wanted,
        _ evaluator: inout ObjectiveEvaluator, _ result: inout Result
    ) throws(LoRAError) {
        try sample.embedding.span.withBuffer { x throws(LoRAError) in
            LoRAAdapter.forward(shape, parameters, x, hidden: hidden, scaled: scaled, output: output)
            raw?.copy(from: output)
            let norm = shape.normalizesOutput ? LoRAAdapter.normalize(output) : 1
            guard Kernels.allFinite(output), norm.isFinite else { throw LoRAAdapter.overflow("update") }
            let value = try evaluator.evaluate(
                sample, y: output, gradient: wants == .lossOnly ? nil : error, scores: scores,
                wantsCurvature: wants == .gradientAndCurvature)
            guard value.loss.isFinite else { throw LoRAAdapter.overflow("update") }
            result.loss += share * value.loss
            guard wants != .lossOnly else { return }
            if shape.normalizesOutput { Self.projectOut(output, from: error, norm: norm) }
            guard Kernels.allFinite(error) else { throw LoRAAdapter.overflow("update") }
            accumulate(x, share: share, parameters)
            guard wants == .gradientAndCurvature else { return }
            // ∂²loss/∂B² is (scale²·h hᵀ) ⊗ H and that of (B, b) together (scale²·‖h‖² + 1)·H; that of A is
            // scale²·(BᵀHB) ⊗ x xᵀ.
            let scaledNorm = Double(Kernels.squaredNorm(scaled))
            let scale = Double(shape.scale)
            result.smoothnessOfUp += share * value.curvature * (scaledNorm + (shape.hasBias ? 1 : 0))
            result.smoothnessOfDown += share * value.curvature * scale * scale * Double(Kernels.squaredNorm(x))
        }
    }

    /// Adds one sample's rank-1 gradients to the dense ones.
    private func accumulate(_ x: FloatBuffer, share: Double, _ parameters: FloatBuffer) {
        Kernels.rowDots(parameters.slice(shape.upRange), error, into: back)
        for k in 0..<shape.rank { back[k] = shape.scale * back[k] }
        if let squares {
            let weight = Float(share)
            Kernels.addSquaredOuter(squares.slice(shape.downRange), back, x, weight: weight)
            Kernels.addSquaredOuter(squares.slice(shape.upRange), scaled, error, weight: weight)
            if shape.hasBias { addSquares(of: error, weight: weight, to: squares.slice(shape.biasRange)) }
        }
        guard let gradient else { return }
        let weight = Float(share)
        if shape.hasBias { Kernels.axpy(weight, error, to: gradient.slice(shape.biasRange)) }
        Kernels.scale(back, by: weight)
        Kernels.rankOne(gradient.slice(shape.downRange), back, x)
        // `scaled` is still needed for the smoothness: `hidden` carries its weighted copy.
        for k in 0..<shape.rank { hidden[k] = weight * scaled[k] }
        Kernels.rankOne(gradient.slice(shape.upRange), hidden, error)
    }

    private func addSquares(of error: FloatBuffer, weight: Float, to total: FloatBuffer) {
        for i in 0..<error.count { total[i] += weight * (error[i] * error[i]) }
    }

    /// The gradient through y = z/‖z‖: e ← (e − (e·y)·y) / ‖z‖; zero at z = 0, where no direction is defined.
    private static func projectOut(_ y: FloatBuffer, from error: FloatBuffer, norm: Float) {
        guard norm > 0 else { return error.fill(0) }
        Kernels.axpy(-Kernels.dot(error, y), y, to: error)
        Kernels.scale(error, by: 1 / norm)
    }
}
