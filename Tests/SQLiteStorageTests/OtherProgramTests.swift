import CSQLite
import Foundation
import Personalization
import Testing

@testable import SQLiteStorage

/// Another program that holds SQLite's lock on a file.
@safe
private final class OtherProgram {
    private var handle: OpaquePointer?

    init(_ path: String) {
        #expect(unsafe sqlite3_open(path, &handle) == SQLITE_OK)
        #expect(unsafe sqlite3_exec(handle, "BEGIN IMMEDIATE", nil, nil, nil) == SQLITE_OK)
    }

    func end() {
        #expect(unsafe sqlite3_exec(handle, "ROLLBACK", nil, nil, nil) == SQLITE_OK)
        unsafe sqlite3_close(handle)
    }
}

@Suite("Commits beside other programs", .serialized)
struct OtherProgramTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func entry(_ user: String) -> JournalEntry {
        JournalEntry(user: user, version: 1, recordedAt: 0, action: [1])
    }

    @Test("no task's thread waits for another program's lock; the updates do, and are made when it is released")
    func leavesThreads() async throws {
        // More than there are threads for tasks.
        var storages: [SQLiteStorage] = []
        for _ in 0..<ProcessInfo.processInfo.activeProcessorCount + 2 { storages.append(try await folder.storage()) }
        // The first entry is appended by the storage's own thread, which looks at what there is.
        for storage in storages {
            _ = try await storage.append(entry("zoe"), durability: .buffered)
            // Longer than the slowest machine takes for what follows.
            try await storage.writer.run("test", storage.path) { connection in
                connection.patience = 300_000
                connection.setPatient(true)
            }
        }
        let others = storages.map { OtherProgram($0.path) }
        let updates = storages.map { storage in
            (0..<4).map { number in
                Task { try await storage.append(entry("user \(number)"), durability: .buffered) }
            }
        }
        // If they waited on threads of tasks, nothing of this went on before they had given up.
        for _ in 0..<5 {
            await Task.detached { await Task.yield() }.value
            try await Task.sleep(for: .milliseconds(20))
        }
        for other in others { other.end() }
        for update in updates.joined() { #expect(try await update.value == .appended) }
        for storage in storages {
            #expect(try await storage.journalledUsers() == (0..<4).map { "user \($0)" } + ["zoe"])
            await storage.close()
        }
    }
}
