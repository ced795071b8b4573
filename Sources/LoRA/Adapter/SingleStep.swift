internal import TensorCore

// The update with one feedback, the most usual one. ∂A and ∂B are products of two vectors, so no gradient is formed: their
// Frobenius norms are products of the vectors' norms, and the step is one pass over each factor. What the step writes is
// known to be finite before it is written, so that no copy is needed for the way back from a failure.

extension UpdateConfiguration {
    /// Whether one feedback's step is taken from its gradient's factors.
    ///
    /// - Parameter hasPlainTarget: Whether the feedback ``Feedback/hasPlausibleTarget(_:)``.
    func usesFactors(hasPlainTarget: Bool) -> Bool {
        guard !certifiesSteps, clipping != .byValue else { return false }
        let isProtected = elasticWeightConsolidation != nil
        switch optimizer {
        case .sgd: return weightDecay == 0 && (!isProtected || hasPlainTarget)
        case .riemannian: return weightDecay == 0 && !isProtected
        case .adam: return weightDecay == 0 && !isProtected && hasPlainTarget
        case .adamW: return !isProtected && hasPlainTarget
        case .momentum, .adaGrad, .doG: return false
        }
    }

    /// Whether such a step adds a product of two vectors to A and one to B, and nothing else but fading.
    fileprivate var stepsByRankOne: Bool {
        switch optimizer {
        case .sgd, .riemannian: elasticWeightConsolidation == nil
        default: false
        }
    }
}

extension Feedback {
    /// Checks everything, as of a batch of one.
    fileprivate func validateAlone(_ shape: AdapterShape) throws(LoRAError) {
        do throws(LoRAError) { try validate(for: shape) } catch { throw error.at(0) }
        guard weight > 0 else { throw Batch.noWeight }
    }
}

/// What one step works with, in scratch memory.
struct SingleStep {
    let x: FloatBuffer
    /// A plain target.
    let target: FloatBuffer?
    let settings: UpdateSettings
    /// The share of B and b that fades.
    let fading: Double
    var gradient: AdapterGradient
    /// The output before it is normalised, `[dimension]`; only with a trace for a plain target.
    let output: FloatBuffer
    /// The output after the step, `[dimension]`.
    let after: FloatBuffer
    /// scale·A·x after the step, `[rank]`.
    let next: FloatBuffer
    let scores: FloatBuffer
    /// ``Optimizer/rankOneWorkCount(_:)`` floats, and `rank + 2`.
    let work: FloatBuffer
    /// Whether the loss after the step is wanted, or what it follows from.
    let looksAhead: Bool
    var loss = 0.0
    var errorNorm = 0.0
}

extension LoRAAdapter {
    /// One update with a batch of one feedback, in a configuration that ``UpdateConfiguration/usesFactors(hasPlainTarget:)``.
    ///
    /// - Parameters:
    ///   - feedback: Held by whoever asks for as long as this runs.
    ///   - hasTarget: Whether it ``Feedback/hasPlausibleTarget(_:)``.
    mutating func singleUpdate(
        _ feedback: [Feedback], _ hasTarget: Bool, _ configuration: UpdateConfiguration,
        _ overrides: UpdateOverrides, _ scratch: UpdateScratch, _ trace: StepTrace?, _ judged: StepTrace?
    ) throws(LoRAError) -> UpdateReport {
        if !hasTarget { try feedback[0].validateAlone(shape) }
        memory.prefetch()
        let kind =
            hasTarget ? .target : ObjectiveEvaluator.kind(of: feedback[0].signal, configuration.objective)
        let settings = UpdateSettings(
            rate: overrides.learningRate.map(Double.init)
                ?? Double(configuration.learningRates[kind]) * scheduleFactor(configuration),
            threshold: Double(overrides.clipThreshold ?? configuration.clipThresholds[kind]),
            strength: overrides.consolidationStrength ?? configuration.elasticWeightConsolidation?.strength ?? 0)
        // A second reference: the step then writes to memory of its own.
        trace?.begin(previous: configuration.stepsByRankOne ? nil : parameters)
        let (d, r) = (shape.dimension, shape.rank)
        let scoreCount =
            hasTarget ? 0 : ObjectiveEvaluator.scratchCount(of: feedback[0].signal, configuration.objective)
        let outcome = try scratch.arena.withScratch(
            capacity: 3 * d + 5 * r + 2 + Optimizer.rankOneWorkCount(shape) + scoreCount, buffers: 10
        ) { taker throws(LoRAError) in
            let output = taker.take(d)
            var step = SingleStep(
                x: unsafe feedback[0].embedding.heldFloats,
                target: hasTarget ? unsafe feedback[0].signal.heldTarget : nil, settings: settings,
                fading: configuration.elasticWeightConsolidation == nil ? Double(configuration.fading[kind]) : 0,
                gradient: AdapterGradient(
                    hidden: taker.take(r), scaled: taker.take(r), back: taker.take(r), error: taker.take(d),
                    output: trace != nil || !hasTarget ? output : nil),
                output: output, after: taker.take(d), next: taker.take(r), scores: taker.take(scoreCount),
                work: taker.take(Optimizer.rankOneWorkCount(shape) + r + 2),
                looksAhead: configuration.measuresLossAfter || trace != nil)
            return try take(&step, feedback, configuration, trace, judged)
        }
        return finish(outcome, configuration, settings, samples: 1)
    }

