import LoRA
import TensorCore
import Testing

@testable import Personalization

/// What every ``AdapterStore`` promises, checked on any store.
///
/// ```swift
/// try await AdapterStoreContract { try await MyStore() }.check()
/// ```
struct AdapterStoreContract<Store: AdapterStore> {
    let script: Script
    let source: SourceLocation
    /// Makes an empty store.
    let makeStore: () async throws -> Store

    init(sourceLocation: SourceLocation = #_sourceLocation, _ makeStore: @escaping () async throws -> Store) throws {
        script = try Script()
        source = sourceLocation
        self.makeStore = makeStore
    }

    func check() async throws {
        try await checkThatAnEmptyStoreHoldsNothing()
        try await checkThatLoadReturnsWhatWasSaved()
        try await checkThatALaterSaveReplaces()
        try await checkThatLowerVersionsAreRefused()
        try await checkRemoval()
        try await checkTheOrderOfUsers()
        try await checkUnusualIds()
        try await checkConcurrentCalls()
    }

    private func record(_ user: String, _ adapter: LoRAAdapter, model: String = "test") -> StoredAdapter {
        StoredAdapter(user: user, embeddingModel: model, adapter: adapter)
    }

    private func expect(_ holds: Bool, _ what: @autoclosure () -> String) {
        #expect(holds, Comment(rawValue: what()), sourceLocation: source)
    }

    private func expectHeld(_ store: Store, _ user: String, _ adapter: LoRAAdapter?) async throws {
        let found = try await store.load(user)
        expect(found?.adapter.stateHash == adapter?.stateHash, "load of \(user) gives another adapter")
        guard let found, let adapter else { return }
        expect(found.adapter.shape == adapter.shape, "load of \(user) gives another shape")
        expect(found.adapter.identity == adapter.identity, "load of \(user) gives another identity")
        expect(Array(found.user.utf8) == Array(user.utf8), "load of \(user) gives a record of \(found.user)")
    }

    func checkThatAnEmptyStoreHoldsNothing() async throws {
        let store = try await makeStore()
        try await expectHeld(store, "ada", nil)
        expect(try await store.users().isEmpty, "an empty store has users")
        expect(try await store.remove("ada") == false, "something was removed from an empty store")
        try await store.save([])
        expect(try await store.users().isEmpty, "saving nothing made users")
    }

