import LoRA
import Personalization
import TensorCore
import TestSupport
import Testing

@testable import SQLiteStorage

/// One user whom many tasks update, read and forget at once, over a storage file.
@Suite("One user, many tasks", .timeLimit(.minutes(10)))
struct OneUserManyTasksTests {
    /// What raised the user's version, and to what.
    private enum Step: Sendable {
        case update(event: Int)
        case consolidation
        case forgetting(event: Int)
    }
    private static let user = "ada"

    let folder: TemporaryFolder
    let script: ShopScript

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    private static func configuration(_ durability: Durability) -> EngineConfiguration {
        var update = UpdateConfiguration(dimension: ShopScript.dimension, optimizer: .momentum())
        update.elasticWeightConsolidation = ElasticWeightConsolidation()
        return ShopScript.configuration(
            update, durability: durability, checkpoints: CheckpointPolicy(updatesPerUser: 16, updates: 100))
    }

    /// An adapter's bytes without version and checksum.
    private func state(_ adapter: LoRAAdapter?) throws -> [UInt8] {
        var bytes = try #require(adapter).snapshot()
        bytes.removeLast(8)
        bytes.replaceSubrange(48..<56, with: repeatElement(0, count: 8))
        return bytes
    }

    @Test(
        "versions are those of a serial order, and the replay has the bytes of memory",
        arguments: [Durability.buffered, .synced], [1, 2, 3])
    func isSerial(durability: Durability, run: Int) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let configuration = Self.configuration(durability)
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        let (user, script) = (Self.user, script)
        let probe = script.batch("probe", 0)[0].embedding
        let (tasks, rounds) = (12, underSanitizer(6, otherwise: 24))
        let steps = Shared<[UInt64: Step]>([:])
        @Sendable func note(_ version: UInt64, _ step: Step) {
            let before = steps.change { $0.updateValue(step, forKey: version) }
            #expect(before == nil, "version \(version) was given twice")
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<tasks {
                group.addTask {
                    let handle = try engine.handle(for: user)
                    var output: [Float] = []
                    var last: UInt64 = 0
                    @Sendable func event(_ round: Int) -> Int { task * 1000 + round }
                    func see(_ version: UInt64) {
                        #expect(version >= last, "a task sees versions rise")
                        last = version
                    }
                    for round in 0..<rounds {
                        let (event, id) = (event(round), FeedbackID("\(event(round))"))
                        let batch = script.batch(user, event)
                        let report: UpdateReport
                        switch (task + round) % 3 {
                        case 0: report = try await engine.updateAdapter(for: user, with: batch, id: id)
                        case 1: report = try await engine.updateAdapter(for: handle, with: batch, id: id)
                        default:
                            report = try await engine.updateAdapters(
                                [UserFeedback(user: user, feedback: batch, id: id)])[0].get()
                        }
                        #expect(report.samples == batch.count)
                        note(report.version, .update(event: event))
                        see(report.version)
                        see(try await engine.personalize(probe, for: user).version)
                        see(try await engine.personalize(probe, for: handle, into: &output).version)
                        // Sent again: nothing happens.
                        if round % 5 == 1 {
                            let again = try await engine.updateAdapter(for: handle, with: batch, id: id)
                            #expect(again.samples == 0)
                        }
                        if round % 8 == 5 {
                            let version = try await engine.consolidateAdapter(for: user)
                            note(version, .consolidation)
                            see(version)
                        }
                        if round % 6 == 4 {
                            let receipt = try await engine.forgetFeedback(FeedbackID("\(event - 2)"), of: user)
                            note(receipt.version, .forgetting(event: event - 2))
                            see(receipt.version)
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let all = steps.value
        let last = UInt64(all.count)
        #expect(Set(all.keys) == Set(1...last), "versions rise by one")
        let adapter = try #require(try await engine.adapter(for: user))
        #expect(adapter.version == last)
        // The same in the order of versions, by one who never saw what was forgotten.
        let forgotten = Set(all.values.compactMap { if case .forgetting(let event) = $0 { event } else { nil } })
        var serial = LoRAAdapter(
            shape: engine.shape, identity: AdapterIdentity(seed: configuration.seed, user: user))
        for version in 1...last {
            switch all[version] {
            case .update(let event) where !forgotten.contains(event):
                _ = try serial.update(with: script.batch(user, event), configuration: configuration.update)
            case .consolidation: serial.consolidate()
            default: break
            }
        }
        #expect(try state(serial) == state(adapter))
        // In the file, before and after it is opened again, settled or not.
        for settles in [false, true] {
            let open = settles ? try await SQLiteStorage(path: path) : storage
            if settles { try await open.settle() }
            let other = try PersonalizationEngine(configuration: configuration, store: open, journal: open)
            #expect(try await other.adapter(for: user)?.snapshot() == adapter.snapshot())
            #expect(try await JournalVerification.run(open, open).mismatches == [])
            await open.close()
        }
    }

    /// Users of some batches, given together, and the same users one by one at the same time.
    @Test("batches of many users and single updates at once: no update is lost and none is stuck")
    func batchesAmongOthers() async throws {
        let storage = try await folder.storage()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        let users = (0..<20).map { "user \($0)" }
        let script = script
        let rounds = underSanitizer(5, otherwise: 20)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for round in 0..<rounds {
                        // Orders differ, so that batches meet each other's users.
                        let stride = [1, 3, 7, 9, 11, 13, 17, 19][task]
                        let mine = users.indices.map { users[$0 * stride % users.count] }
                        let event = FeedbackID("\(task) \(round)")
                        if task < 4 {
                            let results = await engine.updateAdapters(
                                mine.map { UserFeedback(user: $0, feedback: script.batch($0, round), id: event) })
                            for result in results { #expect(try result.get().samples > 0) }
                        } else {
                            for user in mine {
                                _ = try await engine.updateAdapter(
                                    for: user, with: script.batch(user, round), id: event)
                            }
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        for user in users {
            #expect(try await engine.adapter(for: user)?.version == UInt64(8 * rounds))
            #expect(try await storage.entries(of: user, after: nil).map(\.version) == Array(1...UInt64(8 * rounds)))
        }
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        await storage.close()
    }
}
