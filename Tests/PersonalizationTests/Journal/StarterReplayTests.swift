import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Users who started from a prior in which somebody was forgotten, made again from another start.
@Suite(.timeLimit(.minutes(10)))
struct StarterReplayTests {
    private let script: Script
    private let journal = InMemoryFeedbackJournal()

    init() throws { script = try Script() }

    private func engine(
        _ journal: any FeedbackJournal, _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) throws -> PersonalizationEngine {
        var configuration = script.configuration()
        change(&configuration)
        return try PersonalizationEngine(configuration: configuration, journal: journal)
    }

    private func learn(_ engine: PersonalizationEngine, _ user: String, _ steps: Range<Int>) async throws {
        for step in steps {
            try await engine.updateAdapter(for: user, with: script.batch(user, step), id: FeedbackID("\(step)"))
        }
    }

    /// Two donors, their merge, and a user who started from it and learned.
    private func taught(_ engine: PersonalizationEngine) async throws -> AdapterPrior {
        for user in ["ada", "bob"] { try await learn(engine, user, 0..<4) }
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1], shrinkage: .none)
        try await engine.createAdapter(for: "zoe", startingFrom: prior)
        try await learn(engine, "zoe", 0..<5)
        return prior
    }

    /// What an engine has that never knew the donors, at a version.
    private func reference(from prior: AdapterPrior?, version: UInt64, steps: Range<Int> = 0..<5) async throws
        -> [UInt8]
    {
        let engine = try engine(InMemoryFeedbackJournal())
        if let prior {
            try await engine.createAdapter(for: "zoe", startingFrom: prior)
        } else {
            try await engine.createAdapter(for: "zoe")
        }
        try await learn(engine, "zoe", steps)
        var adapter = try #require(try await engine.adapter(for: "zoe"))
        adapter.version = version
        return adapter.snapshot()
    }

    @Test func forgettingMakesStartersAgainFromNothing() async throws {
        let engine = try engine(journal) { $0.replaysStarters = true }
        let prior = try await taught(engine)
        let hash = engine.content(prior).hash
        let before = try #require(try await engine.adapter(for: "zoe")).snapshot()
        let receipt = try await engine.forget("ada")
        #expect(receipt.stalePriors == [StalePrior(hash: hash, users: ["zoe"])])
        #expect(receipt.starters.replayed == ["zoe"] && receipt.starters.left.isEmpty && receipt.isErased)
        let expected = try await reference(from: nil, version: 6)
        #expect(try await engine.adapter(for: "zoe")?.snapshot() == expected && expected != before)
        // Nothing of the prior is left, and it stays stale.
        #expect(try await journal.content(.prior, hash) == nil)
        #expect(try await engine.stalePriors().isEmpty)
        #expect(try await engine.isStale(prior))
        // It is what the journal makes, and goes on; what it knew is not learned again.
        let next = try self.engine(journal)
        #expect(try await next.adapter(for: "zoe")?.snapshot() == expected)
        #expect(
            try await next.updateAdapter(for: "zoe", with: script.batch("zoe", 2), id: FeedbackID("2")).samples == 0)
        try await learn(next, "zoe", 5..<6)
        let later = try await reference(from: nil, version: 7, steps: 0..<6)
        #expect(try await next.adapter(for: "zoe")?.snapshot() == later)
        // The donor who is left can be forgotten, and feedback of the one made again too.
        #expect(try await next.forget("bob").stalePriors.isEmpty)
        #expect(try await next.forgetFeedback(FeedbackID("3"), of: "zoe").version == 8)
    }

    @Test func startersAreListedFirstAndMadeAgainFromWhatIsMergedThen() async throws {
        let engine = try engine(journal)
        let prior = try await taught(engine)
        let hash = engine.content(prior).hash
        let receipt = try await engine.forget("ada")
        #expect(receipt.starters.replayed.isEmpty)
        let stale = try await engine.stalePriors()
        #expect(stale == receipt.stalePriors && stale.map(\.users) == [["zoe"]])
        let again = try await engine.mergeAdapters(["bob": 1])
        for (wrong, code) in [
            (prior, EngineError.Code.stalePrior), (try Script(dimension: 24).prior(), .invalidConfiguration),
        ] {
            let error = await #expect(throws: EngineError.self) {
                try await engine.replayStarters(of: stale, from: [hash: wrong])
            }
            #expect(error?.code == code)
        }
        let replay = try await engine.replayStarters(of: stale, from: [hash: again])
        #expect(replay.replayed == ["zoe"] && replay.left.isEmpty)
        let expected = try await reference(from: again, version: 6)
        #expect(try await engine.adapter(for: "zoe")?.snapshot() == expected)
        #expect(try await self.engine(journal).adapter(for: "zoe")?.snapshot() == expected)
        // Now it is the other start that they are in.
        #expect(try await engine.forget("bob").stalePriors.map(\.users) == [["zoe"]])
    }

    @Test func bothStartsOfAnAdapterThatWasMadeAgainAreReplaced() async throws {
        let first = try await taught(try engine(journal))
        let engine = try engine(journal) { configuration in
            configuration.reasoning = .patient(restartsAfter: [2])
            configuration.enableReasoningBankCache = false
        }
        let second = try await engine.mergeAdapters(["ada": 2, "bob": 1], shrinkage: .none)
        let bank = ScriptedReasoningBank()
        bank.answerLearn { task in
            StrategyAdvice(
                hints: AdaptationHints(), confidence: 1,
                initialization: Initialization(prior: task.context.seen < 2 ? first : second))
        }
        bank.answerRetrieve { _ in [] }
        engine.connectReasoningBank(bank)
        for step in 0..<5 {
            try await engine.updateAdapter(for: "max", with: [script.one(.ranking, "max", step)])
        }
        #expect(engine.reasoningBankStatistics().restarts == 1)
        engine.disconnectReasoningBank()
        let successor = try script.prior()
        let names = [first, second].map { engine.content($0).hash }
        #expect(Set(try await engine.forget("bob").stalePriors.map(\.hash)) == Set(names))
        for isCold in [false, true] {
            let replay = try await engine.replayStarters(
                of: names.map { StalePrior(hash: $0, users: ["max"]) }, from: isCold ? [:] : [names[1]: successor])
            // The second time nothing of a stale prior is in it, and it stays what it is.
            #expect(replay.replayed == ["max"] && replay.left.isEmpty)
            var expected = try script.warm("max", successor)
            for step in 0..<5 {
                _ = try expected.update(
                    with: [script.one(.ranking, "max", step)], configuration: script.configuration().update)
            }
            expected.version = isCold ? 7 : 6
            #expect(try await engine.adapter(for: "max")?.snapshot() == expected.snapshot())
        }
    }

    @Test func whoCannotBeMadeAgainIsLeftAsTheyWere() async throws {
        let engine = try engine(journal) { configuration in
            configuration.replaysStarters = true
            configuration.retention = .untilCheckpoint
        }
        _ = try await taught(engine)
        try await engine.checkpoint()
        let before = try await engine.adapter(for: "zoe")?.snapshot()
        let receipt = try await engine.forget("ada")
        #expect(receipt.starters.replayed.isEmpty)
        #expect(receipt.starters.left.map(\.code) == [.notRetained] && receipt.starters.left.map(\.user) == ["zoe"])
        #expect(try await engine.adapter(for: "zoe")?.snapshot() == before)
        #expect(try await engine.stalePriors() == receipt.stalePriors)
        // Who has no adapter any more is not named.
        try await engine.removeAdapter(for: "zoe")
        #expect(try await engine.stalePriors().isEmpty)
    }

    @Test func whatAFailureLeftIsDoneByTheNextCall() async throws {
        let faulty = FaultyJournal()
        let engine = try engine(faulty) { $0.replaysStarters = true }
        _ = try await taught(engine)
        let before = try await engine.adapter(for: "zoe")?.snapshot()
        faulty.failRewriting(true)
        let receipt = try await engine.forget("ada")
        #expect(receipt.starters.left.map(\.code) == [.journalFailed] && receipt.starters.left[0].user == "zoe")
        #expect(try await engine.adapter(for: "zoe")?.snapshot() == before)
        faulty.failRewriting(false)
        let again = try await engine.forget("ada")
        #expect(!again.hadAdapter && again.stalePriors.isEmpty && again.starters.replayed == ["zoe"])
        let expected = try await reference(from: nil, version: 6)
        #expect(try await engine.adapter(for: "zoe")?.snapshot() == expected)
    }

    @Test func withoutAJournalNobodyIsMadeAgain() async throws {
        let engine = try PersonalizationEngine(configuration: script.configuration())
        let error = await #expect(throws: EngineError.self) {
            try await engine.replayStarters(of: [StalePrior(hash: 1, users: ["zoe"])])
        }
        #expect(error?.code == .invalidConfiguration)
        #expect(try await engine.stalePriors().isEmpty)
    }
}
