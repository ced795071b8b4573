import LoRA

extension UpdateConfiguration {
    /// Settings of which none is left to the library's defaults: those are chosen by measurement and change, and what is tested
    /// here must not change with them.
    static func stated(
        objective: ObjectiveConfiguration = .stated(),
        optimizer: Optimizer = .sgd,
        learningRates: PerObjective = PerObjective(target: 1, preference: 0.3, ranking: 0.3, reward: 0.3),
        schedule: Schedule = Schedule(.constant, warmupSteps: 0, warmupStart: 0.1),
        clipping: Clipping = .globalNorm,
        clipThresholds: PerObjective = PerObjective(target: 1, preference: 0.3, ranking: 0.3, reward: 0.3),
        weightDecay: Float = 0,
        fading: PerObjective = PerObjective(all: 0),
        elasticWeightConsolidation: ElasticWeightConsolidation? = nil,
        selfAudit: SelfAudit? = nil, driftForking: DriftForking? = nil,
        certifiesSteps: Bool = false
    ) -> UpdateConfiguration {
        UpdateConfiguration(
            objective: objective, optimizer: optimizer, learningRates: learningRates, schedule: schedule,
            clipping: clipping, clipThresholds: clipThresholds, weightDecay: weightDecay, fading: fading,
            elasticWeightConsolidation: elasticWeightConsolidation, selfAudit: selfAudit, driftForking: driftForking,
            certifiesSteps: certifiesSteps)
    }
}

extension ObjectiveConfiguration {
    /// The same for what makes a loss.
    static func stated(
        like: Like = .catalogueSoftmax, temperature: Float = 1, rewardBaseline: Float = 0,
        neutralWatchScore: Float = 0.5, highestInversePropensity: Float = 10
    ) -> ObjectiveConfiguration {
        ObjectiveConfiguration(
            like: like, temperature: temperature, rewardBaseline: rewardBaseline, neutralWatchScore: neutralWatchScore,
            highestInversePropensity: highestInversePropensity)
    }
}

extension ElasticWeightConsolidation {
    /// The same for the protection.
    static func stated(strength: Float = 0.01, decay: Float = 0.95) -> ElasticWeightConsolidation {
        ElasticWeightConsolidation(strength: strength, decay: decay)
    }
}
