import Attune
import CSQLite
import Foundation
import Testing

@testable import AttuneCommand

/// What is said of an error that others have caused, and how the process ends.
@Suite struct ErrorCauseTests {
    /// The error of a storage that isn't there.
    private func missing() async throws -> StorageError {
        try await #require(throws: StorageError.self) { try await SQLiteStorage(path: "none.db", access: .reading) }
    }

    @Test func theInnermostCauseDecides() async throws {
        struct Unforeseen: Error {}
        let storage = try await missing()
        let inner = EngineError(.damagedAdapter, "save", storage.message, user: "ada", cause: storage)
        let outer = EngineError(.storeFailed, "checkpoint", "the adapter store failed", cause: inner)
        #expect(ExitCode(for: storage) == .noInput && ExitCode(for: inner) == .noInput)
        #expect(ExitCode(for: outer) == .noInput)
        #expect(explanation(of: outer) == "checkpoint: the adapter store failed: \(inner), \(storage.path)")
        // A cause that says nothing of whose fault it is leaves it to the error above it.
        let opaque = EngineError(.damagedJournal, "replay", "the entry is damaged", cause: Unforeseen())
        let above = EngineError(.storeFailed, "load", "the adapter store failed", cause: opaque)
        #expect(ExitCode(for: above) == .badData)
        #expect(ExitCode(for: EngineError(.storeFailed, "load", "x", cause: Unforeseen())) == .internalError)
    }

    @Test func whatACauseSaysIsSaidOnce() async throws {
        let storage = try await missing()
        let journal = EngineError(.journalFailed, "updateAdapter", "the journal failed", cause: storage)
        #expect(explanation(of: journal) == "updateAdapter: the journal failed: \(storage)")
        #expect(explanation(of: storage) == "\(storage)")
        let refused = #expect(throws: LoRAError.self) { try AdapterShape(dimension: 0, rank: 1) }
        let feedback = EngineError(.refusedFeedback, "updateAdapter", cause: try #require(refused))
        #expect(explanation(of: feedback) == "\(feedback)")
    }

    /// One damaged page of the journal: the message says which file, and what is wrong with it.
    @Test func personalizeSaysWhatIsWrongWithItsJournal() async throws {
        let folder = try JobTests.Folder()
        let file = folder.path + "/attune.db"
        #expect(await attune("personalize", folder.path, "--rank", "3", "--store", file).code == .success)
        let rows = try String(contentsOfFile: folder.path + "/interactions.csv", encoding: .utf8)
        let known = Set(
            rows.split(separator: "\n").filter { $0.contains("u 3, ü") }.map { $0.split(separator: ",")[2] })
        let new = try #require((0..<40).first { !known.contains("\($0)") })
        try folder.write("interactions.csv", rows + "\"../u 3, ü\",\(new),5,100000\n")
        var content = try bytes(file)
        let page = try rootPage(of: "feedback_ids", in: file)
        content[page.offset + page.size / 2] ^= 1
        try Data(content).write(to: URL(filePath: file))
        let run = await attune("personalize", folder.path, "--rank", "3", "--store", file)
        #expect(run.code == .badData && run.errors.hasPrefix("Error: updateAdapter: the journal failed"))
        #expect(run.errors.contains(file) && run.errors.contains("restore a backup"), "\(run.errors)")
    }

    private func rootPage(of table: String, in file: String) throws -> (offset: Int, size: Int) {
        var connection: OpaquePointer?
        #expect(unsafe sqlite3_open(file, &connection) == SQLITE_OK)
        defer { unsafe sqlite3_close(connection) }
        func number(_ sql: String) throws -> Int {
            var statement: OpaquePointer?
            try #require(unsafe sqlite3_prepare_v2(connection, sql, -1, &statement, nil) == SQLITE_OK)
            defer { unsafe sqlite3_finalize(statement) }
            try #require(unsafe sqlite3_step(statement) == SQLITE_ROW)
            return Int(unsafe sqlite3_column_int64(statement, 0))
        }
        let size = try number("PRAGMA page_size")
        let page = try number("SELECT rootpage FROM sqlite_schema WHERE name = '\(table)'")
        return ((page - 1) * size, size)
    }
}
