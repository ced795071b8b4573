import LoRA
import Reasoning
import StorageTesting
import Telemetry
import TensorCore
import TestSupport
import Testing

@testable import Personalization

/// Making room while stores hang and fail, users come and go, and tasks give up.
@Suite(.timeLimit(.minutes(10)))
struct ResidencyFaultTests {
    // MARK: - Stores that fail

    @Test func whatCannotBeSavedStaysIsReportedAndIsSavedLater() async throws {
        let script = try Script()
        let (log, store) = (RecordingLog(), TroubledStore())
        let engine = try script.engine(limit: 2, store: store, reporting: Reporting(logs: log))
        let users = (0..<6).map { "\($0)" }
        // Users 2 to 4 need room, one sweep each.
        store.fail(.save, times: 3)
        for user in users.prefix(5) {
            #expect(try await engine.updateAdapter(for: user, with: script.batch(user, 0)).version == 1)
        }
        #expect(engine.residents == Set(users.prefix(5)) && engine.statistics().unsavedAdapters == 5)
        #expect(engine.statistics().evicted == 0 && engine.statistics().failedUpdates == 0)
        #expect(try await store.users().isEmpty)
        let failures = log.lines.filter { $0.level == .error }
        #expect(failures.count == 3 && failures.allSatisfy { $0.metadata["code"] == "storeFailed" })
        #expect(failures.allSatisfy { $0.message.hasPrefix("evict failed") })
        engine.expectExactCount()
        // The store works again: the next who comes makes room for all.
        try await engine.updateAdapter(for: users[5], with: script.batch(users[5], 0))
        #expect(engine.residents == ["4", "5"] && engine.statistics().evicted == 4)
        #expect(log.lines.filter { $0.level == .error }.count == 3)
        for user in users {
            let state = try await engine.adapter(for: user)
            #expect(try state?.stateHash == script.history(user, steps: 1)[1].stateHash)
        }
        engine.expectExactCount()
    }