    private mutating func take(
        _ step: inout SingleStep, _ feedback: [Feedback], _ configuration: UpdateConfiguration, _ trace: StepTrace?,
        _ judged: StepTrace?
    ) throws(LoRAError) -> StepOutcome {
        if let target = step.target {
            try targetGradient(&step, target, feedback)
        } else {
            try objectiveGradient(&step, feedback, configuration)
        }
        if let judged {
            trace?.lookBack = LookBack(on: judged, output: step.after, hidden: step.next)
                .run(feedback[0], self, configuration.objective, now: (step.output, step.gradient.hidden))
        }
        return configuration.stepsByRankOne
            ? try rankOneStep(&step, feedback, configuration, trace) : try elementwiseStep(&step, configuration, trace)
    }

    // MARK: - Gradients

    private mutating func targetGradient(
        _ step: inout SingleStep, _ target: FloatBuffer, _ feedback: [Feedback]
    ) throws(LoRAError) {
        let shape = shape
        let factor = 2 / Float(shape.dimension)
        lendParameters {
            Kernels.targetGradient(shape.map($0), step.x, target: target, factor: factor, into: &step.gradient)
        }
        let residual = Double(step.gradient.squaredResidual)
        guard residual.isFinite, step.gradient.squaredInput.isFinite else {
            try feedback[0].validateAlone(shape)
            throw Self.overflow("update").at(0)
        }
        step.loss = residual / Double(shape.dimension)
        step.errorNorm = Double(factor) * residual.squareRoot()
    }

    private func objectiveGradient(
        _ step: inout SingleStep, _ feedback: [Feedback], _ configuration: UpdateConfiguration
    ) throws(LoRAError) {
        try parameters.withBuffer { all throws(LoRAError) in
            let map = map(all)
            let (gradient, output) = (step.gradient, step.output)
            _ = Kernels.forward(map, step.x, hidden: gradient.hidden, scaled: gradient.scaled, output: output)
            var y = output
            var norm: Float = 1
            if shape.normalizesOutput {
                y = step.after
                y.copy(from: output)
                norm = Self.normalize(y)
            }
            guard Kernels.allFinite(y), norm.isFinite else { throw Self.overflow("update").at(0) }
            step.loss = try loss(step, feedback, configuration, y, gradient: gradient.error)
            if shape.normalizesOutput { GradientPass.projectOut(y, from: gradient.error, norm: norm) }
            guard Kernels.allFinite(gradient.error) else { throw Self.overflow("update").at(0) }
            Kernels.pullBack(map, step.x, &step.gradient)
            step.errorNorm = Double(Kernels.squaredNorm(gradient.error)).squareRoot()
        }
    }

    /// The feedback's loss at y, finite; without a place for the gradient, y may be overwritten.
    private func loss(
        _ step: SingleStep, _ feedback: [Feedback], _ configuration: UpdateConfiguration, _ y: FloatBuffer,
        gradient: FloatBuffer?
    ) throws(LoRAError) -> Double {
        var evaluator = ObjectiveEvaluator(configuration: configuration.objective, identity: identity, step: steps)
        do throws(LoRAError) {
            let value = try evaluator.evaluate(
                feedback[0], y: y, gradient: gradient, scores: step.scores, wantsCurvature: false)
            guard value.loss.isFinite else { throw Self.overflow("update") }
            return value.loss
        } catch {
            throw error.at(0)
        }
    }

    /// The loss of the output after the step, which it may overwrite.
    private func lossAfter(
        _ step: SingleStep, _ feedback: [Feedback], _ configuration: UpdateConfiguration
    ) throws(LoRAError) -> Double {
        if let target = step.target { return plainLossAfter(step, target) }
        let norm = shape.normalizesOutput ? Self.normalize(step.after) : 1
        guard Kernels.allFinite(step.after), norm.isFinite else { throw Self.overflow("update").at(0) }
        return try loss(step, feedback, configuration, step.after, gradient: nil)
    }

    /// The loss of a plain target after the step.
    func plainLossAfter(_ step: SingleStep, _ target: FloatBuffer) -> Double {
        Double(Kernels.squaredDistance(step.after, target)) / Double(shape.dimension)
    }

    // MARK: - Steps

    @inline(__always)
    func norms(_ gradient: AdapterGradient, error: Double) throws(LoRAError) -> GradientNorms {
        try GradientNorms(
            down: (Double(gradient.squaredBack) * Double(gradient.squaredInput)).squareRoot(),
            up: Double(gradient.squaredScaled).squareRoot() * error, bias: shape.hasBias ? error : 0)
    }

