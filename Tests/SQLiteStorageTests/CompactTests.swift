import CSQLite
import Foundation
import Personalization
import Testing

@testable import SQLiteStorage

/// `compact()` makes the file smaller, or says why it didn't, and loses nothing.
@Suite("Compacting", .serialized, .timeLimit(.minutes(10)))
struct CompactTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func entry(_ user: Int, _ version: UInt64) -> JournalEntry {
        JournalEntry(
            user: "user \(user)", version: version, id: FeedbackID("\(user) \(version)"), recordedAt: 0,
            action: [UInt8](repeating: UInt8(user), count: 2000))
    }

    /// A storage of 20 users, of whom all but two are forgotten.
    private func filled(_ path: String) async throws -> SQLiteStorage {
        let storage = try await SQLiteStorage(path: path)
        for version in 1...20 as ClosedRange<UInt64> {
            for result in await storage.append((0..<20).map { entry($0, version) }, durability: .buffered) {
                #expect(try result.get() == .appended)
            }
        }
        try await storage.settle()
        for user in 2..<20 { #expect(try await storage.removeEntries(of: "user \(user)", isForgotten: true) == 20) }
        try await storage.erase()
        return storage
    }

    private func expectAll(_ storages: [SQLiteStorage], upTo version: UInt64 = 20) async throws {
        for storage in storages {
            for user in 0..<2 {
                let expected = (1...version).map { entry(user, $0) }
                #expect(try await storage.entries(of: "user \(user)", after: nil) == expected)
            }
            #expect(try await storage.journalledUsers() == ["user 0", "user 1"])
        }
    }

    private func size(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
    }

    private func keepsTemporaryTablesInMemory(_ storage: SQLiteStorage) async throws -> Bool {
        try await storage.writer.run("test", storage.path) { try $0.integer("PRAGMA temp_store") } == 2
    }

    @Test("beside a reader it says that the file is as large as before, and is done when they have finished")
    func besideReaders() async throws {
        let path = folder.newPath()
        let storage = try await filled(path)
        var other: OpaquePointer?
        #expect(unsafe sqlite3_open(path, &other) == SQLITE_OK)
        #expect(unsafe sqlite3_exec(other, "BEGIN; SELECT count(*) FROM journal", nil, nil, nil) == SQLITE_OK)
        let before = try size(path)
        let error = await #expect(throws: StorageError.self) { try await storage.compact() }
        #expect(error?.code == .locked && error?.operation == "compact")
        #expect(try size(path) == before && size(path + "-wal") > 0)
        #expect(try await keepsTemporaryTablesInMemory(storage))
        // Nothing is lost, and it goes on.
        try await expectAll([storage])
        for user in 0..<2 {
            #expect(try await storage.append(entry(user, 21), durability: .buffered) == .appended)
        }
        #expect(unsafe sqlite3_exec(other, "COMMIT", nil, nil, nil) == SQLITE_OK)
        unsafe sqlite3_close(other)
        let sizes = try await storage.compact()
        #expect(sizes.before == sizes.after, "it was rewritten before")
        #expect(try size(path) == Int(sizes.after) && size(path + "-wal") == 0 && Int(sizes.after) < before / 2)
        try await expectAll([storage], upTo: 21)
        await storage.close()
    }

    @Test("where there is no room nothing is changed, and it is done when there is", .enabled(if: SmallDisk.isPossible))
    func fullDisk() async throws {
        let disk = try SmallDisk(megabytes: 24, at: folder.path + "/disk")
        let path = disk.path + "/a.db"
        let storage = try await filled(path)
        let reader = try await SQLiteStorage(path: path, access: .reading)
        let filler = disk.path + "/filler"
        try disk.fill(filler)
        let before = try size(path)
        for _ in 0..<2 {
            let error = await #expect(throws: StorageError.self) { try await storage.compact() }
            #expect(error?.code == .full && error?.operation == "vacuum")
            #expect(try size(path) == before)
            #expect(try await keepsTemporaryTablesInMemory(storage))
            try await expectAll([storage, reader])
        }
        try FileManager.default.removeItem(atPath: filler)
        for user in 0..<2 {
            #expect(try await storage.append(entry(user, 21), durability: .buffered) == .appended)
        }
        let sizes = try await storage.compact()
        #expect(sizes.before > sizes.after && Int(sizes.before) >= before)
        #expect(try size(path) == Int(sizes.after))
        try await expectAll([storage, reader], upTo: 21)
        await storage.close()
        let again = try await SQLiteStorage(path: path)
        try await expectAll([again], upTo: 21)
        await again.close()
        await reader.close()
    }
}
