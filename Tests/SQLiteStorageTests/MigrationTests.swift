import CSQLite
import Foundation
import LoRA
import Personalization
import SQLiteStorage
import Testing

/// A storage file that an earlier version of the tables has left, kept beside the tests.
///
/// Tests/Fixtures/README.md says how it was made; ``make(_:)`` is the way.
enum OldStorage {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures")
    /// Who has an adapter in it; "gone" was forgotten. Eve's has started from a prior.
    static let users = ["ada", "bob", "eve", "zoe"]

    /// A copy of the file that version 1 of the tables has left.
    static func copy(to path: String) throws {
        try FileManager.default.copyItem(atPath: Self.folder.appending(path: "storage-1.db").path, toPath: path)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
    }

    /// The snapshots that ``make(_:)`` gave then.
    static func snapshots() throws -> [String: [UInt8]] {
        let json = try JSONSerialization.jsonObject(
            with: try Data(contentsOf: folder.appending(path: "storage-1.json")))
        return try #require(json as? [String: String]).mapValues { Array(try #require(Data(base64Encoded: $0))) }
    }

    /// Saved adapters and entries that none of them has seen, settled and recent entries, contents of all three kinds, a base,
    /// a forgotten user and a forgotten piece of feedback.
    ///
    /// - Returns: The snapshot of each user's adapter, all entries seen.
    static func make(_ path: String) async throws -> [String: [UInt8]] {
        let script = try ShopScript()
        let storage = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(
            configuration: ShopScript.configuration(), store: storage, journal: storage)
        func learn(_ user: String, _ steps: Range<Int>) async throws {
            for step in steps {
                _ = try await engine.updateAdapter(
                    for: user, with: script.batch(user, step), id: FeedbackID("event \(step)"))
            }
        }
        for user in ["ada", "bob", "gone"] { try await learn(user, 0..<6) }
        let prior = try await engine.mergeAdapters(["ada": 1, "bob": 1, "gone": 1])
        try await engine.createAdapter(for: "eve", startingFrom: prior)
        try await learn("eve", 0..<3)
        try await engine.checkpoint()
        let base = try #require(try await storage.load("bob"))
        try await storage.trim(base)
        try await engine.forget("gone")
        try await engine.forgetFeedback(FeedbackID("event 2"), of: "ada")
        // These stay recent.
        for user in ["ada", "bob", "eve"] { try await learn(user, 6..<9) }
        try await learn("zoe", 0..<2)
        var snapshots: [String: [UInt8]] = [:]
        for user in users { snapshots[user] = try await engine.adapter(for: user)?.snapshot() }
        await storage.close()
        return snapshots
    }
}

