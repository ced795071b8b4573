import LoRA
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Updates that hold their users instead of standing in line, one by one and many together.
struct HeldUpdateTests {
    private func engine(_ journal: FaultyJournal, _ script: Script) throws -> PersonalizationEngine {
        try PersonalizationEngine(configuration: script.configuration(), journal: journal)
    }

    /// Batches of users in memory and new ones, some of them several times in a call.
    private func calls(_ script: Script) -> [[UserFeedback]] {
        var random = PhiloxGenerator(seed: 41, purpose: .simulation)
        var steps: [String: Int] = [:]
        return (0..<6).map { _ in
            (0..<400).map { i in
                let user = "user \(random.integer(below: 4) == 0 ? i % 7 : i % 350)"
                let step = steps[user, default: 0]
                steps[user] = step + 1
                return UserFeedback(
                    user: user, feedback: script.batch(user, step), id: FeedbackID("\(user) \(step)"))
            }
        }
    }

    @Test func manyTogetherGiveTheBytesAndEntriesOfOneByOne() async throws {
        let script = try Script()
        let (together, oneByOne) = (FaultyJournal(), FaultyJournal())
        let (first, second) = (try engine(together, script), try engine(oneByOne, script))
        for call in calls(script) {
            let results = await first.updateAdapters(call)
            #expect(results.count == call.count)
            for (update, result) in zip(call, results) {
                let report = try await second.updateAdapter(for: update.user, with: update.feedback, id: update.id)
                #expect(try result.get() == report)
            }
        }
        let users = try await together.journalledUsers()
        #expect(try await users == oneByOne.journalledUsers() && users.count == 350)
        for user in users {
            #expect(try await first.adapter(for: user)?.snapshot() == second.adapter(for: user)?.snapshot())
            let entries = try await (together.entries(of: user, after: nil), oneByOne.entries(of: user, after: nil))
            #expect(entries.0.map(\.action) == entries.1.map(\.action) && entries.0.map(\.id) == entries.1.map(\.id))
        }
        #expect(first.statistics().updates == second.statistics().updates)
        #expect(first.statistics().unsavedEntries == second.statistics().unsavedEntries)
    }

    @Test func aBatchThatTheJournalFailsIsTakenBack() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try engine(journal, script)
        let users = (0..<20).map { "user \($0)" }
        for user in users { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        var before: [[UInt8]?] = []
        for user in users { before.append(try await engine.adapter(for: user)?.snapshot()) }
        journal.set(.fails)
        let failed = await engine.updateAdapters(
            users.map { UserFeedback(user: $0, feedback: script.batch($0, 1)) })
        for result in failed {
            #expect(throws: EngineError.self) { try result.get() }
        }
        for (user, before) in zip(users, before) { #expect(try await engine.adapter(for: user)?.snapshot() == before) }
        #expect(engine.statistics().updates == users.count && engine.statistics().failedUpdates == users.count)
        journal.set(.works)
        let works = await engine.updateAdapters(users.map { UserFeedback(user: $0, feedback: script.batch($0, 1)) })
        for result in works { #expect(try result.get().version == 2) }
    }

    @Test func whatIsRefusedInABatchConcernsItsUserAlone() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try engine(journal, script)
        for user in ["ada", "bob", "eve"] { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        let bad = [Feedback(embedding: [1], signal: .target([1]))]
        let results = await engine.updateAdapters([
            UserFeedback(user: "ada", feedback: script.batch("ada", 1), id: FeedbackID("one")),
            UserFeedback(user: "bob", feedback: bad),
            UserFeedback(user: "eve", feedback: []),
            UserFeedback(user: "ada", feedback: script.batch("ada", 2), id: FeedbackID("one")),
            UserFeedback(user: "", feedback: script.batch("ada", 1)),
        ])
        #expect(try results[0].get().version == 2)
        let refused = #expect(throws: EngineError.self) { try results[1].get() }
        #expect(refused?.code == .refusedFeedback && refused?.user == "bob")
        #expect(try results[2].get().samples == 0)
        // The same name again: nothing is learned.
        #expect(try results[3].get().samples == 0 && results[3].get().version == 2)
        #expect(throws: EngineError.self) { try results[4].get() }
        #expect(try await engine.updateAdapter(for: "bob", with: script.batch("bob", 1)).version == 2)
    }

    @Test(.timeLimit(.minutes(10)))
    func whoComesWhileAUserIsHeldWaitsAndReadersSeeWhatWas() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try engine(journal, script)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let handle = try engine.handle(for: "ada")
        let before = try await engine.personalize(script.probe(), for: "ada")
        journal.set(.waits)
        let first = Task { try await engine.updateAdapter(for: handle, with: script.batch("ada", 1)) }
        while !journal.isWaitedFor { await Task.yield() }
        let second = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 2)) }
        let third = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 9)) }
        third.cancel()
        #expect(try await engine.personalize(script.probe(), for: "ada") == before)
        // Others are not held.
        journal.set(.works)
        let reports = try await (first.value, second.value)
        await #expect(throws: CancellationError.self) { try await third.value }
        #expect([reports.0.version, reports.1.version].sorted() == [2, 3])
        let replayed = try await JournalReplayer(journal).replay(
            try await journal.entries(of: "ada", after: nil)[...], onto: nil)
        #expect(try await engine.adapter(for: "ada")?.snapshot() == replayed.adapter?.snapshot())
    }
}
