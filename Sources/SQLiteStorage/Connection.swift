internal import CPageChecksums
internal import CSQLite

/// A connection to a database, with its prepared statements.
///
/// `@unchecked Sendable`: whoever makes one keeps it on one serial queue.
@safe
final class Connection: @unchecked Sendable {
    let path: String
    private var handle: OpaquePointer?
    private var isSynced: Bool?
    /// For so many milliseconds at most another program's lock is waited for.
    var patience: Int32 = 2000
    private var statements: [StatementKey: Statement] = [:]
    private var inserts: [InsertKey: Statement] = [:]
    /// The pages of the log after the last commit.
    var logPages = 0
    /// The latest entries, as this connection has seen them.
    let recent: RecentEntries

    /// Opens a database.
    ///
    /// - Parameters:
    ///   - flags: SQLite's.
    ///   - isImmutable: Whether nobody can change the file, as on a disk that is mounted for reading; nothing is locked then.
    init(path: String, flags: Int32, isImmutable: Bool = false) throws(StorageError) {
        self.path = path
        recent = RecentEntries(isWriting: flags & SQLITE_OPEN_READWRITE != 0)
        let name = isImmutable ? "file:\(Self.escaped(path))?immutable=1" : path
        let flags = isImmutable ? flags | SQLITE_OPEN_URI : flags
        var status = attune_page_checksums_register()
        if status == SQLITE_OK {
            // One thread at a time uses it: SQLite need not lock it for each value that is bound.
            status = unsafe sqlite3_open_v2(
                name, &handle, flags | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOMUTEX, ATTUNE_PAGE_CHECKSUMS_VFS)
        }
        // Before any statement; says nothing of a file that has pages.
        if status == SQLITE_OK, let handle = unsafe handle { status = unsafe attune_page_checksums_reserve(handle) }
        guard status == SQLITE_OK else {
            let error = failure("open", status)
            unsafe sqlite3_close_v2(handle)
            unsafe handle = nil
            throw error
        }
        setPatient(true)
    }

    /// Whether another program's lock is waited for, or is an error (`locked`) at once.
    func setPatient(_ isPatient: Bool) { unsafe sqlite3_busy_timeout(handle, isPatient ? patience : 0) }

    /// Counts the log's pages at each commit, and leaves it to others to copy them into the file.
    func leaveLogToOthers() {
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        _ = unsafe sqlite3_wal_hook(
            handle,
            { context, _, _, pages in
                if let context = unsafe context {
                    unsafe Unmanaged<Connection>.fromOpaque(context).takeUnretainedValue().logPages = Int(pages)
                }
                return SQLITE_OK
            }, context)
    }

    /// Refuses what is no database, before SQLite says something less clear of it.
    func refuseOtherFiles() throws(StorageError) {
        var start = [UInt8](repeating: 0, count: 16)
        guard let handle = unsafe handle else { return }
        let status = unsafe attune_page_checksums_first_bytes(handle, &start, 16)
        let isShort = status == SQLITE_IOERR | (2 << 8)
        guard status == SQLITE_OK || isShort else { throw failure("open", status) }
        // A new file is empty.
        if isShort, start.allSatisfy({ $0 == 0 }) { return }
        guard start == Array("SQLite format 3\0".utf8) else {
            throw StorageError(
                .notAStore, "open", "the file is no database, or its first bytes are damaged", path: path)
        }
    }

    deinit { close() }

