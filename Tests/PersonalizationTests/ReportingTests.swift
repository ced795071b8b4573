import LoRA
import TensorCore
import Telemetry
import Testing

@testable import Personalization

/// Log lines and measurements: every failure gives one of each, and none names a user.
@Suite(.timeLimit(.minutes(10)))
struct ReportingTests {
    static let user = "ada.lovelace@example.org"

    struct Failure: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var code: String
        var isStrict = false
        /// Not about one user.
        var isForAll = false
        var call: @Sendable (PersonalizationEngine, TroubledStore, Script) async throws -> Void
    }

    static let failures: [Failure] = [
        Failure(testDescription: "bad feedback", code: "refusedFeedback") { engine, _, script in
            try await engine.updateAdapter(for: user, with: [Feedback(embedding: [1], signal: .target([1]))])
        },
        Failure(testDescription: "bad feedback in a call for many", code: "refusedFeedback") { engine, _, _ in
            _ = try await engine.updateAdapters([
                UserFeedback(user: user, feedback: [Feedback(embedding: [1], signal: .target([1]))])
            ])[0].get()
        },
        Failure(testDescription: "bad embedding", code: "refusedEmbedding") { engine, _, _ in
            _ = try await engine.personalize([1], for: user)
        },
        Failure(testDescription: "bad matrix", code: "refusedEmbedding") { engine, _, _ in
            _ = try await engine.personalize(Matrix(rows: [[1]]), for: user)
        },
        Failure(testDescription: "bad request", code: "refusedEmbedding") { engine, _, _ in
            _ = try await engine.personalize([PersonalizationRequest(user: user, embedding: [1])])
        },
        Failure(testDescription: "bad id in an update", code: "invalidUser", isForAll: true) { engine, _, _ in
            try await engine.updateAdapter(for: "", with: [])
        },
        Failure(testDescription: "bad id in a read", code: "invalidUser", isForAll: true) { engine, _, script in
            _ = try await engine.personalize(script.probe(), for: "")
        },
        Failure(testDescription: "bad id in requests", code: "invalidUser", isForAll: true) { engine, _, script in
            _ = try await engine.personalize([PersonalizationRequest(user: "", embedding: script.probe())])
        },
        Failure(testDescription: "bad id in a removal", code: "invalidUser", isForAll: true) { engine, _, _ in
            try await engine.removeAdapter(for: "")
        },
        Failure(testDescription: "bad id in a creation", code: "invalidUser", isForAll: true) { engine, _, _ in
            try await engine.createAdapter(for: "")
        },
        Failure(testDescription: "nobody in a strict read", code: "unknownUser", isStrict: true) { engine, _, script in
            _ = try await engine.personalize(script.probe(), for: user)
        },
        Failure(testDescription: "nobody in a strict matrix", code: "unknownUser", isStrict: true) {
            engine, _, script in
            _ = try await engine.personalize(Matrix(rows: [script.probe()]), for: user)
        },
        Failure(testDescription: "nobody in a strict update", code: "unknownUser", isStrict: true) {
            engine, _, script in
            try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        },
        Failure(testDescription: "nobody to consolidate", code: "unknownUser") { engine, _, _ in
            try await engine.consolidateAdapter(for: user)
        },
        Failure(testDescription: "a store that cannot load", code: "storeFailed") { engine, store, script in
            store.fail(.load, with: TroubledStore.Fault(text: "no row for \(user)"))
            try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        },
        Failure(testDescription: "a store that cannot load for a read", code: "storeFailed") { engine, store, script in
            store.fail(.load, with: TroubledStore.Fault(text: "no row for \(user)"))
            _ = try await engine.personalize(script.probe(), for: user)
        },
        Failure(testDescription: "a store that cannot remove", code: "storeFailed") { engine, store, _ in
            store.fail(.remove, with: TroubledStore.Fault(text: "no row for \(user)"))
            try await engine.removeAdapter(for: user)
        },
        Failure(testDescription: "a store that cannot list", code: "storeFailed", isForAll: true) { engine, store, _ in
            store.fail(.users, with: TroubledStore.Fault(text: "first row \(user)"))
            _ = try await engine.users()
        },
        Failure(testDescription: "a store that cannot save", code: "storeFailed", isForAll: true) {
            engine, store, script in
            try await engine.createAdapter(for: user)
            store.fail(.save, with: TroubledStore.Fault(text: "row of \(user) is locked"))
            try await engine.checkpoint()
        },
        Failure(testDescription: "a store that gives up by itself", code: "storeFailed") { engine, store, script in
            store.fail(.load, with: CancellationError())
            _ = try await engine.adapter(for: user)
        },
        Failure(testDescription: "a stale version", code: "staleVersion") { engine, store, script in
            try await engine.createAdapter(for: user)
            try await store.save([
                StoredAdapter(user: user, embeddingModel: "test", adapter: try script.history(user, steps: 1)[1])
            ])
            try await engine.checkpoint()
        },
        Failure(testDescription: "another model", code: "modelMismatch") { engine, store, script in
            try await store.save([StoredAdapter(user: user, embeddingModel: "other", adapter: script.cold(user))])
            _ = try await engine.personalize(script.probe(), for: user)
        },
        Failure(testDescription: "another shape", code: "shapeMismatch") { engine, store, script in
            let shape = try AdapterShape(dimension: 7, rank: 2)
            let adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 0, user: user))
            try await store.save([StoredAdapter(user: user, embeddingModel: "test", adapter: adapter)])
            try await engine.createAdapter(for: user)
        },
    ]

    @Test(arguments: failures)
    func everyFailureGivesOneLineAndOneCountAndNamesNobody(failure: Failure) async throws {
        let script = try Script()
        let log = RecordingLog()
        let metrics = RecordingMetrics()
        let store = TroubledStore()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(isStrict: failure.isStrict), store: store,
            reporting: Reporting(logs: log, metrics: metrics))
        let error = await #expect(throws: EngineError.self) { try await failure.call(engine, store, script) }
        #expect(error?.code.description == failure.code)
        #expect(metrics["attune_failures_total"] == 1)
        #expect(metrics["attune_failures_\(failure.code)_total"] == 1)
        let lines = log.lines.filter { $0.level >= .warning }
        #expect(lines.count == 1)
        let line = try #require(lines.first)
        #expect(line.metadata["code"] == failure.code)
        #expect(line.level == (failure.code == "storeFailed" ? .error : .warning))
        #expect(
            line.metadata["user_hash"] == (failure.isForAll ? "none" : String(StableHash.hash(Self.user), radix: 16)))
        for line in log.lines { #expect(!line.text.contains("lovelace"), "\(line.text)") }
        #expect(error.map { !$0.description.contains("lovelace") } ?? false)
        let isUpdate = failure.testDescription.contains("feedback") || failure.testDescription.contains("update")
        #expect(isUpdate == (engine.statistics().failedUpdates == 1) || failure.testDescription.contains("cannot load"))
    }

    @Test func everyFailingShardOfACheckpointIsReported() async throws {
        let script = try Script()
        let metrics = RecordingMetrics()
        let store = TroubledStore()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(), store: store, reporting: Reporting(metrics: metrics))
        for i in 0..<20 { try await engine.createAdapter(for: "user \(i)") }
        store.fail(.save, with: TroubledStore.Fault(), TroubledStore.Fault(), TroubledStore.Fault())
        await #expect(throws: EngineError.self) { try await engine.checkpoint() }
        #expect(metrics["attune_failures_storeFailed_total"] == 3)
    }

    @Test func updatesAreCountedAndTimed() async throws {
        let script = try Script()
        let metrics = RecordingMetrics()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(), reporting: Reporting(metrics: metrics))
        for step in 0..<5 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        try await engine.updateAdapter(for: "ada", with: [])
        #expect(metrics["attune_updates_total"] == 5)
        #expect(metrics.measurements("attune_update_duration").count == 5)
        #expect(metrics.measurements("attune_update_duration").allSatisfy { $0 >= 0 })
        #expect(metrics["attune_failures_total"] == 0)
    }

    @Test func aSinkMayAskTheEngine() async throws {
        final class Asking: MetricsSink {
            let engine = Shared<PersonalizationEngine?>(nil)
            let answers = Shared<[Int]>([])
            func increment(counter label: String, by amount: Int) { ask() }
            func record(timer label: String, nanoseconds: Int64) { ask() }
            private func ask() {
                guard let engine = engine.value else { return }
                answers.change { $0.append(engine.statistics().updates) }
            }
        }
        let script = try Script()
        let sink = Asking()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(), reporting: Reporting(metrics: sink))
        sink.engine.change { $0 = engine }
        defer { sink.engine.change { $0 = nil } }
        for step in 0..<2 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        #expect(sink.answers.value == [1, 1, 2, 2])
    }

    @Test func linesBelowTheLevelAreNotEvenMade() {
        let made = Shared(0)
        func make() -> String {
            made.change { $0 += 1 }
            return "text"
        }
        let log = RecordingLog(level: .error)
        let reporting = Reporting(logs: log)
        reporting.log(.warning, make(), ["key": make()], source: "test")
        #expect(made.value == 0 && log.lines.isEmpty)
        reporting.log(.error, make(), ["key": make()], source: "test")
        #expect(made.value == 2 && log.lines.count == 1)
        // Off: neither lines nor labels.
        let off = Reporting()
        off.log(.critical, make(), ["key": make()], source: "test")
        off.count(make())
        #expect(made.value == 2)
    }
}
