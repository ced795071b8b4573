internal import TensorCore

/// Scratch memory for the arithmetic of updates, kept between them. One for each thread at a time.
package final class UpdateScratch {
    let arena = ScratchArena()
    /// Memory in which a small batch is judged at once.
    private var judging: AlignedStorage<Float>?

    package init() {}

    /// Scratch memory of the calling thread, which its updates share: none runs inside another. Freed when the thread ends.
    package static var ofThisThread: UpdateScratch { perThread.value }
    private static let perThread = ThreadLocal { UpdateScratch() }

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
        return try update(with: feedback, configuration: configuration, overrides: overrides, scratch: .ofThisThread)
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
        guard configuration.weighs || extras?.experts != nil, !feedback.isEmpty else {
            return try step(feedback, configuration, overrides, scratch, trace, judged)
        }
        guard configuration.weighs else {
            let report = try step(feedback, configuration, overrides, scratch, trace, judged)
            experts = nil
            return report
        }
        var (experts, hasChanged) = try observed(feedback, configuration, scratch)
        // As it is before this step.
        if hasChanged { experts.change(parameters.copy()) }
        let report = try step(feedback, configuration, overrides, scratch, trace, judged)
        self.experts = experts
        return report
    }

    /// One step of the adapter in use.
    private mutating func step(
        _ feedback: [Feedback], _ configuration: UpdateConfiguration, _ overrides: UpdateOverrides,
        _ scratch: UpdateScratch, _ trace: StepTrace?, _ judged: StepTrace?
    ) throws(LoRAError) -> UpdateReport {
        if feedback.count == 1 {
            let hasTarget = feedback[0].hasPlausibleTarget(shape)
            if configuration.usesFactors(hasPlainTarget: hasTarget) {
                return try withExtendedLifetime(feedback) { () throws(LoRAError) in
                    try singleUpdate(feedback, hasTarget, configuration, overrides, scratch, trace, judged)
                }
            }
        }
        guard !feedback.isEmpty else { return emptyReport() }
        // Where this update makes or drops optimizer state, the old value (a second reference to its memory) is the way back
        // from a failure; in the steady state a copy in scratch memory is, and nothing is allocated.
        let previous = hasState(for: configuration) ? nil : self
        do throws(LoRAError) {
            return try denseUpdate(feedback, configuration, overrides, scratch, trace, judged)
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

    /// Draws B and b towards where they started: zero after a cold start, so that the map is drawn to the identity.
    func fade(_ share: Double) {
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
    mutating func finish(
        _ outcome: StepOutcome, _ configuration: UpdateConfiguration, _ settings: UpdateSettings, samples: Int
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
            lossBefore: outcome.loss, lossAfter: outcome.lossAfter, gradientNorm: outcome.norm,
            clipFactor: outcome.clipFactor, learningRate: settings.rate, clipThreshold: settings.threshold,
            samples: samples, step: steps, version: version)
    }

    var isFinite: Bool {
        parameters.withBuffer { Kernels.allFinite($0) }
            && optimizerState?.isFinite ?? true
            && protection?.storage.withBuffer { Kernels.allFinite($0) } ?? true
    }

    func hasState(for configuration: UpdateConfiguration) -> Bool {
        let protects = configuration.elasticWeightConsolidation != nil
        guard extras != nil else { return configuration.optimizer.stateKind == nil && !protects }
        return extras!.optimizerKind == configuration.optimizer.stateKind && extras!.isProtected == protects
    }

    /// Makes the memory that the step writes present, and this value's own.
    mutating func prepareState(_ configuration: UpdateConfiguration) {
        if !hasState(for: configuration) {
            if optimizerState?.kind != configuration.optimizer.stateKind {
                optimizerState = OptimizerState(for: configuration.optimizer, parameters: parameters)
            }
            if configuration.elasticWeightConsolidation == nil {
                protection = nil
            } else if protection == nil {
                protection = ProtectionState(anchoredAt: parameters)
            }
        }
        memory.makeUnique()
        guard extras != nil else { return }
        lendExtras {
            $0.optimizerState?.makeUnique()
            $0.protection?.makeUnique()
        }
    }
}

// MARK: - Protection

extension LoRAAdapter {
    /// Anchors the protection against forgetting at the present parameters: from now on they are held near them, each as
    /// strongly as it mattered since the last consolidation. Raises the version. Without protection in use nothing changes.
    public mutating func consolidate() {
        guard protection != nil else { return }
        let anchor = parameters
        protection?.consolidate(anchor)
        magnitude = .infinity
        version += 1
    }

    /// Anchors the protection of a warm start at the prior it came from: until a first consolidation every parameter is held
    /// alike, as nothing is known yet of which of them matter.
    package mutating func anchorAtStart() {
        protection = ProtectionState(anchoredAt: parameters, uniform: true)
    }
}

/// The scalars that one update uses.
struct UpdateSettings {
    var rate: Double
    var threshold: Double
    var strength: Float
}

/// What one step came to.
struct StepOutcome {
    var loss: Double
    var lossAfter = Double.nan
    var norm: Double
    var clipFactor: Double
}
