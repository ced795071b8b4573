import LoRA
import Testing

@testable import Personalization

@Suite(.timeLimit(.minutes(10)))
struct CancellationTests {
    @Test func aTaskThatWasCancelledBeforeItStartedChangesNothing() async throws {
        let script = try Script()
        let engine = try script.engine()
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let before = try await engine.adapter(for: "ada")?.stateHash
        let statistics = engine.statistics()
        let go = Latch()
        let task = Task {
            await go.wait()
            let results = await engine.updateAdapters(
                ["ada", "new"].map { UserFeedback(user: $0, feedback: script.batch($0, 1)) })
            for result in results {
                #expect(throws: CancellationError.self) { try result.get() }
            }
            _ = try await engine.createAdapter(for: "other")
        }
        task.cancel()
        go.open()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await engine.adapter(for: "ada")?.stateHash == before)
        #expect(try await engine.users() == ["ada"])
        #expect(engine.statistics() == statistics)
    }

    @Test func aTaskThatIsCancelledWhileItWaitsForItsTurnChangesNothing() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let hold = store.hold(.load)
        let tasks = Shared<[Task<UInt64, any Error>]>([])
        let first = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)).version }
        await hold.isReached()
        for i in 1..<30 {
            let task = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", i)).version }
            tasks.change { $0.append(task) }
            await until { engine.waiting(for: "ada") == i }
        }
        for (i, task) in tasks.value.enumerated() where i % 2 == 0 { task.cancel() }
        hold.release()
        #expect(try await first.value == 1)
        var expected = try script.history("ada", steps: 1)[1]
        var version: UInt64 = 1
        for (i, task) in tasks.value.enumerated() {
            if i % 2 == 0 {
                await #expect(throws: CancellationError.self) { _ = try await task.value }
            } else {
                version += 1
                #expect(try await task.value == version)
                expected = try expected.updated(with: script.batch("ada", i + 1), configuration: script.update).adapter
            }
        }
        #expect(try await engine.adapter(for: "ada")?.stateHash == expected.stateHash)
        #expect(engine.statistics().updates == 15)
        #expect(engine.waiting(for: "ada") == 0)
    }

    @Test func whoIsCancelledBehindAHangingJournalIsAnsweredAtOnce() async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try PersonalizationEngine(configuration: script.configuration(), journal: journal)
        journal.set(.waits)
        let first = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)).version }
        await until { journal.isWaitedFor }
        var tasks: [Task<UInt64, any Error>] = []
        for i in 1...300 {
            tasks.append(Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", i)).version })
            await until { engine.waiting(for: "ada") == i }
        }
        for i in 0..<300 where i % 3 != 0 { tasks[i].cancel() }
        for i in 0..<300 where i % 3 != 0 {
            await #expect(throws: CancellationError.self) { _ = try await tasks[i].value }
        }
        // The journal hangs all the time.
        #expect(engine.waiting(for: "ada") == 100)
        journal.set(.works)
        #expect(try await first.value == 1)
        var expected = try script.history("ada", steps: 1)[1]
        for i in 0..<300 where i % 3 == 0 {
            #expect(try await tasks[i].value == UInt64(i / 3 + 2))
            expected = try expected.updated(with: script.batch("ada", i + 1), configuration: script.update).adapter
        }
        #expect(try await engine.adapter(for: "ada")?.stateHash == expected.stateHash)
        #expect(engine.statistics().updates == 101 && engine.waiting(for: "ada") == 0)
    }

    @Test func oneThatIsCancelledWhileItsAdapterIsLoadedChangesNothing() async throws {
        let script = try Script()
        let store = TroubledStore()
        let first = try script.engine(store: store)
        try await first.updateAdapter(for: "ada", with: script.batch("ada", 0))
        try await first.checkpoint()
        let engine = try script.engine(store: store)
        let hold = store.hold(.load)
        let task = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 1)) }
        await hold.isReached()
        task.cancel()
        hold.release()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 1)[1].stateHash)
        #expect(engine.statistics().updates == 0)
    }

    @Test func aCancelledRemovalRemovesNothing() async throws {
        let script = try Script()
        let engine = try script.engine()
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let go = Latch()
        let task = Task {
            await go.wait()
            _ = try await engine.removeAdapter(for: "ada")
        }
        task.cancel()
        go.open()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try await engine.adapter(for: "ada")?.version == 1)
    }
}
