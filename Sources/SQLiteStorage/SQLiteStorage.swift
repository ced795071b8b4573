internal import CSQLite
internal import Dispatch
public import Personalization
public import Reasoning
internal import TensorCore

/// Adapters and their journal in one SQLite file.
///
/// ```swift
/// let storage = try await SQLiteStorage(path: "attune.db")
/// let engine = try PersonalizationEngine(
///     configuration: EngineConfiguration(dimension: 384, durability: .synced), store: storage, journal: storage)
/// ```
///
/// One storage writes to a file at a time, in one process; any number read it (``Access/reading``). Updates that come at the
/// same time are committed together. SQLite works on threads of its own, but for commits with `buffered`, which take microseconds
/// and run on the thread of a task: it waits there for the disk when the log begins anew.
///
/// Beside the file stand `-wal` and `-shm` while it is open (SQLite's) and `-lock`.
public final class SQLiteStorage: AdapterStore, FeedbackJournal {
    /// What a storage is opened for.
    public enum Access: Sendable, Hashable {
        /// Writing, and a new file is made where there is none.
        case writing
        /// Reading alone: every change throws ``StorageError`` (`readOnly`). Opened before anybody wrote to its project, it
        /// finds nothing until it is opened again.
        case reading
    }

    /// The file.
    public let path: String
    /// The tenant that everything here belongs to.
    public let project: String
    let access: Access

    let writer: Worker
    private let readers: [Worker]
    let commits: GroupCommit
    private let checkpoints: LogCheckpoints
    let health = WriteHealth()
    private let lock: Lock<FileLock?>
    /// Whether a bank of this storage is there.
    let hasOpenBank = Lock<Bool>(false)
    /// Whether a store of records of this storage is there.
    let hasOpenRecords = Lock<Bool>(false)
    /// Whose feedback was forgotten while starts are made, for each run of that, which may have read their adapters before.
    let corrected = Lock<[ObjectIdentifier: Set<UserDigest>]>([:])
    /// The secret under which users' ids are hashed in this file: for tombstones, donors and a bank's episodes. An engine that has
    /// this storage as its store takes it, unless it was given another.
    public let digestKey: DigestKey?
    let projectRef: Int64

    /// Opens a storage file, or makes a new one.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - project: The tenant; 1 to 1,024 bytes. Those of one file never see each other's users.
    ///   - access: What it is opened for.
    /// - Throws: ``StorageError``: `missing`, `inUse`, `notAStore`, `newerSchema`, `damaged`, `readOnly`, `locked`, `full`.
    public init(path: String, project: String = "default", access: Access = .writing) async throws {
        precondition(!project.isEmpty && project.utf8.count <= 1024, "SQLiteStorage: a project has 1 to 1024 bytes")
        let path = resolved(path)
        self.path = path
        self.project = project
        self.access = access
        let opened = try await Worker.opening("attune.storage") {
            try Self.open(path, project, access)
        }
        lock = Lock(opened.lock)
        writer = opened.worker
        projectRef = opened.project
        digestKey = opened.key
        checkpoints = LogCheckpoints(try await Self.copier(path, access), writer: writer, health: health)
        commits = GroupCommit(
            worker: writer, checkpoints: checkpoints, project: projectRef, key: opened.key,
            isReading: access == .reading, health: health)
        var readers: [Worker] = []
        for _ in 0..<2 {
            readers.append(
                try await Worker.opening("attune.storage.reader") {
                    let connection = try Connection(
                        path: path, flags: SQLITE_OPEN_READONLY, isImmutable: opened.isImmutable)
                    try connection.execute(
                        "PRAGMA query_only = ON; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF")
                    return Worker(queue: DispatchQueue(label: "attune.storage.reader"), connection)
                })
        }
        self.readers = readers
    }

    private struct Opened: Sendable {
        let lock: FileLock?
        let worker: Worker
        let project: Int64
        let key: DigestKey
        let isImmutable: Bool
    }

    private static func open(_ path: String, _ project: String, _ access: Access) throws -> Opened {
        let isReading = access == .reading
        try refuseOtherKinds(path)
        let lock = isReading ? nil : try FileLock(path)
        try refuseCutFile(path)
        if !isReading { try makePrivateFile(path) }
        let flags = isReading ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        let isImmutable = isReading && isUnchangeable(path)
        let connection = try Connection(path: path, flags: flags, isImmutable: isImmutable)
        try connection.refuseOtherFiles()
        try connection.execute(
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY"
        )
        if isReading {
            try Schema.check(connection, mayBeNew: false)
        } else {
            try Schema.check(connection, mayBeNew: true)
            try connection.execute("PRAGMA journal_mode = WAL; PRAGMA cache_size = -32768; PRAGMA foreign_keys = ON")
            try Schema.prepare(connection, project: project)
            connection.leaveLogToOthers()
        }
        let name = Value.text(project)
        if !isReading { try connection.run("INSERT OR IGNORE INTO projects (name) VALUES (?)", [name]) }
        let ref = try connection.integer("SELECT ref FROM projects WHERE name = ?", [name])
        guard let key = try key(connection) else {
            throw StorageError(.damaged, "open", "it has no key for tombstones", path: path)
        }
        let worker = Worker(queue: DispatchQueue(label: "attune.storage.writer"), connection)
        // A project that is not there has no users, for as long as this reads.
        return Opened(lock: lock, worker: worker, project: ref ?? -1, key: key, isImmutable: isImmutable)
    }

