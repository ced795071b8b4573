import LoRA
import Personalization
import Reasoning
import TensorCore

/// What the engine's bank has learned from donors, and serves to others: nothing that they do enters it.
///
/// The donors are run through an engine one after another, each on all their likes, with their episodes stored; then the bank
/// is consolidated once. What it serves has no rates to try: a bank that does not learn has no use for trying.
struct EngineBank: ReasoningBank {
    let bank: InMemoryReasoningBank
    /// What came of the consolidation.
    let report: ConsolidationReport
    /// The share of each start that is given.
    var strength = 1.0

    /// - Parameters:
    ///   - donors: Whose likes the bank learns from.
    ///   - share: What queries are multiplied by.
    /// - Complexity: O(donors · likes) updates, and one consolidation.
    static func trained(
        on donors: [LikeSequence], of data: EvaluationData, query: QueryKind, catalogue: ItemCatalogue,
        configuration: EngineConfiguration, share: Float = 1, strength: Double = 1,
        progress: (Double) -> Void = { _ in }
    ) async throws -> EngineBank {
        let bank = InMemoryReasoningBank(clock: StandingClock())
        let engine = try PersonalizationEngine(configuration: configuration, clock: StandingClock())
        engine.connectReasoningBank(bank)
        for (place, user) in donors.enumerated() {
            try Task.checkCancellation()
            // The engine limits the length of ids; a data set does not.
            let id = String(ReplicateStream.name(userID: user.userID, replicate: 0), radix: 16)
            var queries = RunningQuery(query, dimension: data.dimension)
            for step in 0..<(user.items.count - 1) {
                let query = queries.next(of: user, at: step, in: data).scaled(by: share)
                let signal = Feedback.Signal.like(
                    user.items[step + 1], in: catalogue, seen: Array(user.items[0...step]))
                try await engine.updateAdapter(for: id, with: [Feedback(embedding: query, signal: signal)])
            }
            // So that what the bank tells the next one does not depend on who was faster.
            guard try await engine.flushReasoningBank(deadline: .seconds(600)) else {
                throw ReasoningError(
                    .timedOut, "evaluation", "the bank did not take the donors' episodes in ten minutes")
            }
            progress(Double(place + 1) / Double(donors.count))
        }
        let report = try await engine.consolidateAdaptationPatterns() ?? ConsolidationReport()
        return EngineBank(bank: bank, report: report, strength: strength)
    }

    /// No answer may come too late for one machine and in time for another.
    static var reasoning: ReasoningConfiguration {
        ReasoningConfiguration(
            deadline: .seconds(60), cacheTimeToLive: 1e9, digestKey: DigestKey(1, 1), sessionID: "evaluation")
    }

    func storePattern(_ episode: Episode) async throws -> EpisodeID { EpisodeID(0) }

    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] {
        try await bank.retrievePatterns(query)
    }

    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        var advice = try await bank.learnStrategy(task)
        advice.rateArms = []
        if strength != 1, let start = advice.initialization {
            advice.initialization = Initialization(prior: start.prior.scaled(by: strength), skill: start.skill)
        }
        return advice
    }

    func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport {
        ConsolidationReport()
    }

    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport { ForgettingReport() }
}

/// A clock that stands still: an evaluation depends on no time.
struct StandingClock: ReasoningClock {
    var now: Timestamp { Timestamp(microseconds: 0) }
    var uptime: Double { 0 }
}

extension [Float] {
    /// Each number times a factor; untouched by 1.
    func scaled(by factor: Float) -> [Float] { factor == 1 ? self : map { factor * $0 } }
}
