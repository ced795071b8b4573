public import Personalization
internal import LoRA

/// What every ``AdapterStore`` promises, checked on any store. Needs no test framework:
///
/// ```swift
/// let violations = try await AdapterStoreContract { try await MyStore() }.violations()
/// precondition(violations.isEmpty, "\(violations)")
/// ```
public struct AdapterStoreContract: Sendable {
    /// Makes an empty store.
    let makeStore: @Sendable () async throws -> any AdapterStore

    /// A suite for stores that a closure makes, each empty; called nine times.
    public init(makeStore: @escaping @Sendable () async throws -> any AdapterStore) { self.makeStore = makeStore }

    /// Checks every promise.
    ///
    /// - Returns: The promises that were broken, in the order of the checks; empty for a store that keeps them.
    /// - Throws: What making a store throws, and `CancellationError`. What a store throws is a violation.
    public func violations() async throws -> [ContractViolation] {
        _ = try await makeStore()
        let journal = ContractJournal()
        let script = try AdapterScript()
        let run = Run(makeStore: makeStore, script: script, journal: journal)
        try await journal.check("an empty store holds nothing") { try await run.checkThatAnEmptyStoreHoldsNothing() }
        try await journal.check("load returns what was saved") { try await run.checkThatLoadReturnsWhatWasSaved() }
        try await journal.check("a later save replaces") { try await run.checkThatALaterSaveReplaces() }
        try await journal.check("lower versions are refused") { try await run.checkThatLowerVersionsAreRefused() }
        try await journal.check("removal removes") { try await run.checkRemoval() }
        try await journal.check("users are listed in order") { try await run.checkTheOrderOfUsers() }
        try await journal.check("ids are bytes") { try await run.checkUnusualIds() }
        try await journal.check("all calls may be made from many tasks at once") {
            try await run.checkConcurrentCalls()
        }
        return journal.violations
    }
}

/// One run of the suite.
private struct Run: Sendable {
    let makeStore: @Sendable () async throws -> any AdapterStore
    let script: AdapterScript
    let journal: ContractJournal

    private func record(_ user: String, _ adapter: LoRAAdapter, model: String = "test") -> StoredAdapter {
        StoredAdapter(user: user, embeddingModel: model, adapter: adapter)
    }

    private func expect(_ promise: String, _ holds: Bool, _ seen: @autoclosure () -> String = "it does not hold") {
        journal.expect(promise, holds, "it to hold", saw: seen())
    }

    private func expectHeld(_ store: any AdapterStore, _ user: String, _ adapter: LoRAAdapter?) async throws {
        let found = try await store.load(user)
        let name = user.debugDescription
        journal.expect(
            "load returns exactly what was saved last", found?.adapter.stateHash == adapter?.stateHash,
            adapter.map { "version \($0.version) of \(name)" } ?? "no adapter of \(name)",
            saw: found.map { "version \($0.adapter.version), hash \($0.adapter.stateHash)" } ?? "none")
        guard let found, let adapter else { return }
        expect("load keeps the shape", found.adapter.shape == adapter.shape, "\(found.adapter.shape) for \(name)")
        expect("load keeps the identity", found.adapter.identity == adapter.identity, "\(found.adapter.identity)")
        expect(
            "load returns the user's own record", Array(found.user.utf8) == Array(user.utf8),
            found.user.debugDescription)
    }

    func checkThatAnEmptyStoreHoldsNothing() async throws {
        let store = try await makeStore()
        try await expectHeld(store, "ada", nil)
        expect("an empty store has no users", try await store.users().isEmpty)
        expect("nothing is removed from an empty store", try await store.remove("ada") == false)
        try await store.save([])
        expect("saving nothing makes no users", try await store.users().isEmpty)
    }

    /// Every kind of state, so that a store that drops one is found out: what is loaded also learns on to the same
    /// bytes.
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
                expect(
                    "load keeps the model", loaded?.embeddingModel == "model \(i) \u{E9}\n\"",
                    loaded?.embeddingModel ?? "none")
                let next = try loaded?.adapter.updated(with: script.batch(user, 5), configuration: update).adapter
                let expected = try adapter.updated(with: script.batch(user, 5), configuration: update).adapter
                expect(
                    "what is loaded learns on to the same bytes", next?.stateHash == expected.stateHash,
                    "\(user) with \(update.optimizer)")
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
        let versions = try await store.savedVersions(of: ["nobody", "bob", "ada", "bob"])
        expect("the versions that are there are known", versions == [nil, 1, 3, 1], "\(versions)")
        expect("nobody's versions are none", try await store.savedVersions(of: []).isEmpty)
        // The same version again is no step back.
        try await store.save([record("ada", states[3])])
        try await expectHeld(store, "ada", states[3])
        try await expectHeld(store, "bob", others[1])
        expect("each user is listed once", try await store.users() == ["ada", "bob"])
    }

    func checkThatLowerVersionsAreRefused() async throws {
        let store = try await makeStore()
        let states = try script.history("ada", steps: 5)
        let others = try script.history("bob", steps: 2)
        try await store.save([record("ada", states[3]), record("bob", others[1])])
        func refuse(_ records: [StoredAdapter], _ what: String) async throws {
            let promise = "a lower version is refused as staleVersion, naming the user"
            let error = try await journal.failure(promise, of: what) { try await store.save(records) }
            let engineError = error as? EngineError
            expect(
                promise, error == nil || engineError?.code == .staleVersion && engineError?.user == "ada",
                "\(what): \(String(describing: error))")
            // All or nothing.
            try await expectHeld(store, "ada", states[3])
            try await expectHeld(store, "bob", others[1])
            expect("a refused save stores nothing", try await store.users() == ["ada", "bob"], what)
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
        expect("remove says that something was there", try await store.remove("ada"))
        expect("nothing is removed twice", try await store.remove("ada") == false)
        try await expectHeld(store, "ada", nil)
        try await expectHeld(store, "bob", try script.cold("bob"))
        expect("a removed user is not listed", try await store.users() == ["bob"])
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
        expect("users are listed in the order of their bytes", try await store.users() == expected)
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
        expect(
            "ids are bytes", listed == expected,
            "\(listed.count) users of \(users.count), changed, merged or out of order")
        for (i, user) in users.enumerated() where i % 2 == 0 {
            expect("ids are bytes", try await store.remove(user), "\(user.debugDescription) cannot be removed")
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
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (u, user) in users.enumerated() {
                group.addTask {
                    for state in states[u] {
                        try await store.save([
                            StoredAdapter(user: user, embeddingModel: "test", adapter: state),
                            StoredAdapter(user: "\(user) too", embeddingModel: "test", adapter: state),
                        ])
                        let own = try await store.load(user)
                        expect("a user's own save is seen at once", own?.adapter.stateHash == state.stateHash)
                        let other = try await store.load(users[(u + 5) % 16])
                        if let other {
                            let expected = states[(u + 5) % 16].first { $0.version == other.adapter.version }?.stateHash
                            expect("others' adapters are seen whole", other.adapter.stateHash == expected)
                        }
                        let listed = try await store.users()
                        expect("who has an adapter is listed", listed.contains(user))
                    }
                    let gone = try await store.remove("\(user) too")
                    expect("remove says that something was there", gone)
                }
            }
            try await group.waitForAll()
        }
        expect("users neither get lost nor come back", try await store.users() == users.sorted())
    }
}
