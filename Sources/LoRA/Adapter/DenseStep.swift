internal import TensorCore

// Steps with a dense gradient: batches, and what a single feedback's factors do not suffice for.

extension UpdateConfiguration {
    /// Whether a step adds the gradient of the batch, times one factor for each block, and nothing else but fading.
    fileprivate var stepsByGradientAlone: Bool {
        optimizer == .sgd && weightDecay == 0 && clipping != .byValue && !certifiesSteps
            && elasticWeightConsolidation == nil
    }
}

extension GradientNorms {
    fileprivate init(
        of pass: GradientPass.Result, _ gradient: FloatBuffer, _ shape: AdapterShape
    ) throws(LoRAError) {
        if let squared = pass.norms {
            try self.init(squared)
        } else {
            try self.init(gradient, shape)
        }
    }
}

extension LoRAAdapter {
    /// One update with a batch of feedback.
    mutating func denseUpdate(
        _ feedback: [Feedback], _ configuration: UpdateConfiguration, _ overrides: UpdateOverrides,
        _ scratch: UpdateScratch, _ trace: StepTrace?, _ judged: StepTrace?
    ) throws(LoRAError) -> UpdateReport {
        // All are lent at once for both passes over the batch.
        let result = LentTargets.with(feedback, shape) { lent in
            Result { () throws(LoRAError) in
                if lent == nil { try feedback.validate(for: shape) }
                let batch = try Batch(feedback, lent: lent, configuration)
                let settings = UpdateSettings(
                    rate: overrides.learningRate.map(Double.init)
                        ?? batch.learningRate * scheduleFactor(configuration),
                    threshold: overrides.clipThreshold.map(Double.init) ?? batch.clipThreshold,
                    strength: overrides.consolidationStrength ?? configuration.elasticWeightConsolidation?.strength
                        ?? 0)
                let outcome = try denseStep(feedback, lent, batch, configuration, settings, scratch, trace, judged)
                return finish(outcome, configuration, settings, samples: feedback.count)
            }
        }
        return try result.get()
    }

    private mutating func denseStep(
        _ feedback: [Feedback], _ lent: LentTargets?, _ batch: Batch, _ configuration: UpdateConfiguration,
        _ settings: UpdateSettings, _ scratch: UpdateScratch, _ trace: StepTrace?, _ judged: StepTrace?
    ) throws(LoRAError) -> StepOutcome {
        // A second reference: the step then writes to memory of its own.
        trace?.begin(previous: parameters)
        prepareState(configuration)
        let (n, d, r) = (shape.parameterCount, shape.dimension, shape.rank)
        let protects = protection != nil
        let backupCount =
            configuration.stepsByGradientAlone
            ? 0 : n + (optimizerState?.storage.count ?? 0) + (protection?.storage.count ?? 0)
        let needs = GradientPass.Needs(shape, batch, samples: feedback.count, squares: protects)
        let capacity = backupCount + needs.floats + Optimizer.workCount(shape) + (judged == nil ? 0 : d + r)
        return try scratch.arena.withScratch(
            capacity: capacity, buffers: needs.buffers + 7
        ) { taker throws(LoRAError) in
            var pass = GradientPass(
                needs, shape, identity, step: steps, objective: configuration.objective, batch, &taker)
            pass.lent = lent
            if let judged {
                trace?.lookBack = LookBack(on: judged, output: taker.take(d), hidden: taker.take(r))
                    .run(feedback[0], self, configuration.objective, now: nil)
            }
            if configuration.stepsByGradientAlone {
                return try descend(feedback, &pass, batch, configuration, settings, trace)
            }
            forgetBounds()
            let backup = Backup(of: self, &taker)
            do throws(LoRAError) {
                let work = taker.take(Optimizer.workCount(shape))
                return try step(feedback, &pass, batch, configuration, settings, work, trace)
            } catch {
                backup.restore(&self)
                throw error
            }
        }
    }

