internal import TensorCore

/// Scratch memory for the arithmetic of updates, kept between them. One for each thread at a time.
package final class UpdateScratch {
    fileprivate let arena = ScratchArena()
    /// Memory in which a small batch is judged at once.
    private var judging: AlignedStorage<Float>?

    package init() {}

    /// The bytes held.
    package var byteCount: Int { arena.byteCount + AlignedStorage<Float>.byteCount(for: judging?.count ?? 0) }

    /// Memory for judging, kept for the next time.
    func judgingMemory(count: Int) -> AlignedStorage<Float> {
        if let judging, judging.count >= count { return judging }
        let made = AlignedStorage<Float>(count: count)
        judging = made
        return made
    }
}

extension LoRAAdapter {
    /// The adapter after one update with a batch of feedback.
    ///
    /// - Parameters:
    ///   - feedback: The batch; its gradient is `Σ w·g / Σ w`, clipped once. Empty: nothing changes.
    ///   - configuration: How to learn.
    ///   - overrides: Settings that replace the configured ones this time.
    /// - Returns: The updated adapter and what the update did.
    /// - Throws: ``LoRAError`` for settings, feedback or arithmetic that cannot be; names the feedback concerned.
    /// - Complexity: O(n · rank · dimension), and three passes over what a like is contrasted with.
    public func updated(
        with feedback: [Feedback], configuration: UpdateConfiguration, overrides: UpdateOverrides = UpdateOverrides()
    ) throws(LoRAError) -> (adapter: LoRAAdapter, report: UpdateReport) {
        var copy = self
        let report = try copy.update(with: feedback, configuration: configuration, overrides: overrides)
        return (copy, report)
    }

    /// Updates this adapter in place; the same arithmetic as ``updated(with:configuration:overrides:)``.
    ///
    /// - Throws: ``LoRAError``; the adapter then keeps its bytes and version.
    public mutating func update(
        with feedback: [Feedback], configuration: UpdateConfiguration, overrides: UpdateOverrides = UpdateOverrides()
    ) throws(LoRAError) -> UpdateReport {
        try configuration.validate(for: shape)
        return try update(with: feedback, configuration: configuration, overrides: overrides, scratch: UpdateScratch())
    }

    /// The same for a configuration that was validated for this shape, with scratch memory from the caller.
    ///
    /// - Parameters:
    ///   - trace: Where the step is to be kept, if anywhere.
    ///   - judged: The step before it, to be judged by a batch for which ``LookBack/isPossible(_:)``; the trace then tells.
    package mutating func update(
        with feedback: [Feedback], configuration: UpdateConfiguration, overrides: UpdateOverrides,
        scratch: UpdateScratch, trace: StepTrace? = nil, judging judged: StepTrace? = nil
    ) throws(LoRAError) -> UpdateReport {
        try overrides.validate()
        for (i, sample) in feedback.enumerated() {
            do throws(LoRAError) { try sample.validate(for: shape) } catch { throw error.at(i) }
        }
        guard !feedback.isEmpty else { return emptyReport() }
        let batch = try Batch(feedback, configuration)
        let settings = Settings(
            rate: overrides.learningRate.map(Double.init)
                ?? batch.learningRate * scheduleFactor(configuration),
            threshold: overrides.clipThreshold.map(Double.init) ?? batch.clipThreshold,
            strength: overrides.consolidationStrength ?? configuration.elasticWeightConsolidation?.strength ?? 0)

        // Where this update makes or drops optimizer state, the old value (a second reference to its memory) is the way back
        // from a failure; in the steady state a copy in scratch memory is, and nothing is allocated.
        let previous = hasState(for: configuration) ? nil : self
        do throws(LoRAError) {
            return try step(feedback, batch, configuration, settings, scratch, trace, judged)
        } catch {
            if let previous { self = previous }
            throw error
        }
    }

    private func emptyReport() -> UpdateReport {
        UpdateReport(
            lossBefore: .nan, lossAfter: .nan, gradientNorm: 0, clipFactor: 1, learningRate: 0, clipThreshold: 0,
            samples: 0, step: steps, version: version)
    }

