import LoRA
import Testing

@testable import Personalization

/// The engine over stores that hold something else, are slow, fail or hang.
@Suite(.timeLimit(.minutes(10)))
struct StoreTests {
    // MARK: - What does not fit

    struct Misfit: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var stored: EngineConfiguration
        var code: EngineError.Code
        var named: [String]
    }
    static let misfits: [Misfit] = [
        Misfit(
            testDescription: "dimension",
            stored: EngineConfiguration(dimension: 24, rank: 4, hasBias: false, embeddingModel: "m1"),
            code: .shapeMismatch, named: ["dimension 24", "dimension 20"]),
        Misfit(
            testDescription: "rank",
            stored: EngineConfiguration(dimension: 20, rank: 5, hasBias: false, embeddingModel: "m1"),
            code: .shapeMismatch, named: ["rank 5", "rank 4"]),
        Misfit(
            testDescription: "model",
            stored: EngineConfiguration(dimension: 20, rank: 4, hasBias: false, embeddingModel: "m2"),
            code: .modelMismatch, named: ["m1", "m2"]),
        Misfit(
            testDescription: "alpha",
            stored: EngineConfiguration(dimension: 20, rank: 4, alpha: 2, hasBias: false, embeddingModel: "m1"),
            code: .shapeMismatch,
            named: ["scale 0.5", "scale 1.0"]),
        Misfit(
            testDescription: "scaling",
            stored: EngineConfiguration(
                dimension: 20, rank: 4, alpha: 2, scaling: .rankStabilized, hasBias: false, embeddingModel: "m1"),
            code: .shapeMismatch,
            named: ["rankStabilized", "standard"]),
        Misfit(
            testDescription: "bias",
            stored: EngineConfiguration(dimension: 20, rank: 4, hasBias: true, embeddingModel: "m1"),
            code: .shapeMismatch, named: ["a bias"]),
        Misfit(
            testDescription: "normalised output",
            stored: EngineConfiguration(
                dimension: 20, rank: 4, hasBias: false, normalizesOutput: true, embeddingModel: "m1"),
            code: .shapeMismatch, named: ["normalised output"]),
    ]

    @Test(arguments: misfits)
    func aStoredAdapterThatDoesNotFitIsRefusedWithBothNamed(misfit: Misfit) async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let other = try PersonalizationEngine(configuration: misfit.stored, store: store)
        try await other.createAdapter(for: "ada")
        try await other.checkpoint()
        let engine = try PersonalizationEngine(configuration: script.configuration(embeddingModel: "m1"), store: store)
        let probe = script.probe()
        let calls: [() async throws -> Void] = [
            { _ = try await engine.createAdapter(for: "ada") },
            { _ = try await engine.adapter(for: "ada") },
            { _ = try await engine.personalize(probe, for: "ada") },
            { _ = try await engine.personalize([PersonalizationRequest(user: "ada", embedding: probe)]) },
            { _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)) },
            { _ = try await engine.consolidateAdapter(for: "ada") },
        ]
        for (i, call) in calls.enumerated() {
            let error = await #expect(throws: EngineError.self) { try await call() }
            #expect(error?.code == misfit.code && error?.user == "ada", "call \(i)")
            for name in misfit.named { #expect(error?.message.contains(name) == true, "\(error?.message ?? "none")") }
        }
        #expect(engine.statistics().residentAdapters == 0)
        #expect(engine.statistics().loaded == 0)
        // The stored one is as it was, others are not concerned, and removing it is the way out.
        #expect(try await store.load("ada")?.adapter.version == 0)
        try await engine.updateAdapter(for: "bob", with: script.batch("bob", 0))
        #expect(try await engine.removeAdapter(for: "ada"))
        #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)).version == 1)
    }

    @Test func aRecordOfAnotherUserIsRefused() async throws {
        struct Mixed: AdapterStore {
            let record: StoredAdapter
            func load(_ user: String) async throws -> StoredAdapter? { record }
            func save(_ adapters: [StoredAdapter]) async throws {}
            func remove(_ user: String) async throws -> Bool { false }
            func users() async throws -> [String] { [] }
        }
        let script = try Script()
        let record = StoredAdapter(user: "bob", embeddingModel: "test", adapter: try script.cold("bob"))
        let engine = try script.engine(store: Mixed(record: record))
        let error = await #expect(throws: EngineError.self) {
            _ = try await engine.personalize(script.probe(), for: "ada")
        }
        #expect(error?.code == .storeFailed && error?.user == "ada")
        #expect(engine.statistics().residentAdapters == 0)
    }

    // MARK: - Loading

    @Test func aLoadedAdapterGoesOnWhereItStopped() async throws {
        let script = try Script()
        let store = TroubledStore(pauses: 1)
        let history = try script.history("ada", steps: 6)
        for step in 0..<6 {
            let engine = try script.engine(store: store)
            #expect(
                try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)).version == UInt64(step + 1))
            #expect(try await engine.adapter(for: "ada")?.stateHash == history[step + 1].stateHash)
            #expect(try await engine.checkpoint() == 1)
            #expect(engine.statistics().loaded == (step == 0 ? 0 : 1))
        }
    }

    @Test func aStoreThatThrowsOnceFailsThatCallAloneAndChangesNothing() async throws {
        let script = try Script()
        let store = TroubledStore()
        let first = try script.engine(store: store)
        try await first.updateAdapter(for: "ada", with: script.batch("ada", 0))
        try await first.checkpoint()
        let engine = try script.engine(store: store)
        let probe = script.probe()
        let calls: [() async throws -> Void] = [
            { _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 1)) },
            { _ = try await engine.personalize(probe, for: "ada") },
            { _ = try await engine.personalize([PersonalizationRequest(user: "ada", embedding: probe)]) },
            { _ = try await engine.adapter(for: "ada") },
            { _ = try await engine.createAdapter(for: "ada") },
        ]
        for (i, call) in calls.enumerated() {
            store.fail(.load, with: TroubledStore.Fault())
            let error = await #expect(throws: EngineError.self) { try await call() }
            #expect(
                error?.code == .storeFailed && error?.cause is TroubledStore.Fault && error?.user == "ada", "call \(i)")
        }
        #expect(engine.statistics() == EngineStatistics(failedUpdates: 1))
        store.fail(.load, with: TroubledStore.Fault())
        let many = await #expect(throws: EngineError.self) {
            let requests = ["ada", "bob"].map { PersonalizationRequest(user: $0, embedding: probe) }
            _ = try await engine.personalize([requests[0], requests[0], requests[1]])
        }
        #expect(many?.position == 0 && many?.user == "ada")
        #expect(try await engine.updateAdapter(for: "ada", with: script.batch("ada", 1)).version == 2)
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 2)[2].stateHash)

        store.fail(.users, with: TroubledStore.Fault())
        let error = await #expect(throws: EngineError.self) { _ = try await engine.users() }
        #expect(error?.code == .storeFailed && error?.user == nil)
        #expect(try await engine.users() == ["ada"])
    }

    @Test func aFailedLoadFailsItsCallerAndNotThoseBehindIt() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let hold = store.hold(.load)
        store.fail(.load, with: TroubledStore.Fault())
        let first = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)) }
        await hold.isReached()
        let second = Task { try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)) }
        await until { engine.waiting(for: "ada") == 1 }
        hold.release()
        await #expect(throws: EngineError.self) { _ = try await first.value }
        #expect(try await second.value.version == 1)
        #expect(store.count(of: .load) == 2)
    }

    @Test func aStoreThatGivesUpByItselfIsAFailureAndNoCancellation() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        store.fail(.load, with: CancellationError())
        let error = await #expect(throws: EngineError.self) {
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        }
        #expect(error?.code == .storeFailed && error?.cause is CancellationError)
    }

    // MARK: - Creating

    @Test func creatingTwiceIsCreatingOnce() async throws {
        let script = try Script()
        let store = TroubledStore(pauses: 2)
        let engine = try script.engine(store: store)
        try await withThrowingTaskGroup(of: UInt64.self) { group in
            for _ in 0..<20 { group.addTask { try await engine.createAdapter(for: "ada") } }
            for try await version in group { #expect(version == 0) }
        }
        #expect(engine.statistics().created == 1)
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.cold("ada").stateHash)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        #expect(try await engine.createAdapter(for: "ada") == 1)
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 1)[1].stateHash)
        // One that is in the store only is loaded, not made anew.
        try await engine.checkpoint()
        let again = try script.engine(store: store)
        #expect(try await again.createAdapter(for: "ada") == 1)
        #expect(again.statistics().created == 0 && again.statistics().loaded == 1)
    }

    @Test func aCreatedAdapterIsTheIdentityUntilItLearns() async throws {
        let script = try Script()
        let engine = try script.engine()
        #expect(try await engine.createAdapter(for: "ada") == 0)
        let read = try await engine.personalize(script.probe(), for: "ada")
        #expect(read.embedding == script.probe() && read.version == 0 && read.isPersonalized)
        // Created or not, the first update gives the same bytes.
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 1)[1].stateHash)
    }

    // MARK: - Consolidation

    @Test func consolidatingCountsAsAChangeOnlyWhereThereIsProtection() async throws {
        let script = try Script()
        for strength in [nil, Float(0.1)] {
            var update = UpdateConfiguration()
            update.elasticWeightConsolidation = strength.map { ElasticWeightConsolidation(strength: $0) }
            let engine = try PersonalizationEngine(configuration: script.configuration(update: update))
            await #expect(throws: EngineError.self) { try await engine.consolidateAdapter(for: "nobody") }
            try await engine.createAdapter(for: "ada")
            try await engine.checkpoint()
            // A cold adapter has no protection in use yet.
            #expect(try await engine.consolidateAdapter(for: "ada") == 0)
            #expect(engine.statistics().unsavedAdapters == 0)
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
            try await engine.checkpoint()
            let version = try await engine.consolidateAdapter(for: "ada")
            #expect(version == (strength == nil ? 1 : 2))
            #expect(engine.statistics().unsavedAdapters == (strength == nil ? 0 : 1))
            #expect(try await engine.checkpoint() == (strength == nil ? 0 : 1))
        }
    }
}
