/// One number for each kind of objective.
public struct PerObjective: Sendable, Hashable {
    /// For target feedback.
    public var target: Float
    /// For pairwise losses.
    public var preference: Float
    /// For softmax losses.
    public var ranking: Float
    /// For rewards and watch events.
    public var reward: Float

    /// Four numbers.
    public init(target: Float, preference: Float, ranking: Float, reward: Float) {
        self.target = target
        self.preference = preference
        self.ranking = ranking
        self.reward = reward
    }

    /// The same number for every kind.
    public init(all value: Float) { self.init(target: value, preference: value, ranking: value, reward: value) }

    /// The number for one kind.
    public subscript(kind: ObjectiveKind) -> Float {
        get {
            switch kind {
            case .target: target
            case .preference: preference
            case .ranking: ranking
            case .reward: reward
            }
        }
        set {
            switch kind {
            case .target: target = newValue
            case .preference: preference = newValue
            case .ranking: ranking = newValue
            case .reward: reward = newValue
            }
        }
    }
}

/// How an adapter is updated from feedback: objective, rate, clip, optimizer, protection. `attune config` prints the defaults.
public struct UpdateConfiguration: Sendable, Hashable {
    /// How feedback becomes a loss.
    public var objective: ObjectiveConfiguration
    /// How a gradient becomes a step.
    public var optimizer: Optimizer
    /// The base learning rate for each kind of objective; above 0. A batch of several kinds takes their weighted mean.
    public var learningRates: PerObjective
    /// How the rate changes with an adapter's updates.
    public var schedule: Schedule
    /// How the data gradient is limited.
    public var clipping: Clipping
    /// The limit for each kind of objective; above 0. A batch of several kinds takes their weighted mean.
    public var clipThresholds: PerObjective
    /// The weight decay ω: `ω·θ` is added to the clipped gradient (AdamW: θ is multiplied by `1 − η·ω` instead). 0 for none.
    public var weightDecay: Float
    /// The share of B and b that fades after each step, for each kind of objective; 0..<1. It draws the map towards where it
    /// started (the identity, or the prior of a warm start), so that what is not confirmed by later feedback loses its weight:
    /// with 0.03 half of it in 23 updates. A stays. Nothing fades under protection, which pulls to its own anchor, nor under
    /// certified steps.
    public var fading: PerObjective
    /// Protection of what was learned; `nil` for none (and no memory for it).
    public var elasticWeightConsolidation: ElasticWeightConsolidation?
    /// Whether reads are weighed between the adapter and none by how well it has done; `nil` for reads of the adapter alone.
    public var selfAudit: SelfAudit?
    /// Whether a change of taste sets the adapter aside, for when the old one comes back; `nil` for no.
    public var driftForking: DriftForking?
    /// Whether steps are certified: B moves first, at a rate of at most 1/L_B, then the error is computed again and A moves at
    /// most at 1/L_A, L being bounds of the gradients' Lipschitz constants, so that neither block step raises the batch's
    /// loss. SGD only, without ``AdapterShape/normalizesOutput``, weight decay or protection; nothing fades then.
    public var certifiesSteps: Bool
    /// Whether ``UpdateReport/lossAfter`` is measured. Without it the report says NaN for one target, or for up to 64 under plain
    /// SGD, and the step is up to a sixth faster. The step is the same to the byte. In all other cases the loss is measured all
    /// the same, and so it is where only the loss shows whether a step stays within the range of Float, and with a reasoning
    /// bank.
    public var measuresLossAfter: Bool

    /// Update settings; every default is stated here and in ``ObjectiveConfiguration``.
    ///
    /// The rates suit embeddings of length 1. The target loss carries the factor 2/dimension, and its rate the inverse: give
    /// the dimension, or the rate itself.
    ///
    /// - Parameter dimension: The number of values of an embedding, from which the default rate of the target loss follows.
    public init(
        dimension: Int = 1,
        objective: ObjectiveConfiguration = ObjectiveConfiguration(),
        optimizer: Optimizer = .sgd,
        learningRates: PerObjective? = nil,
        schedule: Schedule = Schedule(),
        clipping: Clipping = .globalNorm,
        clipThresholds: PerObjective = PerObjective(target: 1, preference: 0.3, ranking: 2, reward: 0.3),
        weightDecay: Float = 0,
        fading: PerObjective = PerObjective(target: 0, preference: 0, ranking: 0.03, reward: 0),
        elasticWeightConsolidation: ElasticWeightConsolidation? = nil,
        selfAudit: SelfAudit? = nil,
        driftForking: DriftForking? = nil,
        certifiesSteps: Bool = false,
        measuresLossAfter: Bool = true
    ) {
        self.objective = objective
        self.optimizer = optimizer
        self.learningRates =
            learningRates
            ?? PerObjective(
                target: min(1000, 0.1 * Float(max(dimension, 1))), preference: 0.3, ranking: 0.25, reward: 0.3)
        self.schedule = schedule
        self.clipping = clipping
        self.clipThresholds = clipThresholds
        self.weightDecay = weightDecay
        self.fading = fading
        self.elasticWeightConsolidation = elasticWeightConsolidation
        self.selfAudit = selfAudit
        self.driftForking = driftForking
        self.certifiesSteps = certifiesSteps
        self.measuresLossAfter = measuresLossAfter
    }

