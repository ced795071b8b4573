import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// The fifteen topics that the original system tested, each by its effect.
@Suite(.timeLimit(.minutes(10)))
struct BankTopicTests {
    private let user = "ada"

    private func hash(_ engine: PersonalizationEngine, _ user: String = "ada") async throws -> UInt64? {
        try await engine.adapter(for: user)?.stateHash
    }

    @Test func engineIsCreatedWithoutABank() async throws {
        let engine = try Script().engine(nil)
        #expect(!engine.hasReasoningBank)
        #expect(!engine.configuration.hasReasoningBank)
        let statistics = engine.reasoningBankStatistics()
        #expect(!statistics.isEnabled && statistics.queries == 0 && statistics.sessionID == "session")
    }

    @Test func engineIsCreatedWithABank() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank)
        #expect(engine.hasReasoningBank && engine.reasoningBankStatistics().isEnabled)
        try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        #expect(bank.count(of: .learn) == 1 && bank.count(of: .retrieve) == 1)
    }

    @Test func bankIsConnected() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.01)
        let engine = try script.engine(nil, update: script.plain)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        engine.connectReasoningBank(bank)
        #expect(engine.hasReasoningBank)
        let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)])
        #expect(report.learningRate == Double(Float(0.01)) && bank.count(of: .learn) == 1)
    }

    @Test func bankIsDisconnected() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.01)
        let engine = try script.engine(bank, update: script.plain)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        engine.disconnectReasoningBank()
        #expect(!engine.hasReasoningBank && !engine.configuration.hasReasoningBank)
        let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)])
        #expect(report.learningRate == 0.25 && report.version == 2)
        #expect(bank.count(of: .learn) == 1)
    }

    @Test func episodeIsStored() async throws {
        let script = try Script()
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let engine = try script.engine(bank)
        for step in 0..<3 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        // The last one waits for its outcome.
        #expect(bank.episodes(of: digest(user)).map(\.episode.version) == [1, 2])
        #expect(bank.episodes(of: digest(user)).allSatisfy { $0.episode.outcome != nil })
        #expect(engine.reasoningBankStatistics().stored == 2)
    }

    @Test func rateHintIsApplied() async throws {
        let script = try Script()
        let engine = try script.engine(ScriptedReasoningBank.advising(rate: 0.125), update: script.plain)
        let feedback = [script.one(.ranking, user, 0)]
        let report = try await engine.updateAdapter(for: user, with: feedback)
        let expected = try script.cold(user).updated(
            with: feedback, configuration: script.plain, overrides: UpdateOverrides(learningRate: 0.125))
        #expect(report == expected.report)
        #expect(try await hash(engine) == expected.adapter.stateHash)
        #expect(engine.reasoningBankStatistics().hinted == 1)
    }

    @Test func queriesAreCached() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank)
        let feedback = [script.one(.ranking, user, 0)]
        for _ in 0..<3 { _ = try await engine.createAdapter(for: "once") }
        #expect(bank.count(of: .learn) == 1)
        for _ in 0..<40 { try await engine.updateAdapter(for: user, with: feedback) }
        #expect(bank.count(of: .learn) < 10)
        #expect(engine.reasoningBankStatistics().cacheHits > 30)
    }

    @Test func engineWorksWithoutABank() async throws {
        let script = try Script()
        let engine = try script.engine(nil)
        for step in 0..<6 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        #expect(try await hash(engine) == script.history(user, steps: 6)[6].stateHash)
        #expect(try await engine.flushReasoningBank(deadline: .zero))
        #expect(try await engine.shutdown(deadline: .zero))
        engine.clearReasoningBankCache()
        engine.disconnectReasoningBank()
        #expect(try await engine.learnStrategy(for: user) == nil)
        let forgotten = try await engine.forget(user)
        #expect(forgotten.hadAdapter && forgotten.bank == nil)
    }

    @Test func patternsAreConsolidated() async throws {
        let script = try Script()
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let engine = try script.engine(bank)
        let population = try await LikedPopulation(script, groups: 2, users: 12).teach(engine)
        let report = try #require(
            try await engine.consolidateAdaptationPatterns(
                ConsolidationPolicy(minimumSuccessRate: 0, minimumUses: 5)))
        #expect(report.users == population.users.count)
        // One update of each user still waits for its outcome.
        #expect(report.episodes == population.users.count * (population.steps - 1))
        #expect(!report.created.isEmpty, "\(report.refused.map { ($0.reason, $0.evidence) })")
        #expect(report.created == bank.skills)
        // Donors were found by their digests: the start is made of their adapters.
        #expect(report.created.allSatisfy { $0.donors.count >= 5 && $0.initialization != nil })
        #expect(report.created.allSatisfy { $0.initialization?.prior.donors ?? 0 > 0 })
    }

    @Test func consolidationIsNilWithoutABank() async throws {
        let engine = try Script().engine(nil)
        #expect(try await engine.consolidateAdaptationPatterns() == nil)
        let bank = ScriptedReasoningBank()
        bank.script(.consolidate, .fail(BankFault()))
        engine.connectReasoningBank(bank)
        await #expect(throws: BankFault.self) { try await engine.consolidateAdaptationPatterns() }
        await #expect(throws: ReasoningError.self) {
            try await engine.consolidateAdaptationPatterns(minimumSuccessRate: 2)
        }
    }

    @Test func similarAdaptationsAreFound() async throws {
        let script = try Script()
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let engine = try script.engine(bank)
        for other in ["bob", "eve"] {
            for step in 0..<4 { try await engine.updateAdapter(for: other, with: [script.one(.ranking, other, step)]) }
        }
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)])
        _ = try await engine.flushReasoningBank(deadline: .seconds(60))
        let found = try #require(try await engine.similarAdaptations(to: user))
        #expect(found.count == 5)
        #expect(Set(found.map(\.userKey)) == [digest("bob"), digest("eve")])
        #expect(zip(found, found.dropFirst()).allSatisfy { $0.similarity >= $1.similarity })
        let episodes = ["bob", "eve"].flatMap { bank.episodes(of: digest($0)).map(\.episode) }
        for one in found {
            #expect(one.rank == script.rank && (-1...1).contains(one.similarity) && (0...1).contains(one.reward))
            #expect(
                episodes.contains {
                    $0.user == one.userKey && $0.lossAfter == one.loss && $0.outcome?.reward == one.reward
                        && $0.action.learningRate == one.learningRate
                })
        }
        #expect(try await engine.similarAdaptations(to: user, limit: 2)?.count == 2)
        #expect(try await engine.similarAdaptations(to: "nobody")?.count == 5)
        await #expect(throws: ReasoningError.self) { try await engine.similarAdaptations(to: user, limit: 0) }
        await #expect(throws: EngineError.self) { try await engine.similarAdaptations(to: "") }
        // Asking makes no user.
        #expect(try await engine.users() == [user, "bob", "eve"])
    }

    @Test func similarAdaptationsAreNilWithoutABank() async throws {
        let engine = try Script().engine(nil)
        #expect(try await engine.similarAdaptations(to: user) == nil)
        engine.connectReasoningBank(ScriptedReasoningBank())
        #expect(try await engine.similarAdaptations(to: user) == [])
    }

    @Test func cacheStatisticsCount() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.1)
        let engine = try script.engine(bank, update: script.plain)
        let feedback = [script.one(.ranking, user, 0)]
        for _ in 0..<20 { try await engine.updateAdapter(for: user, with: feedback) }
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.isCacheEnabled && statistics.cacheEntries > 0 && statistics.cacheBytes > 0)
        #expect(statistics.cacheEntries == bank.count(of: .learn))
        #expect(statistics.queries == bank.count(of: .learn) + bank.count(of: .retrieve))
        #expect(statistics.hinted == 20)
        #expect(statistics.cacheHits + statistics.cacheMisses == 20 && statistics.cacheMisses == bank.count(of: .learn))
        let rate = Double(statistics.cacheHits) / Double(statistics.cacheHits + statistics.cacheMisses)
        #expect(statistics.cacheHitRate == rate && rate > 0)
        // Counts are of the engine's life; what is in the cache is of this bank.
        engine.disconnectReasoningBank()
        let after = engine.reasoningBankStatistics()
        #expect(!after.isEnabled && after.cacheEntries == 0 && after.cacheBytes == 0)
        #expect(after.cacheHits == statistics.cacheHits && after.cacheMisses == statistics.cacheMisses)
    }

    @Test func cacheIsCleared() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank)
        try await engine.createAdapter(for: user)
        #expect(engine.reasoningBankStatistics().cacheEntries == 1)
        engine.clearReasoningBankCache()
        #expect(engine.reasoningBankStatistics().cacheEntries == 0)
        #expect(engine.reasoningBankStatistics().cacheBytes == 0)
        try await engine.removeAdapter(for: user)
        try await engine.createAdapter(for: user)
        #expect(bank.count(of: .learn) == 2)
        try await engine.removeAdapter(for: user)
        try await engine.createAdapter(for: user)
        #expect(bank.count(of: .learn) == 2)
    }

    @Test func configurationShowsWhetherABankIsThereAndNeverTheBank() async throws {
        let engine = try Script().engine(ScriptedReasoningBank())
        #expect(engine.configuration.hasReasoningBank && engine.configuration.reasoningBank == nil)
        #expect(engine.configuration.reasoning.sessionID == "session" && engine.configuration.enableReasoningBankCache)
        #expect(!dumped(engine.configuration).contains("ScriptedReasoningBank"))
        engine.disconnectReasoningBank()
        #expect(!engine.configuration.hasReasoningBank && engine.configuration.reasoningBank == nil)
        engine.connectReasoningBank(ScriptedReasoningBank())
        #expect(engine.configuration.hasReasoningBank && engine.configuration.reasoningBank == nil)
    }

    @Test func cacheIsDisabled() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.1)
        let engine = try script.engine(bank, update: script.plain, isCached: false)
        let feedback = [script.one(.ranking, user, 0)]
        for _ in 0..<5 { try await engine.updateAdapter(for: user, with: feedback) }
        #expect(bank.count(of: .learn) == 5)
        let statistics = engine.reasoningBankStatistics()
        #expect(!statistics.isCacheEnabled && !engine.configuration.enableReasoningBankCache)
        #expect(statistics.cacheEntries == 0 && statistics.cacheHits == 0 && statistics.cacheMisses == 0)
        #expect(statistics.cacheHitRate == 0 && statistics.hinted == 5)
    }
}