@Suite("Migrations of the tables")
struct MigrationTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func engine(_ storage: SQLiteStorage) throws -> PersonalizationEngine {
        try PersonalizationEngine(configuration: ShopScript.configuration(), store: storage, journal: storage)
    }

    /// Each user's adapter with all entries seen, as the engine has it.
    private func snapshots(_ storage: SQLiteStorage) async throws -> [String: [UInt8]] {
        let engine = try engine(storage)
        var all: [String: [UInt8]] = [:]
        for user in OldStorage.users { all[user] = try #require(try await engine.adapter(for: user)).snapshot() }
        return all
    }

    private func version(_ path: String) throws -> Int32 {
        var handle: OpaquePointer?
        var statement: OpaquePointer?
        defer {
            unsafe sqlite3_finalize(statement)
            unsafe sqlite3_close(handle)
        }
        #expect(unsafe sqlite3_open_v2(path, &handle, SQLITE_OPEN_READONLY, nil) == SQLITE_OK)
        #expect(unsafe sqlite3_prepare_v2(handle, "PRAGMA user_version", -1, &statement, nil) == SQLITE_OK)
        #expect(unsafe sqlite3_step(statement) == SQLITE_ROW)
        return unsafe sqlite3_column_int(statement, 0)
    }

    @Test(
        "a file of version 1 is migrated when it is opened for writing, and every adapter stays as it was, to the bit")
    func migrates() async throws {
        let path = folder.newPath()
        try OldStorage.copy(to: path)
        let expected = try OldStorage.snapshots()
        #expect(try version(path) == 1 && expected.count == OldStorage.users.count)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        var saved: [String: [UInt8]] = [:]
        for user in try await reader.users() { saved[user] = try await reader.load(user)?.adapter.snapshot() }
        #expect(saved.count == 3)
        await reader.close()

        let storage = try await SQLiteStorage(path: path)
        for (user, snapshot) in saved { #expect(try await storage.load(user)?.adapter.snapshot() == snapshot) }
        #expect(try await storage.users() == saved.keys.sorted())
        #expect(try await storage.base(of: "bob") != nil)
        let verification = try await JournalVerification.run(storage, storage)
        #expect(verification.mismatches == [] && verification.users == 4 && verification.entries == 21)
        #expect(try await snapshots(storage) == expected)
        await storage.close()
        #expect(try version(path) == 3)

        // Once more changes nothing.
        let before = try contents(ofFile: path)
        let again = try await SQLiteStorage(path: path)
        #expect(try await snapshots(again) == expected)
        await again.close()
        #expect(try contents(ofFile: path) == before)
    }

    @Test("a migrated file is used like a new one")
    func usesMigrated() async throws {
        let path = folder.newPath()
        try OldStorage.copy(to: path)
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        let script = try ShopScript()
        let again = try await engine.updateAdapter(
            for: "ada", with: script.batch("ada", 2), id: FeedbackID("event 2"))
        #expect(again.samples == 0)
        let refused = await #expect(throws: EngineError.self) { try await engine.createAdapter(for: "gone") }
        #expect(refused?.code == .forgottenUser)
        // Nobody recorded the donors of the prior that Eve started from.
        #expect(try await storage.priors(from: "ada").isEmpty)
        let prior = try await engine.mergeAdapters(["ada": 1, "zoe": 1])
        try await engine.createAdapter(for: "new", startingFrom: prior)
        for user in OldStorage.users {
            _ = try await engine.updateAdapter(for: user, with: script.batch(user, 20), id: FeedbackID("event 20"))
        }
        let receipt = try await engine.forgetFeedback(FeedbackID("event 7"), of: "ada")
        #expect(receipt.stalePriors.map(\.users) == [["new"]])
        #expect(try await engine.forget("zoe").stalePriors == receipt.stalePriors)
        try await engine.checkpoint()
        #expect(try await JournalVerification.run(storage, storage).mismatches == [])
        await storage.close()
    }

    @Test("a file of version 1 is read as it is, and knows no donors")
    func readsOldVersion() async throws {
        let path = folder.newPath()
        try OldStorage.copy(to: path)
        let before = try contents(ofFile: path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        #expect(try await JournalVerification.run(reader, reader).mismatches == [])
        #expect(try await reader.usersOverview().map(\.user) == OldStorage.users)
        #expect(try await snapshots(reader) == OldStorage.snapshots())
        #expect(try await reader.priors(from: "ada").isEmpty)
        #expect(try await !reader.isStale(1))
        #expect(try contents(ofFile: path) == before)
        // Somebody migrates it meanwhile.
        let storage = try await SQLiteStorage(path: path)
        let prior = try await self.engine(storage).mergeAdapters(["ada": 1])
        let known = try await storage.priors(from: "ada")
        #expect(known.count == 1 && known.first?.hash != prior.contentHash)
        #expect(try await reader.priors(from: "ada") == known)
        #expect(try await snapshots(reader) == OldStorage.snapshots())
        await reader.close()
        await storage.close()
    }

    /// Writes the files under Fixtures, where `ATTUNE_STORAGE_FIXTURE` names the folder to write them to.
    @Test(
        "the file of an earlier version is made",
        .enabled(if: ProcessInfo.processInfo.environment["ATTUNE_STORAGE_FIXTURE"] != nil))
    func writesFixture() async throws {
        let folder = URL(
            filePath: try #require(ProcessInfo.processInfo.environment["ATTUNE_STORAGE_FIXTURE"]))
        let snapshots = try await OldStorage.make(folder.appending(path: "storage.db").path)
        let texts = snapshots.mapValues { Data($0).base64EncodedString() }
        let json = try JSONSerialization.data(withJSONObject: texts, options: [.prettyPrinted, .sortedKeys])
        try json.write(to: folder.appending(path: "storage.json"))
    }
}
