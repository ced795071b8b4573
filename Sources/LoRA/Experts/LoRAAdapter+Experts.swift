internal import TensorCore

extension LoRAAdapter {
    /// The weights by which what is read is mixed, as of ``SelfAudit`` and ``DriftForking``: of the adapter, and of the one that
    /// was set aside when the taste changed. What is missing to 1 is that of no adapter. (1, 0) without either.
    public var readWeights: (adapter: Float, setAside: Float) {
        guard let weights = extras?.experts?.weights else { return (1, 0) }
        return (weights.active, weights.frozen)
    }

    /// How often the adapter was set aside because the taste changed (``DriftForking``).
    public var forks: Int { Int(clamping: extras?.experts?.forks ?? 0) }

    package var experts: Experts? {
        get { extras?.experts }
        set { if newValue != nil || extras != nil { lendExtras { $0.experts = newValue } } }
    }
}

// MARK: - Reading

extension LoRAAdapter {
    /// Turns the adapter's own output into the weighed one; says whether that is finite.
    ///
    /// - Parameters:
    ///   - hidden: Scratch, `[rank]`.
    ///   - output: The adapter's own, `[dimension]`.
    func mix(_ input: FloatBuffer, hidden: FloatBuffer, output: FloatBuffer) -> Bool {
        guard let experts = extras?.experts, experts.isMixing else { return true }
        return Self.mix(experts, shape, input, hidden: hidden, output: output)
    }

    static func mix(
        _ experts: Experts, _ shape: AdapterShape, _ input: FloatBuffer, hidden: FloatBuffer, output: FloatBuffer
    ) -> Bool {
        let weights = experts.weights
        Kernels.scale(output, by: weights.active)
        FloatBuffer.temporary(shape.dimension) { other in
            if weights.none > 0 {
                other.copy(from: input)
                if shape.normalizesOutput { _ = normalize(other) }
                Kernels.axpy(weights.none, other, to: output)
            }
            if weights.frozen > 0, let frozen = experts.frozen {
                frozen.withBuffer {
                    _ = Kernels.forward(shape.map($0), input, hidden: hidden, scaled: hidden, output: other)
                }
                if shape.normalizesOutput { _ = normalize(other) }
                Kernels.axpy(weights.frozen, other, to: output)
            }
        }
        if shape.normalizesOutput { _ = normalize(output) }
        return Kernels.allFinite(output)
    }
}

// MARK: - Learning

extension UpdateConfiguration {
    /// Whether updates weigh the adapter.
    var weighs: Bool { selfAudit != nil || driftForking != nil }
}

extension LoRAAdapter {
    /// What a batch shows of the weights and of a change of taste, before it is learned from.
    ///
    /// - Throws: ``LoRAError`` for feedback that cannot be learned from, and numbers beyond the range of Float.
    func observed(
        _ feedback: [Feedback], _ configuration: UpdateConfiguration, _ scratch: UpdateScratch
    ) throws(LoRAError) -> (experts: Experts, hasChanged: Bool) {
        var experts = self.experts ?? Experts(configuration)
        experts.follow(configuration)
        for (i, sample) in feedback.enumerated() {
            do throws(LoRAError) { try sample.validate(for: shape) } catch { throw error.at(i) }
        }
        let objective = configuration.objective
        let shares = try Batch.shares(feedback, objective)
        // A target's loss is a mean over the dimension: as a squared distance it is comparable with the others'.
        var scale = 0.0
        var scoreCount = 0
        for (sample, share) in zip(feedback, shares) {
            let isTarget = ObjectiveEvaluator.kind(of: sample.signal, objective) == .target
            scale += share * (isTarget ? Double(shape.dimension) : 1)
            scoreCount = max(scoreCount, ObjectiveEvaluator.scratchCount(of: sample.signal, objective))
        }
        let (d, r) = (shape.dimension, shape.rank)
        let frozen = experts.frozen
        let losses = try scratch.arena.withScratch(capacity: d + r + scoreCount, buffers: 3) {
            taker throws(LoRAError) in
            let (y, hidden, scores) = (taker.take(d), taker.take(r), taker.take(scoreCount))
            func loss(under map: AlignedStorage<Float>?) throws(LoRAError) -> Double {
                // Anew for each map: all are contrasted with the same items.
                var evaluator = ObjectiveEvaluator(configuration: objective, identity: identity, step: steps)
                var total = 0.0
                for (i, sample) in feedback.enumerated() {
                    sample.embedding.withFloats { x in
                        if let map {
                            map.withBuffer {
                                _ = Kernels.forward(shape.map($0), x, hidden: hidden, scaled: hidden, output: y)
                            }
                        } else {
                            y.copy(from: x)
                        }
                    }
                    if shape.normalizesOutput { _ = Self.normalize(y) }
                    guard Kernels.allFinite(y) else { throw Self.overflow("update").at(i) }
                    total +=
                        shares[i]
                        * (try evaluator.evaluate(
                            sample, y: y, gradient: nil, scores: scores, wantsCurvature: false
                        ).loss)
                }
                guard total.isFinite else { throw Self.overflow("update") }
                return total
            }
            var losses = Experts.Losses(none: try loss(under: nil), active: try loss(under: parameters))
            if let frozen { losses.frozen = try loss(under: frozen) }
            return losses
        }
        let hasChanged = experts.observe(losses, scale: scale, configuration)
        return (experts, hasChanged)
    }
}