    private mutating func step(
        _ feedback: [Feedback], _ batch: Batch, _ configuration: UpdateConfiguration, _ settings: Settings,
        _ scratch: UpdateScratch, _ trace: StepTrace?, _ judged: StepTrace?
    ) throws(LoRAError) -> UpdateReport {
        let isRankOne = feedback.count == 1 && configuration.keepsRankOne
        // A second reference: the step then writes to memory of its own.
        trace?.begin(previous: isRankOne ? nil : parameters)
        prepareState(configuration)
        let n = shape.parameterCount
        let d = shape.dimension
        let r = shape.rank
        let protects = protection != nil
        let stateCount = n + (optimizerState?.storage.count ?? 0) + (protection?.storage.count ?? 0)
        let capacity =
            stateCount + 2 * d + 3 * r + r * d + 2 * r * r + batch.scratchCount
            + (isRankOne ? 0 : n) + (protects ? n : 0) + (trace == nil ? 0 : d) + (judged == nil ? 0 : d + r)
        return try scratch.arena.withScratch(capacity: capacity, buffers: 15) { taker throws(LoRAError) in
            let backup = Backup(of: self, &taker)
            do throws(LoRAError) {
                let raw = isRankOne && trace != nil ? taker.take(d) : nil
                var pass = GradientPass(
                    shape: shape, identity: identity, step: steps, objective: configuration.objective, batch: batch,
                    hidden: taker.take(r), scaled: taker.take(r), back: taker.take(r), output: taker.take(d),
                    error: taker.take(d), scores: taker.take(batch.scratchCount),
                    gradient: isRankOne ? nil : taker.take(n), squares: protects ? taker.take(n) : nil,
                    raw: shape.normalizesOutput ? raw : nil)
                let look = judged.map { LookBack(on: $0, output: taker.take(d), hidden: taker.take(r)) }
                if !isRankOne, let look {
                    trace?.lookBack = look.run(feedback[0], self, configuration.objective, now: nil)
                }
                let work = taker.take(r * d + 2 * r * r)
                let outcome =
                    if isRankOne {
                        try rankOneStep(feedback, &pass, configuration, settings, work, trace, look)
                    } else if configuration.certifiesSteps {
                        try certifiedStep(feedback, &pass, configuration, settings, work)
                    } else {
                        try plainStep(feedback, &pass, configuration, settings, work)
                    }
                // A pull of its own would void a certified step's promise, and work against the pull to the anchor.
                if !configuration.certifiesSteps, !protects {
                    fade(batch.fading)
                    trace?.keep = Float(1 - batch.fading)
                }
                guard isFinite else { throw Self.overflow("update") }
                pass.raw = raw
                let after = try parameters.withBuffer { all throws(LoRAError) in
                    try pass.run(feedback, parameters: all, wants: .lossOnly)
                }
                // What fading towards another start than zero adds is not in those vectors.
                if let raw, start == nil || batch.fading == 0 { trace?.complete(raw) }
                return finish(outcome, lossAfter: after.loss, configuration, settings, samples: feedback.count)
            } catch {
                backup.restore(&self)
                throw error
            }
        }
    }

    /// Draws B and b towards where they started: zero after a cold start, so that the map is drawn to the identity.
    private func fade(_ share: Double) {
        guard share > 0 else { return }
        let faded = shape.upRange.lowerBound..<shape.parameterCount
        parameters.withBuffer { all in
            if let start {
                start.parameters.withBuffer {
                    Kernels.blend(all.slice(faded), Float(1 - share), $0.slice(faded), Float(share))
                }
            } else {
                Kernels.scale(all.slice(faded), by: Float(1 - share))
            }
        }
    }

    /// Counts the update and reports it. Nothing fails from here on.
    private mutating func finish(
        _ outcome: StepOutcome, lossAfter: Double, _ configuration: UpdateConfiguration, _ settings: Settings,
        samples: Int
    ) -> UpdateReport {
        if case .reduceOnPlateau = configuration.schedule.curve {
            var state = plateau ?? PlateauState()
            if steps >= UInt64(configuration.schedule.warmupSteps) {
                state.observe(outcome.loss, under: configuration.schedule.curve)
            }
            plateau = state
        }
        steps += 1
        version += 1
        return UpdateReport(
            lossBefore: outcome.loss, lossAfter: lossAfter, gradientNorm: outcome.norm,
            clipFactor: outcome.clipFactor, learningRate: settings.rate, clipThreshold: settings.threshold,
            samples: samples, step: steps, version: version)
    }

    private var isFinite: Bool {
        parameters.withBuffer { Kernels.allFinite($0) }
            && optimizerState?.isFinite ?? true
            && protection?.storage.withBuffer { Kernels.allFinite($0) } ?? true
    }

    private func hasState(for configuration: UpdateConfiguration) -> Bool {
        let needed = configuration.optimizer.stateCountPerParameter > 0 ? configuration.optimizer.stateName : nil
        return optimizerState?.name == needed
            && (protection != nil) == (configuration.elasticWeightConsolidation != nil)
    }

    /// Makes the memory that the step writes present, and this value's own.
    private mutating func prepareState(_ configuration: UpdateConfiguration) {
        if !hasState(for: configuration) {
            if configuration.optimizer.stateCountPerParameter == 0 {
                optimizerState = nil
            } else if optimizerState?.name != configuration.optimizer.stateName {
                optimizerState = OptimizerState(for: configuration.optimizer, parameters: parameters)
            }
            if configuration.elasticWeightConsolidation == nil {
                protection = nil
            } else if protection == nil {
                protection = ProtectionState(anchoredAt: parameters)
            }
        }
        if !isKnownUniquelyReferenced(&parameters) { parameters = parameters.copy() }
        optimizerState?.makeUnique()
        protection?.makeUnique()
    }