    /// A step of gradient descent and nothing else. The gradient's memory takes what the parameters were: the way back.
    private mutating func descend(
        _ feedback: [Feedback], _ pass: inout GradientPass, _ batch: Batch, _ configuration: UpdateConfiguration,
        _ settings: UpdateSettings, _ trace: StepTrace?
    ) throws(LoRAError) -> StepOutcome {
        let before = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .gradient)
        }
        let gradient = pass.gradient
        let norms = try GradientNorms(of: before, gradient, shape)
        // Clipping and the rate in one pass.
        let factors = norms.factors(configuration.clipping, settings.threshold)
        var looksAhead = configuration.measuresLossAfter || trace != nil
        if !looksAhead {
            let largest = max(factors.down * norms.down, factors.up * norms.up, factors.bias * norms.bias)
            looksAhead = !(pass.largestInput.map { isSafe(change: settings.rate * largest, largestInput: $0) } ?? false)
        }
        if looksAhead { forgetBounds() }
        parameters.withBuffer { all in
            factors.forEachBlock(shape) { range, factor in
                Kernels.exchange(
                    all.slice(range), with: gradient.slice(range), times: Float(-settings.rate * factor))
            }
        }
        fade(batch.fading)
        trace?.keep = Float(1 - batch.fading)
        var outcome = StepOutcome(loss: before.loss, norm: norms.global, clipFactor: factors.smallest)
        guard looksAhead else { return outcome }
        do throws(LoRAError) {
            // Fails where any parameter is not finite: every output is then not, whatever the embedding.
            outcome.lossAfter = try parameters.withBuffer { all throws(LoRAError) in
                try pass.run(feedback, parameters: all, wants: .lossOnly).loss
            }
        } catch {
            let isFinite = isFinite
            parameters.withBuffer { $0.copy(from: gradient) }
            throw isFinite ? error : Self.overflow("update")
        }
        return outcome
    }

    private mutating func step(
        _ feedback: [Feedback], _ pass: inout GradientPass, _ batch: Batch, _ configuration: UpdateConfiguration,
        _ settings: UpdateSettings, _ work: FloatBuffer, _ trace: StepTrace?
    ) throws(LoRAError) -> StepOutcome {
        var outcome =
            configuration.certifiesSteps
            ? try certifiedStep(feedback, &pass, configuration, settings, work)
            : try plainStep(feedback, &pass, configuration, settings, work)
        // A pull of its own would void a certified step's promise, and work against the pull to the anchor.
        if !configuration.certifiesSteps, protection == nil {
            fade(batch.fading)
            trace?.keep = Float(1 - batch.fading)
        }
        guard isFinite else { throw Self.overflow("update") }
        outcome.lossAfter = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .lossOnly).loss
        }
        return outcome
    }

    /// One step of the configured optimizer on the batch's clipped gradient, then the pull of the protection.
    private mutating func plainStep(
        _ feedback: [Feedback], _ pass: inout GradientPass, _ configuration: UpdateConfiguration,
        _ settings: UpdateSettings, _ work: FloatBuffer
    ) throws(LoRAError) -> StepOutcome {
        let before = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .gradient)
        }
        let gradient = pass.gradient
        let norms = try GradientNorms(of: before, gradient, shape)
        let factor = norms.clip(gradient, shape, configuration.clipping, settings.threshold)
        parameters.withBuffer { all in
            configuration.optimizer.apply(
                to: all, gradient: gradient, shape: shape, rate: settings.rate,
                weightDecay: configuration.weightDecay, state: &optimizerState, scratch: work)
        }
        if let ewc = configuration.elasticWeightConsolidation, let squares = pass.squares {
            protection?.accumulate(squares, decay: ewc.decay)
            let pull = Float(settings.rate) * settings.strength
            protection?.withParts { anchor, fisher, _ in
                parameters.withBuffer { Kernels.anchorStep($0, anchor: anchor, fisher: fisher, strength: pull) }
            }
        }
        return StepOutcome(loss: before.loss, norm: norms.global, clipFactor: factor)
    }

    /// B (and b) first, at a rate of at most 1/L_B; then, with the error computed again, A at most at 1/L_A. A gradient step on
    /// an L-smooth function at a rate of at most 1/L does not raise it; both blocks at once at 1/L would.
    private mutating func certifiedStep(
        _ feedback: [Feedback], _ pass: inout GradientPass, _ configuration: UpdateConfiguration,
        _ settings: UpdateSettings, _ work: FloatBuffer
    ) throws(LoRAError) -> StepOutcome {
        let before = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .gradientAndCurvature)
        }
        let gradient = pass.gradient
        // Not a number, when a flat loss meets an infinite norm: min and max below would let it pass.
        guard before.smoothnessOfUp.isFinite else { throw Self.overflow("update") }
        let norms = try GradientNorms(gradient, shape)
        let factor = norms.clip(gradient, shape, configuration.clipping, settings.threshold)
        let upAndBias = shape.upRange.lowerBound..<shape.parameterCount
        parameters.withBuffer { all in
            let rate = min(settings.rate, 1 / max(before.smoothnessOfUp, 1e-12))
            Kernels.axpy(Float(-rate), gradient.slice(upAndBias), to: all.slice(upAndBias))
        }
        let middle = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .gradientAndCurvature)
        }
        _ = try GradientNorms(gradient, shape)
            .clip(gradient, shape, configuration.clipping, settings.threshold)
        let smoothness =
            middle.smoothnessOfDown
            * parameters.withBuffer { Self.largestGramRowSum($0.slice(shape.upRange), shape, work) }
        guard smoothness.isFinite else { throw Self.overflow("update") }
        parameters.withBuffer { all in
            let rate = min(settings.rate, 1 / max(smoothness, 1e-12))
            Kernels.axpy(Float(-rate), gradient.slice(shape.downRange), to: all.slice(shape.downRange))
        }
        return StepOutcome(loss: before.loss, norm: norms.global, clipFactor: factor)
    }

    /// A bound of the largest eigenvalue of M·Mᵀ, M `[rank, dimension]`: its largest absolute row sum (Gershgorin).
    private static func largestGramRowSum(_ m: FloatBuffer, _ shape: AdapterShape, _ work: FloatBuffer) -> Double {
        let row = work.slice(0..<shape.rank)
        var largest = 0.0
        for k in 0..<shape.rank {
            Kernels.rowDots(m, m.slice((k * shape.dimension)..<((k + 1) * shape.dimension)), into: row)
            var sum = 0.0
            for l in 0..<shape.rank { sum += Double(abs(row[l])) }
            largest = max(largest, sum)
        }
        return largest
    }
}

