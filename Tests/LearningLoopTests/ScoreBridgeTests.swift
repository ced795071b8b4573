import Foundation
import LearningLoop
import LearningRecords
import LoRA
import Personalization
import Reasoning
import SQLiteStorage
import Testing

@Suite("Scores that adapters learn from")
struct ScoreBridgeTests {
    private final class Folder {
        let path = FileManager.default.temporaryDirectory.path + "/attune-loop-\(UUID().uuidString)"
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
        deinit {
            do { try FileManager.default.removeItem(atPath: path) } catch { print("cannot remove \(path): \(error)") }
        }
    }

    private let folder: Folder
    private let now = SystemClock().now

    init() throws { folder = try Folder() }

    private func engine(_ storage: SQLiteStorage?) throws -> PersonalizationEngine {
        let configuration = EngineConfiguration(
            dimension: 8, rank: 2, embeddingModel: "test", seed: 5, update: UpdateConfiguration(dimension: 8),
            durability: storage == nil ? nil : .buffered)
        guard let storage else { return try PersonalizationEngine(configuration: configuration) }
        return try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
    }

    /// What an engine makes of an embedding for somebody.
    private func personalized(_ engine: PersonalizationEngine, _ user: String) async throws -> [Float] {
        try await engine.personalize(embedding(5), for: user).embedding
    }

    private func embedding(_ seed: Int) -> [Float] { (0..<8).map { Float(sin(Double(seed * 31 + $0 * 7))) } }

    /// A call about a subject, embedded.
    private func call(_ number: Int, _ subject: String?, _ store: SQLiteRecordStore) async throws -> RecordID {
        let moment = Timestamp(microseconds: now.microseconds + Int64(number))
        var span = SpanRecord(
            id: RecordID(at: moment), trace: RecordID(at: moment), kind: .modelCall, name: "TEXT", startedAt: moment)
        (span.status, span.context.entity) = (.completed, subject)
        #expect(try await store.store([span]).isEmpty)
        try await store.keep(embedding: embedding(number), .input, of: span.id)
        try await store.keep(embedding: embedding(number + 100), .output, of: span.id)
        return span.id
    }

    @Test("an adapter learns from each score once, as it learns from the same feedback")
    func learnsOnce() async throws {
        let storage = try await SQLiteStorage(path: folder.path + "/a.db")
        let store = try await SQLiteRecordStore(storage)
        let engine = try engine(storage)
        try await store.setConsent(true, of: "ada", to: .personalLearning)
        let names: [(Score.Name, Double, Float)] = [(.thumbs, 1, 1), (.rating, 2, -0.5), (.reward, 0.25, 0.25)]
        let other = try self.engine(nil)
        for (number, (name, value, reward)) in names.enumerated() {
            let span = try await call(number, "ada", store)
            #expect(try await store.store([Score(name, value, of: span, at: now)]).isEmpty)
            _ = try await other.updateAdapter(
                for: "ada",
                with: [
                    Feedback(
                        embedding: embedding(number), signal: .reward(reward, for: .vector(embedding(number + 100))))
                ])
        }
        let bridge = try ScoreBridge(store, engine)
        var expected = ScoreReport()
        expected.learned = 3
        #expect(try await bridge.run() == expected)
        #expect(try await bridge.run() == ScoreReport())
        #expect(try await personalized(engine, "ada") == personalized(other, "ada"))
        let last = try #require(try await store.messages(.scores, after: 0, limit: 10).last).sequence
        #expect(try await engine.position(in: "training-data.scores/personalization") == last)
        #expect(try await store.position(of: "personalization", in: .scores) == last)
        // A bridge that has forgotten how far it came is told all again, and changes nothing.
        let before = try await personalized(engine, "ada")
        var known = ScoreReport()
        known.known = 3
        #expect(try await ScoreBridge(store, engine, consumer: "anew").run() == known)
        #expect(try await personalized(engine, "ada") == before)
        await storage.close()
    }

    @Test(
        "an engine or a store that comes from a backup loses no score and learns none twice", arguments: [true, false])
    func comesBack(engineIsOlder: Bool) async throws {
        let records = try await SQLiteStorage(path: folder.path + "/records.db")
        let store = try await SQLiteRecordStore(records)
        let adapters = try await SQLiteStorage(path: folder.path + "/adapters.db")
        let first = try engine(adapters)
        try await store.setConsent(true, of: "ada", to: .personalLearning)
        func score(_ numbers: Range<Int>, _ store: SQLiteRecordStore) async throws {
            for number in numbers {
                let span = try await call(number, "ada", store)
                #expect(try await store.store([Score(.thumbs, 1, of: span, at: now)]).isEmpty)
            }
        }
        try await score(0..<3, store)
        #expect(try await ScoreBridge(store, first).run().learned == 3)
        try await (engineIsOlder ? adapters : records).backup(to: folder.path + "/older.db")
        try await score(3..<5, store)
        #expect(try await ScoreBridge(store, first).run().learned == 2)
        let learned = try await personalized(first, "ada")

        let older = try await SQLiteStorage(path: folder.path + "/older.db")
        var report = ScoreReport()
        if engineIsOlder {
            let second = try engine(older)
            report.learned = 2
            #expect(try await ScoreBridge(store, second).run() == report)
            #expect(try await personalized(second, "ada") == learned)
        } else {
            // The numbers of the store's outbox begin again where the backup was made.
            let again = try await SQLiteRecordStore(older)
            try await score(5..<6, again)
            report.learned = 1
            #expect(try await ScoreBridge(again, first).run() == report)
            #expect(try await first.adapter(for: "ada")?.version == 6)
            // The engine goes on by them: it is where this store is.
            let last = try #require(try await again.messages(.scores, after: 0, limit: 10).last).sequence
            #expect(try await first.position(in: "training-data.scores/personalization") == last)
        }
        for storage in [records, adapters, older] { await storage.close() }
    }