    /// One feedback without a dense gradient: ∂A and ∂B are products of two vectors, their Frobenius norms the products of the
    /// vectors' norms, and the step two rank-1 updates. O(r·d), or O(r²·d) preconditioned.
    private mutating func rankOneStep(
        _ feedback: [Feedback], _ pass: inout GradientPass, _ configuration: UpdateConfiguration,
        _ settings: Settings, _ work: FloatBuffer, _ trace: StepTrace?, _ look: LookBack?
    ) throws(LoRAError) -> StepOutcome {
        let before = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .gradient)
        }
        // No loss overwrites the output of a pass that wants the gradient.
        let output = pass.raw ?? pass.output
        if let look {
            trace?.lookBack = look.run(feedback[0], self, configuration.objective, now: (output, pass.hidden))
        }
        let embedding = feedback[0].embedding
        return try embedding.span.withBuffer { x throws(LoRAError) in
            let squaredError = Kernels.squaredNorm(pass.error)
            let squaredInput = Kernels.squaredNorm(x)
            let errorNorm = Double(squaredError).squareRoot()
            let norms = try GradientNorms(
                down: Double(Kernels.squaredNorm(pass.back)).squareRoot() * Double(squaredInput).squareRoot(),
                up: Double(Kernels.squaredNorm(pass.scaled)).squareRoot() * errorNorm,
                bias: shape.hasBias ? errorNorm : 0)
            let factors = norms.factors(configuration.clipping, settings.threshold)
            parameters.withBuffer { all in
                let down = all.slice(shape.downRange)
                let up = all.slice(shape.upRange)
                if case .riemannian(let damping) = configuration.optimizer {
                    Optimizer.precondition(
                        down: pass.back, up: pass.scaled, parameters: all, shape, damping, work)
                }
                Kernels.scale(pass.back, by: Float(-settings.rate * factors.down))
                Kernels.scale(pass.scaled, by: Float(-settings.rate * factors.up))
                Kernels.rankOne(down, pass.back, x)
                Kernels.rankOne(up, pass.scaled, pass.error)
                let biasRate = shape.hasBias ? Float(-settings.rate * factors.bias) : 0
                if shape.hasBias { Kernels.axpy(biasRate, pass.error, to: all.slice(shape.biasRange)) }
                trace?.record(
                    embedding, down: pass.back, up: pass.scaled, error: pass.error, output: output,
                    squaredInput: squaredInput, squaredError: squaredError, biasRate: biasRate,
                    share: shape.scale * Kernels.dot(pass.hidden, pass.scaled))
            }
            return StepOutcome(loss: before.loss, norm: norms.global, clipFactor: factors.smallest)
        }
    }

    /// One step of the configured optimizer on the batch's clipped gradient, then the pull of the protection.
    private mutating func plainStep(
        _ feedback: [Feedback], _ pass: inout GradientPass, _ configuration: UpdateConfiguration,
        _ settings: Settings, _ work: FloatBuffer
    ) throws(LoRAError) -> StepOutcome {
        let before = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .gradient)
        }
        guard let gradient = pass.gradient else { preconditionFailure("a dense step without a dense gradient") }
        let norms = try GradientNorms(gradient, shape)
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
        _ settings: Settings, _ work: FloatBuffer
    ) throws(LoRAError) -> StepOutcome {
        let before = try parameters.withBuffer { all throws(LoRAError) in
            try pass.run(feedback, parameters: all, wants: .gradientAndCurvature)
        }
        guard let gradient = pass.gradient else { preconditionFailure("a dense step without a dense gradient") }
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

// MARK: - Protection

extension LoRAAdapter {
    /// Anchors the protection against forgetting at the present parameters: from now on they are held near them, each as
    /// strongly as it mattered since the last consolidation. Raises the version. Without protection in use nothing changes.
    public mutating func consolidate() {
        guard protection != nil else { return }
        protection?.consolidate(parameters)
        version += 1
    }

    /// Anchors the protection of a warm start at the prior it came from: until a first consolidation every parameter is held
    /// alike, as nothing is known yet of which of them matter.
    package mutating func anchorAtStart() {
        protection = ProtectionState(anchoredAt: parameters, uniform: true)
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

extension UpdateConfiguration {
    /// Whether one feedback's step can be taken from its gradient's factors, without forming it.
    fileprivate var keepsRankOne: Bool {
        let allows =
            switch optimizer {
            case .sgd, .riemannian: true
            default: false
            }
        return allows && !certifiesSteps && weightDecay == 0 && elasticWeightConsolidation == nil
            && clipping != .byValue
    }
}

/// The scalars that one update uses.
private struct Settings {
    var rate: Double
    var threshold: Double
    var strength: Float
}

private struct StepOutcome {
    var loss: Double
    var norm: Double
    var clipFactor: Double
}
