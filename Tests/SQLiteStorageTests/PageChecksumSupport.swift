import CPageChecksums
import CSQLite
import Foundation

/// A SQLite connection, with the checksums' VFS unless told otherwise.
@safe final class ChecksumConnection {
    struct Failure: Error, Equatable { let code: Int32 }

    private let handle: OpaquePointer

    init(_ path: String, vfs: String? = ATTUNE_PAGE_CHECKSUMS_VFS, isReserving: Bool = true, pageSize: Int? = nil)
        throws
    {
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_EXRESCODE
        var opened: OpaquePointer?
        guard attune_page_checksums_register() == SQLITE_OK else { throw Failure(code: SQLITE_ERROR) }
        let code = unsafe sqlite3_open_v2(path, &opened, flags, vfs)
        guard code == SQLITE_OK, let opened = unsafe opened else {
            unsafe sqlite3_close_v2(opened)
            throw Failure(code: code)
        }
        unsafe handle = opened
        unsafe sqlite3_busy_timeout(handle, 10_000)
        if vfs != nil && isReserving { try check(reserve()) }
        if let pageSize { try run("PRAGMA page_size = \(pageSize)") }
    }

    deinit { unsafe sqlite3_close(handle) }

    private func check(_ code: Int32) throws {
        if code != SQLITE_OK { throw Failure(code: code) }
    }

    func reserve() -> Int32 { unsafe attune_page_checksums_reserve(handle) }

    /// What `reserve` does, for any VFS.
    func reserveWithoutTheVFS() throws {
        var bytes: Int32 = 8
        try check(unsafe sqlite3_file_control(handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes))
    }

    var refusal: attune_page_refusal { unsafe attune_page_checksums_refusal(handle, "main") }

    /// The database's file, as SQLite uses it.
    private var file: UnsafeMutablePointer<sqlite3_file> {
        get throws {
            var file: UnsafeMutablePointer<sqlite3_file>?
            try check(unsafe sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file))
            guard let file = unsafe file else { throw Failure(code: SQLITE_MISUSE) }
            return unsafe file
        }
    }

    func readFile(_ count: Int, at offset: Int) throws -> [UInt8] {
        let file = unsafe try file
        var bytes = [UInt8](repeating: 0, count: count)
        try check(unsafe file.pointee.pMethods.pointee.xRead(file, &bytes, Int32(count), Int64(offset)))
        return bytes
    }

    func writeFile(_ bytes: [UInt8], at offset: Int) throws {
        let file = unsafe try file
        try check(unsafe file.pointee.pMethods.pointee.xWrite(file, bytes, Int32(bytes.count), Int64(offset)))
    }

    func run(_ statements: String) throws { try check(unsafe sqlite3_exec(handle, statements, nil, nil, nil)) }

    /// All rows, each value as text.
    func rows(_ statement: String) throws -> [[String]] {
        var statementHandle: OpaquePointer?
        try check(unsafe sqlite3_prepare_v2(handle, statement, -1, &statementHandle, nil))
        defer { unsafe sqlite3_finalize(statementHandle) }
        var rows: [[String]] = []
        while true {
            let code = unsafe sqlite3_step(statementHandle)
            if code == SQLITE_DONE { return rows }
            guard code == SQLITE_ROW else { throw Failure(code: code) }
            let columns = unsafe sqlite3_column_count(statementHandle)
            rows.append(
                (0..<columns).map { column in
                    guard let text = unsafe sqlite3_column_text(statementHandle, column) else { return "NULL" }
                    return unsafe String(cString: text)
                })
        }
    }

    func value(_ statement: String) throws -> String { try rows(statement).first?.first ?? "" }

    /// A copy by SQLite's backup, a few pages at a time.
    func copy(into destination: ChecksumConnection, pagesPerStep: Int32 = 3, between: () throws -> Void = {}) throws {
        guard let backup = unsafe sqlite3_backup_init(destination.handle, "main", handle, "main") else {
            throw Failure(code: unsafe sqlite3_extended_errcode(destination.handle))
        }
        var code = SQLITE_OK
        while code == SQLITE_OK {
            code = unsafe sqlite3_backup_step(backup, pagesPerStep)
            if code == SQLITE_OK { try between() }
        }
        let finished = unsafe sqlite3_backup_finish(backup)
        if code != SQLITE_DONE { throw Failure(code: code) }
        try check(finished)
    }

    /// Everything that the tables of `ChecksumDatabase.make` hold, by scan and by index, if SQLite finds nothing wrong.
    func content() throws -> [[String]] {
        let content =
            try rows("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
            + rows("SELECT id, name, hex(body) FROM records ORDER BY id")
            + rows("SELECT name, id FROM records INDEXED BY records_by_name ORDER BY name, id")
            + rows("SELECT owner, place, weight FROM edges ORDER BY owner, place")
            + rows("SELECT weight, owner FROM edges INDEXED BY edges_by_weight ORDER BY weight, owner, place")
        // It tells of a page that it couldn't read in a row, not by an error.
        if try rows("PRAGMA integrity_check") != [["ok"]] {
            throw Failure(code: refusal.reason == ATTUNE_PAGE_NOT_REFUSED ? SQLITE_CORRUPT : damagedData)
        }
        return content
    }

    /// Brings everything from the log into the file, and empties the log.
    func checkpoint() throws {
        let result = try rows("PRAGMA wal_checkpoint(TRUNCATE)")
        if result.first?.first != "0" { throw Failure(code: SQLITE_BUSY) }
    }
}

