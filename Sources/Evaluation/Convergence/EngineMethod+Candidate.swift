import LoRA
import Personalization
import Reasoning
import TensorCore

extension EngineMethod {
    /// The engine with what a candidate says, and with its defaults for the rest.
    init(
        _ given: [ConvergenceGrid.Setting: ConvergenceGrid.Value], kappa: Double, data: EvaluationData, rank: Int,
        seed: UInt64
    ) throws {
        func number(_ setting: ConvergenceGrid.Setting) -> Float? { given[setting]?.number.map { Float($0) } }
        func word(_ setting: ConvergenceGrid.Setting) -> String? {
            if case .word(let word)? = given[setting] { return word }
            return nil
        }
        let rank = given[.rank]?.number.map { Int($0) } ?? rank
        let share = number(.queryShare) ?? 1
        var reasoning = EngineBank.reasoning
        switch given[.restartsAfter] {
        case .counts(let counts): reasoning.restartsAfter = counts
        case .off: reasoning.restartsAfter = []
        default: break
        }
        var alpha = number(.alpha)
        if share != 1 { alpha = (alpha ?? Float(rank)) / share }
        var configuration = EngineConfiguration(
            dimension: data.dimension, rank: rank, alpha: alpha, seed: seed, reasoning: reasoning)
        var update = configuration.update
        var kind = ObjectiveKind.ranking
        if word(.objective) == "pairwise" {
            update.objective.like = .pairwise(negatives: PairwiseTraining.negatives)
            kind = .preference
        }
        if let temperature = number(.temperature) { update.objective.temperature = temperature }
        if let rate = number(.rate) { update.learningRates[kind] = rate }
        if let clip = number(.clip) { update.clipThresholds[kind] = clip }
        if let fading = number(.fading) { update.fading[kind] = fading }
        if let decay = number(.weightDecay) { update.weightDecay = decay }
        update.optimizer = Optimizer.gridChoices.first { $0.name == word(.optimizer) } ?? update.optimizer
        update.clipping = Clipping.gridChoices.first { $0.name == word(.clipping) } ?? update.clipping
        update.schedule = Schedule.gridChoices.first { $0.name == word(.schedule) } ?? update.schedule
        if let steps = given[.warmup]?.number { update.schedule.warmupSteps = Int(steps) }
        if let strength = number(.ewc), strength > 0 {
            update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: strength)
            if let decay = number(.ewcDecay) { update.elasticWeightConsolidation?.decay = decay }
        }
        if let rate = number(.audit), rate > 0 {
            var audit = SelfAudit(rate: rate)
            if let prior = number(.auditPrior) { audit.prior = prior }
            if let share = number(.auditShare) { audit.share = share }
            update.selfAudit = audit
        }
        if let threshold = number(.fork), threshold > 0 {
            var forking = DriftForking(threshold: threshold)
            if let tolerance = number(.forkTolerance) { forking.tolerance = tolerance }
            if let updates = given[.forkAfter]?.number { forking.minimumUpdates = Int(updates) }
            if let rate = number(.forkRate) { forking.rate = rate }
            if let share = number(.forkShare) { forking.share = share }
            update.driftForking = forking
        }
        configuration.update = update
        try self.init(
            configuration,
            catalogue: ItemCatalogue(vectors: data.vectors, offsets: data.popularity.map { Float(kappa) * $0 }),
            share: share, strength: given[.bankStrength]?.number ?? 1,
            anchorsEvery: given[.ewcEvery]?.number.map { Int($0) } ?? 10)
    }
}
