import CPageChecksums
import CSQLite
import Foundation
import Personalization
import TestSupport
import TensorCore
import Testing

@testable import SQLiteStorage

/// Opens a file as a program that keeps the checksums would, and changes it.
func changeWithChecksums(_ path: String, _ sql: String) {
    var handle: OpaquePointer?
    #expect(attune_page_checksums_register() == SQLITE_OK)
    #expect(unsafe sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE, "attune-checksums") == SQLITE_OK)
    #expect(unsafe sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK, "\(sql)")
    unsafe sqlite3_close(handle)
}

@Suite("The tables of a file")
struct SchemaTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func refusal(_ path: String, _ access: SQLiteStorage.Access = .writing) async throws -> StorageError? {
        do {
            try await SQLiteStorage(path: path, access: access).close()
            return nil
        } catch let error as StorageError {
            return error
        }
    }

    @Test(
        "tables of another version are refused",
        arguments: [(4, StorageError.Code.newerSchema), (99, .newerSchema), (0, .notAStore)])
    func otherVersions(version: Int, expected: StorageError.Code) async throws {
        let path = folder.newPath()
        try await SQLiteStorage(path: path).close()
        changeWithChecksums(path, "PRAGMA user_version = \(version)")
        #expect(try await refusal(path)?.code == expected)
        #expect(try await refusal(path, .reading)?.code == expected)
        changeWithChecksums(path, "PRAGMA user_version = 3")
        #expect(try await refusal(path) == nil)
    }

    @Test(
        "whatever is not exactly our tables is refused: nothing of another's runs",
        arguments: [
            "CREATE TRIGGER evil AFTER INSERT ON journal BEGIN DELETE FROM adapters; END",
            "CREATE VIEW evil AS SELECT * FROM adapters",
            "CREATE INDEX evil ON adapters (version)",
            "CREATE TABLE evil (x)",
            "CREATE VIRTUAL TABLE evil USING fts5(x)",
            "DROP TABLE donors",
            "ALTER TABLE adapters ADD COLUMN evil INTEGER AS (abs(version)) VIRTUAL",
            "ALTER TABLE recent ADD COLUMN evil INTEGER DEFAULT 1 CHECK (evil > 0)",
            "ALTER TABLE adapters RENAME COLUMN model TO evil",
            "ANALYZE",
        ])
    func hostile(_ sql: String) async throws {
        let path = folder.newPath()
        try await SQLiteStorage(path: path).close()
        changeWithChecksums(path, sql)
        #expect(try await refusal(path)?.code == .notAStore)
        #expect(try await refusal(path, .reading)?.code == .notAStore)
    }

    @Test("tables with rows of another's under the names of ours are refused in a version 1 file too")
    func hostileOldVersion() async throws {
        let path = folder.newPath()
        try OldStorage.copy(to: path)
        changeWithChecksums(path, "CREATE TABLE donors (project INTEGER)")
        #expect(try await refusal(path)?.code == .notAStore)
        #expect(try await refusal(path, .reading)?.code == .notAStore)
    }

    @Test("what is no file is refused at once, and nothing is made beside it")
    func otherKinds() async throws {
        let pipe = folder.newPath()
        #expect(unsafe mkfifo(pipe, 0o600) == 0)
        for path in [pipe, folder.path, "/dev/null"] {
            for access in [SQLiteStorage.Access.writing, .reading] {
                #expect(try await refusal(path, access)?.code == .notAStore)
            }
            #expect(!FileManager.default.fileExists(atPath: path + "-lock"))
        }
        for suffix in ["-wal", "-journal", "-shm", "-lock"] {
            let path = folder.newPath()
            try await SQLiteStorage(path: path).close()
            if suffix == "-lock" { try FileManager.default.removeItem(atPath: path + suffix) }
            #expect(unsafe mkfifo(path + suffix, 0o600) == 0)
            let error = try await refusal(path, .reading)
            #expect(error?.code == .notAStore && error?.message.contains(suffix) == true)
        }
    }

    @Test("an empty file is said to be empty, and becomes its owner's alone")
    func emptyFile() async throws {
        let path = folder.newPath()
        #expect(FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o644]))
        let error = try await refusal(path, .reading)
        #expect(error?.code == .notAStore && error?.message.contains("it is empty") == true)
        try await SQLiteStorage(path: path).close()
        let rights = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
        #expect(rights == 0o600)
    }

    @Test("whoever opens a file for reading while it is made finds nothing, or all that a new file has")
    func readsWhileMade() async throws {
        for _ in 0..<underSanitizer(10, otherwise: 60) {
            let path = folder.newPath()
            let making = Task { try await SQLiteStorage(path: path, project: "shop") }
            while true {
                do {
                    let reader = try await SQLiteStorage(path: path, project: "shop", access: .reading)
                    #expect(try await reader.projects() == ["shop"])
                    await reader.close()
                    break
                } catch let error as StorageError {
                    // A file without tables is nobody's.
                    #expect([.missing, .locked, .notAStore].contains(error.code), "\(error)")
                }
            }
            try await making.value.close()
        }
    }

    @Test("migrations that were released are as they were released: files have their words")
    func releasedMigrations() {
        func sums(_ migrations: [String]) -> [String] {
            migrations.map { String(Checksum.of(Array($0.utf8)[...]), radix: 16) }
        }
        #expect(sums(Schema.migrations) == ["9bafa0a69bc4b9a", "e2e5723d04e0e66", "44a816d108540e0b"])
        #expect(
            sums(RecordSchema.migrations)
                == ["8d84d678e80fc1bd", "64b6a04772e02e4b", "19ed790502e5e5c0", "9a606f5e3ac9278e"])
    }
}
