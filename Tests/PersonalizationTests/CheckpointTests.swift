import LoRA
import Testing
@testable import Personalization

/// Saving to a store and removing from it, while updates run and stores fail.
@Suite(.timeLimit(.minutes(10)))
struct CheckpointTests {
    // MARK: - Checkpoints

    @Test func aCheckpointSavesWhatChangedAndNothingElse() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let users = (0..<30).map { "user \($0)" }
        for user in users { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        #expect(engine.statistics().unsavedAdapters == 30)
        #expect(try await engine.checkpoint() == 30)
        #expect(engine.statistics().unsavedAdapters == 0)
        #expect(try await engine.checkpoint() == 0)
        try await engine.updateAdapter(for: users[3], with: script.batch(users[3], 1))
        try await engine.createAdapter(for: "new")
        try await engine.createAdapter(for: users[4])
        _ = try await engine.personalize(script.probe(), for: users[5])
        #expect(try await engine.checkpoint() == 2)
        #expect(try await store.load(users[3])?.adapter.stateHash == script.history(users[3], steps: 2)[2].stateHash)
        #expect(try await store.users() == (users + ["new"]).sorted())
        let again = try script.engine(store: store)
        for user in users {
            let (one, two) = (try await again.adapter(for: user), try await engine.adapter(for: user))
            #expect(one?.stateHash == two?.stateHash)
        }
        #expect(again.statistics().unsavedAdapters == 0)
    }