    /// A full disk, say: one failing call for each who needs room, and not one for each shard.
    @Test func aSweepAsksAFailingStoreOnceAndStillLetsGoOfWhatIsSaved() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(limit: 40, store: store)
        let saved = (0..<20).map { "saved \($0)" }
        for user in saved { try await engine.createAdapter(for: user) }
        try await engine.checkpoint()
        for i in 0..<20 { try await engine.createAdapter(for: "unsaved \(i)") }
        for user in saved.prefix(18) { _ = try await engine.adapter(for: user) }
        // The oldest are now two that are saved, and the unsaved.
        let calls = store.count(of: .save)
        store.fail(.save, times: 64)
        for i in 0..<3 { try await engine.createAdapter(for: "new \(i)") }
        #expect(store.count(of: .save) <= calls + 3)
        #expect(!engine.residents.contains(saved[18]) && !engine.residents.contains(saved[19]))
        #expect(engine.residents.isSuperset(of: (0..<20).map { "unsaved \($0)" }))
        engine.expectExactCount()
    }

    /// Two engines on one store, which is the caller's mistake: only the adapter concerned stays.
    @Test func aStaleAdapterKeepsNobodyElseInMemory() async throws {
        let script = try Script()
        let (log, store) = (RecordingLog(), InMemoryAdapterStore())
        let engine = try script.engine(limit: 2, store: store, reporting: Reporting(logs: log))
        let other = try script.engine(store: store)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        for step in 0..<3 { try await other.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        try await other.checkpoint()
        let neighbours = (0..<10_000).lazy.map { "\($0)" }.filter { engine.shard(of: $0) == engine.shard(of: "ada") }
        for user in neighbours.prefix(12) {
            try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        }
        #expect(engine.residents.contains("ada") && engine.statistics().residentAdapters <= 3)
        #expect(log.lines.contains { $0.metadata["code"] == "staleVersion" })
        #expect(!log.lines.contains { $0.metadata["code"] == "storeFailed" })
        #expect(try await store.load("ada")?.adapter.version == 3)
        for user in neighbours.prefix(12) { #expect(try await engine.adapter(for: user)?.version == 1) }
    }

    @Test func aLoadThatFailsIsReportedAndTheOthersStay() async throws {
        let script = try Script()
        let (log, store) = (RecordingLog(), TroubledStore())
        let first = try script.engine(store: store)
        let users = (0..<5).map { "\($0)" }
        for user in users { try await first.createAdapter(for: user) }
        try await first.checkpoint()
        let engine = try script.engine(limit: 8, store: store, reporting: Reporting(logs: log))
        _ = try await engine.prefetch(Array(users.prefix(2)))
        store.fail(.load, with: TroubledStore.Fault(), TroubledStore.Fault())
        for call in [{ _ = try await engine.prefetch([users[0], users[3]]) }, { _ = try await engine.pin(users[4]) }] {
            let error = await #expect(throws: EngineError.self) { try await call() }
            #expect(error?.code == .storeFailed && error?.cause is TroubledStore.Fault)
        }
        #expect(engine.residents == Set(users.prefix(2)) && log.lines.count == 2)
        #expect(try await engine.prefetch(users) == 5)
        // The pin that failed is none.
        #expect(engine.slotCount == 5)
        for user in users { #expect(try await engine.unloadAdapter(for: user)) }
        #expect(engine.slotCount == 0)
        engine.expectExactCount()
    }

    // MARK: - Stores that hang

    @Test func whileAnAdapterIsSavedNobodyButTheStoreIsWaitedFor() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(limit: 1, store: store)
        let probe = script.probe()
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let hold = store.hold(.save)
        let first = Task { try await engine.updateAdapter(for: "bob", with: script.batch("bob", 0)) }
        await hold.isReached()
        // Both are read, and the one who asked for room is updated: nobody stands in a line.
        #expect(try await engine.personalize(probe, for: "ada").version == 1)
        #expect(try await engine.personalize(probe, for: "bob").version == 1)
        let second = Task { try await engine.updateAdapter(for: "bob", with: script.batch("bob", 1)) }
        await until { engine.statistics().updates == 3 }
        hold.release()
        #expect(try await first.value.version == 1)
        #expect(try await second.value.version == 2)
        engine.expectExactCount()
    }

    enum Meanwhile: CaseIterable { case read, update, adviceFreeUpdateByHandle, removal, unloading, pin, checkpoint }

    @Test(arguments: Meanwhile.allCases)
    func whatHappensToAnAdapterWhileItIsSavedCounts(meanwhile: Meanwhile) async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(limit: 1, store: store)
        let history = try script.history("ada", steps: 2)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let hold = store.hold(.save)
        let other = Task { try await engine.createAdapter(for: "bob") }
        await hold.isReached()
        var version = 1
        var waiting: Task<Bool, any Error>?
        switch meanwhile {
        case .read: #expect(try await engine.personalize(script.probe(), for: "ada").version == 1)
        case .update:
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", 1))
            version = 2
        case .adviceFreeUpdateByHandle:
            try await engine.updateAdapter(for: engine.handle(for: "ada"), with: script.batch("ada", 1))
            version = 2
        case .removal: waiting = Task { try await engine.removeAdapter(for: "ada") }
        case .unloading: waiting = Task { try await engine.unloadAdapter(for: "ada") }
        case .pin: #expect(try await engine.pin("ada"))
        case .checkpoint: waiting = Task { try await engine.checkpoint() == 1 }
        }
        if waiting != nil { await until { engine.storeGate.waiting == 1 } }
        hold.release()
        #expect(try await other.value == 0)
        if let waiting { #expect(try await waiting.value) }
        switch meanwhile {
        case .checkpoint: #expect(engine.residents == ["bob"])
        case .removal, .unloading: #expect(engine.residents == ["bob"] && engine.statistics().evicted == 0)
        default: #expect(engine.residents == ["ada", "bob"])
        }
        engine.expectExactCount()
        try await engine.createAdapter(for: "cy")
        #expect(engine.residents == (meanwhile == .pin ? ["ada", "cy"] : ["cy"]))
        let state = try await engine.adapter(for: "ada")
        #expect(state?.stateHash == (meanwhile == .removal ? nil : history[version].stateHash))
        #expect(try await engine.users() == (meanwhile == .removal ? ["bob", "cy"] : ["ada", "bob", "cy"]))
        engine.expectExactCount()
    }

    /// A store that lists its users and then lets others go first.
    private struct SlowList: AdapterStore {
        let base = InMemoryAdapterStore()
        let isListed = Latch()
        let mayReturn = Latch()
        func load(_ user: String) async throws -> StoredAdapter? { try await base.load(user) }
        func save(_ adapters: [StoredAdapter]) async throws { try await base.save(adapters) }
        func remove(_ user: String) async throws -> Bool { try await base.remove(user) }
        func users() async throws -> [String] {
            let users = try await base.users()
            isListed.open()
            await mayReturn.wait()
            return users
        }
    }

    @Test func whoLeavesMemoryWhileUsersAreListedIsListed() async throws {
        let script = try Script()
        let store = SlowList()
        let engine = try script.engine(limit: 1, store: store)
        try await engine.createAdapter(for: "ada")
        let users = Task { try await engine.users() }
        await until { store.isListed.isOpen }
        try await engine.createAdapter(for: "bob")
        #expect(engine.residents == ["bob"])
        store.mayReturn.open()
        #expect(try await users.value.contains("ada"))
    }

    // MARK: - Banks

    @Test func theUpdateBeforeAnEvictionGoesToTheBankWithoutOutcome() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        var configuration = try script.configuration(limit: 1)
        configuration.reasoningBank = bank
        configuration.reasoning = .patient()
        let engine = try PersonalizationEngine(configuration: configuration, clock: ManualClock())
        for step in 0..<2 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        try await engine.createAdapter(for: "bob")
        #expect(engine.residents == ["bob"])
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        let last = try #require(bank.storedEpisodes.last)
        #expect(bank.storedEpisodes.map(\.version) == [1, 2] && last.outcome == nil)
        for step in 2..<4 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 4)[4].stateHash)
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        #expect(bank.storedEpisodes.map(\.version) == [1, 2, 3])
        engine.expectExactCount()
    }

    // MARK: - The count

    /// Everything that brings adapters into memory or out of it, from several tasks, with failures and cancellations of all kinds.
    @Test(arguments: [(1, 1), (1, 3), (4, 3), (4, 20)])
    func theCountIsThatOfTheAdaptersInMemory(tasks: Int, limit: Int) async throws {
        let seed: UInt64 = 141_421
        let script = try Script(dimension: 12, rank: 2)
        let store = TroubledStore(pauses: tasks == 1 ? 0 : 1)
        let engine = try script.engine(limit: limit, store: store)
        let users = (0..<4 * limit + 8).map { "user \($0)" }
        let bad = [Feedback(embedding: [1], signal: .target([1]))]
        let operations = tasks == 1 ? underSanitizer(300, otherwise: 1_200) : underSanitizer(150, otherwise: 250)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<tasks {
                group.addTask {
                    var generator = PhiloxGenerator(seed: seed, stream: UInt64(worker))
                    for number in 0..<operations {
                        let user = users[generator.integer(below: users.count)]
                        let dice = generator.integer(below: 14)
                        let call = Task {
                            switch dice {
                            case 0: try await engine.createAdapter(for: user)
                            case 1, 2: try await engine.updateAdapter(for: user, with: script.batch(user, number))
                            case 3: try await engine.updateAdapter(for: user, with: bad)
                            case 4: try await engine.updateAdapter(for: user, with: [])
                            case 5: try await engine.removeAdapter(for: user)
                            case 6: try await engine.unloadAdapter(for: user)
                            case 7: try await engine.prefetch(Array(users.prefix(1 + number % 5)) + [user])
                            case 8: try await engine.pin(user)
                            case 9, 10: for user in users { engine.unpin(user) }
                            case 11: try await engine.checkpoint()
                            case 12:
                                try await engine.updateAdapter(
                                    for: engine.handle(for: user), with: script.batch(user, number))
                            default: _ = try await engine.personalize(script.probe(), for: user)
                            }
                        }
                        switch generator.integer(below: 12) {
                        case 0: store.fail(.load, with: TroubledStore.Fault())
                        case 1: store.fail(.save, with: TroubledStore.Fault(), CancellationError())
                        case 2: store.fail(.remove, with: TroubledStore.Fault())
                        case 3: call.cancel()
                        default: break
                        }
                        do {
                            try await call.value
                        } catch is CancellationError {
                        } catch let error as EngineError {
                            #expect([.storeFailed, .refusedFeedback].contains(error.code), "seed \(seed): \(error)")
                        }
                        if tasks == 1 { engine.expectExactCount("seed \(seed), operation \(number)") }
                    }
                }
            }
            try await group.waitForAll()
        }
        engine.expectExactCount("seed \(seed)")
        let evicted = engine.statistics().evicted
        #expect(evicted > 0, "seed \(seed)")
        for user in users { engine.unpin(user) }
        // Whatever failures are left over come to an end.
        for call in [TroubledStore.Call.load, .save, .remove] { store.work(call) }
        try await engine.createAdapter(for: "last")
        #expect(engine.statistics().residentAdapters <= limit, "seed \(seed)")
        for user in users + ["last"] { try await engine.unloadAdapter(for: user) }
        #expect(engine.slotCount == 0 && engine.resident.adapters == 0, "seed \(seed)")
        print("residency: seed \(seed), \(tasks) tasks, limit \(limit): \(evicted) evicted")
    }
}
