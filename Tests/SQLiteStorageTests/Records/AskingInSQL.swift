import CSQLite
import Testing

/// What a query gives in the SQLite of anybody: rows of texts.
func ask(_ path: String, _ sql: String) throws -> [[String?]] {
    var handle: OpaquePointer?
    try #require(unsafe sqlite3_open_v2(path, &handle, SQLITE_OPEN_READONLY, nil) == SQLITE_OK)
    defer { unsafe sqlite3_close(handle) }
    var statement: OpaquePointer?
    let status = unsafe sqlite3_prepare_v2(handle, sql, -1, &statement, nil)
    try #require(status == SQLITE_OK, "\(unsafe String(cString: sqlite3_errmsg(handle)))")
    defer { unsafe sqlite3_finalize(statement) }
    var rows: [[String?]] = []
    while unsafe sqlite3_step(statement) == SQLITE_ROW {
        rows.append(
            (0..<(unsafe sqlite3_column_count(statement))).map { column in
                unsafe sqlite3_column_text(statement, column).map { unsafe String(cString: $0) }
            })
    }
    return rows
}
