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
        guard total > 0 else { throw noWeight }
        // Shares first: a single sample's is exactly 1, so that its weight leaves no trace.
        return weights.map { $0 / total }
    }

    static var noWeight: LoRAError {
        LoRAError(.invalidFeedback, "update", "all weights are zero: nothing can be learned from the batch")
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

    /// The scratch memory that a pass takes.
    struct Needs {
        let samples: Int
        let squares: Bool
        let floats: Int
        let buffers = 9

        init(_ shape: AdapterShape, _ batch: Batch, samples: Int, squares: Bool) {
            self.samples = min(samples, RowList.limit)
            self.squares = squares
            let perSample = shape.dimension + 2 * shape.rank
            floats =
                self.samples * perSample + 3 * shape.rank + shape.dimension + batch.scratchCount
                + (squares ? 2 : 1) * shape.parameterCount
        }
    }

    private let shape: AdapterShape
    private let identity: AdapterIdentity
    private let step: UInt64
    private let objective: ObjectiveConfiguration
    private let batch: Batch
    /// A·x, `[rank]`.
    private let hidden: FloatBuffer
    /// scale·A·x, `[rank]`.
    private let scaled: FloatBuffer
    /// scale·B·e, `[rank]`.
    private let back: FloatBuffer
    /// y, `[dimension]`.
    private let output: FloatBuffer
    private let scores: FloatBuffer
    // Of as many samples as are summed up at once, the factors of their gradients, weighted: ∂A = Σ back·xᵀ, ∂B = Σ scaled·eᵀ.
    /// e = ∂loss/∂y, `[samples, dimension]`.
    private let errors: FloatBuffer
    /// `[samples, rank]`.
    private let backs: FloatBuffer
    /// `[samples, rank]`.
    private let scaleds: FloatBuffer
    /// The mean gradient, laid out like the parameters.
    let gradient: FloatBuffer
    /// The mean of squared per-sample gradients, where the protection wants it.
    let squares: FloatBuffer?

    init(
        _ needs: Needs, _ shape: AdapterShape, _ identity: AdapterIdentity, step: UInt64,
        objective: ObjectiveConfiguration, _ batch: Batch, _ taker: inout ScratchArena.Taker
    ) {
        self.shape = shape
        self.identity = identity
        self.step = step
        self.objective = objective
        self.batch = batch
        let (d, r) = (shape.dimension, shape.rank)
        hidden = taker.take(r)
        scaled = taker.take(r)
        back = taker.take(r)
        output = taker.take(d)
        scores = taker.take(batch.scratchCount)
        errors = taker.take(needs.samples * d)
        backs = taker.take(needs.samples * r)
        scaleds = taker.take(needs.samples * r)
        gradient = taker.take(shape.parameterCount)
        squares = needs.squares ? taker.take(shape.parameterCount) : nil
    }

    /// - Throws: ``LoRAError`` (`nonFinite`) with the sample's position when an output, loss or gradient is not finite.
    mutating func run(_ feedback: [Feedback], parameters: FloatBuffer, wants: Wanted) throws(LoRAError) -> Result {
        var evaluator = ObjectiveEvaluator(configuration: objective, identity: identity, step: step)
        var result = Result()
        if wants != .lossOnly {
            gradient.slice(shape.biasRange).fill(0)
            squares?.fill(0)
        }
        let room = errors.count / shape.dimension
        var first = 0
        while first < feedback.count {
            let count = min(room, feedback.count - first)
            for i in 0..<count {
                do throws(LoRAError) {
                    try add(
                        feedback[first + i], row: i, share: batch.shares[first + i], parameters, wants, &evaluator,
                        &result)
                } catch {
                    throw error.at(first + i)
                }
            }
            if wants != .lossOnly { sum(feedback, first, count) }
            first += count
        }
        return result
    }

    private func add(
        _ sample: Feedback, row: Int, share: Double, _ parameters: FloatBuffer, _ wants: Wanted,
        _ evaluator: inout ObjectiveEvaluator, _ result: inout Result
    ) throws(LoRAError) {
        try sample.embedding.span.withBuffer { x throws(LoRAError) in
            let map = shape.map(parameters)
            let error = errors.slice((row * shape.dimension)..<((row + 1) * shape.dimension))
            let isFinite = Kernels.forward(map, x, hidden: hidden, scaled: scaled, output: output)
            let norm = shape.normalizesOutput ? LoRAAdapter.normalize(output) : 1
            guard norm.isFinite, shape.normalizesOutput ? Kernels.allFinite(output) : isFinite else {
                throw LoRAAdapter.overflow("update")
            }
            let value = try evaluator.evaluate(
                sample, y: output, gradient: wants == .lossOnly ? nil : error, scores: scores,
                wantsCurvature: wants == .gradientAndCurvature)
            guard value.loss.isFinite else { throw LoRAAdapter.overflow("update") }
            result.loss += share * value.loss
            guard wants != .lossOnly else { return }
            if shape.normalizesOutput { Self.projectOut(output, from: error, norm: norm) }
            guard Kernels.allFinite(error) else { throw LoRAAdapter.overflow("update") }
            keep(x, error, row: row, weight: Float(share), parameters)
            guard wants == .gradientAndCurvature else { return }
            // ∂²loss/∂B² is (scale²·h hᵀ) ⊗ H and that of (B, b) together (scale²·‖h‖² + 1)·H; that of A is
            // scale²·(BᵀHB) ⊗ x xᵀ.
            let scaledNorm = Double(Kernels.squaredNorm(scaled))
            let scale = Double(shape.scale)
            result.smoothnessOfUp += share * value.curvature * (scaledNorm + (shape.hasBias ? 1 : 0))
            result.smoothnessOfDown += share * value.curvature * scale * scale * Double(Kernels.squaredNorm(x))
        }
    }

    /// Keeps the factors of one sample's gradient.
    private func keep(
        _ x: FloatBuffer, _ error: FloatBuffer, row: Int, weight: Float, _ parameters: FloatBuffer
    ) {
        Kernels.rowDots(parameters.slice(shape.upRange), error, into: back)
        Kernels.scale(back, by: shape.scale)
        if let squares {
            Kernels.addSquaredOuter(squares.slice(shape.downRange), back, x, weight: weight)
            Kernels.addSquaredOuter(squares.slice(shape.upRange), scaled, error, weight: weight)
            if shape.hasBias { addSquares(of: error, weight: weight, to: squares.slice(shape.biasRange)) }
        }
        let part = (row * shape.rank)..<((row + 1) * shape.rank)
        let (weightedBack, weightedScaled) = (backs.slice(part), scaleds.slice(part))
        for k in 0..<shape.rank {
            weightedBack[k] = weight * back[k]
            weightedScaled[k] = weight * scaled[k]
        }
        if shape.hasBias { Kernels.axpy(weight, error, to: gradient.slice(shape.biasRange)) }
    }

    /// Adds the gradients of the samples that are kept; the first ones of a batch start the sum.
    private func sum(_ feedback: [Feedback], _ first: Int, _ count: Int) {
        let (d, r) = (shape.dimension, shape.rank)
        RowList.with(count: count, dimension: d, { feedback[first + $0].embedding }) {
            Kernels.outerSum(gradient.slice(shape.downRange), backs.slice(0..<(count * r)), $0, adds: first > 0)
        }
        RowList.with(errors.slice(0..<(count * d)), dimension: d) {
            Kernels.outerSum(gradient.slice(shape.upRange), scaleds.slice(0..<(count * r)), $0, adds: first > 0)
        }
    }

    private func addSquares(of error: FloatBuffer, weight: Float, to total: FloatBuffer) {
        for i in 0..<error.count { total[i] += weight * (error[i] * error[i]) }
    }

    /// The gradient through y = z/‖z‖: e ← (e − (e·y)·y) / ‖z‖; zero at z = 0, where no direction is defined.
    static func projectOut(_ y: FloatBuffer, from error: FloatBuffer, norm: Float) {
        guard norm > 0 else { return error.fill(0) }
        Kernels.axpy(-Kernels.dot(error, y), y, to: error)
        Kernels.scale(error, by: 1 / norm)
    }
}
