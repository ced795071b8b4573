internal import TensorCore

/// The settings with which an update will be made unless something overrides them.
package struct PlannedSettings: Sendable, Hashable {
    /// The kind of objective with the most weight in the batch.
    package var objective: ObjectiveKind
    /// The rate before the schedule.
    package var learningRate: Double
    /// What the schedule multiplies it by.
    package var scheduleFactor: Double
    /// The clipping threshold.
    package var clipThreshold: Double
    /// The strength of the protection; `nil` where there is none.
    package var consolidationStrength: Double?
}

extension LoRAAdapter {
    /// The settings of an update with this batch; of the first one where there is no adapter yet.
    ///
    /// - Throws: ``LoRAError`` for a batch whose weights are all zero.
    package static func planned(
        _ feedback: [Feedback], _ adapter: LoRAAdapter?, _ configuration: UpdateConfiguration
    ) throws(LoRAError) -> PlannedSettings {
        if feedback.count == 1 {
            return planned(
                ObjectiveEvaluator.kind(of: feedback[0].signal, configuration.objective), adapter, configuration)
        }
        let batch = try Batch(feedback, configuration)
        var weights: [ObjectiveKind: Double] = [:]
        for sample in feedback {
            let kind = ObjectiveEvaluator.kind(of: sample.signal, configuration.objective)
            weights[kind, default: 0] += batch.share(of: sample)
        }
        // In the order of the cases, so that a tie has one winner.
        let objective = ObjectiveKind.allCases.reduce(.target) { (weights[$1] ?? 0) > (weights[$0] ?? 0) ? $1 : $0 }
        var settings = planned(objective, adapter, configuration)
        settings.learningRate = batch.learningRate
        settings.clipThreshold = batch.clipThreshold
        return settings
    }

    /// The settings of an update with one feedback of this objective.
    package static func planned(
        _ objective: ObjectiveKind, _ adapter: LoRAAdapter?, _ configuration: UpdateConfiguration
    ) -> PlannedSettings {
        PlannedSettings(
            objective: objective, learningRate: Double(configuration.learningRates[objective]),
            scheduleFactor: adapter?.scheduleFactor(configuration)
                ?? configuration.schedule.multiplier(at: 0, plateau: 1),
            clipThreshold: Double(configuration.clipThresholds[objective]),
            consolidationStrength: configuration.elasticWeightConsolidation.map { Double($0.strength) })
    }

    func scheduleFactor(_ configuration: UpdateConfiguration) -> Double {
        configuration.schedule.multiplier(at: steps, plateau: plateau?.factor ?? 1)
    }
}
