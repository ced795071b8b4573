import LoRA
import Reasoning
import StorageTesting
import Telemetry
import TensorCore
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

@testable import Personalization

/// A bank that fails, hangs or talks nonsense never fails an update, changes its bytes or holds it up; counters and logs tell.
@Suite(.timeLimit(.minutes(10)))
struct BankFaultTests {
    private let user = "ada"
    private let log = RecordingLog()
    private let metrics = RecordingMetrics()
    private var reporting: Reporting { Reporting(logs: log, metrics: metrics) }

    /// The bytes of an engine without a bank.
    private func expectUntouched(
        _ engine: PersonalizationEngine, _ script: Script, steps: Int, _ user: String = "ada",
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let adapter = try await engine.adapter(for: user)
        #expect(
            try adapter?.stateHash == script.history(user, steps: steps)[steps].stateHash,
            sourceLocation: sourceLocation)
        #expect(adapter?.version == UInt64(steps), sourceLocation: sourceLocation)
    }

    private func lookUpFailures() -> [RecordingLog.Line] {
        log.lines.filter { $0.metadata["operation"] == "look-up" && $0.level == .warning }
    }

    @Test(arguments: [ScriptedReasoningBank.Call.learn, .retrieve])
    func throwing(call: ScriptedReasoningBank.Call) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(call, .fail(BankFault()))
        let engine = try script.engine(bank, isCached: false, reporting: reporting)
        for step in 0..<2 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        try await expectUntouched(engine, script, steps: 2)
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.failed == 2 && statistics.timedOut == 0 && statistics.hinted == 0)
        #expect(metrics["attune_bank_failures_total"] == 2)
        #expect(lookUpFailures().count == 2 && lookUpFailures()[0].metadata["cause"] == "BankFault")
    }

    @Test func throwingWhenItStores() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.store, .fail(BankFault()), .fail(CancellationError()))
        let engine = try script.engine(bank, reporting: reporting)
        for step in 0..<4 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        try await expectUntouched(engine, script, steps: 4)
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.failed == 2 && statistics.stored == 2 && statistics.dropped == 0)
        #expect(log.lines.count { $0.metadata["operation"] == "storePattern" } == 2)
    }

    /// A bank may throw the engine's own kinds of error: each call still counts once.
    @Test(arguments: [ReasoningError.Code.timedOut, .busy, .malformedAnswer])
    func throwingOurOwnErrors(code: ReasoningError.Code) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.learn, .fail(ReasoningError(code, "bank", "as the bank says")))
        let engine = try script.engine(bank, isCached: false, reporting: reporting)
        for step in 0..<2 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        try await expectUntouched(engine, script, steps: 2)
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.failed + statistics.timedOut == 2 && statistics.skipped == 0)
        #expect(lookUpFailures().count == 2)
        // Twice in a row is not three times: the bank is still asked.
        try await engine.updateAdapter(for: user, with: script.batch(user, 2))
        #expect(bank.count(of: .learn) == 3)
    }

    @Test func hangingForAMinute() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.7)
        bank.always(.learn, .hang)
        let engine = try script.engine(
            bank, reasoning: .patient(deadline: .milliseconds(20)), isCached: false, reporting: reporting)
        let others = (0..<6).map { "user \($0)" }
        for step in 0..<5 {
            for user in others {
                // The bank never comes back: that this does is what is tested.
                try await engine.updateAdapter(for: user, with: script.batch(user, step))
            }
        }
        for user in others { try await expectUntouched(engine, script, steps: 5, user) }
        // After three in a row the bank is left alone: 30 updates, three deadlines.
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.timedOut == 3 && statistics.skipped == 27)
        await eventually { bank.hangingCount == 3 }
        #expect(bank.count(of: .learn) == 3)
        #expect(metrics["attune_bank_timeouts_total"] == 3 && lookUpFailures().count == 3)
        bank.always(.learn, nil)
        bank.release()
        await eventually { bank.finishedCount(of: .learn) == 3 }
    }

    /// A bank that blocks its threads, as one over a database's C interface does: updates keep their deadline, though there are
    /// fewer threads than users who ask.
    @Test func blockingItsThreads() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.7)
        let (isReleased, answers) = (Shared(false), Shared(0))
        bank.answerLearn { _ in
            // Until it is released; a test that would wait for it ends at some time all the same.
            for _ in 0..<300_000 where !isReleased.value { Self.blockAMillisecond() }
            answers.change { $0 += 1 }
            return .none
        }
        let engine = try script.engine(
            bank, reasoning: .patient(deadline: .milliseconds(50)), isCached: false, reporting: reporting)
        let users = (0..<12).map { "user \($0)" }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for user in users {
                group.addTask { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
            }
            try await group.waitForAll()
        }
        // The bank has not come back yet.
        #expect(answers.value == 0)
        isReleased.change { $0 = true }
        for user in users { try await expectUntouched(engine, script, steps: 1, user) }
        #expect(engine.reasoningBankStatistics().hinted == 0 && engine.reasoningBankStatistics().timedOut > 0)
    }

    /// Blocks the thread, which asynchronous code should not do.
    private static func blockAMillisecond() { usleep(1000) }

    /// Nobody waits for ever for what a bank does not answer, and nobody has to wait longer than they want.
    @Test func questionsThatHangEnd() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank()
        for call in [ScriptedReasoningBank.Call.learn, .retrieve, .consolidate, .forget] { bank.always(call, .hang) }
        let engine = try script.engine(bank, reasoning: .patient(storeDeadline: .milliseconds(20)))
        for ask in [
            { _ = try await engine.learnStrategy(for: "ada") }, { _ = try await engine.similarAdaptations(to: "ada") },
        ] as [() async throws -> Void] {
            do {
                try await ask()
                Issue.record("an answer from a bank that hangs")
            } catch let error as ReasoningError {
                #expect(error.code == .timedOut)
            }
        }
        for ask in [
            { _ = try await engine.consolidateAdaptationPatterns() }, { _ = try await engine.forget("ada") },
        ] as [@Sendable () async throws -> Void] {
            let hanging = bank.hangingCount
            let task = Task { try await ask() }
            await eventually { bank.hangingCount == hanging + 1 }
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }
        for call in [ScriptedReasoningBank.Call.learn, .retrieve, .consolidate, .forget] { bank.always(call, nil) }
        bank.release()
        #expect(try await engine.consolidateAdaptationPatterns() != nil)
    }

    @Test func leftAloneAndAskedAgain() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.125)
        bank.always(.learn, .fail(BankFault()))
        let clock = ManualClock()
        let engine = try script.engine(bank, update: script.plain, isCached: false, clock: clock)
        func update() async throws -> Double {
            try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)]).learningRate
        }
        for _ in 0..<10 { _ = try await update() }
        #expect(bank.count(of: .learn) == 3)
        // The pauses double: 1, 2, 4, … 32 seconds, and stay there.
        var asked = 3
        for pause in [1.0, 2, 4, 8, 16, 32, 32] {
            clock.advance(seconds: pause - 0.01)
            _ = try await update()
            #expect(bank.count(of: .learn) == asked)
            clock.advance(seconds: 0.02)
            for _ in 0..<3 { _ = try await update() }
            asked += 1
            #expect(bank.count(of: .learn) == asked)
        }
        bank.always(.learn, nil)
        #expect(try await update() == 0.25)
        clock.advance(seconds: 33)
        #expect(try await update() == 0.125)
        // One answer, and failures are counted anew.
        bank.script(.learn, .fail(BankFault()), .fail(BankFault()))
        for rate in [0.25, 0.25, 0.125] { #expect(try await update() == rate) }
    }

    static let garbage: [ScriptedReasoningBank.Garbage] = [
        .notANumber, .infinity, .tooMuch, .absurdRate, .negativeRate, .absurdConfidence, .absurdProbabilities,
        .otherDimension, .brokenPromises,
    ]

    @Test(arguments: garbage)
    func garbageAdvice(kind: ScriptedReasoningBank.Garbage) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.learn, .garbage(kind))
        let engine = try script.engine(bank, isCached: false, reporting: reporting)
        for step in 0..<2 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        try await expectUntouched(engine, script, steps: 2)
        #expect(engine.reasoningBankStatistics().failed == 2 && engine.reasoningBankStatistics().warmStarts == 0)
        #expect(lookUpFailures().count == 2)
        #expect(lookUpFailures()[0].text.utf8.count < 1000)
    }

    @Test(arguments: [ScriptedReasoningBank.Garbage.notANumber, .infinity, .tooMuch])
    func garbagePatterns(kind: ScriptedReasoningBank.Garbage) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.retrieve, .garbage(kind))
        let engine = try script.engine(bank, isCached: false, reporting: reporting)
        for step in 0..<2 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        try await expectUntouched(engine, script, steps: 2)
        #expect(engine.reasoningBankStatistics().failed == 2 && lookUpFailures().count == 2)
    }

    /// Patterns of these kinds are no reason to refuse an answer; where nothing else advises, they stay within bounds.
    @Test(arguments: [
        ScriptedReasoningBank.Garbage.absurdRate, .negativeRate, .absurdConfidence, .brokenPromises, .longText,
    ])
    func strangePatterns(kind: ScriptedReasoningBank.Garbage) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.retrieve, .garbage(kind))
        let engine = try script.engine(bank, update: script.plain, isCached: false)
        for step in 0..<3 {
            let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)])
            #expect(report.learningRate >= 0.24 && report.learningRate <= 1)
        }
        #expect(engine.reasoningBankStatistics().failed == 0)
    }

    /// Of a text of a million characters the beginning is read, as far as whole sentences.
    @Test func longAdvice() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.learn, .garbage(.longText))
        let engine = try script.engine(bank, update: script.plain)
        func rate(_ user: String) async throws -> Double {
            try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)]).learningRate
        }
        #expect(try await rate(user) == 0.25)
        #expect(engine.reasoningBankStatistics().hintsIgnored == 1)
        let sentence = "Set the learning rate to 0.125. "
        bank.answerLearn { _ in StrategyAdvice(confidence: 1, sentence: String(repeating: sentence, count: 30_000)) }
        #expect(try await rate("bob") == 0.125)
        bank.answerLearn { _ in StrategyAdvice(confidence: 1, sentence: String(repeating: sentence, count: 40_000)) }
        #expect(try await rate("eve") == 0.25)
        #expect(engine.reasoningBankStatistics().failed == 1)
    }

    /// Numbers that no hint may hold are not followed; the bounds are those of the resolver.
    @Test func absurdHints() async throws {
        let script = try Script()
        for (hint, rate) in [
            (Adjustment.value(1e30), 1.0), (.value(-1), 0.25), (.factor(-3), 0.25), (.value(.nan), 0.25),
            (.factor(.infinity), 0.25), (.factor(1e300), 1), (.value(0), 1e-6), (.factor(0), 1e-6),
        ] {
            let bank = ScriptedReasoningBank.advising(
                StrategyAdvice(hints: AdaptationHints(learningRate: hint), confidence: 1))
            let engine = try script.engine(bank, update: script.plain)
            let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
            #expect(abs(report.learningRate / rate - 1) < 1e-6, "\(hint)")
            #expect(engine.reasoningBankStatistics().hintsIgnored == 1, "\(hint)")
        }
    }

    // MARK: - Priors

    private func prior(like prior: AdapterPrior, firstValue: Float) -> AdapterPrior {
        var values = prior.singularValues
        values[0] = firstValue
        return AdapterPrior(
            dimension: prior.dimension, left: prior.left, right: prior.right, singularValues: values, bias: prior.bias,
            discardedTail: prior.discardedTail, shrinkage: prior.shrinkage, donors: prior.donors)
    }

    @Test func priorsThatCannotBe() async throws {
        let script = try Script()
        let good = try script.prior()
        let infinite = prior(like: good, firstValue: .infinity)
        let undefined = prior(like: good, firstValue: .nan)
        let beyond = prior(like: good, firstValue: .greatestFiniteMagnitude)
        let bad: [(String, Initialization, isRefused: Bool)] = [
            ("another dimension", Initialization(prior: try Script(dimension: 21).prior()), true),
            ("infinite", Initialization(prior: infinite), false),
            ("NaN", Initialization(prior: undefined), false),
            ("another name", Initialization(id: PriorID(42), prior: good), false),
            ("with a bias where there is none", Initialization(prior: try script.biasedPrior()), false),
            ("another content", Initialization(id: PriorID(good.contentHash), prior: beyond), false),
        ]
        for (name, start, isRefused) in bad {
            let bank = ScriptedReasoningBank.advising(
                StrategyAdvice(
                    hints: AdaptationHints(learningRate: .value(0.125)), confidence: 1, initialization: start))
            let engine = try script.engine(bank, update: script.plain)
            try await engine.createAdapter(for: "created")
            #expect(try await engine.adapter(for: "created")?.stateHash == script.cold("created").stateHash, "\(name)")
            let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
            let adapter = try #require(try await engine.adapter(for: user))
            #expect(adapter.startedFrom == nil, "\(name)")
            // A start that is no good takes nothing from the hints, unless the answer cannot be at all.
            #expect(report.learningRate == (isRefused ? 0.25 : 0.125), "\(name)")
            #expect(engine.reasoningBankStatistics().warmStarts == 0, "\(name)")
            #expect(engine.reasoningBankStatistics().failed == 2, "\(name)")
        }
    }

    /// A prior whose first step leaves the range of Float: the update is refused, and nothing is left of it.
    @Test func aPriorThatCannotBeLearnedFrom() async throws {
        let script = try Script()
        let huge = prior(like: try script.prior(), firstValue: 1e38)
        let bank = ScriptedReasoningBank.advising(StrategyAdvice(initialization: Initialization(prior: huge)))
        let engine = try script.engine(bank, update: script.plain)
        do {
            try await engine.updateAdapter(for: user, with: [script.one(.target, user, 0)])
            Issue.record("an update beyond the range of Float")
        } catch let error as EngineError {
            #expect(error.code == .refusedFeedback)
        }
        #expect(try await engine.adapter(for: user) == nil && engine.slotCount == 0)
        bank.answerLearn { _ in .none }
        engine.clearReasoningBankCache()
        try await engine.updateAdapter(for: user, with: [script.one(.target, user, 0)])
        #expect(try await engine.adapter(for: user)?.version == 1)
    }

    @Test func logsHoldNoUser() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        for call in [ScriptedReasoningBank.Call.learn, .store] { bank.always(call, .fail(BankFault())) }
        let engine = try script.engine(bank, isCached: false, reporting: reporting)
        let user = ReportingTests.user
        for step in 0..<3 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        _ = try await engine.shutdown(deadline: .seconds(60))
        #expect(log.lines.count >= 5)
        for line in log.lines { #expect(!line.text.contains("ada") && !line.text.contains(digest(user).description)) }
    }
}

extension Script {
    /// A prior with a bias, which these adapters do not have.
    func biasedPrior() throws -> AdapterPrior {
        let prior = try prior(7, hasBias: true)
        #expect(prior.bias.contains { $0 != 0 })
        return prior
    }
}
