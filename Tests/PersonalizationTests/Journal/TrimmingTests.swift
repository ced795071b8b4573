import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Old entries go from a journal, and nothing else changes.
struct TrimmingTests {
    private let user = "ada"
    private let clock = ManualClock()

    private func engine(
        _ script: Script, _ journal: any FeedbackJournal, store: any AdapterStore = InMemoryAdapterStore(),
        days: Int = 3, bank: ScriptedReasoningBank? = nil, restartsAfter: [Int] = []
    ) throws -> PersonalizationEngine {
        var configuration = script.configuration(update: script.plain)
        configuration.retention = .days(days)
        configuration.reasoningBank = bank
        configuration.reasoning = .patient(restartsAfter: restartsAfter)
        configuration.enableReasoningBankCache = false
        return try PersonalizationEngine(configuration: configuration, store: store, journal: journal, clock: clock)
    }

    private func learn(_ engine: PersonalizationEngine, _ script: Script, _ step: Int) async throws {
        try await engine.updateAdapter(
            for: user, with: [script.one(.ranking, user, step)], id: FeedbackID("\(step)"))
    }

    private func pass(days: Double) { clock.advance(seconds: days * 86_400) }

    @Test func daysAreAtLeastOne() throws {
        let script = try Script()
        for days in [0, -1, .min] {
            let error = #expect(throws: EngineError.self) { try engine(script, InMemoryFeedbackJournal(), days: days) }
            #expect(error?.code == .invalidConfiguration && error?.message.contains("retention") == true)
        }
        for days in [1, .max] { _ = try engine(script, InMemoryFeedbackJournal(), days: days) }
        #expect(JournalRetention.moment(days: 1, before: 86_400_000_007) == 7)
        #expect(JournalRetention.moment(days: .max, before: 0) == .min)
        #expect(JournalRetention.moment(days: 1, before: .min) == .min)
    }