    /// A connection that copies the log into the file; none for reading.
    private static func copier(_ path: String, _ access: Access) async throws -> Worker? {
        if access == .reading { return nil }
        return try await Worker.opening("attune.storage.log") {
            let connection = try Connection(path: path, flags: SQLITE_OPEN_READWRITE)
            try connection.execute(
                "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA synchronous = NORMAL")
            return Worker(queue: DispatchQueue(label: "attune.storage.log"), connection)
        }
    }

    private static func key(_ connection: Connection) throws -> DigestKey? {
        var bytes: [UInt8] = []
        try connection.run("SELECT value FROM properties WHERE name = 'digest key'") { bytes = $0.bytes(0) }
        var reader = ByteReader(bytes)
        guard let first: UInt64 = reader.take(), let second: UInt64 = reader.take() else { return nil }
        return DigestKey(first, second)
    }

    /// The projects of the file, ascending: a storage that writes makes its own.
    public func projects() async throws -> [String] {
        try await reading("projects") { connection in
            var all: [String] = []
            try connection.run("SELECT name FROM projects ORDER BY name") { all.append($0.text(0)) }
            return all
        }
    }

    /// Closes the file when everything that was begun is done. Later calls throw ``StorageError`` (`closed`).
    public func close() async {
        commits.close(path: path)
        for reader in readers { await reader.close() }
        await checkpoints.close()
        await writer.close()
        lock.withLock { $0 = nil }
    }

    // MARK: Running

    /// Runs `body` on a connection that reads, in one transaction.
    func reading<R: Sendable>(_ operation: String, _ body: @escaping @Sendable (Connection) throws -> R) async throws
        -> R
    {
        try await readers[Int.random(in: 0..<readers.count)].run(operation, path) { try $0.reading(body) }
    }

    /// The same at once, on the caller's thread, where a connection is free: for what takes less time than a thread to wake, in
    /// callers whose thread may wait for a disk.
    func readingNow<R: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (Connection) throws -> R
    ) async throws -> R {
        var result: Result<R, any Error>?
        for reader in readers {
            // One that was closed says so in the queue.
            let hasRun = reader.runNow { connection in
                if let connection { result = Result { try connection.reading(body) } }
            }
            if hasRun, let result { return try result.get() }
        }
        return try await reading(operation, body)
    }

    /// Whether a user surely has no rows, where a connection is free to look; what fails is left to who reads them.
    func isUnknown(_ user: String) -> Bool {
        let values: [Value] = [.integer(projectRef), .text(user)]
        var isUnknown = false
        for reader in readers {
            let hasRun = reader.runNow { connection in
                guard let connection else { return }
                do {
                    let ref = try connection.integer(
                        "SELECT ref FROM users WHERE project = ? AND id = ?", values)
                    isUnknown = ref == nil
                } catch {
                    connection.rollback()
                }
            }
            if hasRun { break }
        }
        return isUnknown
    }

    /// Runs `body` on the connection that writes, in a transaction.
    ///
    /// - Parameters:
    ///   - durability: How safe it is then; as the commit before it was for `nil`.
    ///   - then: Called when it stands, before anything else is written.
    func writing<R: Sendable>(
        _ operation: String, _ durability: Durability? = nil, _ body: @escaping @Sendable (Connection) throws -> R,
        then: @escaping @Sendable (R) -> Void = { _ in }
    ) async throws -> R {
        try refuseReading(operation)
        let (health, users, checkpoints) = (health, commits.users, checkpoints)
        return try await writer.run(operation, path) { connection in
            try health.check(operation)
            do {
                if let durability { try connection.setSynced(durability == .synced) }
                let result = try connection.transaction { try body(connection) }
                then(result)
                checkpoints.runIfDue(connection)
                return result
            } catch {
                health.note(error)
                users.forgetAll()
                throw error
            }
        }
    }

    func refuseReading(_ operation: String) throws(StorageError) {
        if access == .reading {
            throw StorageError(.readOnly, operation, "it was opened for reading only", path: path)
        }
    }
}
