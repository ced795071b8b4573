import LoRA
import Personalization
import Testing

@testable import SQLiteStorage

@Suite("Replacing all that there is of a user")
struct ReplacingTests {
    let folder: TemporaryFolder
    let script: ShopScript

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    /// A storage in which two users have learned, the last steps after their adapters were saved.
    private func filled() async throws -> SQLiteStorage {
        let storage = try await folder.storage()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        for step in 0..<10 {
            if step == 6 { try await engine.checkpoint() }
            for user in ["ada", "bob"] {
                _ = try await engine.updateAdapter(
                    for: user, with: script.batch(user, step), id: FeedbackID("event \(step)"))
            }
        }
        return storage
    }

    private func current(_ user: String, _ storage: SQLiteStorage) async throws -> StoredAdapter {
        let record = try #require(try await storage.record(of: user))
        return try await JournalReader(storage).current(record)
    }

    @Test("an adapter becomes base and saved adapter, and the entries go", arguments: [true, false])
    func replaces(keepsFeedbackIDs: Bool) async throws {
        let storage = try await filled()
        let bob = try #require(try await storage.record(of: "bob"))
        var record = try await current("ada", storage)
        #expect(record.adapter.version == 10)
        record.adapter = try record.adapter.changed(rank: 2).adapter
        #expect(try await storage.replace(with: record, keepsFeedbackIDs: keepsFeedbackIDs) == 10)
        let now = try #require(try await storage.record(of: "ada"))
        for held in [now.saved, now.base] { #expect(held?.adapter.snapshot() == record.adapter.snapshot()) }
        #expect(now.entries.isEmpty && now.feedback.count == (keepsFeedbackIDs ? 10 : 0))
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        #expect(try await storage.record(of: "bob")?.entries == bob.entries)
        // What comes next follows on the new version, although the connection had known another.
        let action = bob.entries[0].action
        let early = JournalEntry(user: "ada", version: 11, recordedAt: 0, action: action)
        await #expect(throws: EngineError.self) { try await storage.append(early, durability: .buffered) }
        let known = JournalEntry(user: "ada", version: 12, id: FeedbackID("event 3"), recordedAt: 0, action: action)
        let outcome = try await storage.append(known, durability: .buffered)
        #expect(outcome == (keepsFeedbackIDs ? .duplicate : .appended))
        await storage.close()
    }

    @Test("a failure half-way leaves everything as it was")
    func isWhole() async throws {
        let storage = try await filled()
        let before = try #require(try await storage.record(of: "ada"))
        var record = try await current("ada", storage)
        record.adapter = try record.adapter.changed(rank: 2).adapter
        // The last of the statements fails: after the entries went, and the base was put.
        try await storage.writing("test") {
            try $0.execute(
                "CREATE TEMP TRIGGER refuse BEFORE INSERT ON adapters BEGIN SELECT RAISE(ABORT, 'refused'); END")
        }
        await #expect(throws: StorageError.self) {
            try await storage.replace(with: record, keepsFeedbackIDs: false)
        }
        try await storage.writing("test") { try $0.execute("DROP TRIGGER refuse") }
        let after = try #require(try await storage.record(of: "ada"))
        #expect(after.entries == before.entries && after.feedback == before.feedback && after.base == nil)
        #expect(after.saved?.adapter.snapshot() == before.saved?.adapter.snapshot())
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        await storage.close()
    }

    @Test("versions never go back, and forgotten users come back when that is asked for")
    func refuses() async throws {
        let storage = try await filled()
        // The saved adapter has version 6, the journal 10.
        let saved = try #require(try await storage.load("ada"))
        for version in [6, 9, 10] as [UInt64] {
            var record = saved
            record.adapter.version = version
            do {
                try await storage.replace(with: record, keepsFeedbackIDs: true)
                Issue.record("version \(version) was taken")
            } catch let error as EngineError {
                #expect(error.code == .staleVersion && error.message.contains("version 10"))
            }
        }
        #expect(try await storage.record(of: "ada")?.entries.count == 10)
        #expect(try await storage.highestVersion(of: "ada") == 10)
        #expect(try await storage.highestVersion(of: "eve") == nil)

        _ = try await storage.removeEntries(of: "bob", isForgotten: true)
        #expect(try await storage.isForgotten("bob"))
        #expect(try await !storage.isForgotten("ada"))
        let bob = StoredAdapter(user: "bob", embeddingModel: "test", adapter: saved.adapter, isJournalled: true)
        do {
            try await storage.replace(with: bob, keepsFeedbackIDs: true)
            Issue.record("a forgotten user was taken in")
        } catch let error as EngineError {
            #expect(error.code == .forgottenUser)
        }
        #expect(try await storage.record(of: "bob") == nil)
        try await storage.replace(with: bob, keepsFeedbackIDs: false, readmits: true)
        #expect(try await !storage.isForgotten("bob"))
        #expect(try await storage.load("bob")?.adapter.version == 6)
        await storage.close()
        let reading = try await SQLiteStorage(path: storage.path, access: .reading)
        await #expect(throws: StorageError.self) { try await reading.replace(with: saved, keepsFeedbackIDs: true) }
        #expect(try await JournalVerification.run(reading, reading).mismatches == [])
        await reading.close()
    }

    @Test("what a user has now is what an engine has, also where the saved adapter is damaged; gaps are refused")
    func readsTheCurrentAdapter() async throws {
        let storage = try await filled()
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        let expected = try #require(try await engine.adapter(for: "ada")).snapshot()
        #expect(try await current("ada", storage).adapter.snapshot() == expected)
        try await storage.writing("test") {
            try $0.execute("UPDATE adapters SET snapshot = zeroblob(100)")
        }
        let damaged = try #require(try await storage.record(of: "ada"))
        #expect(damaged.saved == nil && damaged.damage?.code == .damagedAdapter && damaged.unsavedEntries.count == 10)
        #expect(try await current("ada", storage).adapter.snapshot() == expected)
        try await storage.writing("test") {
            try $0.recent.settle($0)
            try $0.execute("DELETE FROM journal WHERE version = 3")
        }
        do {
            _ = try await current("ada", storage)
            Issue.record("an adapter was made without one of its entries")
        } catch let error as EngineError {
            #expect(error.code == .damagedJournal && error.user == "ada")
        }
        try await storage.writing("test") { try $0.execute("DELETE FROM journal; DELETE FROM recent") }
        do {
            _ = try await current("ada", storage)
            Issue.record("an adapter was made of nothing")
        } catch let error as EngineError {
            #expect(error.code == .damagedAdapter)
        }
        await storage.close()
    }
}
