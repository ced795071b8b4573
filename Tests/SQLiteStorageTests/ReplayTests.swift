import LoRA
import Personalization
import SQLiteStorage
import Testing

@Suite("Replay")
struct ReplayTests {
    let folder: TemporaryFolder
    let script: ShopScript

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    static let updates: [UpdateConfiguration] = {
        let optimizers: [Optimizer] = [.sgd, .momentum(), .adaGrad(), .adam(), .adamW(), .doG(), .riemannian()]
        var all = optimizers.map { UpdateConfiguration(dimension: ShopScript.dimension, optimizer: $0) }
        all.append(
            UpdateConfiguration(
                dimension: ShopScript.dimension, schedule: Schedule(.reduceOnPlateau(patience: 1), warmupSteps: 2),
                elasticWeightConsolidation: ElasticWeightConsolidation()))
        all.append(
            UpdateConfiguration(
                dimension: ShopScript.dimension, selfAudit: SelfAudit(share: 0.02),
                // So low that tastes are taken for changed now and then.
                driftForking: DriftForking(threshold: 0.05, minimumUpdates: 3)))
        return all
    }()

    @Test("what a killed process had acknowledged comes back from the journal, to the bit", arguments: updates)
    func recovers(update: UpdateConfiguration) async throws {
        let path = folder.newPath()
        let configuration = ShopScript.configuration(update, durability: .synced)
        let reference = try PersonalizationEngine(configuration: ShopScript.configuration(update))
        do {
            let storage = try await SQLiteStorage(path: path)
            let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
            for engine in [engine, reference] {
                for step in 0..<17 {
                    for user in ["ada", "bob"] {
                        let overrides = UpdateOverrides(learningRate: step == 9 ? 0.125 : nil)
                        _ = try await engine.updateAdapter(
                            for: user, with: script.batch(user, step), overrides: overrides)
                    }
                    // The file has a checkpoint in the middle for one user and none for the other.
                    if step == 8 { try await engine.unloadAdapter(for: "ada") }
                    if step == 11 { try await engine.consolidateAdapter(for: "bob") }
                }
            }
            // No checkpoint: the engine is dropped as it is.
            await storage.close()
        }
        let storage = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        for user in ["ada", "bob"] {
            let expected = try await reference.adapter(for: user)
            #expect(try await engine.adapter(for: user)?.snapshot() == expected?.snapshot())
            if update.driftForking != nil { #expect(try #require(expected).forks > 0) }
        }
        // And it goes on from there.
        for engine in [engine, reference] {
            _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 17))
        }
        let verification = try await JournalVerification.run(storage, storage)
        #expect(verification.mismatches == [])
        #expect(verification.users == 2)
        try await engine.checkpoint()
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        let expected = try await reference.adapter(for: "ada")?.snapshot()
        #expect(try await storage.load("ada")?.adapter.snapshot() == expected)
        await storage.close()
    }

    @Test("an adapter that starts from a prior is replayed from the prior in the file")
    func replaysPriors() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let configuration = ShopScript.configuration()
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        for step in 0..<6 { _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        let prior = try await engine.mergeAdapters(["ada": 1])
        try await engine.createAdapter(for: "bob", startingFrom: prior)
        for step in 0..<5 { _ = try await engine.updateAdapter(for: "bob", with: script.batch("bob", step)) }
        let expected = try await engine.adapter(for: "bob")
        #expect(expected?.startedFrom == prior.contentHash)
        let other = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        #expect(try await other.adapter(for: "bob")?.snapshot() == expected?.snapshot())
        await storage.close()
    }

    @Test("feedback with an id is learned once, also after a restart")
    func learnsOnce() async throws {
        let path = folder.newPath()
        var expected: [UInt8]?
        for run in 0..<2 {
            let storage = try await SQLiteStorage(path: path)
            let engine = try PersonalizationEngine(
                configuration: ShopScript.configuration(), store: storage, journal: storage)
            for step in 0..<9 {
                let report = try await engine.updateAdapter(
                    for: "ada", with: script.batch("ada", step), id: FeedbackID("event \(step)"))
                #expect(report.samples == (run == 0 ? script.batch("ada", step).count : 0))
                #expect(report.version == (run == 0 ? UInt64(step) + 1 : 9))
            }
            #expect(engine.statistics().updates == (run == 0 ? 9 : 0))
            let snapshot = try await engine.adapter(for: "ada")?.snapshot()
            expected = expected ?? snapshot
            #expect(snapshot == expected)
            await storage.close()
        }
    }

    @Test("recovery replays what stands in the journal alone, and saves it")
    func recoversAll() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let configuration = ShopScript.configuration()
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        for step in 0..<4 {
            for user in 0..<5 {
                _ = try await engine.updateAdapter(for: "\(user)", with: script.batch("\(user)", step))
            }
        }
        #expect(try await storage.users() == [])
        #expect(engine.statistics().unsavedEntries == 20)
        let next = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        let report = try await next.recover()
        #expect(report.users == 5 && report.entries == 20)
        #expect(try await storage.users().count == 5)
        let again = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        #expect(try await again.recover().entries == 0)
        await storage.close()
    }

    @Test("adapters are saved in the background when a user's entries are many, or all are")
    func savesInTheBackground() async throws {
        for policy in [
            CheckpointPolicy(updatesPerUser: 5), CheckpointPolicy(updates: 12), CheckpointPolicy(bytes: 1000),
        ] {
            let storage = try await folder.storage()
            let engine = try PersonalizationEngine(
                configuration: ShopScript.configuration(checkpoints: policy), store: storage, journal: storage)
            for step in 0..<16 { _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
            // In the background: soon, not at once.
            for _ in 0..<2000 where try await storage.users().isEmpty { try await Task.sleep(for: .milliseconds(1)) }
            #expect(try await storage.users() == ["ada"], "\(policy)")
            await storage.close()
        }
    }

    @Test("a journal with nothing in it is clean")
    func verifiesNothing() async throws {
        let storage = try await folder.storage()
        #expect(try await JournalVerification.run(storage, storage).users == 0)
        await storage.close()
    }

    @Test("an adapter that is not what its journal gives is found out")
    func findsMismatches() async throws {
        let storage = try await folder.storage()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        for step in 0..<4 { _ = try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        try await engine.checkpoint()
        var other = try #require(try await engine.adapter(for: "ada"))
        _ = try other.update(
            with: script.batch("bob", 4), configuration: UpdateConfiguration(dimension: ShopScript.dimension))
        try await storage.save([
            StoredAdapter(user: "ada", embeddingModel: "test", adapter: other, isJournalled: true)
        ])
        #expect(try await JournalVerification.run(storage, storage).mismatches.map(\.user) == ["ada"])
        await storage.close()
    }
}
