internal import TensorCore

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
        /// The gradient's, where they came with it.
        var norms: SquaredNorms?
    }

    /// The scratch memory that a pass takes.
    struct Needs {
        let samples: Int
        let squares: Bool
        let floats: Int
        let buffers = 11

        init(_ shape: AdapterShape, _ batch: Batch, samples: Int, squares: Bool) {
            self.samples = min(samples, RowList.limit)
            self.squares = squares
            let perSample = shape.dimension + 2 * shape.rank + 2
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
    /// `[samples]`.
    private let weights: FloatBuffer
    private let residuals: FloatBuffer
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
        weights = taker.take(needs.samples)
        residuals = taker.take(needs.samples)
        gradient = taker.take(shape.parameterCount)
        squares = needs.squares ? taker.take(shape.parameterCount) : nil
    }

    /// The length of the batch's longest embedding; `nil` where they are not ``lent``.
    var largestInput: Double? {
        lent.map { Double(Kernels.largestSquaredNorm($0.xs)).squareRoot() }
    }

    /// The batch's embeddings and targets, where all are plain targets and no more than ``RowList/limit``.
    var lent: LentTargets?

    /// - Throws: ``LoRAError`` (`nonFinite`) with the sample's position when an output, loss or gradient is not finite.
    mutating func run(_ feedback: [Feedback], parameters: FloatBuffer, wants: Wanted) throws(LoRAError) -> Result {
        var evaluator = ObjectiveEvaluator(configuration: objective, identity: identity, step: step)
        var result = Result()
        if wants != .gradientAndCurvature, squares == nil, let lent {
            try addTargets(feedback, lent, parameters, wants, &result)
            return result
        }
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
                        feedback[first + i], row: i, share: batch.share(of: feedback[first + i]), parameters, wants,
                        &evaluator,
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

    /// The loss of plain targets, and their gradient: without a step into Swift for each.
    private func addTargets(
        _ feedback: [Feedback], _ lent: LentTargets, _ parameters: FloatBuffer, _ wants: Wanted,
        _ result: inout Result
    ) throws(LoRAError) {
        let (d, r, count) = (shape.dimension, shape.rank, feedback.count)
        let map = shape.map(parameters)
        let residuals = residuals.slice(0..<count)
        for i in 0..<count { weights[i] = Float(batch.share(lent, i)) }
        let targets = TargetBatch(
            xs: lent.xs, targets: lent.targets, weights: weights.slice(0..<count),
            errors: errors.slice(0..<(count * d)), scaled: scaleds.slice(0..<(count * r)),
            back: backs.slice(0..<(count * r)), residuals: residuals)
        if wants == .lossOnly {
            Kernels.targetResiduals(map, targets, hidden: hidden, output: output)
        } else {
            result.norms = Kernels.targetGradients(
                map, targets, factor: 2 / Float(d), gradient: gradient, hidden: hidden, scaled: scaled, back: back)
        }
        for i in 0..<count {
            let residual = Double(residuals[i])
            guard residual.isFinite else { throw nonFinite(feedback[i]).at(i) }
            result.loss += batch.share(lent, i) * (residual / Double(d))
        }
    }

    private func add(
        _ sample: Feedback, row: Int, share: Double, _ parameters: FloatBuffer, _ wants: Wanted,
        _ evaluator: inout ObjectiveEvaluator, _ result: inout Result
    ) throws(LoRAError) {
        try sample.embedding.withFloats { x throws(LoRAError) in
            let map = shape.map(parameters)
            let error = errors.slice((row * shape.dimension)..<((row + 1) * shape.dimension))
            let isFinite = Kernels.forward(map, x, hidden: hidden, scaled: scaled, output: output)
            let norm = shape.normalizesOutput ? LoRAAdapter.normalize(output) : 1
            guard norm.isFinite, shape.normalizesOutput ? Kernels.allFinite(output) : isFinite else {
                throw nonFinite(sample)
            }
            let value = try evaluator.evaluate(
                sample, y: output, gradient: wants == .lossOnly ? nil : error, scores: scores,
                wantsCurvature: wants == .gradientAndCurvature)
            guard value.loss.isFinite else { throw nonFinite(sample) }
            result.loss += share * value.loss
            guard wants != .lossOnly else { return }
            if shape.normalizesOutput { Self.projectOut(output, from: error, norm: norm) }
            guard Kernels.allFinite(error) else { throw nonFinite(sample) }
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

    /// What is wrong where numbers are not finite: a plain target's own, which nobody has looked at, or what comes of them.
    private func nonFinite(_ sample: Feedback) -> LoRAError {
        do throws(LoRAError) { try sample.validate(for: shape) } catch { return error }
        return LoRAAdapter.overflow("update")
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
        // Embeddings are summed one after another: lending all of them at once takes longer than the sum.
        for i in 0..<count {
            feedback[first + i].embedding.withFloats { x in
                let back = backs.slice((i * r)..<((i + 1) * r))
                if first + i == 0 { gradient.slice(shape.downRange).fill(0) }
                Kernels.rankOne(gradient.slice(shape.downRange), back, x)
            }
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
