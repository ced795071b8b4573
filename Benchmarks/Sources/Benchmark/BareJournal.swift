import Benchmarking
import CSQLite
import Foundation

/// SQLite alone, as its documentation says to use it: the journal's table and rows of the same bytes, one statement, groups in
/// transactions. No checksums, no users, no engine.
@safe
final class BareJournal {
    private var handle: OpaquePointer?
    private var insert: OpaquePointer?

    init(_ path: String, isSynced: Bool) throws {
        try check(unsafe sqlite3_open(path, &handle))
        try run("PRAGMA journal_mode = WAL; PRAGMA synchronous = \(isSynced ? "FULL" : "NORMAL")")
        try run("PRAGMA wal_autocheckpoint = 4096")
        try run(
            """
            CREATE TABLE journal (
                user INTEGER NOT NULL, version INTEGER NOT NULL, recorded_at INTEGER NOT NULL, id BLOB,
                action BLOB NOT NULL, PRIMARY KEY (user, version)) WITHOUT ROWID
            """)
        let sql = "INSERT INTO journal (user, version, recorded_at, id, action) VALUES (?, ?, ?, NULL, ?)"
        try check(unsafe sqlite3_prepare_v2(handle, sql, -1, &insert, nil))
    }

    deinit {
        unsafe sqlite3_finalize(insert)
        unsafe sqlite3_close(handle)
    }

    private func run(_ sql: String) throws { try check(unsafe sqlite3_exec(handle, sql, nil, nil, nil)) }

    private func check(_ status: Int32) throws {
        guard status == SQLITE_OK || status == SQLITE_DONE else {
            throw WrongResult("SQLite alone: \(unsafe String(cString: sqlite3_errmsg(handle)))")
        }
    }

    /// Appends rows for users in turn.
    ///
    /// - Parameter bytes: Those of an entry's action.
    func append(_ rows: Int, group: Int, users: Int, bytes: Int = 54) throws {
        let action = (0..<bytes).map { UInt8(truncatingIfNeeded: $0 &* 37) }
        var row = 0
        while row < rows {
            try run("BEGIN IMMEDIATE")
            for _ in 0..<min(group, rows - row) {
                unsafe sqlite3_reset(insert)
                unsafe sqlite3_bind_int64(insert, 1, Int64(row % users))
                unsafe sqlite3_bind_int64(insert, 2, Int64(row / users + 1))
                unsafe sqlite3_bind_int64(insert, 3, 1_790_000_000_000_000 + Int64(row))
                _ = unsafe action.withUnsafeBytes {
                    unsafe sqlite3_bind_blob64(insert, 4, $0.baseAddress, UInt64(bytes), nil)
                }
                try check(unsafe sqlite3_step(insert))
                row += 1
            }
            try run("COMMIT")
        }
    }
}
