import LoRA
import TensorCore
import Testing

@testable import Personalization

/// Bad input, unknown users, bad ids: a typed error that names the place, and nothing changed.
@Suite(.timeLimit(.minutes(10)))
struct RefusalTests {
    struct BadFeedback: Sendable, CustomTestStringConvertible {
        var name: String
        var break_: @Sendable (inout Feedback) -> Void
        var testDescription: String { name }
    }

    static func vector(_ count: Int, _ special: Float? = nil) -> [Float] {
        var values = [Float](repeating: 0.25, count: count)
        if let special { values[count - 1] = special }
        return values
    }

    static let bad: [BadFeedback] =
        [Float.nan, .infinity, -.infinity].flatMap { value in
            [
                BadFeedback(name: "embedding \(value)") { $0.embedding[13] = value },
                BadFeedback(name: "target \(value)") { $0.signal = .target(vector(20, value)) },
                BadFeedback(name: "preferred \(value)") {
                    $0.signal = .preference(.vector(vector(20, value)), over: [.vector(vector(20))])
                },
                BadFeedback(name: "other \(value)") {
                    $0.signal = .ranking(.vector(vector(20)), among: [.vector(vector(20, value))])
                },
                BadFeedback(name: "offset \(value)") {
                    $0.signal = .reward(1, for: .vector(vector(20), offset: value))
                },
                BadFeedback(name: "reward \(value)") { $0.signal = .scaledInput(reward: value) },
                BadFeedback(name: "weight \(value)") { $0.weight = value },
                BadFeedback(name: "propensity \(value)") { $0.propensity = value },
                BadFeedback(name: "completion \(value)") {
                    $0.signal = .watch(WatchEvent(completion: value), of: .vector(vector(20)))
                },
            ]
        }
        + [0, 1, 19, 21, 4_000].flatMap { count in
            [
                BadFeedback(name: "embedding of \(count)") { $0.embedding = vector(count) },
                BadFeedback(name: "target of \(count)") { $0.signal = .target(vector(count)) },
                BadFeedback(name: "item of \(count)") { $0.signal = .reward(1, for: .vector(vector(count))) },
            ]
        } + [
            BadFeedback(name: "negative weight") { $0.weight = -1 },
            BadFeedback(name: "propensity 0") { $0.propensity = 0 },
            BadFeedback(name: "reward 2") { $0.signal = .scaledInput(reward: 2) },
            BadFeedback(name: "overflow in the arithmetic") {
                $0.embedding = [Float](repeating: 1e30, count: 20)
                $0.signal = .target([Float](repeating: -1e30, count: 20))
            },
        ]

    static let optimizers: [UpdateConfiguration] = [
        UpdateConfiguration(),
        UpdateConfiguration(optimizer: .momentum(), schedule: Schedule(.reduceOnPlateau())),
        UpdateConfiguration(optimizer: .adam(), elasticWeightConsolidation: ElasticWeightConsolidation()),
        UpdateConfiguration(optimizer: .doG()),
    ]

