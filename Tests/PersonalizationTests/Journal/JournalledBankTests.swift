import LoRA
import Reasoning
import StorageTesting
import Testing

@testable import Personalization

/// What a bank advised is in the journal: a replay gives the same bytes and asks nobody.
struct JournalledBankTests {
    private let user = "ada"

    /// A bank that advises a start by the updates that the user has had, and a rate.
    private func bank(_ priors: [Int: AdapterPrior], rate: Double?) -> ScriptedReasoningBank {
        let bank = ScriptedReasoningBank()
        bank.answerLearn { task in
            let known = priors.keys.filter { $0 <= task.context.seen }.max()
            return StrategyAdvice(
                hints: AdaptationHints(learningRate: rate.map { .value($0) }), confidence: 1,
                initialization: known.flatMap { priors[$0] }.map { Initialization(prior: $0) })
        }
        bank.answerRetrieve { _ in [] }
        return bank
    }

    private func engine(
        _ script: Script, _ bank: ScriptedReasoningBank?, _ update: UpdateConfiguration, _ journal: any FeedbackJournal,
        restartsAfter: [Int]
    ) throws -> PersonalizationEngine {
        var configuration = script.configuration(update: update)
        configuration.reasoningBank = bank
        configuration.reasoning = .patient(restartsAfter: restartsAfter)
        configuration.enableReasoningBankCache = false
        return try PersonalizationEngine(configuration: configuration, journal: journal, clock: ManualClock())
    }

    @Test(arguments: [[], [2, 4]], [nil, 0.05])
    func advisedAdaptersAreReplayedWithoutTheBank(restartsAfter: [Int], rate: Double?) async throws {
        let script = try Script()
        let priors = [0: try script.prior(), 2: try script.prior(1), 4: try script.prior(2)]
        for isProtected in [false, true] {
            var update = script.plain
            if isProtected { update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 0.5) }
            let journal = InMemoryFeedbackJournal()
            let advised = try engine(script, bank(priors, rate: rate), update, journal, restartsAfter: restartsAfter)
            let reference = try script.engine(
                bank(priors, rate: rate), reasoning: .patient(restartsAfter: restartsAfter), update: update,
                isCached: false)
            for step in 0..<7 {
                for engine in [advised, reference] {
                    try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)])
                }
            }
            let expected = try await reference.adapter(for: user)?.snapshot()
            #expect(try await advised.adapter(for: user)?.snapshot() == expected)
            #expect(advised.reasoningBankStatistics().restarts == restartsAfter.count)
            // Nothing but the journal: no store, no bank.
            let replayed = try engine(script, nil, update, journal, restartsAfter: [])
            #expect(try await replayed.adapter(for: user)?.snapshot() == expected)
            #expect(try await replayed.adapter(for: user)?.startedFrom != nil)
        }
    }

    /// A journal that fails must not keep the bank's queue from its work.
    @Test func aFailingJournalDoesNotStopTheBank() async throws {
        let script = try Script()
        let bank = bank([:], rate: nil)
        let journal = FaultyJournal()
        let engine = try engine(script, bank, script.plain, journal, restartsAfter: [])
        for step in 0..<8 {
            journal.set(step % 2 == 1 ? .fails : .works)
            let batch = [script.one(.ranking, user, step)]
            if step % 2 == 1 {
                await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: user, with: batch) }
            } else {
                try await engine.updateAdapter(for: user, with: batch)
            }
        }
        #expect(try await engine.shutdown())
        #expect(engine.reasoningBankStatistics().queueDepth == 0)
        #expect(try await engine.adapter(for: user)?.version == 4)
    }

    @Test func whatWasLearnedBeforeARestartIsForgottenExactly() async throws {
        let script = try Script()
        let priors = [0: try script.prior(), 2: try script.prior(1)]
        let journal = InMemoryFeedbackJournal()
        let advised = try engine(script, bank(priors, rate: nil), script.plain, journal, restartsAfter: [2])
        for step in 0..<5 {
            try await advised.updateAdapter(
                for: user, with: [script.one(.ranking, user, step)], id: FeedbackID("\(step)"))
        }
        for (forgotten, version) in [(1, 6), (2, 7), (0, 8)] {
            try await advised.forgetFeedback(FeedbackID("\(forgotten)"), of: user)
            #expect(try await advised.adapter(for: user)?.version == UInt64(version))
        }
        // The second start, and the two that are left.
        var expected = try script.warm(user, try #require(priors[2]))
        for step in 3..<5 {
            _ = try expected.update(with: [script.one(.ranking, user, step)], configuration: script.plain)
        }
        expected.version = 8
        #expect(try await advised.adapter(for: user)?.snapshot() == expected.snapshot())
    }
}