/// A copy of everything that a step writes, in scratch memory.
private struct Backup {
    let parameters: FloatBuffer
    let optimizer: FloatBuffer?
    let protection: FloatBuffer?
    let optimizerScalars: (steps: UInt64, distance: Double, squaredGradients: Double)?
    let accumulated: UInt64?

    init(of adapter: LoRAAdapter, _ taker: inout ScratchArena.Taker) {
        func copy(_ storage: AlignedStorage<Float>) -> FloatBuffer {
            let buffer = taker.take(storage.count)
            storage.withBuffer { buffer.copy(from: $0) }
            return buffer
        }
        parameters = copy(adapter.parameters)
        optimizer = adapter.optimizerState.map { copy($0.storage) }
        protection = adapter.protection.map { copy($0.storage) }
        optimizerScalars = adapter.optimizerState.map { ($0.steps, $0.distance, $0.squaredGradients) }
        accumulated = adapter.protection?.accumulated
    }

    func restore(_ adapter: inout LoRAAdapter) {
        adapter.parameters.withBuffer { $0.copy(from: parameters) }
        if let optimizer { adapter.optimizerState?.storage.withBuffer { $0.copy(from: optimizer) } }
        if let protection { adapter.protection?.storage.withBuffer { $0.copy(from: protection) } }
        if let optimizerScalars {
            adapter.optimizerState?.steps = optimizerScalars.steps
            adapter.optimizerState?.distance = optimizerScalars.distance
            adapter.optimizerState?.squaredGradients = optimizerScalars.squaredGradients
        }
        if let accumulated { adapter.protection?.accumulated = accumulated }
    }
}
