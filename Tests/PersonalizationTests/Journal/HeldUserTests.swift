import LoRA
import TensorCore
import Testing

@testable import Personalization

/// A user in memory who is held, without a line, while the journal has its time.
@Suite(.timeLimit(.minutes(10)))
struct HeldUserTests {
    private let user = "ada"

    private func resident(_ journal: FaultyJournal, _ script: Script) async throws -> PersonalizationEngine {
        let engine = try PersonalizationEngine(configuration: script.configuration(), journal: journal)
        for user in [user, "bob"] { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        return engine
    }

    /// How an update is held.
    enum Way: String, CaseIterable, Sendable { case byID, byHandle, inBatch }

    private func update(
        _ engine: PersonalizationEngine, _ script: Script, _ way: Way, _ step: Int
    ) async throws -> UInt64 {
        let batch = script.batch(user, step)
        switch way {
        case .byID: return try await engine.updateAdapter(for: user, with: batch).version
        case .byHandle: return try await engine.updateAdapter(for: try engine.handle(for: user), with: batch).version
        case .inBatch:
            return try await engine.updateAdapters([UserFeedback(user: user, feedback: batch)])[0].get().version
        }
    }

    @Test(arguments: Way.allCases)
    func whileTheJournalHangsOthersOfTheUserWaitAndOtherUsersGoOn(way: Way) async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try await resident(journal, script)
        let before = try await engine.adapter(for: user)
        journal.set(.waits)
        let held = Task { try await update(engine, script, way, 1) }
        await until { journal.isWaitedFor }
        // What comes next goes through at once: only the one who is held hangs.
        journal.passNext()
        let waiting = Shared<[Task<UInt64, any Error>]>([])
        for step in 2..<12 {
            let task = Task { try await update(engine, script, Way.allCases[step % 3], step) }
            waiting.change { $0.append(task) }
            await until { engine.waiting(for: user) == step - 1 }
        }
        let consolidation = Task { try await engine.consolidateAdapter(for: user) }
        await until { engine.waiting(for: user) == 11 }
        #expect(try await engine.adapter(for: user)?.snapshot() == before?.snapshot())
        #expect(try await engine.personalize(script.probe(), for: user).version == 1)
        // Another user goes on.
        for step in 1..<4 {
            #expect(
                try await engine.updateAdapter(for: "bob", with: script.batch("bob", step)).version == UInt64(step + 1))
        }
        let tasks = waiting.value
        for (i, task) in tasks.enumerated() where i % 2 == 1 { task.cancel() }
        journal.set(.works)
        #expect(try await held.value == 2)
        var expected = try script.history(user, steps: 2)[2]
        for (i, task) in tasks.enumerated() {
            if i % 2 == 1 {
                await #expect(throws: CancellationError.self) { try await task.value }
            } else {
                expected = try expected.updated(with: script.batch(user, i + 2), configuration: script.update).adapter
                #expect(try await task.value == expected.version)
            }
        }
        #expect(try await consolidation.value == 7)
        #expect(try await engine.adapter(for: user)?.snapshot() == expected.snapshot())
        #expect(engine.waiting(for: user) == 0)
        // No line is left behind: the next is held again, and goes through.
        #expect(try await update(engine, script, way, 20) == 8)
        #expect(try await journal.inner.entries(of: user, after: nil).map(\.version) == Array(1...8))
    }

    @Test(arguments: Way.allCases)
    func aJournalThatFailsGivesTheAdapterBackAndLetsTheNextIn(way: Way) async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try await resident(journal, script)
        let before = try #require(try await engine.adapter(for: user))
        let statistics = engine.statistics().updates
        for waits in [false, true] {
            journal.set(waits ? .waits : .fails)
            let held = Task { try await update(engine, script, way, 1) }
            var next: Task<UInt64, any Error>?
            if waits {
                await until { journal.isWaitedFor }
                next = Task { try await update(engine, script, way, 2) }
                await until { engine.waiting(for: user) == 1 }
                // The one who hangs fails, and the journal works for the next.
                journal.passNext()
                journal.set(.fails)
            }
            let error = await #expect(throws: EngineError.self) { try await held.value }
            #expect(error?.code == .journalFailed)
            if let next {
                #expect(try await next.value == 2)
                let expected = try before.updated(with: script.batch(user, 2), configuration: script.update).adapter
                #expect(try await engine.adapter(for: user)?.snapshot() == expected.snapshot())
            } else {
                #expect(try await engine.adapter(for: user)?.snapshot() == before.snapshot())
                #expect(engine.statistics().updates == statistics)
            }
        }
        journal.set(.works)
        #expect(try await update(engine, script, way, 3) == 3)
        #expect(try await journal.inner.entries(of: user, after: nil).map(\.version) == [1, 2, 3])
    }

    /// A refused batch makes no step, and leaves the user free.
    @Test func aRefusedBatchLeavesTheUserFree() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try await resident(journal, script)
        let before = try await engine.adapter(for: user)?.snapshot()
        let wrong = [Feedback(embedding: [1, 2], signal: .target([1, 2]))]
        for way in Way.allCases {
            let error = await #expect(throws: EngineError.self) {
                switch way {
                case .byID: try await engine.updateAdapter(for: user, with: wrong)
                case .byHandle: try await engine.updateAdapter(for: try engine.handle(for: user), with: wrong)
                case .inBatch:
                    _ = try await engine.updateAdapters([UserFeedback(user: user, feedback: wrong)])[0].get()
                }
            }
            #expect(error?.code == .refusedFeedback)
            #expect(try await engine.adapter(for: user)?.snapshot() == before)
        }
        #expect(try await update(engine, script, .byID, 1) == 2)
    }

    /// Of two engines on one journal one is overtaken, and lets go of its adapter: that is counted.
    @Test(arguments: Way.allCases)
    func anAdapterThatIsLetGoOfIsNotCountedAnyMore(way: Way) async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try await resident(journal, script)
        let other = try PersonalizationEngine(configuration: script.configuration(), journal: journal)
        try await other.updateAdapter(for: user, with: script.batch(user, 1))
        let stale = await #expect(throws: EngineError.self) { _ = try await update(engine, script, way, 2) }
        #expect(stale?.code == .staleVersion)
        engine.expectExactCount()
        #expect(try await update(engine, script, way, 2) == 3)
        engine.expectExactCount()
    }
}
