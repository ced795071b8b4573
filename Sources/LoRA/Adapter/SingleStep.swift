internal import TensorCore

// The update with one feedback, the most usual one. ∂A and ∂B are products of two vectors, so no gradient is formed: their
// Frobenius norms are products of the vectors' norms, and the step is one pass over each factor. What the step writes is
// known to be finite before it is written, so that no copy is needed for the way back from a failure.

extension UpdateConfiguration {
    /// Whether a step with this feedback is taken from its gradient's factors.
    func usesFactors(_ sample: Feedback, _ shape: AdapterShape) -> Bool {
        guard !certifiesSteps, clipping != .byValue else { return false }
        let isProtected = elasticWeightConsolidation != nil
        switch optimizer {
        case .sgd: return weightDecay == 0 && (!isProtected || sample.isPlainTarget(shape))
        case .riemannian: return weightDecay == 0 && !isProtected
        case .adam: return weightDecay == 0 && !isProtected && sample.isPlainTarget(shape)
        case .adamW: return !isProtected && sample.isPlainTarget(shape)
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
    /// Whether the loss is the squared distance of the map's output from a target: the kernels form that with the output.
    fileprivate func isPlainTarget(_ shape: AdapterShape) -> Bool {
        if case .target = signal { !shape.normalizesOutput } else { false }
    }

    /// Checks a plain target but for whether its numbers are finite, which shows in the sums that the step forms.
    fileprivate func validateTarget(_ target: [Float], _ shape: AdapterShape) throws(LoRAError) {
        guard
            embedding.count == shape.dimension, target.count == shape.dimension, weight > 0, weight <= 1e6,
            propensity == nil
        else { return try validateAlone(shape) }
    }

    /// Checks everything, as of a batch of one.
    fileprivate func validateAlone(_ shape: AdapterShape) throws(LoRAError) {
        do throws(LoRAError) { try validate(for: shape) } catch { throw error.at(0) }
        guard weight > 0 else { throw Batch.noWeight }
    }
}

/// What one step works with, in scratch memory.
private struct SingleStep {
    let sample: Feedback
    let configuration: UpdateConfiguration
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
    /// `2·rank² + rank` floats.
    let work: FloatBuffer
    var loss = 0.0
    var errorNorm = 0.0
}

extension LoRAAdapter {
    /// Below this in magnitude, sums over the largest dimension of products of two numbers stay within the range of Float.
    private static var safeMagnitude: Double { 1e15 }

    /// One update with one feedback, in a configuration that ``UpdateConfiguration/usesFactors(_:_:)``.
    mutating func singleUpdate(
        _ sample: Feedback, _ configuration: UpdateConfiguration, _ overrides: UpdateOverrides,
        _ scratch: UpdateScratch, _ trace: StepTrace?, _ judged: StepTrace?
    ) throws(LoRAError) -> UpdateReport {
        let isPlainTarget: Bool
        if case .target(let target) = sample.signal, !shape.normalizesOutput {
            isPlainTarget = true
            try sample.validateTarget(target, shape)
        } else {
            isPlainTarget = false
            try sample.validateAlone(shape)
        }
        let kind = ObjectiveEvaluator.kind(of: sample.signal, configuration.objective)
        let settings = UpdateSettings(
            rate: overrides.learningRate.map(Double.init)
                ?? Double(configuration.learningRates[kind]) * scheduleFactor(configuration),
            threshold: Double(overrides.clipThreshold ?? configuration.clipThresholds[kind]),
            strength: overrides.consolidationStrength ?? configuration.elasticWeightConsolidation?.strength ?? 0)
        // A second reference: the step then writes to memory of its own.
        trace?.begin(previous: configuration.stepsByRankOne ? nil : parameters)
        let (d, r) = (shape.dimension, shape.rank)
        let scoreCount = ObjectiveEvaluator.scratchCount(of: sample.signal, configuration.objective)
        let outcome = try scratch.arena.withScratch(
            capacity: 3 * d + 5 * r + 2 * r * r + scoreCount, buffers: 10
        ) { taker throws(LoRAError) in
            let output = taker.take(d)
            var step = SingleStep(
                sample: sample, configuration: configuration, settings: settings,
                fading: configuration.elasticWeightConsolidation == nil ? Double(configuration.fading[kind]) : 0,
                gradient: AdapterGradient(
                    hidden: taker.take(r), scaled: taker.take(r), back: taker.take(r), error: taker.take(d),
                    output: trace != nil || !isPlainTarget ? output : nil),
                output: output, after: taker.take(d), next: taker.take(r), scores: taker.take(scoreCount),
                work: taker.take(2 * r * r + r))
            if isPlainTarget { try targetGradient(&step) } else { try objectiveGradient(&step) }
            if let judged {
                trace?.lookBack = LookBack(on: judged, output: step.after, hidden: step.next)
                    .run(sample, self, configuration.objective, now: (output, step.gradient.hidden))
            }
            return configuration.stepsByRankOne
                ? try rankOneStep(&step, trace) : try elementwiseStep(&step, trace)
        }
        return finish(outcome, configuration, settings, samples: 1)
    }

    // MARK: - Gradients

    private func targetGradient(_ step: inout SingleStep) throws(LoRAError) {
        guard case .target(let target) = step.sample.signal else { preconditionFailure("not a target") }
        let embedding = step.sample.embedding
        let factor = 2 / Float(shape.dimension)
        parameters.withBuffer { all in
            embedding.span.withBuffer { x in
                target.span.withBuffer {
                    Kernels.targetGradient(map(all), x, target: $0, factor: factor, into: &step.gradient)
                }
            }
        }
        let residual = Double(step.gradient.squaredResidual)
        guard residual.isFinite, step.gradient.squaredInput.isFinite else {
            try step.sample.validateAlone(shape)
            throw Self.overflow("update").at(0)
        }
        step.loss = residual / Double(shape.dimension)
        step.errorNorm = Double(factor) * residual.squareRoot()
    }

    private func objectiveGradient(_ step: inout SingleStep) throws(LoRAError) {
        let embedding = step.sample.embedding
        try parameters.withBuffer { all throws(LoRAError) in
            try embedding.span.withBuffer { x throws(LoRAError) in
                let map = map(all)
                let (gradient, output) = (step.gradient, step.output)
                _ = Kernels.forward(map, x, hidden: gradient.hidden, scaled: gradient.scaled, output: output)
                var y = output
                var norm: Float = 1
                if shape.normalizesOutput {
                    y = step.after
                    y.copy(from: output)
                    norm = Self.normalize(y)
                }
                guard Kernels.allFinite(y), norm.isFinite else { throw Self.overflow("update").at(0) }
                step.loss = try loss(step, y, gradient: gradient.error)
                if shape.normalizesOutput { GradientPass.projectOut(y, from: gradient.error, norm: norm) }
                guard Kernels.allFinite(gradient.error) else { throw Self.overflow("update").at(0) }
                Kernels.pullBack(map, x, &step.gradient)
                step.errorNorm = Double(Kernels.squaredNorm(gradient.error)).squareRoot()
            }
        }
    }

    /// The sample's loss at y, finite; without a place for the gradient, y may be overwritten.
    private func loss(_ step: SingleStep, _ y: FloatBuffer, gradient: FloatBuffer?) throws(LoRAError) -> Double {
        var evaluator = ObjectiveEvaluator(
            configuration: step.configuration.objective, identity: identity, step: steps)
        do throws(LoRAError) {
            let value = try evaluator.evaluate(
                step.sample, y: y, gradient: gradient, scores: step.scores, wantsCurvature: false)
            guard value.loss.isFinite else { throw Self.overflow("update") }
            return value.loss
        } catch {
            throw error.at(0)
        }
    }

    /// The loss of the output after the step, which it may overwrite.
    private func lossAfter(_ step: SingleStep) throws(LoRAError) -> Double {
        if step.sample.isPlainTarget(shape) { return plainLossAfter(step) }
        let norm = shape.normalizesOutput ? Self.normalize(step.after) : 1
        guard Kernels.allFinite(step.after), norm.isFinite else { throw Self.overflow("update").at(0) }
        return try loss(step, step.after, gradient: nil)
    }

    /// The loss of a plain target after the step.
    private func plainLossAfter(_ step: SingleStep) -> Double {
        guard case .target(let target) = step.sample.signal else { preconditionFailure("not a target") }
        return Double(target.span.withBuffer { Kernels.squaredDistance(step.after, $0) }) / Double(shape.dimension)
    }

    // MARK: - Steps

    private func norms(_ gradient: AdapterGradient, error: Double) throws(LoRAError) -> GradientNorms {
        try GradientNorms(
            down: (Double(gradient.squaredBack) * Double(gradient.squaredInput)).squareRoot(),
            up: Double(gradient.squaredScaled).squareRoot() * error, bias: shape.hasBias ? error : 0)
    }

    /// A += a·xᵀ, B += c·eᵀ, b += biasRate·e, then fading.
    private mutating func rankOneStep(_ step: inout SingleStep, _ trace: StepTrace?) throws(LoRAError) -> StepOutcome {
        let norms = try norms(step.gradient, error: step.errorNorm)
        let factors = norms.factors(step.configuration.clipping, step.settings.threshold)
        let rate = step.settings.rate
        let (gradient, next) = (step.gradient, step.next)
        let (a, c, squaredInput) = (gradient.back, gradient.scaled, gradient.squaredInput)
        // The most that an entry of A, B or b can change by.
        var change = rate * max(factors.down * norms.down, factors.up * norms.up, factors.bias * norms.bias)
        if case .riemannian(let damping) = step.configuration.optimizer {
            parameters.withBuffer {
                Optimizer.precondition(down: a, up: c, parameters: $0, shape, damping, step.work)
            }
            let down = Double(Kernels.squaredNorm(a)) * Double(squaredInput)
            let up = Double(Kernels.squaredNorm(c)) * step.errorNorm * step.errorNorm
            change = max(change, rate * max(down, up).squareRoot())
        }
        Kernels.scale(a, by: Float(-rate * factors.down))
        Kernels.scale(c, by: Float(-rate * factors.up))
        let biasRate = shape.hasBias ? Float(-rate * factors.bias) : 0
        var squaredNext = 0.0
        var share: Float = 0
        for k in 0..<shape.rank {
            next[k] = shape.scale * (gradient.hidden[k] + a[k] * squaredInput)
            squaredNext += Double(next[k]) * Double(next[k])
            share += gradient.hidden[k] * c[k]
        }
        let isSafe = reserve(change)
        let isOutputSafe =
            Double(squaredInput).squareRoot()
            + ((Double(shape.rank) * squaredNext).squareRoot() + 1) * (magnitude + change) < Self.safeMagnitude
        // Seldom: numbers so large that only trying tells. This value's memory is then shared, and the step writes to a copy.
        let previous = isSafe && isOutputSafe ? nil : self

        let embedding = step.sample.embedding
        let keep = start == nil ? Float(1 - step.fading) : 1
        let fadesToStart = start != nil && step.fading > 0
        if let trace {
            trace.keep = Float(1 - step.fading)
            trace.record(
                embedding, down: a, up: c, error: gradient.error, output: step.output, squaredInput: squaredInput,
                squaredError: Float(step.errorNorm * step.errorNorm), biasRate: biasRate, share: shape.scale * share)
        }
        // The kernels form a plain target's output as they write B; others' losses can fail, and are asked before.
        let isFused = step.sample.isPlainTarget(shape) && !fadesToStart
        var after = 0.0
        if !isFused {
            predict(step, up: c, biasRate: biasRate)
            if !fadesToStart { trace?.complete(step.after) }
            after = try lossAfter(step)
        }
        prepareState(step.configuration)
        parameters.withBuffer { all in
            embedding.span.withBuffer { x in
                Kernels.step(
                    map(all), x, error: gradient.error, down: a, up: c, biasRate: biasRate, keep: keep,
                    after: isFused ? (next, step.after) : nil)
            }
        }
        if fadesToStart { fade(step.fading) }
        if isFused {
            trace?.complete(step.after)
            after = plainLossAfter(step)
        }
        if let previous { try confirm(after, orRestore: previous) }
        return StepOutcome(
            loss: step.loss, lossAfter: after, norm: norms.global, clipFactor: factors.smallest)
    }

    /// Ends a step that might have gone beyond the range of Float: where it has, this value is as it was.
    private mutating func confirm(_ lossAfter: Double, orRestore previous: LoRAAdapter) throws(LoRAError) {
        guard lossAfter.isFinite, isFinite else {
            self = previous
            throw Self.overflow("update")
        }
        magnitude = .infinity
        optimizerState?.momentBound = .infinity
    }

    /// The output after the step, from the parameters before it.
    private func predict(_ step: SingleStep, up c: FloatBuffer, biasRate: Float) {
        let (next, after) = (step.next, step.after)
        let embedding = step.sample.embedding
        parameters.withBuffer { all in
            embedding.span.withBuffer { x in
                Kernels.mapUp(map(all), next, x, output: after)
                Kernels.axpy(Kernels.dot(next, c) + biasRate, step.gradient.error, to: after)
                guard step.fading > 0 else { return }
                let share = Float(step.fading)
                Kernels.blend(after, 1 - share, x, share)
                start?.parameters.withBuffer { values in
                    Kernels.scale(next, by: share)
                    Kernels.addRows(values.slice(shape.upRange), next, to: after)
                    if shape.hasBias { Kernels.axpy(share, values.slice(shape.biasRange), to: after) }
                }
            }
        }
    }

    /// Adam's step, or a protected one, for a plain target: elementwise, from the factors.
    private mutating func elementwiseStep(
        _ step: inout SingleStep, _ trace: StepTrace?
    ) throws(LoRAError) -> StepOutcome {
        let norms = try norms(step.gradient, error: step.errorNorm)
        let factors = norms.factors(step.configuration.clipping, step.settings.threshold)
        let largest = max(factors.down * norms.down, factors.up * norms.up, factors.bias * norms.bias)
        let hadState = hasState(for: step.configuration)
        let isSafe = hadState && isSafe(step, gradient: largest, raw: norms.global)
        // Without state there is memory to be made anyway.
        let previous = isSafe ? nil : self
        prepareState(step.configuration)
        if step.configuration.elasticWeightConsolidation != nil {
            protectedStep(step, factors)
        } else {
            adamStep(step, factors)
            fade(step.fading)
            trace?.keep = Float(1 - step.fading)
        }
        let embedding = step.sample.embedding
        let isFinite = parameters.withBuffer { all in
            embedding.span.withBuffer {
                Kernels.forward(map(all), $0, hidden: step.next, scaled: step.next, output: step.after)
            }
        }
        let after = plainLossAfter(step)
        if let previous { try confirm(isFinite ? after : .nan, orRestore: previous) }
        return StepOutcome(
            loss: step.loss, lossAfter: after, norm: norms.global, clipFactor: factors.smallest)
    }

    private mutating func protectedStep(_ step: SingleStep, _ factors: GradientNorms.Factors) {
        guard let ewc = step.configuration.elasticWeightConsolidation else { return }
        let pull = Float(step.settings.rate) * step.settings.strength
        let (gradient, work) = (step.gradient, step.work)
        let embedding = step.sample.embedding
        let (rate, r) = (step.settings.rate, shape.rank)
        parameters.withBuffer { all in
            protection?.withParts { anchor, fisher, next in
                func step(_ range: Range<Int>, _ g: FloatBuffer, _ x: FloatBuffer, _ factor: Double) {
                    let c = work.slice(0..<g.count)
                    c.copy(from: g)
                    Kernels.scale(c, by: Float(-rate * factor))
                    Kernels.protectedRankOne(
                        all.slice(range), anchor: anchor.slice(range), fisher: fisher.slice(range),
                        next: next.slice(range), c, g, x, strength: pull, decay: ewc.decay)
                }
                embedding.span.withBuffer { step(shape.downRange, gradient.back, $0, factors.down) }
                step(shape.upRange, gradient.scaled, gradient.error, factors.up)
                guard shape.hasBias else { return }
                let one = work.slice(r..<(r + 1))
                one[0] = 1
                step(shape.biasRange, one, gradient.error, factors.bias)
            }
        }
        protection?.accumulated += 1
    }

    private mutating func adamStep(_ step: SingleStep, _ factors: GradientNorms.Factors) {
        guard
            let adam = step.configuration.optimizer.nextAdam(
                &optimizerState, rate: step.settings.rate, weightDecay: step.configuration.weightDecay)
        else { preconditionFailure("not Adam") }
        let (gradient, one) = (step.gradient, step.work.slice(0..<1))
        Kernels.scale(gradient.back, by: Float(factors.down))
        Kernels.scale(gradient.scaled, by: Float(factors.up))
        one[0] = Float(factors.bias)
        let embedding = step.sample.embedding
        let n = shape.parameterCount
        parameters.withBuffer { all in
            optimizerState?.storage.withBuffer { moments in
                let (first, second) = (moments.slice(0..<n), moments.slice(n..<(2 * n)))
                func step(_ range: Range<Int>, _ c: FloatBuffer, _ x: FloatBuffer) {
                    Kernels.adamRankOne(
                        all.slice(range), first: first.slice(range), second: second.slice(range), c, x, adam)
                }
                embedding.span.withBuffer { step(shape.downRange, gradient.back, $0) }
                step(shape.upRange, gradient.scaled, gradient.error)
                if shape.hasBias { step(shape.biasRange, one, gradient.error) }
            }
        }
    }

    // MARK: - Bounds

    /// Takes a change of so much at most of any parameter into the bound of their magnitudes; says whether all numbers that come
    /// of them stay within Float's range. Where the bound has grown too large it is found anew.
    private mutating func reserve(_ change: Double, growth: Double = 1) -> Bool {
        // A little more for what rounding adds.
        let factor = growth * 1.000_001
        if magnitude * factor + change < Self.safeMagnitude {
            magnitude = magnitude * factor + change
            return true
        }
        magnitude = largestMagnitude
        guard magnitude * factor + change < Self.safeMagnitude else { return false }
        magnitude = magnitude * factor + change
        return true
    }

    /// The largest magnitude among the parameters and what they are drawn to.
    private var largestMagnitude: Double {
        func largest(_ storage: AlignedStorage<Float>?) -> Double {
            Double(storage?.withBuffer { Kernels.largestMagnitude($0) } ?? 0)
        }
        return max(largest(parameters), largest(start?.parameters), largest(protection?.storage))
    }

    /// Whether an elementwise step can be taken without a way back.
    private mutating func isSafe(_ step: SingleStep, gradient: Double, raw: Double) -> Bool {
        guard gradient < Self.safeMagnitude, raw < Self.safeMagnitude else { return false }
        let rate = step.settings.rate
        var (change, growth) = (rate * gradient, 1.0)
        if let state = optimizerState {
            var moment = state.momentBound
            if !moment.isFinite { moment = state.largestMagnitude }
            moment = max(moment, gradient)
            optimizerState?.momentBound = moment
            (change, growth) = step.configuration.optimizer.adamBound(
                moment, state, rate: rate, weightDecay: step.configuration.weightDecay)
        }
        guard change.isFinite, reserve(change, growth: growth) else { return false }
        let size = Double(shape.dimension).squareRoot() * Double(step.gradient.squaredInput).squareRoot()
        let output = (Double(shape.scale) * Double(shape.rank) * magnitude * size + 1) * (magnitude + size)
        return output < Self.safeMagnitude
    }
}