    @Test("nothing is learned without consent, a subject, embeddings, or a meaning")
    func refusals() async throws {
        let storage = try await SQLiteStorage(path: folder.path + "/b.db")
        let store = try await SQLiteRecordStore(storage)
        let engine = try engine(storage)
        try await store.setConsent(true, of: "ada", to: .personalLearning)
        let (bob, nobody, ada) = (
            try await call(1, "bob", store), try await call(2, nil, store), try await call(3, "ada", store)
        )
        let moment = Timestamp(microseconds: now.microseconds + 4)
        var plain = SpanRecord(
            id: RecordID(at: moment), trace: RecordID(at: moment), kind: .modelCall, name: "TEXT", startedAt: moment)
        (plain.status, plain.context.entity) = (.completed, "ada")
        #expect(try await store.store([plain]).isEmpty)
        let small = try await call(5, "ada", store)
        try await store.keep(embedding: [1, 2], .input, of: small)
        #expect(
            try await store.store(
                [bob, nobody, plain.id, small].map { Score(.thumbs, 1, of: $0, at: now) }
                    + [Score(Score.Name(rawValue: "mood"), 7, of: ada, at: now)]
            ).isEmpty)
        var expected = ScoreReport()
        (expected.withoutConsent, expected.withoutSubject, expected.withoutEmbedding) = (1, 1, 1)
        (expected.refused, expected.others) = (1, 1)
        // Those behind one whose embedding may come yet wait with it.
        var early = ScoreReport()
        (early.withoutConsent, early.withoutSubject) = (1, 1)
        #expect(try await ScoreBridge(store, engine, consumer: "patient").run() == early)
        let bridge = try ScoreBridge(store, engine, patience: .zero)
        #expect(try await bridge.run() == expected)
        #expect(try await personalized(engine, "ada") == embedding(5))
        // Agreeing later does not bring back what was passed over, whoever is told of it again.
        try await store.setConsent(true, of: "bob", to: .personalLearning)
        #expect(try await bridge.run() == ScoreReport())
        #expect(try await ScoreBridge(store, engine, consumer: "anew", patience: .zero).run() == expected)
        // An erased subject's scores are not told any more.
        let again = try await call(6, "ada", store)
        #expect(try await store.store([Score(.thumbs, -1, of: again, at: now)]).isEmpty)
        _ = try await store.erase("ada")
        #expect(try await bridge.run() == ScoreReport())
        await storage.close()
    }

    @Test("an erasure reaches records, files, adapter and what a bank has, and its receipt says so")
    func erases() async throws {
        let storage = try await SQLiteStorage(path: folder.path + "/d.db")
        let store = try await SQLiteRecordStore(storage)
        let engine = try engine(storage)
        let bank = InMemoryReasoningBank()
        engine.connectReasoningBank(bank)
        let recorder = try ModelCallRecorder(store: store)
        let files = RecordFiles(folder: folder.path + "/training_recording")
        try await recorder.enable(.everything, .enhanced(files))
        for (number, subject) in ["ada", "ada", "bob"].enumerated() {
            let call = ModelCall("TEXT", context: SpanContext(entity: subject), externalID: "\(number)")
            _ = await recorder.record(call, input: .text("of \(subject)")) { "answer" }
        }
        #expect(await recorder.flush(within: .seconds(600)))
        let span = try #require(try await store.span(.modelCall, externalID: "0"))
        try await store.keep(embedding: embedding(1), .input, of: span.id)
        try await store.keep(embedding: embedding(2), .output, of: span.id)
        try await store.setConsent(true, of: "ada", to: .personalLearning)
        #expect(try await store.store([Score(.thumbs, 1, of: span.id, comment: "ada's", at: now)]).isEmpty)
        #expect(try await ScoreBridge(store, engine).run().learned == 1)
        try await recorder.disable(.everything, flushWithin: .seconds(600))

        let receipt = try await engine.erase("ada", in: store, files: [files])
        var records = RecordErasure()
        (records.spans, records.contents, records.messages, records.scores, records.embeddings) = (2, 4, 1, 1, 2)
        #expect(receipt.records == records && receipt.files == 2)
        #expect(receipt.adapter.hadAdapter && receipt.adapter.entries == 1 && receipt.adapter.bank != nil)
        #expect(try await personalized(engine, "ada") == embedding(5))
        #expect(try await store.hasConsent(of: "ada", to: .personalLearning) == false)
        #expect(try await store.span(.modelCall, externalID: "2")?.contents.count == 2)
        let again = try await engine.erase("ada", in: store, files: [files])
        #expect(again.records == RecordErasure() && again.files == 0 && !again.adapter.hadAdapter)
        await storage.close()
    }

    @Test("an engine without a journal is refused, and a name that no store could keep")
    func needsAJournal() async throws {
        let storage = try await SQLiteStorage(path: folder.path + "/c.db")
        let store = try await SQLiteRecordStore(storage)
        #expect(throws: RecordError.self) { try ScoreBridge(store, engine(nil)) }
        for name in ["", "a\u{0}", String(repeating: "n", count: 1004)] {
            #expect(throws: RecordError.self) { try ScoreBridge(store, engine(storage), consumer: name) }
        }
        let span = try await call(1, "ada", store)
        #expect(try await store.store([Score(.thumbs, 1, of: span, at: now)]).isEmpty)
        _ = try await ScoreBridge(store, engine(storage), consumer: String(repeating: "n", count: 1003)).run()
        await storage.close()
    }
}