    /// A += a·xᵀ, B += c·eᵀ, b += biasRate·e, then fading.
    private mutating func rankOneStep(
        _ step: inout SingleStep, _ feedback: [Feedback], _ configuration: UpdateConfiguration, _ trace: StepTrace?
    ) throws(LoRAError) -> StepOutcome {
        let shape = shape
        let norms = try norms(step.gradient, error: step.errorNorm)
        let factors = norms.factors(configuration.clipping, step.settings.threshold)
        let rate = step.settings.rate
        let (a, c, squaredInput) = (step.gradient.back, step.gradient.scaled, step.gradient.squaredInput)
        // The most that an entry of A, B or b can change by.
        var change = rate * max(factors.down * norms.down, factors.up * norms.up, factors.bias * norms.bias)
        if case .riemannian(let damping) = configuration.optimizer {
            let squared = lendParameters {
                Optimizer.precondition(down: a, up: c, parameters: $0, shape, damping, step.work)
            }
            let down = squared.down * Double(squaredInput)
            let up = squared.up * step.errorNorm * step.errorNorm
            change = max(change, rate * max(down, up).squareRoot())
        }
        let (next, share, squaredNext) = coefficients(step, Float(-rate * factors.down), Float(-rate * factors.up))
        let biasRate = shape.hasBias ? Float(-rate * factors.bias) : 0
        let size = Double(squaredInput).squareRoot()
        let reach = (Double(shape.rank) * squaredNext).squareRoot() + 1
        let isSafe = isSafe(change: change) { size + reach * $0 }
        // Seldom: numbers so large that only trying tells. This value's memory is then shared, and the step writes to a copy.
        let previous = isSafe ? nil : self

        let fadesToStart = step.fading > 0 && start != nil
        let keep = fadesToStart ? 1 : Float(1 - step.fading)
        if let trace {
            trace.keep = Float(1 - step.fading)
            trace.record(
                feedback[0].embedding, down: a, up: c, error: step.gradient.error, output: step.output,
                squaredInput: squaredInput, squaredError: Float(step.errorNorm * step.errorNorm), biasRate: biasRate,
                share: share)
        }
        // The kernels form a plain target's output as they write B; others' losses can fail, and are asked before.
        let isFused = step.target != nil && !fadesToStart
        let looksAhead = step.looksAhead || previous != nil
        var after = Double.nan
        if !isFused {
            predict(step, up: c, biasRate: biasRate)
            if !fadesToStart { trace?.complete(step.after) }
            after = try lossAfter(step, feedback, configuration)
        }
        prepareState(configuration)
        let residual = lendParameters {
            Kernels.step(
                shape.map($0), step.x, error: step.gradient.error, down: a, up: c, biasRate: biasRate, keep: keep,
                after: isFused && looksAhead ? (next, step.after) : nil,
                target: isFused && looksAhead ? step.target : nil)
        }
        if fadesToStart { fade(step.fading) }
        if isFused, looksAhead {
            trace?.complete(step.after)
            after = Double(residual) / Double(shape.dimension)
        }
        if let previous { try confirm(after, orRestore: previous) }
        return StepOutcome(
            loss: step.loss, lossAfter: after, norm: norms.global, clipFactor: factors.smallest)
    }

    /// Multiplies the gradient's factors by the rates of the step.
    ///
    /// - Returns: `next`: scale·A·x after the step; `share`: what the change of B adds to the output, in units of the error;
    ///   the squared norm of `next`.
    private func coefficients(_ step: SingleStep, _ downRate: Float, _ upRate: Float) -> (
        next: FloatBuffer, share: Float, squaredNext: Double
    ) {
        let (share, squaredNext) = Kernels.stepCoefficients(
            step.gradient, next: step.next, downRate: downRate, upRate: upRate, scale: shape.scale)
        return (step.next, shape.scale * share, squaredNext)
    }

    /// Ends a step that might have gone beyond the range of Float: where it has, this value is as it was.
    mutating func confirm(_ lossAfter: Double, orRestore previous: LoRAAdapter) throws(LoRAError) {
        guard lossAfter.isFinite, isFinite else {
            self = previous
            throw Self.overflow("update")
        }
        forgetBounds()
    }

    /// The output after the step, from the parameters before it.
    private func predict(_ step: SingleStep, up c: FloatBuffer, biasRate: Float) {
        let (next, after) = (step.next, step.after)
        parameters.withBuffer { Kernels.mapUp(map($0), next, step.x, output: after) }
        Kernels.axpy(Kernels.dot(next, c) + biasRate, step.gradient.error, to: after)
        guard step.fading > 0 else { return }
        let share = Float(step.fading)
        Kernels.blend(after, 1 - share, step.x, share)
        start?.parameters.withBuffer { values in
            Kernels.scale(next, by: share)
            Kernels.addRows(values.slice(shape.upRange), next, to: after)
            if shape.hasBias { Kernels.axpy(share, values.slice(shape.biasRange), to: after) }
        }
    }
}