    @Test(arguments: bad)
    func badFeedbackIsRefusedWithItsPositionAndChangesNothing(bad: BadFeedback) async throws {
        let script = try Script()
        for update in Self.optimizers {
            let engine = try PersonalizationEngine(configuration: script.configuration(update: update))
            for step in 0..<3 { try await engine.updateAdapter(for: "mia", with: script.batch("mia", step)) }
            if update.elasticWeightConsolidation != nil { try await engine.consolidateAdapter(for: "mia") }
            try await engine.checkpoint()
            let before = try #require(try await engine.adapter(for: "mia"))
            var expected = engine.statistics()

            let good = (0..<4).map { Feedback(embedding: script.probe($0), signal: .target(script.probe($0 + 9))) }
            for position in [0, 2, 3] {
                var batch = good
                bad.break_(&batch[position])
                let error = await #expect(throws: EngineError.self) {
                    try await engine.updateAdapter(for: "mia", with: batch)
                }
                #expect(error?.code == .refusedFeedback && error?.user == "mia", "\(String(describing: error))")
                // Where the sum of the batch overflows, no sample alone is to blame.
                #expect(error?.position == position || (bad.name.hasPrefix("overflow") && error?.position == nil))
                #expect(error?.cause is LoRAError)
                #expect(error.map { !$0.description.contains("mia") } ?? false)
            }
            let after = try #require(try await engine.adapter(for: "mia"))
            #expect(after.stateHash == before.stateHash && after.version == before.version)
            expected.failedUpdates += 3
            #expect(engine.statistics() == expected)
        }
    }

    /// Loss and gradient are finite, the step is taken, and only then a number is beyond Float: everything is taken back.
    @Test(arguments: [optimizers[0], optimizers[1]])
    func anUpdateThatFailsAfterItsStepIsTakenBack(update: UpdateConfiguration) async throws {
        let script = try Script()
        let engine = try PersonalizationEngine(configuration: script.configuration(update: update))
        for step in 0..<3 { try await engine.updateAdapter(for: "mia", with: script.batch("mia", step)) }
        let before = try #require(try await engine.adapter(for: "mia"))
        let huge = Feedback(
            embedding: script.probe().map { $0 * 1e9 }, signal: .target([Float](repeating: 0, count: 20)))
        for batch in [[huge], [huge, huge]] {
            let error = await #expect(throws: EngineError.self) {
                try await engine.updateAdapter(
                    for: "mia", with: batch, overrides: UpdateOverrides(learningRate: 1000, clipThreshold: 1e6))
            }
            #expect(error?.code == .refusedFeedback)
            // The same batch is fine where the step is small, so that it is the step that failed.
            _ = try before.updated(
                with: batch, configuration: update, overrides: UpdateOverrides(learningRate: 1e-9, clipThreshold: 1e-3))
            #expect(try await engine.adapter(for: "mia")?.stateHash == before.stateHash)
        }
        #expect(engine.statistics().failedUpdates == 2 && engine.statistics().updates == 3)
    }

    @Test func theErrorNamesTheBadNumber() async throws {
        let script = try Script()
        let engine = try script.engine()
        var batch = [
            Feedback(embedding: script.probe(), signal: .target(script.probe(1))),
            Feedback(embedding: script.probe(), signal: .target(script.probe(1))),
        ]
        batch[1].embedding[13] = .nan
        let bad = batch
        let update = await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: "mia", with: bad) }
        #expect(update?.position == 1)
        #expect(update?.message.contains("value 13") == true && update?.message.contains("nan") == true)
        #expect((update?.cause as? LoRAError)?.code == .nonFinite)
        let read = await #expect(throws: EngineError.self) {
            _ = try await engine.personalize(bad[1].embedding, for: "mia")
        }
        #expect(read?.message.contains("value 13") == true)
    }

    @Test func refusedRatesAndThresholdsChangeNothing() async throws {
        let script = try Script()
        let engine = try script.engine()
        try await engine.updateAdapter(for: "mia", with: script.batch("mia", 0))
        let before = try await engine.adapter(for: "mia")?.stateHash
        for value in [Float.nan, .infinity, 0, -1] {
            for overrides in [
                UpdateOverrides(learningRate: value), UpdateOverrides(clipThreshold: value),
                UpdateOverrides(consolidationStrength: value == 0 ? -1 : value),
            ] {
                await #expect(throws: EngineError.self) {
                    try await engine.updateAdapter(for: "mia", with: script.batch("mia", 1), overrides: overrides)
                }
                await #expect(throws: EngineError.self) {
                    try await engine.updateAdapter(for: "new", with: script.batch("new", 1), overrides: overrides)
                }
            }
        }
        #expect(try await engine.adapter(for: "mia")?.stateHash == before)
        #expect(try await engine.users() == ["mia"])
    }

    @Test func anEmptyBatchIsANoOpThatReturnsTheCurrentVersion() async throws {
        let script = try Script()
        let engine = try script.engine()
        #expect(try await engine.updateAdapter(for: "nobody", with: []).version == 0)
        #expect(try await engine.users().isEmpty)
        for step in 0..<3 { try await engine.updateAdapter(for: "mia", with: script.batch("mia", step)) }
        try await engine.checkpoint()
        let before = try await engine.adapter(for: "mia")?.stateHash
        let statistics = engine.statistics()
        let report = try await engine.updateAdapter(for: "mia", with: [])
        #expect(report.version == 3 && report.step == 3 && report.samples == 0 && report.lossBefore.isNaN)
        #expect(try await engine.adapter(for: "mia")?.stateHash == before)
        #expect(engine.statistics() == statistics)
        // Also for one whose adapter has to be loaded first.
        let store = InMemoryAdapterStore()
        let first = try script.engine(store: store)
        try await first.updateAdapter(for: "mia", with: script.batch("mia", 0))
        try await first.checkpoint()
        #expect(try await script.engine(store: store).updateAdapter(for: "mia", with: []).version == 1)
    }

    @Test func aRefusedFirstUpdateLeavesNoAdapterBehind() async throws {
        let script = try Script()
        let engine = try script.engine()
        var bad = script.batch("mia", 0)
        bad[0].embedding[0] = .nan
        await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: "mia", with: bad) }
        #expect(try await engine.adapter(for: "mia") == nil)
        #expect(try await engine.users().isEmpty)
        #expect(engine.statistics() == EngineStatistics(failedUpdates: 1))
        #expect(try await engine.checkpoint() == 0)
        // And those that come after it are as if it had never been.
        try await engine.updateAdapter(for: "mia", with: script.batch("mia", 0))
        #expect(try await engine.adapter(for: "mia")?.stateHash == script.history("mia", steps: 1)[1].stateHash)
    }

    @Test func aRefusedFirstUpdateInTheMidstOfOthersLeavesTheirs() async throws {
        let script = try Script()
        let store = TroubledStore(pauses: 2)
        let engine = try script.engine(store: store)
        var bad = script.batch("mia", 0)
        bad[bad.count - 1].embedding[0] = .nan
        let refused = bad
        let succeeded = Shared(0)
        await withTaskGroup(of: Void.self) { group in
            for i in 0..<40 {
                group.addTask {
                    if i % 2 == 0 {
                        await #expect(throws: EngineError.self) {
                            try await engine.updateAdapter(for: "mia", with: refused)
                        }
                    } else if (try? await engine.updateAdapter(for: "mia", with: script.batch("mia", 1))) != nil {
                        succeeded.change { $0 += 1 }
                    }
                }
            }
        }
        #expect(succeeded.value == 20)
        #expect(try await engine.adapter(for: "mia")?.version == 20)
        let statistics = engine.statistics()
        #expect(statistics.created == 1 && statistics.failedUpdates == 20 && statistics.updates == 20)
    }

    // MARK: - Reads

    @Test func badEmbeddingsAreRefusedWithTheirPosition() async throws {
        let script = try Script()
        let engine = try script.engine()
        try await engine.updateAdapter(for: "mia", with: script.batch("mia", 0))
        let before = engine.statistics()
        for user in ["mia", "nobody"] {
            for bad in [[], Self.vector(19), Self.vector(21), Self.vector(20, .nan), Self.vector(20, .infinity)] {
                let alone = await #expect(throws: EngineError.self) { _ = try await engine.personalize(bad, for: user) }
                #expect(alone?.code == .refusedEmbedding && alone?.operation == "personalize" && alone?.user == user)
                let many = await #expect(throws: EngineError.self) {
                    _ = try await engine.personalize([
                        PersonalizationRequest(user: "mia", embedding: script.probe()),
                        PersonalizationRequest(user: "other", embedding: script.probe()),
                        PersonalizationRequest(user: user, embedding: bad),
                    ])
                }
                #expect(many?.code == .refusedEmbedding && many?.position == 2 && many?.user == user)
                guard bad.count == 20 else { continue }
                let rows = try Matrix(rows: [script.probe(), bad, script.probe()])
                let matrix = await #expect(throws: EngineError.self) {
                    _ = try await engine.personalize(rows, for: user)
                }
                #expect(matrix?.code == .refusedEmbedding && matrix?.position == 1 && matrix?.user == user)
            }
            for rows in [0, 3] {
                let matrix = Matrix<Float>(rows: rows, columns: 19)
                let error = await #expect(throws: EngineError.self, "\(rows) rows for \(user)") {
                    _ = try await engine.personalize(matrix, for: user)
                }
                #expect(error?.code == .refusedEmbedding)
            }
        }
        #expect(engine.statistics() == before, "a refused read is none")
    }

    @Test func theFirstBadRequestIsTheOneThatIsNamed() async throws {
        let script = try Script()
        let engine = try script.engine()
        let good = script.probe()
        let bad = Self.vector(20, .nan)
        let requests = [("mia", good), ("bob", bad), ("mia", bad)].map {
            PersonalizationRequest(user: $0, embedding: $1)
        }
        for known in [false, true] {
            if known { for user in ["mia", "bob"] { _ = try await engine.createAdapter(for: user) } }
            let error = await #expect(throws: EngineError.self) { _ = try await engine.personalize(requests) }
            #expect(error?.position == 1 && error?.user == "bob")
        }
    }

    @Test func usersWithoutAnAdapterGetTheirEmbeddingBack() async throws {
        let script = try Script()
        let engine = try script.engine()
        let probe = script.probe()
        let read = try await engine.personalize(probe, for: "nobody")
        #expect(read.embedding == probe && read.version == 0 && !read.isPersonalized && read.user == "nobody")
        let many = try await engine.personalize([PersonalizationRequest(user: "nobody", embedding: probe)])
        #expect(many == [read])
        let matrix = try await engine.personalize(Matrix(rows: [probe]), for: "nobody")
        #expect(matrix.embeddings.row(0) == probe && matrix.version == 0 && !matrix.isPersonalized)
        #expect(try await engine.adapter(for: "nobody") == nil)
        #expect(try await engine.removeAdapter(for: "nobody") == false)
        #expect(try await engine.users().isEmpty)
        #expect(engine.statistics() == EngineStatistics(reads: 3, unpersonalizedReads: 3))
    }

    @Test func aStrictEngineRefusesUsersWithoutAnAdapter() async throws {
        let script = try Script()
        let engine = try script.engine(isStrict: true)
        let probe = script.probe()
        let calls: [() async throws -> Void] = [
            { _ = try await engine.personalize(probe, for: "nobody") },
            { _ = try await engine.personalize(Matrix(rows: [probe]), for: "nobody") },
            { _ = try await engine.personalize([PersonalizationRequest(user: "nobody", embedding: probe)]) },
            { _ = try await engine.updateAdapter(for: "nobody", with: script.batch("nobody", 0)) },
            { _ = try await engine.updateAdapter(for: "nobody", with: []) },
        ]
        for (i, call) in calls.enumerated() {
            let error = await #expect(throws: EngineError.self) { try await call() }
            #expect(error?.code == .unknownUser && error?.user == "nobody", "call \(i)")
        }
        #expect(engine.statistics() == EngineStatistics(failedUpdates: 2))
        #expect(try await engine.users().isEmpty)
        try await engine.createAdapter(for: "mia")
        #expect(try await engine.updateAdapter(for: "mia", with: script.batch("mia", 0)).version == 1)
        #expect(try await engine.personalize(probe, for: "mia").version == 1)
    }

    // MARK: - User ids

    @Test(arguments: ["", String(repeating: "x", count: 1025), String(repeating: "\u{1F469}", count: 257)])
    func badIdsAreRefusedEverywhere(id: String) async throws {
        let script = try Script()
        let engine = try script.engine()
        let probe = script.probe()
        let calls: [() async throws -> Void] = [
            { _ = try await engine.createAdapter(for: id) },
            { _ = try await engine.adapter(for: id) },
            { _ = try await engine.removeAdapter(for: id) },
            { _ = try await engine.personalize(probe, for: id) },
            { _ = try await engine.personalize(Matrix(rows: [probe]), for: id) },
            { _ = try await engine.updateAdapter(for: id, with: script.batch("x", 0)) },
            { _ = try await engine.consolidateAdapter(for: id) },
            { _ = try (await engine.updateAdapters([UserFeedback(user: id, feedback: [])]))[0].get() },
        ]
        for (i, call) in calls.enumerated() {
            let error = await #expect(throws: EngineError.self) { try await call() }
            #expect(error?.code == .invalidUser, "call \(i)")
        }
        let error = await #expect(throws: EngineError.self) {
            _ = try await engine.personalize(
                ["a", id].map { PersonalizationRequest(user: $0, embedding: probe) })
        }
        #expect(error?.code == .invalidUser && error?.position == 1)
    }

    @Test(arguments: [
        "x", String(repeating: "x", count: 1024), "\0", "a\0b", "a\0c", "Ünïcødé", "用户", "👩‍👩‍👧", " ", "../../etc/passwd",
        "'; DROP TABLE adapters; --", "\n", "\u{FEFF}x", "e\u{301}",
    ])
    func anyOtherIdWorks(id: String) async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let engine = try script.engine(store: store)
        try await engine.updateAdapter(for: id, with: script.batch(id, 0))
        try await engine.updateAdapter(for: "a", with: script.batch("a", 0))
        try await engine.checkpoint()
        let again = try script.engine(store: store)
        #expect(
            try await again.users().map { Array($0.utf8) }
                == ["a", id].map { Array($0.utf8) }.sorted {
                    $0.lexicographicallyPrecedes($1)
                })
        #expect(try await again.adapter(for: id)?.stateHash == script.history(id, steps: 1)[1].stateHash)
        #expect(try await again.removeAdapter(for: id))
        #expect(try await again.users() == ["a"])
    }

    // MARK: - Configuration

    @Test(arguments: [
        EngineConfiguration(dimension: 0), EngineConfiguration(dimension: 65_537),
        EngineConfiguration(dimension: 8, rank: 0), EngineConfiguration(dimension: 8, rank: 9),
        EngineConfiguration(dimension: 8, alpha: .nan), EngineConfiguration(dimension: 8, alpha: 0),
        EngineConfiguration(dimension: 8, embeddingModel: ""),
        EngineConfiguration(dimension: 8, embeddingModel: String(repeating: "m", count: 1025)),
        EngineConfiguration(dimension: 8, update: UpdateConfiguration(weightDecay: -1)),
        EngineConfiguration(
            dimension: 8, update: UpdateConfiguration(learningRates: PerObjective(all: .infinity))),
        EngineConfiguration(
            dimension: 8, normalizesOutput: true, update: UpdateConfiguration(certifiesSteps: true)),
    ])
    func badSettingsAreRefusedAtOnce(configuration: EngineConfiguration) {
        let error = #expect(throws: EngineError.self) { try PersonalizationEngine(configuration: configuration) }
        #expect(error?.code == .invalidConfiguration)
    }
}
