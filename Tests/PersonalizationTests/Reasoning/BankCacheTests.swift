import LoRA
import Reasoning
import StorageTesting
import Telemetry
import TensorCore
import Testing

@testable import Personalization

/// The cache of a bank's answers, as an engine uses it.
@Suite(.timeLimit(.minutes(10)))
struct BankCacheTests {
    private let user = "ada"

    /// Asks for one user's next update again and again: the same question each time.
    private func ask(_ engine: PersonalizationEngine, _ user: String = "ada") async throws {
        try await engine.createAdapter(for: user)
        try await engine.removeAdapter(for: user)
    }

    @Test func answersAreServedUntilTheirTimeIsOver() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let clock = ManualClock()
        let engine = try script.engine(bank, clock: clock)
        try await ask(engine)
        clock.advance(seconds: 299)
        try await ask(engine)
        #expect(bank.count(of: .learn) == 1 && engine.reasoningBankStatistics().cacheExpirations == 0)
        // Use does not make an answer younger.
        clock.advance(seconds: 1)
        try await ask(engine)
        #expect(bank.count(of: .learn) == 2)
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.cacheExpirations == 1 && statistics.cacheEntries == 1 && statistics.cacheHits == 1)
    }

    @Test func emptyAnswersAreKept() async throws {
        let script = try Script()
        // The whole bank is empty; nothing is scripted.
        let bank = ScriptedReasoningBank()
        let engine = try script.engine(bank)
        for _ in 0..<5 { try await ask(engine) }
        #expect(bank.count(of: .learn) == 1 && bank.count(of: .retrieve) == 1)
        #expect(engine.reasoningBankStatistics().cacheHits == 4)
    }

    @Test func failuresAreNotKept() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.learn, .fail(BankFault()))
        let engine = try script.engine(bank)
        for _ in 0..<3 { try await ask(engine) }
        #expect(bank.count(of: .learn) == 2 && engine.reasoningBankStatistics().cacheEntries == 1)
    }

    @Test func manyUsersDoNotMakeItGrow() async throws {
        let script = try Script(dimension: 4, rank: 1)
        let bank = ScriptedReasoningBank.advising(.none)
        var reasoning = ReasoningConfiguration.patient()
        reasoning.cacheCapacity = 50
        let engine = try script.engine(bank, reasoning: reasoning)
        for i in 0..<2000 {
            try await ask(engine, "user \(i)")
            #expect(engine.reasoningBankStatistics().cacheEntries <= 50)
        }
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.cacheEntries == 50 && statistics.cacheEvictions == 1950 && statistics.cacheMisses >= 2000)
        #expect(statistics.cacheBytes > 0 && statistics.cacheBytes <= 50 * 1024)
        // The least recently used went first.
        let asked = bank.count(of: .learn)
        try await ask(engine, "user 1999")
        try await ask(engine, "user 1950")
        #expect(bank.count(of: .learn) == asked)
        try await ask(engine, "user 1949")
        #expect(bank.count(of: .learn) == asked + 1)
    }

    @Test func aSwapEmptiesIt() async throws {
        let script = try Script()
        let (first, second) = (ScriptedReasoningBank.advising(rate: 0.5), ScriptedReasoningBank.advising(rate: 0.125))
        let engine = try script.engine(first, update: script.plain)
        let feedback = [script.one(.ranking, user, 0)]
        for _ in 0..<4 { try await engine.updateAdapter(for: user, with: feedback) }
        engine.connectReasoningBank(second)
        #expect(engine.reasoningBankStatistics().cacheEntries == 0)
        #expect(try await engine.updateAdapter(for: user, with: feedback).learningRate == 0.125)
        #expect(second.count(of: .learn) == 1)
        // The same bank again is a new connection too.
        let asked = first.count(of: .learn)
        engine.connectReasoningBank(first)
        #expect(try await engine.updateAdapter(for: user, with: feedback).learningRate == 0.5)
        #expect(first.count(of: .learn) == asked + 1)
    }

    /// What is asked while the cache is emptied may rest on what was to go: it is used once and not kept.
    @Test func anAnswerUnderWayIsNotKeptWhenTheCacheIsCleared() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.learn, .hang)
        let engine = try script.engine(bank)
        async let version = engine.createAdapter(for: user)
        await eventually { bank.hangingCount == 1 }
        engine.clearReasoningBankCache()
        bank.release()
        #expect(try await version == 0)
        #expect(engine.reasoningBankStatistics().cacheEntries == 0)
        try await engine.removeAdapter(for: user)
        try await ask(engine)
        #expect(bank.count(of: .learn) == 2)
    }

    @Test func consolidationEmptiesIt() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank)
        try await ask(engine)
        _ = try await engine.consolidateAdaptationPatterns()
        #expect(engine.reasoningBankStatistics().cacheEntries == 0)
    }

    /// Starts and the ignored parts of texts are what answers may take much memory with: both count, and what counts is bounded.
    @Test func answersAreBoundedInBytes() async throws {
        let script = try Script(dimension: 20, rank: 4)
        let prior = try script.prior()
        let bank = ScriptedReasoningBank.advising(
            StrategyAdvice(
                evidence: (0..<60_000).map { EpisodeID($0) }, sentence: String(repeating: "x", count: 1 << 20),
                initialization: Initialization(prior: prior)))
        var reasoning = ReasoningConfiguration.patient()
        let each = 512 + 8 * prior.rank * 20 + 4 * 20
        reasoning.cacheByteCapacity = 10 * each
        let engine = try script.engine(bank, reasoning: reasoning)
        for i in 0..<100 {
            try await engine.createAdapter(for: "user \(i)")
            let statistics = engine.reasoningBankStatistics()
            // What people may read is not kept.
            #expect(statistics.cacheEntries == min(i + 1, 10) && statistics.cacheBytes == min(i + 1, 10) * each)
        }
        #expect(engine.reasoningBankStatistics().cacheEvictions == 90)
        reasoning.cacheByteCapacity = 0
        #expect(throws: EngineError.self) { try script.engine(bank, reasoning: reasoning) }
    }

    /// Late answers are kept for the next update, and those who ask the same share one question.
    @Test func oneQuestionIsAskedOnce() async throws {
        let shape = try Script().configuration().validatedShape()
        let bank = ScriptedReasoningBank.advising(rate: 0.5)
        bank.script(.learn, .hang)
        let totals = ReasoningTotals(reporting: .init())
        let connection = BankConnection(
            bank: bank, configuration: .patient(deadline: .seconds(3600)), isCacheEnabled: true, sessionID: "",
            clock: ManualClock(), executor: BankExecutor(), totals: totals)
        let tracker = ContextTracker(seen: 0)
        func key(_ user: String) -> AdviceKey {
            AdviceKey(
                tracker, objective: .ranking, batchSize: 1, shape: shape, model: 0, initialization: nil,
                learningRate: 0.25, user: digest(user), uptime: 0)
        }
        let task = AdaptationTask(
            context: tracker.context(
                objective: .ranking, batchSize: 1, shape: shape, model: 0, initialization: nil, uptime: 0),
            configuredLearningRate: 0.25, excluding: digest(user))
        try await withThrowingTaskGroup(of: CheckedAdvice?.self) { group in
            for _ in 0..<20 { group.addTask { try await connection.ask(key(user), task: task, shape: shape) } }
            await eventually { bank.hangingCount == 1 }
            for _ in 0..<50 { await Task.yield() }
            bank.release()
            for try await advice in group { #expect(advice?.hints.learningRate == .value(0.5)) }
        }
        // Whoever came after the answer asked again; the others shared one.
        #expect(bank.count(of: .learn) < 20 && totals.snapshot.queries == bank.count(of: .learn))
        guard case .found = connection.cached(key(user), at: 0) else {
            Issue.record("the answer is not in the cache")
            return
        }
        guard case .missing = connection.cached(key("bob"), at: 0) else {
            Issue.record("one user's answer served another")
            return
        }
    }

    @Test func aLateAnswerServesTheNextUpdate() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.5)
        bank.script(.learn, .hang)
        let engine = try script.engine(bank, reasoning: .patient(deadline: .milliseconds(20)), update: script.plain)
        let feedback = [script.one(.ranking, user, 0)]
        #expect(try await engine.updateAdapter(for: user, with: feedback).learningRate == 0.25)
        try await engine.removeAdapter(for: user)
        bank.release()
        await eventually { engine.reasoningBankStatistics().cacheEntries == 1 }
        #expect(try await engine.updateAdapter(for: user, with: feedback).learningRate == 0.5)
        #expect(bank.count(of: .learn) == 1)
    }
}