    /// With a piece of feedback that was forgotten, wherever the cut lies before or after it.
    @Test(arguments: [0, 1, 3, 5], 1...6)
    func aForgottenPieceLeavesNoGap(forgotten: Int, cut: Int) async throws {
        let script = try Script()
        let journal = InMemoryFeedbackJournal()
        let store = InMemoryAdapterStore()
        let first = try engine(script, journal, store: store)
        for step in 0..<6 {
            try await learn(first, script, step)
            pass(days: 0.25)
        }
        try await first.forgetFeedback(FeedbackID("\(forgotten)"), of: user)
        pass(days: 0.25)
        try await learn(first, script, 6)
        try await first.checkpoint()
        let expected = try await first.adapter(for: user)?.snapshot()
        let entries = try await journal.entries(of: user, after: nil)
        #expect(entries.count == 7)
        let moment = entries[cut - 1].recordedAt + 1
        let old = entries.filter { $0.recordedAt < moment }
        let dry = try await JournalTrimming.run(store, journal, before: moment, isDryRun: true)
        #expect(try await journal.entries(of: user, after: nil) == entries)
        #expect(try await journal.base(of: user) == nil)
        let done = try await JournalTrimming.run(store, journal, before: moment)
        #expect(done == dry && done.users == 1 && done.entries == old.count && done.failures == [])
        #expect(try await journal.base(of: user)?.adapter.version == old.last?.version)
        #expect(try await journal.entries(of: user, after: nil) == Array(entries.dropFirst(old.count)))
        #expect(try await JournalVerification.run(store, journal).mismatches == [])
        // From the saved adapter, and from the journal alone.
        for store in [store, InMemoryAdapterStore()] {
            let next = try engine(script, journal, store: store)
            #expect(try await next.adapter(for: user)?.snapshot() == expected)
        }
        // The next one to be forgotten is one that is left, or one that is not.
        let next = try engine(script, journal, store: store)
        for step in 0..<7 where step != forgotten {
            if old.contains(where: { $0.id == FeedbackID("\(step)") }) {
                let error = await #expect(throws: EngineError.self) {
                    try await next.forgetFeedback(FeedbackID("\(step)"), of: user)
                }
                #expect(error?.code == .notRetained)
            }
            let again = try await next.updateAdapter(
                for: user, with: [script.one(.ranking, user, step)], id: FeedbackID("\(step)"))
            #expect(again.samples == 0)
        }
        #expect(try await next.adapter(for: user)?.snapshot() == expected)
        try await next.forgetFeedback(FeedbackID("6"), of: user)
        #expect(try await JournalVerification.run(store, journal).mismatches == [])
        let replayed = try engine(script, journal)
        let corrected = try await next.adapter(for: user)?.snapshot()
        #expect(try await replayed.adapter(for: user)?.snapshot() == corrected && corrected != expected)
    }

    /// Entries that are missing are not hidden behind a base.
    @Test func aDamagedJournalIsLeftAsItIs() async throws {
        let script = try Script()
        let journal = InMemoryFeedbackJournal()
        let whole = InMemoryFeedbackJournal()
        let first = try engine(script, whole)
        for step in 0..<5 { try await learn(first, script, step) }
        let entries = try await whole.entries(of: user, after: nil)
        let hash = try JournalAction(encoded: entries[0].action).configuration
        let bytes = try #require(try await whole.content(.configuration, hash))
        try await journal.keep(JournalContent(kind: .configuration, hash: hash, bytes: bytes))
        for var entry in entries where entry.version != 3 {
            _ = try await journal.append(entry, durability: .buffered)
            entry.user = "bob"
            if entry.version < 3 { _ = try await journal.append(entry, durability: .buffered) }
        }
        let store = InMemoryAdapterStore()
        let done = try await JournalTrimming.run(store, journal, before: .max)
        // The others are done.
        #expect(done.failures.map(\.user) == [user] && done.users == 1 && done.entries == 2)
        #expect(try await journal.entries(of: user, after: nil).count == 4)
        #expect(try await journal.base(of: user) == nil)
        #expect(try await store.users() == ["bob"])
        pass(days: 4)
        let error = await #expect(throws: EngineError.self) { try await engine(script, journal).applyRetention() }
        #expect(error?.code == .damagedJournal)
        // What a checkpoint was asked for is done.
        #expect(try await engine(script, journal).checkpoint() == 0)
    }

    private func bank(_ script: Script) throws -> ScriptedReasoningBank {
        let priors = [0: try script.prior(), 2: try script.prior(1), 4: try script.prior(2)]
        let bank = ScriptedReasoningBank()
        bank.answerLearn { task in
            let known = priors.keys.filter { $0 <= task.context.seen }.max()
            return StrategyAdvice(
                hints: AdaptationHints(), confidence: 1,
                initialization: known.flatMap { priors[$0] }.map { Initialization(prior: $0) })
        }
        bank.answerRetrieve { _ in [] }
        return bank
    }

    /// An adapter that was made again, twice, learned all again each time: nothing goes before the second time is old enough.
    @Test func whatWasLearnedAgainStaysUntilThatIsOld() async throws {
        let script = try Script()
        let (journal, store) = (InMemoryFeedbackJournal(), InMemoryAdapterStore())
        let first = try engine(script, journal, store: store, bank: try bank(script), restartsAfter: [2, 4])
        for step in 0..<7 {
            try await learn(first, script, step)
            pass(days: 1)
        }
        #expect(first.reasoningBankStatistics().restarts == 2)
        let expected = try await first.adapter(for: user)?.snapshot()
        // 7 to 1 days old now; the adapter was made again by the third and the fifth, which are 5 and 3 days old.
        let held = try await first.applyRetention()
        #expect(held.entries == 0 && held.users == 0 && held.heldEntries == 4)
        #expect(try await journal.entries(of: user, after: nil).count == 7)
        pass(days: 0.5)
        let done = try await first.applyRetention()
        #expect(done.entries == 5 && done.users == 1 && done.heldEntries == 0)
        #expect(try await journal.entries(of: user, after: nil).map(\.version) == [6, 7])
        #expect(try await JournalVerification.run(store, journal).mismatches == [])
        let replayed = try engine(script, journal)
        #expect(try await replayed.adapter(for: user)?.snapshot() == expected)
    }

    /// An adapter whose first entries are gone is not made again: that could not be replayed.
    @Test func noAdapterIsMadeAgainFromEntriesThatAreGone() async throws {
        let script = try Script()
        let journal = InMemoryFeedbackJournal()
        let first = try engine(script, journal, bank: try bank(script), restartsAfter: [2, 4])
        for step in 0..<4 { try await learn(first, script, step) }
        #expect(first.reasoningBankStatistics().restarts == 1)
        pass(days: 4)
        #expect(try await first.applyRetention().entries == 4)
        for step in 4..<7 { try await learn(first, script, step) }
        #expect(first.reasoningBankStatistics().restarts == 1)
        let expected = try await first.adapter(for: user)?.snapshot()
        let replayed = try engine(script, journal)
        #expect(try await replayed.adapter(for: user)?.snapshot() == expected)
    }

    /// A clock that was put back: nothing younger goes, and what is old waits for it.
    @Test func nothingYoungGoesWithWhatIsOld() async throws {
        let script = try Script()
        let journal = InMemoryFeedbackJournal()
        let first = try engine(script, journal, days: 1)
        try await learn(first, script, 0)
        pass(days: 2)
        try await learn(first, script, 1)
        pass(days: -2)
        try await learn(first, script, 2)
        pass(days: 1.5)
        #expect(try await first.applyRetention().entries == 1)
        pass(days: 1)
        #expect(try await first.applyRetention().entries == 0)
        pass(days: 1)
        #expect(try await first.applyRetention().entries == 2)
    }

    /// What is due in the background does not wait for old entries to go.
    @Test func dueAdaptersAreSavedWhileOldEntriesAreLookedFor() async throws {
        let script = try Script()
        let (journal, store) = (FaultyJournal(), InMemoryAdapterStore())
        var configuration = script.configuration(update: script.plain)
        configuration.retention = .days(1)
        configuration.checkpoints = CheckpointPolicy(updates: 3)
        let engine = try PersonalizationEngine(
            configuration: configuration, store: store, journal: journal, clock: clock)
        journal.lookSlowly()
        for step in 0..<3 { try await learn(engine, script, step) }
        await until { journal.isWaitedFor }
        #expect(try await store.load(user)?.adapter.version == 3)
        for step in 3..<6 { try await learn(engine, script, step) }
        await until { (try? await store.load(user))?.adapter.version == 6 }
        journal.set(.works)
    }
}