    @Test func aFailedCheckpointLeavesAdaptersUnsaved() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        store.fail(.save, with: TroubledStore.Fault())
        let error = await #expect(throws: EngineError.self) { try await engine.checkpoint() }
        #expect(error?.code == .storeFailed && error?.cause is TroubledStore.Fault)
        #expect(engine.statistics().unsavedAdapters == 1)
        #expect(try await store.users().isEmpty)
        #expect(try await engine.checkpoint() == 1)
        #expect(try await store.load("ada")?.adapter.version == 1)
    }

    @Test func oneFailedSaveDoesNotKeepOtherAdaptersFromBeingSaved() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let users = (0..<40).map { "user \($0)" }
        for user in users { try await engine.createAdapter(for: user) }
        let shards = Set(users.map { engine.shard(of: $0) }).count
        store.fail(.save, with: TroubledStore.Fault())
        await #expect(throws: EngineError.self) { try await engine.checkpoint() }
        #expect(store.count(of: .save) == shards)
        let unsaved = engine.statistics().unsavedAdapters
        #expect(unsaved > 0 && unsaved < users.count)
        #expect(try await store.users().count == users.count - unsaved)
        #expect(try await engine.checkpoint() == unsaved)
    }

    @Test func aStaleAdapterIsRefusedAndDoesNotKeepItsShardFromBeingSaved() async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let one = try script.engine(store: store)
        let two = try script.engine(store: store)
        // Two engines on one store, which is the caller's mistake: the store keeps the newer version.
        for engine in [one, two] { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)) }
        for step in 1..<4 { try await two.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        try await two.checkpoint()
        let neighbours = (0..<10_000).lazy.map { "user \($0)" }.filter { one.shard(of: $0) == one.shard(of: "ada") }
        let users = Array(neighbours.prefix(3))
        for user in users { try await one.updateAdapter(for: user, with: script.batch(user, 0)) }
        for _ in 0..<2 {
            let error = await #expect(throws: EngineError.self) { try await one.checkpoint() }
            #expect(error?.code == .staleVersion && error?.user == "ada")
            #expect(error?.message.contains("4") == true && error?.message.contains("1") == true)
            #expect(one.statistics().unsavedAdapters == 1)
        }
        #expect(try await store.load("ada")?.adapter.version == 4)
        #expect(try await store.users() == (users + ["ada"]).sorted())
    }

    @Test func anUpdateDuringACheckpointStaysUnsavedUntilTheNext() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let history = try script.history("ada", steps: 2)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let hold = store.hold(.save)
        let checkpoint = Task { try await engine.checkpoint() }
        await hold.isReached()
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 1))
        hold.release()
        #expect(try await checkpoint.value == 1)
        #expect(try await store.load("ada")?.adapter.stateHash == history[1].stateHash)
        #expect(engine.statistics().unsavedAdapters == 1)
        #expect(try await engine.checkpoint() == 1)
        #expect(try await store.load("ada")?.adapter.stateHash == history[2].stateHash)
        #expect(engine.statistics().unsavedAdapters == 0)
    }

    @Test func checkpointsWhileUpdatesRunSaveWholeVersions() async throws {
        let script = try Script()
        let store = TroubledStore(pauses: 1)
        let engine = try script.engine(store: store)
        let users = (0..<8).map { "user \($0)" }
        let steps = 40
        let isDone = Shared(false)
        let states = try users.map { try script.history($0, steps: steps) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<2 {
                group.addTask {
                    while !isDone.value {
                        try await engine.checkpoint()
                        for (u, user) in users.enumerated() {
                            guard let record = try await store.load(user) else { continue }
                            #expect(record.adapter.stateHash == states[u][Int(record.adapter.version)].stateHash)
                        }
                    }
                }
            }
            group.addTask {
                try await withThrowingTaskGroup(of: Void.self) { updates in
                    for user in users {
                        updates.addTask {
                            for step in 0..<steps {
                                try await engine.updateAdapter(for: user, with: script.batch(user, step))
                                if step % 4 == 0 { await Task.yield() }
                            }
                        }
                    }
                    try await updates.waitForAll()
                }
                isDone.change { $0 = true }
            }
            try await group.waitForAll()
        }
        try await engine.checkpoint()
        for (u, user) in users.enumerated() {
            #expect(try await store.load(user)?.adapter.stateHash == states[u][steps].stateHash)
        }
        #expect(engine.statistics().unsavedAdapters == 0)
    }

    // MARK: - Removal

    @Test func aRemovalDuringACheckpointDoesNotBringTheAdapterBack() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let hold = store.hold(.save)
        let checkpoint = Task { try await engine.checkpoint() }
        await hold.isReached()
        let removal = Task { try await engine.removeAdapter(for: "ada") }
        await until { engine.storeGate.waiting == 1 }
        #expect(store.count(of: .remove) == 0)
        hold.release()
        _ = try await checkpoint.value
        #expect(try await removal.value)
        #expect(try await store.users().isEmpty)
        #expect(try await engine.users().isEmpty)
        #expect(try await engine.checkpoint() == 0)
        #expect(try await store.load("ada") == nil)
        #expect(engine.statistics().unsavedAdapters == 0)
    }

    @Test func aCheckpointDuringARemovalDoesNotBringTheAdapterBack() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let hold = store.hold(.remove)
        let removal = Task { try await engine.removeAdapter(for: "ada") }
        await hold.isReached()
        let checkpoint = Task { try await engine.checkpoint() }
        await until { engine.storeGate.waiting == 1 }
        hold.release()
        #expect(try await removal.value)
        #expect(try await checkpoint.value == 0)
        #expect(try await store.load("ada") == nil)
    }

    @Test func aFailedRemovalLeavesTheAdapterWhereItWas() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        try await engine.checkpoint()
        store.fail(.remove, with: TroubledStore.Fault())
        let error = await #expect(throws: EngineError.self) { try await engine.removeAdapter(for: "ada") }
        #expect(error?.code == .storeFailed && error?.user == "ada")
        #expect(try await engine.adapter(for: "ada")?.version == 1)
        #expect(try await store.load("ada")?.adapter.version == 1)
        #expect(try await engine.removeAdapter(for: "ada"))
        #expect(try await engine.removeAdapter(for: "ada") == false)
        #expect(try await engine.adapter(for: "ada") == nil)
        #expect(try await engine.personalize(script.probe(), for: "ada").isPersonalized == false)
    }

    @Test func whoComesAfterARemovalInLineStartsAfresh() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        for step in 0..<3 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        let hold = store.hold(.remove)
        let removal = Task { try await engine.removeAdapter(for: "ada") }
        await hold.isReached()
        let update = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)) }
        await until { engine.waiting(for: "ada") == 1 }
        hold.release()
        #expect(try await removal.value)
        #expect(try await update.value.version == 1)
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 1)[1].stateHash)
    }

    @Test func whatIsLoadedAfterARemovalCountsAsSaved() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let hold = store.hold(.remove)
        let removal = Task { try await engine.removeAdapter(for: "ada") }
        await hold.isReached()
        let load = store.hold(.load)
        let creation = Task { try await engine.createAdapter(for: "ada") }
        await until { engine.waiting(for: "ada") == 1 }
        hold.release()
        _ = try await removal.value
        await load.isReached()
        // Another process stores an adapter of the user meanwhile.
        try await store.save([StoredAdapter(user: "ada", embeddingModel: "test", adapter: script.cold("ada"))])
        load.release()
        #expect(try await creation.value == 0)
        #expect(engine.statistics().unsavedAdapters == 0)
        #expect(engine.statistics().loaded == 1)
    }
}