/// A database in a folder that is removed with it.
final class ChecksumDatabase {
    private let folder: URL
    var path: String { file("database") }

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "attune-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    }

    deinit {
        // Nothing to tell anyone when the system has removed it already.
        do { try FileManager.default.removeItem(at: folder) } catch {}
    }

    func file(_ name: String) -> String { folder.appending(path: name).path }

    func open(isReserving: Bool = true, pageSize: Int? = nil) throws -> ChecksumConnection {
        try ChecksumConnection(path, isReserving: isReserving, pageSize: pageSize)
    }

    /// Tables with and without row numbers, two indexes, values that span pages.
    static let tables = """
        CREATE TABLE records(id INTEGER PRIMARY KEY, name TEXT NOT NULL, body BLOB NOT NULL);
        CREATE INDEX records_by_name ON records(name);
        CREATE TABLE edges(owner INTEGER, place INTEGER, weight REAL, PRIMARY KEY(owner, place)) WITHOUT ROWID;
        CREATE INDEX edges_by_weight ON edges(weight);
        """

    /// Rows of which every byte follows from their number.
    static func rows(from first: Int, count: Int, bodyBytes: Int) -> String {
        """
        BEGIN IMMEDIATE;
        WITH RECURSIVE n(i) AS (SELECT \(first) UNION ALL SELECT i + 1 FROM n WHERE i < \(first + count - 1))
        INSERT INTO records SELECT i, printf('name-%03d', i * 7919 % 1000),
            CAST(substr(replace(hex(zeroblob(\(bodyBytes))), '0', char(65 + i % 26, 97 + i * 7 % 26)), 1, \(bodyBytes) + i % 13)
                AS BLOB) FROM n;
        WITH RECURSIVE n(i) AS (SELECT \(first) UNION ALL SELECT i + 1 FROM n WHERE i < \(first + count - 1))
        INSERT INTO edges SELECT i, j.value, i / (1.0 + j.value) FROM n, (SELECT 1 value UNION SELECT 2 UNION SELECT 5) j;
        COMMIT;
        """
    }

    /// Makes it in WAL mode, closes it, and returns what it holds.
    func make(pageSize: Int, rows: Int, bodyBytes: Int, journal: String = "WAL") throws -> [[String]] {
        let connection = try open(pageSize: pageSize)
        try connection.run("PRAGMA journal_mode = \(journal)")
        try connection.run(Self.tables)
        try connection.run(Self.rows(from: 1, count: rows, bodyBytes: bodyBytes))
        return try connection.content()
    }

    func bytes() throws -> [UInt8] { Array(try contents(ofFile: path)) }

    func write(_ bytes: some Collection<UInt8>, to name: String = "database") throws {
        try Data(bytes).write(to: URL(filePath: file(name)))
    }

    /// What reading everything gives, from a new connection.
    func outcome() throws -> Result<[[String]], ChecksumConnection.Failure> {
        do { return .success(try open().content()) } catch let failure as ChecksumConnection.Failure {
            return .failure(failure)
        }
    }
}

extension Result where Failure == ChecksumConnection.Failure {
    /// SQLite's extended code, or `nil` for a success.
    var code: Int32? {
        if case .failure(let failure) = self { return failure.code }
        return nil
    }
}

/// SQLITE_IOERR_DATA and SQLITE_IOERR_WRITE are macros that Swift doesn't see.
let damagedData = SQLITE_IOERR | 32 << 8
let refusedWrite = SQLITE_IOERR | 3 << 8

/// A file's bytes. Foundation's `Data(contentsOf:)` leaks a page when the file is empty, which the address sanitizer reports.
func contents(ofFile path: String) throws -> Data {
    let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
    defer { file.closeFile() }
    return try file.readToEnd() ?? Data()
}

/// Where a few bytes stand in others, ascending. Foundation's `range(of:)` copies all of them at each call.
func places(of mark: [UInt8], in bytes: Data) -> [Int] {
    unsafe bytes.withUnsafeBytes { (bytes: UnsafeRawBufferPointer) in
        var (all, from) = ([Int](), 0)
        while from + mark.count <= bytes.count, let start = bytes.baseAddress,
            let found = unsafe memchr(start + from, Int32(mark[0]), bytes.count - from - mark.count + 1)
        {
            let place = unsafe UnsafeRawPointer(found) - start
            let isThere = unsafe memcmp(found, mark, mark.count) == 0
            if isThere { all.append(place) }
            from = place + (isThere ? mark.count : 1)
        }
        return all
    }
}