    /// Checks every setting, alone and together.
    ///
    /// - Parameter shape: The shape of the adapters that will be updated.
    /// - Throws: ``LoRAError``: `invalidConfiguration` for a value outside its range, `unsupported` for settings that do not
    ///   work together; the message names them.
    public func validate(for shape: AdapterShape) throws(LoRAError) {
        try objective.validate()
        try optimizer.validate()
        try schedule.validate()
        for kind in ObjectiveKind.allCases {
            let rate = learningRates[kind]
            guard rate > 0, rate <= 1000 else {
                throw LoRAError(
                    .invalidConfiguration, "learning rate",
                    "the \(kind.rawValue) rate \(rate) is not above 0 and at most 1000")
            }
            let threshold = clipThresholds[kind]
            guard threshold > 0, threshold <= 1e6 else {
                throw LoRAError(
                    .invalidConfiguration, "clipping",
                    "the \(kind.rawValue) threshold \(threshold) is not above 0 and at most 1e6")
            }
        }
        for kind in ObjectiveKind.allCases where !(fading[kind] >= 0 && fading[kind] < 1) {
            throw LoRAError(
                .invalidConfiguration, "fading", "the \(kind.rawValue) fading \(fading[kind]) is not in 0..<1")
        }
        guard weightDecay >= 0, weightDecay <= 1 else {
            throw LoRAError(.invalidConfiguration, "weight decay", "\(weightDecay) is not in 0...1")
        }
        try elasticWeightConsolidation?.validate()
        try selfAudit?.validate()
        try driftForking?.validate()
        guard certifiesSteps else { return }
        func refuse(_ what: String) -> LoRAError {
            LoRAError(
                .unsupported, "certified steps", "they hold for plain SGD, not with \(what); turn one of them off")
        }
        if optimizer != .sgd { throw refuse("the optimizer \(optimizer.name)") }
        if shape.normalizesOutput { throw refuse("a normalised output") }
        if weightDecay > 0 { throw refuse("weight decay") }
        if elasticWeightConsolidation != nil { throw refuse("elastic weight consolidation") }
        if clipping == .byValue { throw refuse("clipping by value, which turns the gradient") }
    }
}

/// Settings of one update that replace the configured ones, for example from a bank's hints or a journal.
public struct UpdateOverrides: Sendable, Hashable {
    /// The learning rate, schedule included; above 0, at most 1000.
    public var learningRate: Float?
    /// The clipping threshold; above 0, at most 1e6.
    public var clipThreshold: Float?
    /// The strength λ of elastic weight consolidation, where it is on; 0...10,000.
    public var consolidationStrength: Float?

    /// Nothing is replaced unless given.
    public init(learningRate: Float? = nil, clipThreshold: Float? = nil, consolidationStrength: Float? = nil) {
        self.learningRate = learningRate
        self.clipThreshold = clipThreshold
        self.consolidationStrength = consolidationStrength
    }

    package func validate() throws(LoRAError) {
        if let rate = learningRate, !(rate > 0 && rate <= 1000) {
            throw LoRAError(.invalidConfiguration, "update", "the rate \(rate) is not above 0 and at most 1000")
        }
        if let clip = clipThreshold, !(clip > 0 && clip <= 1e6) {
            throw LoRAError(.invalidConfiguration, "update", "the threshold \(clip) is not above 0 and at most 1e6")
        }
        if let strength = consolidationStrength, !(strength >= 0 && strength <= 10_000) {
            throw LoRAError(.invalidConfiguration, "update", "the strength \(strength) is not in 0...10000")
        }
    }
}