    /// A path as a part of a URI.
    private static func escaped(_ path: String) -> String {
        var result = ""
        for byte in path.utf8 {
            switch byte {
            case 0x2D...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F, 0x7E: result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }

    func close() {
        statements.removeAll()
        inserts.removeAll()
        unsafe sqlite3_close_v2(handle)
        unsafe handle = nil
    }

    /// The handle, for calls that have no place here.
    @unsafe
    var raw: OpaquePointer? { unsafe handle }

    /// Runs statements without results.
    func execute(_ sql: String) throws(StorageError) {
        let status = unsafe sqlite3_exec(handle, sql, nil, nil, nil)
        guard status == SQLITE_OK else { throw failure(Self.operation(sql), status) }
    }

    /// Runs one statement, prepared once and kept.
    ///
    /// - Parameters:
    ///   - values: What is bound to its parameters.
    ///   - row: Called for each row.
    func run(
        _ sql: StaticString, _ values: [Value] = [], _ row: (Row) throws(StorageError) -> Void = { _ in }
    ) throws(StorageError) {
        let statement = try statement(sql)
        defer { statement.reset() }
        let bound = statement.bind(values)
        guard bound == SQLITE_OK else { throw failure("bind", bound) }
        while true {
            switch statement.step() {
            case SQLITE_ROW: try row(Row(statement))
            case SQLITE_DONE: return
            case let status: throw failure(Self.operation("\(sql)"), status)
            }
        }
    }

    /// Runs a statement that was put together, prepared for this once. What comes from outside is bound, never in its text.
    func runOnce(
        _ sql: String, _ values: [Value], _ row: (Row) throws(StorageError) -> Void
    ) throws(StorageError) {
        let statement = try prepared(sql)
        let bound = statement.bind(values)
        guard bound == SQLITE_OK else { throw failure("bind", bound) }
        while true {
            switch statement.step() {
            case SQLITE_ROW: try row(Row(statement))
            case SQLITE_DONE: return
            case let status: throw failure(Self.operation(sql), status)
            }
        }
    }

    private func statement(_ sql: StaticString) throws(StorageError) -> Statement {
        let key = StatementKey(sql)
        if let known = statements[key] { return known }
        let statement = try prepared("\(sql)")
        statements[key] = statement
        return statement
    }

    /// An `INSERT` of some rows, prepared once and kept.
    func statement(_ insert: BatchInsert, rows: Int) throws(StorageError) -> Statement {
        let key = InsertKey(table: StatementKey(insert.into), rows: rows)
        if let known = inserts[key] { return known }
        let statement = try prepared(insert.sql(rows: rows))
        inserts[key] = statement
        return statement
    }

    private func prepared(_ sql: String) throws(StorageError) -> Statement {
        var pointer: OpaquePointer?
        let status = unsafe sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &pointer, nil)
        guard status == SQLITE_OK, let made = unsafe pointer else { throw failure(Self.operation(sql), status) }
        return unsafe Statement(made)
    }

    /// The first column of the only row; `nil` where there is none.
    func integer(_ sql: StaticString, _ values: [Value] = []) throws(StorageError) -> Int64? {
        var result: Int64?
        try run(sql, values) { row throws(StorageError) in result = row.integer(0) }
        return result
    }

    /// Whether a commit waits for the disk: in WAL mode FULL means an `fsync` at each, NORMAL none. Outside transactions.
    ///
    /// Executed anew at each change: SQLite sets it when the statement is compiled, so a statement that is kept would do nothing.
    func setSynced(_ isSynced: Bool) throws(StorageError) {
        guard isSynced != self.isSynced else { return }
        try execute(isSynced ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL")
        self.isSynced = isSynced
    }

    /// Runs `body` in a transaction that reads: it sees one state of the file.
    func reading<R>(_ body: (Connection) throws -> R) throws -> R {
        try run("BEGIN")
        // Nothing was written: to end it is to let go of what was read.
        defer { rollback() }
        return try body(self)
    }

    /// Runs `body` in a transaction that writes: all of it stands or nothing.
    func transaction<R>(_ body: () throws -> R) throws -> R {
        try run("BEGIN IMMEDIATE")
        do {
            let result = try body()
            try run("COMMIT")
            recent.keep()
            return result
        } catch {
            rollback()
            recent.takeBack()
            throw error
        }
    }

    /// Forgets the pages that it holds in memory, so that they are read again. Outside transactions.
    func dropPages() { unsafe sqlite3_db_release_memory(handle) }

    /// Ends a transaction that failed; SQLite may have ended it itself.
    func rollback() {
        guard unsafe sqlite3_get_autocommit(handle) == 0 else { return }
        unsafe sqlite3_exec(handle, "ROLLBACK", nil, nil, nil)
    }

    /// How many rows the last statement changed.
    var changes: Int { Int(unsafe sqlite3_changes64(handle)) }
    var lastInsertedRow: Int64 { unsafe sqlite3_last_insert_rowid(handle) }

    private static func operation(_ sql: String) -> String {
        String(sql.prefix { $0 != " " && $0 != "\n" && $0 != "(" }).lowercased()
    }

    /// The error for a status of SQLite's.
    func failure(_ operation: String, _ status: Int32) -> StorageError {
        // SQLite's text is that of the last error here; a status that came from elsewhere has a general one.
        let isLast = unsafe sqlite3_extended_errcode(handle) == status
        let text = isLast ? unsafe sqlite3_errmsg(handle) : unsafe sqlite3_errstr(status)
        let detail = unsafe text.map { unsafe String(cString: $0) } ?? "status \(status)"
        func error(_ code: StorageError.Code, _ message: String) -> StorageError {
            StorageError(code, operation, "\(message) (SQLite: \(detail), \(status))", path: path)
        }
        if status == SQLITE_IOERR | (32 << 8) {
            guard let handle = unsafe handle else { return error(.damaged, "the file is damaged") }
            let refusal = unsafe attune_page_checksums_refusal(handle, "main")
            if refusal.reason == ATTUNE_PAGE_FOREIGN {
                return error(
                    .notAStore, "page \(refusal.page) has no checksum: another program made or rewrote the file")
            }
            return error(.damaged, "page \(refusal.page) is not what was written there: restore a backup")
        }
        if status == SQLITE_IOERR | (2 << 8) { return error(.damaged, "the file ends too early: restore a backup") }
        switch status & 0xFF {
        case SQLITE_FULL: return error(.full, "no space is left: make room; what was acknowledged is there")
        case SQLITE_READONLY: return error(.readOnly, "the file or its folder may not be written to")
        case SQLITE_BUSY, SQLITE_LOCKED:
            return error(.locked, "another program holds a lock on the file: end it, or wait")
        case SQLITE_CORRUPT: return error(.damaged, "the file is damaged: restore a backup")
        case SQLITE_NOTADB: return error(.notAStore, "the file is no database")
        case SQLITE_TOOBIG: return error(.tooLarge, "a value is larger than a database takes (a billion bytes)")
        case SQLITE_CONSTRAINT: return error(.damaged, "rows contradict each other: verify the file")
        case SQLITE_CANTOPEN: return error(.missing, "the file cannot be opened")
        default: return error(.inputOutput, "the database could not do this")
        }
    }
}

/// A literal of the source, by where it stands in memory.
@safe
private struct StatementKey: Hashable {
    private let place: UInt

    init(_ sql: StaticString) { place = unsafe UInt(bitPattern: sql.utf8Start) }
}

private struct InsertKey: Hashable {
    let table: StatementKey
    let rows: Int
}

/// What is bound to a statement's parameter.
enum Value {
    case null
    case integer(Int64)
    case bytes([UInt8])
    /// A text that is text in the database too, for those who ask it in SQL.
    case string(String)
    case real(Double)

    static func version(_ version: UInt64) -> Value { .integer(Int64(clamping: version)) }
    static func text(_ text: String) -> Value { .bytes(Array(text.utf8)) }
}

/// A prepared statement.
@safe
final class Statement {
    @unsafe
    let pointer: OpaquePointer

    @unsafe
    init(_ pointer: OpaquePointer) { unsafe self.pointer = pointer }

    deinit { unsafe sqlite3_finalize(pointer) }

    func reset() {
        // Its status is that of the step before, which was reported.
        unsafe sqlite3_reset(pointer)
    }

    func step() -> Int32 { unsafe sqlite3_step(pointer) }

    func bind(_ values: [Value]) -> Int32 {
        precondition(Int(unsafe sqlite3_bind_parameter_count(pointer)) == values.count, "Statement: values are missing")
        // SQLite copies what it is given.
        let copying = unsafe unsafeBitCast(-1, to: sqlite3_destructor_type.self)
        for (i, value) in values.enumerated() {
            let place = Int32(i + 1)
            let status: Int32
            switch value {
            case .null: status = unsafe sqlite3_bind_null(pointer, place)
            case .integer(let number): status = unsafe sqlite3_bind_int64(pointer, place, number)
            case .real(let number): status = unsafe sqlite3_bind_double(pointer, place, number)
            case .string(var text):
                status = text.withUTF8 { bytes in
                    unsafe sqlite3_bind_text64(
                        pointer, place, bytes.baseAddress, UInt64(bytes.count), copying, UInt8(SQLITE_UTF8))
                }
            case .bytes(let bytes):
                status = unsafe bytes.withUnsafeBytes { bytes in
                    guard let start = bytes.baseAddress else { return unsafe sqlite3_bind_zeroblob(pointer, place, 0) }
                    return unsafe sqlite3_bind_blob64(pointer, place, start, UInt64(bytes.count), copying)
                }
            }
            if status != SQLITE_OK { return status }
        }
        return SQLITE_OK
    }

    func integer(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(pointer, column) }
    func real(_ column: Int32) -> Double { unsafe sqlite3_column_double(pointer, column) }
    func isNull(_ column: Int32) -> Bool { unsafe sqlite3_column_type(pointer, column) == SQLITE_NULL }

    func bytes(_ column: Int32) -> [UInt8] {
        guard let start = unsafe sqlite3_column_blob(pointer, column) else { return [] }
        let count = Int(unsafe sqlite3_column_bytes(pointer, column))
        return unsafe Array(UnsafeRawBufferPointer(start: start, count: count))
    }
}

/// A row while its statement stands on it.
struct Row {
    private let statement: Statement

    init(_ statement: Statement) { self.statement = statement }

    func integer(_ column: Int32) -> Int64 { statement.integer(column) }
    func real(_ column: Int32) -> Double { statement.real(column) }
    func isNull(_ column: Int32) -> Bool { statement.isNull(column) }
    func bytes(_ column: Int32) -> [UInt8] { statement.bytes(column) }
    func version(_ column: Int32) -> UInt64 { UInt64(bitPattern: statement.integer(column)) }
    func text(_ column: Int32) -> String { String(decoding: statement.bytes(column), as: UTF8.self) }
}
