import LoRA
import Telemetry
import Testing

@testable import Personalization

/// Merging users' adapters, and starting others from the result.
@Suite(.timeLimit(.minutes(10)))
struct MergingTests {
    private func taughtEngine(_ script: Script, store: any AdapterStore = InMemoryAdapterStore()) async throws
        -> PersonalizationEngine
    {
        let engine = try script.engine(store: store)
        for user in ["ada", "bob", "eve"] {
            for step in 0..<5 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        return engine
    }

    @Test func aMergeOfOneReproducesItsMapForOthers() async throws {
        let script = try Script()
        let engine = try await taughtEngine(script)
        let prior = try await engine.mergeAdapters(["ada": 1], shrinkage: .none)
        #expect(try await engine.createAdapter(for: "new", startingFrom: prior) == 0)
        let (old, new) = (
            try await engine.personalize(script.probe(), for: "ada"),
            try await engine.personalize(script.probe(), for: "new")
        )
        #expect(new.version == 0 && new.isPersonalized)
        // Float64 through LAPACK and back to Float: a few units in the last place of values below 1.
        for (a, b) in zip(old.embedding, new.embedding) { #expect(abs(a - b) < 1e-5) }
        #expect(old.embedding != script.probe())
    }

    @Test func theSameDonorsGiveTheSamePriorAndKeepTheirAdapters() async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let engine = try await taughtEngine(script, store: store)
        try await engine.checkpoint()
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 2, "eve": -0.5])
        for names in [["eve", "bob", "ada"], ["bob", "eve", "ada"]] {
            var weights: [String: Double] = [:]
            for name in names { weights[name] = ["ada": 1, "bob": 2, "eve": -0.5][name] }
            #expect(try await engine.mergeAdapters(weights) == prior)
        }
        // Donors that have to be loaded first give the same, too.
        #expect(try await script.engine(store: store).mergeAdapters(["ada": 1, "bob": 2, "eve": -0.5]) == prior)
        for user in ["ada", "bob", "eve"] {
            #expect(try await engine.adapter(for: user)?.stateHash == script.history(user, steps: 5)[5].stateHash)
        }
        #expect(engine.statistics().unsavedAdapters == 0)
    }

    @Test func aWarmStartIsThatOfTheValueFormAndCreatingTwiceChangesNothing() async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let engine = try await taughtEngine(script, store: store)
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1], shrinkage: .none)
        let other = try await engine.mergeAdapters(["eve": 1], shrinkage: .none)
        #expect(try await engine.createAdapter(for: "new", startingFrom: prior) == 0)
        let expected = try LoRAAdapter(
            shape: engine.shape, identity: AdapterIdentity(seed: script.seed, user: "new"), startingFrom: prior)
        #expect(try await engine.adapter(for: "new")?.stateHash == expected.stateHash)
        #expect(expected.stateHash != (try script.cold("new").stateHash))

        try await engine.createAdapter(for: "new", startingFrom: other)
        try await engine.createAdapter(for: "new")
        #expect(try await engine.adapter(for: "new")?.stateHash == expected.stateHash)
        try await engine.updateAdapter(for: "new", with: script.batch("new", 0))
        #expect(try await engine.createAdapter(for: "new", startingFrom: other) == 1)
        let taught = try expected.updated(with: script.batch("new", 0), configuration: script.update).adapter
        #expect(try await engine.adapter(for: "new")?.stateHash == taught.stateHash)
        #expect(engine.statistics().created == 4)
        // Also where the adapter is in the store only.
        try await engine.checkpoint()
        let again = try script.engine(store: store)
        #expect(try await again.createAdapter(for: "new", startingFrom: other) == 1)
        #expect(try await again.adapter(for: "new")?.stateHash == taught.stateHash)
    }

    @Test func whatCannotBeMergedOrStartedFromIsRefusedAndReported() async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let metrics = RecordingMetrics()
        let log = RecordingLog()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(), store: store, reporting: Reporting(logs: log, metrics: metrics))
        try await engine.updateAdapter(for: "mia", with: script.batch("mia", 0))
        try await engine.updateAdapter(for: "bob", with: script.batch("bob", 0))
        let unknown = await #expect(throws: EngineError.self) {
            _ = try await engine.mergeAdapters(["mia": 1, "nobody at all": 1])
        }
        #expect(unknown?.code == .unknownUser && unknown?.user == "nobody at all")
        for weights in [[:], ["mia": 1, "bob": -1], ["bob": 1, "mia": Double.nan]] {
            let refused = await #expect(throws: EngineError.self) { _ = try await engine.mergeAdapters(weights) }
            #expect(refused?.code == .refusedMerge && refused?.cause is LoRAError)
            // Weights have no order: who is concerned is said by name.
            #expect(refused?.position == nil && refused?.user == (weights["mia"]?.isNaN == true ? "mia" : nil))
        }
        let invalid = await #expect(throws: EngineError.self) { _ = try await engine.mergeAdapters(["": 1]) }
        #expect(invalid?.code == .invalidUser && invalid?.operation == "mergeAdapters")

        let narrow = try Script(dimension: 9, rank: 3)
        let other = try narrow.engine()
        try await other.updateAdapter(for: "mia", with: narrow.batch("mia", 0))
        let prior = try await other.mergeAdapters(["mia": 1])
        let misfit = await #expect(throws: EngineError.self) {
            try await engine.createAdapter(for: "new", startingFrom: prior)
        }
        #expect(misfit?.code == .refusedMerge && misfit?.user == "new")
        #expect(misfit?.message.contains("9") == true && misfit?.message.contains("20") == true)
        #expect(try await engine.adapter(for: "new") == nil && engine.slotCount == 2)
        #expect(metrics["attune_failures_total"] == 6)
        #expect(metrics["attune_failures_refusedMerge_total"] == 4)
        for line in log.lines { #expect(!line.text.contains("nobody at all") && !line.text.contains("mia")) }
    }
}
