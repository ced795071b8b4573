internal import TensorCore

/// A batch's weights, resolved: propensities applied, rates, thresholds and fading averaged over the kinds of objective in it.
struct Batch {
    private let totalWeight: Double
    private let highestInverse: Float
    let learningRate: Double
    let clipThreshold: Double
    let fading: Double
    let scratchCount: Int

    /// A sample's weight divided by the sum of all. A single sample's is exactly 1, so that its weight leaves no trace.
    func share(of sample: Feedback) -> Double {
        sample.weight(highestInverse) / totalWeight
    }

    /// The share of a target that is lent.
    func share(_ lent: LentTargets, _ i: Int) -> Double { Double(lent.weights[i]) / totalWeight }

    /// Each sample's share.
    static func shares(_ feedback: [Feedback], _ objective: ObjectiveConfiguration) throws(LoRAError) -> [Double] {
        let total = try totalWeight(feedback, objective)
        return feedback.map { $0.weight(objective.highestInversePropensity) / total }
    }

    static var noWeight: LoRAError {
        LoRAError(.invalidFeedback, "update", "all weights are zero: nothing can be learned from the batch")
    }

    private static func totalWeight(
        _ feedback: [Feedback], _ objective: ObjectiveConfiguration
    ) throws(LoRAError) -> Double {
        var total = 0.0
        for i in feedback.indices { total += feedback[i].weight(objective.highestInversePropensity) }
        guard total > 0 else { throw noWeight }
        return total
    }

    /// - Parameter lent: The batch where it is all targets.
    init(
        _ feedback: [Feedback], lent: LentTargets? = nil, _ configuration: UpdateConfiguration
    ) throws(LoRAError) {
        if let lent {
            totalWeight = lent.totalWeight
            highestInverse = 1
            learningRate = Double(configuration.learningRates.target)
            clipThreshold = Double(configuration.clipThresholds.target)
            fading = Double(configuration.fading.target)
            scratchCount = 0
            return
        }
        totalWeight = try Self.totalWeight(feedback, configuration.objective)
        highestInverse = configuration.objective.highestInversePropensity
        var (rate, threshold, fading, scratch) = (0.0, 0.0, 0.0, 0)
        for i in feedback.indices {
            let kind = ObjectiveEvaluator.kind(of: feedback[i].signal, configuration.objective)
            let share = feedback[i].weight(highestInverse) / totalWeight
            rate += share * Double(configuration.learningRates[kind])
            threshold += share * Double(configuration.clipThresholds[kind])
            fading += share * Double(configuration.fading[kind])
            // Targets take none.
            if kind != .target {
                scratch = max(
                    scratch, ObjectiveEvaluator.scratchCount(of: feedback[i].signal, configuration.objective))
            }
        }
        learningRate = rate
        clipThreshold = threshold
        self.fading = fading
        scratchCount = scratch
    }
}

extension Feedback {
    /// The weight with the inverse of the propensity, clipped.
    fileprivate func weight(_ highestInverse: Float) -> Double {
        let inverse = propensity.map { min(1 / Double($0), Double(highestInverse)) }
        return Double(weight) * (inverse ?? 1)
    }
}