    /// Every kind of state, so that a store that drops one is found out: what is loaded also learns on to the same bytes.
    func checkThatLoadReturnsWhatWasSaved() async throws {
        let store = try await makeStore()
        let updates: [UpdateConfiguration] =
            [.sgd, .momentum(), .adaGrad(), .adam(), .adamW(), .doG(), .riemannian()].map {
                UpdateConfiguration(optimizer: $0, schedule: Schedule(.reduceOnPlateau(patience: 1)))
            } + [UpdateConfiguration(elasticWeightConsolidation: ElasticWeightConsolidation())]
        for (i, update) in updates.enumerated() {
            for hasBias in [false, true] {
                let user = "user \(i) \(hasBias)"
                let shape = try AdapterShape(
                    dimension: script.dimension, rank: 3, alpha: 1.5, scaling: hasBias ? .rankStabilized : .standard,
                    hasBias: hasBias, normalizesOutput: i % 2 == 1)
                var adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: UInt64.max - 3, user: user))
                for step in 0..<4 { _ = try adapter.update(with: script.batch(user, step), configuration: update) }
                if update.elasticWeightConsolidation != nil { adapter.consolidate() }
                _ = try adapter.update(with: script.batch(user, 4), configuration: update)
                try await store.save([record(user, adapter, model: "model \(i) \u{E9}\n\"")])
                try await expectHeld(store, user, adapter)
                let loaded = try await store.load(user)
                expect(loaded?.embeddingModel == "model \(i) \u{E9}\n\"", "the model of \(user) is another")
                let next = try loaded?.adapter.updated(with: script.batch(user, 5), configuration: update).adapter
                let expected = try adapter.updated(with: script.batch(user, 5), configuration: update).adapter
                expect(next?.stateHash == expected.stateHash, "\(user) learns on differently after loading")
                try await expectHeld(store, user, adapter)
            }
        }
    }

    func checkThatALaterSaveReplaces() async throws {
        let store = try await makeStore()
        let states = try script.history("ada", steps: 3)
        let others = try script.history("bob", steps: 1)
        try await store.save([record("ada", states[0]), record("bob", others[1])])
        for state in states {
            try await store.save([record("ada", state)])
            try await expectHeld(store, "ada", state)
        }
        // The same version again is no step back.
        try await store.save([record("ada", states[3])])
        try await expectHeld(store, "ada", states[3])
        try await expectHeld(store, "bob", others[1])
        expect(try await store.users() == ["ada", "bob"], "users are listed more than once, or not at all")
    }

    func checkThatLowerVersionsAreRefused() async throws {
        let store = try await makeStore()
        let states = try script.history("ada", steps: 5)
        let others = try script.history("bob", steps: 2)
        try await store.save([record("ada", states[3]), record("bob", others[1])])
        func refuse(_ records: [StoredAdapter], _ what: String) async throws {
            let error = await #expect(throws: EngineError.self, sourceLocation: source) {
                try await store.save(records)
            }
            expect(error?.code == .staleVersion, "\(what): not refused as stale")
            expect(error?.user == "ada", "\(what): the error does not name the user")
            // All or nothing.
            try await expectHeld(store, "ada", states[3])
            try await expectHeld(store, "bob", others[1])
            expect(try await store.users() == ["ada", "bob"], "\(what): a part was stored")
        }
        try await refuse([record("ada", states[2])], "a lower version")
        try await refuse([record("bob", others[2]), record("ada", states[2])], "a lower version, last")
        try await refuse([record("ada", states[0]), record("new", others[2])], "a lower version, first")
        try await refuse([record("ada", states[5]), record("ada", states[4])], "a lower version in one call")
        try await store.save([record("ada", states[4]), record("ada", states[5])])
        try await expectHeld(store, "ada", states[5])
    }

    func checkRemoval() async throws {
        let store = try await makeStore()
        let states = try script.history("ada", steps: 2)
        try await store.save([record("ada", states[2]), record("bob", try script.cold("bob"))])
        expect(try await store.remove("ada"), "what was there was not said to be removed")
        expect(try await store.remove("ada") == false, "the same was removed twice")
        try await expectHeld(store, "ada", nil)
        try await expectHeld(store, "bob", try script.cold("bob"))
        expect(try await store.users() == ["bob"], "a removed user is listed")
        // After a removal versions start again.
        try await store.save([record("ada", states[0])])
        try await expectHeld(store, "ada", states[0])
    }

    func checkTheOrderOfUsers() async throws {
        let store = try await makeStore()
        let users = [
            "b", "a", "B", "10", "9", "ab", "a b", "z", "\u{E9}", "e", "f", "\u{FFFD}", "\u{1F469}", "用户", "zz",
        ]
        for user in users { try await store.save([record(user, try script.cold(user))]) }
        let expected = users.sorted { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) }
        expect(try await store.users() == expected, "users are not in the order of their Unicode scalars")
    }

    func checkUnusualIds() async throws {
        let store = try await makeStore()
        let users = [
            "\u{E9}", "e\u{301}", "\u{212B}", "\u{C5}", "\0", "\0\0", "a\0", "a", " ", "../x", "%00", "'", "\"", "\\",
            "\n",
            String(repeating: "x", count: 1024), String(repeating: "x", count: 1023), "\u{FEFF}",
        ]
        for user in users { try await store.save([record(user, try script.cold(user))]) }
        for user in users { try await expectHeld(store, user, try script.cold(user)) }
        let listed = try await store.users().map { Array($0.utf8) }
        let expected = users.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) }
        expect(listed == expected, "ids are changed, merged or out of order: \(listed.count) of \(users.count)")
        for (i, user) in users.enumerated() where i % 2 == 0 {
            expect(try await store.remove(user), "\(user.debugDescription) cannot be removed")
        }
        for (i, user) in users.enumerated() {
            try await expectHeld(store, user, i % 2 == 0 ? nil : try script.cold(user))
        }
    }

    /// Many tasks; each user is written by one of them, and read by all.
    func checkConcurrentCalls() async throws {
        let store = try await makeStore()
        let users = (0..<16).map { "user \($0)" }
        let states = try users.map { try script.history($0, steps: 6) }
        let source = source
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (u, user) in users.enumerated() {
                group.addTask {
                    for state in states[u] {
                        try await store.save([
                            StoredAdapter(user: user, embeddingModel: "test", adapter: state),
                            StoredAdapter(user: "\(user) too", embeddingModel: "test", adapter: state),
                        ])
                        let own = try await store.load(user)
                        #expect(own?.adapter.stateHash == state.stateHash, sourceLocation: source)
                        let other = try await store.load(users[(u + 5) % 16])
                        if let other {
                            let expected = states[(u + 5) % 16][Int(other.adapter.version)].stateHash
                            #expect(other.adapter.stateHash == expected, sourceLocation: source)
                        }
                        let listed = try await store.users()
                        #expect(listed.contains(user), sourceLocation: source)
                    }
                    let gone = try await store.remove("\(user) too")
                    #expect(gone, sourceLocation: source)
                }
            }
            try await group.waitForAll()
        }
        expect(try await store.users() == users.sorted(), "users got lost or came back")
    }
}

@Suite(.timeLimit(.minutes(3)))
struct AdapterStoreContractTests {
    @Test func theStoreInMemoryKeepsTheContract() async throws {
        try await AdapterStoreContract { InMemoryAdapterStore() }.check()
    }

    @Test func aSlowStoreKeepsTheContract() async throws {
        try await AdapterStoreContract { TroubledStore(InMemoryAdapterStore(), pauses: 2) }.check()
    }
}
