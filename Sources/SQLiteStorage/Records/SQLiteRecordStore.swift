public import LearningRecords
public import Personalization
public import Reasoning
internal import TensorCore

/// Recordings and spans in the file of a ``SQLiteStorage``, beside adapters, journal and bank.
///
/// ```swift
/// let storage = try await SQLiteStorage(path: "attune.db")
/// let records = try await SQLiteRecordStore(storage)
/// let recorder = try ModelCallRecorder(store: records)
/// ```
///
/// Keeps every promise of ``RecordStore``. Besides:
/// - Its tables are made when the first store of records of a file is opened. For those who ask in SQL there are the views
///   `training_data`, `training_sessions`, `training_events`, `training_tasks`, `training_tool_executions` and `training_workflows`,
///   with times in UTC.
/// - Spans that are stored together stand in one transaction.
/// - A recording that is active when the store is opened is of a process that has died: it becomes `interrupted`, with totals counted
///   from what is stored.
/// - Deleted contents are overwritten with zeros in the file when its log is emptied (``SQLiteStorage/erase()``).
public final class SQLiteRecordStore: RecordStore {
    /// Where everything is kept.
    public let storage: SQLiteStorage
    /// The file's path.
    public var place: String { storage.path }
    /// How safe records are when a call has stored them.
    public let durability: Durability
    let clock: any ReasoningClock
    let known: KnownRecords
    private let claim: RecordClaim?

    /// Opens the records of a storage's project, and ends what a dead process has left active.
    ///
    /// - Parameters:
    ///   - storage: The file. It has one store of records at a time for writing; one that was opened for reading is only asked.
    ///   - durability: How safe records are when a call has stored them; at least `buffered`.
    ///   - clock: Tells when rows were written.
    /// - Throws: ``StorageError``: `inUse` where another store of records of this storage is there still.
    public init(
        _ storage: SQLiteStorage, durability: Durability = .buffered, clock: any ReasoningClock = SystemClock()
    ) async throws {
        (self.storage, self.durability, self.clock) = (storage, durability, clock)
        known = KnownRecords()
        claim = storage.access == .writing ? try RecordClaim(storage) : nil
        guard storage.access == .writing else { return }
        try await storage.writer.run("open records", storage.path) { try RecordSchema.prepare($0) }
        let project = storage.projectRef
        let now = clock.now
        _ = try await storage.writing("open records", durability) { try $0.interruptRecordings(project, now) }
    }

    /// The identifiers of what has become `interrupted` since the file was made, latest first.
    public func interrupted() async throws -> [String] {
        try await recordings(limit: .max).filter { $0.state == .interrupted }.map(\.id)
    }

    /// Keeps a recording that begins.
    public func begin(_ recording: RecordingRecord) async throws {
        let (project, now) = (storage.projectRef, clock.now)
        try await storage.writing("begin recording", durability) { try $0.insert(recording, project, now) }
    }

    /// Keeps spans, in one transaction.
    public func store(_ spans: [SpanRecord]) async throws -> [RefusedSpan] {
        if spans.isEmpty { return [] }
        let (project, known, clock) = (storage.projectRef, known, clock)
        let stored = try await storage.writing("store records", durability) { connection in
            var writer = SpanWriter(connection, project: project, known: known, at: clock.now)
            return (refused: try writer.store(spans), made: writer.made)
        } then: { stored in
            known.keep(stored.made)
        }
        return stored.refused
    }

    /// Ends a recording.
    public func end(_ recording: String, dropped: Int, at moment: Timestamp) async throws -> RecordingRecord {
        let (project, now) = (storage.projectRef, clock.now)
        return try await storage.writing("end recording", durability) { connection in
            guard let ref = try connection.recordingRef(recording, project) else {
                throw RecordError.unknownRecording("end")
            }
            try connection.count(ref, .completed, dropped: dropped, at: moment, now)
            guard let ended = try connection.recordings(project, limit: 1, only: ref).first else {
                throw RecordError.unknownRecording("end")
            }
            return ended
        }
    }

    /// The recordings, latest first.
    public func recordings(limit: Int) async throws -> [RecordingRecord] {
        let project = storage.projectRef
        return try await storage.reading("recordings") { connection in
            guard try RecordSchema.isReadable(connection) else { return [] }
            return try connection.recordings(project, limit: max(0, limit), only: nil)
        }
    }

    /// Spans in the order in which they were first stored.
    public func spans(_ query: SpanQuery) async throws -> [SpanRecord] {
        try query.check()
        let project = storage.projectRef
        return try await storage.reading("spans") { connection in
            guard try RecordSchema.isReadable(connection) else { return [] }
            return try connection.spans(query, project)
        }
    }

    /// What is stored of a recording so far.
    public func totals(of recording: String) async throws -> RecordingTotals {
        let project = storage.projectRef
        return try await storage.reading("totals") { connection in
            guard try RecordSchema.isReadable(connection) else { return RecordingTotals() }
            return try connection.totals(of: recording, project)
        }
    }

    /// How many spans there are, of a recording or of all.
    public func count(recording: String? = nil) async throws -> Int {
        let project = storage.projectRef
        return try await storage.reading("count") { connection in
            guard try RecordSchema.isReadable(connection) else { return 0 }
            if let recording { return try connection.totals(of: recording, project).records }
            return Int(
                try connection.integer("SELECT count(*) FROM spans WHERE project = ?", [.integer(project)]) ?? 0)
        }
    }

    /// A span by its identifier; `nil` where there is none.
    public func span(_ id: RecordID) async throws -> SpanRecord? {
        let project = storage.projectRef
        return try await storage.reading("span") { connection in
            guard try RecordSchema.isReadable(connection) else { return nil }
            return try connection.spanRef(id, project).map { try connection.span($0) }
        }
    }

    /// Writes spans to a new file, a JSON object a line, as they are at one moment; 500 at a time are in memory.
    ///
    /// - Parameters:
    ///   - recording: Those of a recording; all where none is given.
    ///   - path: The file, which appears when it is whole; one that is there is replaced.
    ///   - progress: Told how many were written.
    /// - Returns: How many spans there are in it.
    /// - Throws: ``StorageError``; ``TensorFileError`` for the new file.
    public func export(
        recording: String? = nil, to path: String, progress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws -> Int {
        let project = storage.projectRef
        var query = SpanQuery()
        (query.recording, query.limit) = (recording, 500)
        let first = query
        return try await storage.reading("export") { connection in
            let hasRecords = try RecordSchema.isReadable(connection)
            var count = 0
            var problem: (any Error)?
            do throws(TensorFileError) {
                try AtomicFile.write(to: path, isPrivate: true) { file throws(TensorFileError) in
                    var query = first
                    while hasRecords {
                        var page: [SpanRecord] = []
                        do { page = try connection.spans(query, project) } catch {
                            problem = error
                            throw TensorFileError(.inputOutput, path: path, "the records cannot be read")
                        }
                        if page.isEmpty { return }
                        try file.append(page.flatMap { $0.json + [0x0A] })
                        count += page.count
                        progress(count)
                        query.after = page.last?.id
                    }
                }
            } catch {
                throw problem ?? error
            }
            return count
        }
    }

    /// Deletes all contents about a subject, with messages in the outbox, and takes out what may name it.
    public func eraseContents(about subject: String) async throws -> Int {
        let (project, now) = (storage.projectRef, clock.now)
        let subject = SpanRecord.fitting(subject)
        return try await storage.writing("erase records", durability) { connection in
            try connection.erase(subject, project, now).contents
        }
    }
}

extension SQLiteStorage {
    /// Whether there are tables of records, of whatever version.
    package func hasRecords() async throws -> Bool {
        try await reading("records") { try RecordSchema.version($0) > 0 }
    }
}

/// What holds a storage's only place for a store of records.
private final class RecordClaim: Sendable {
    private let storage: SQLiteStorage

    init(_ storage: SQLiteStorage) throws(StorageError) {
        self.storage = storage
        let isFree = storage.hasOpenRecords.withLock { isOpen in
            defer { isOpen = true }
            return !isOpen
        }
        guard isFree else {
            throw StorageError(
                .inUse, "open records", "another store of records of this storage is open: use that one",
                path: storage.path)
        }
    }

    deinit { storage.hasOpenRecords.withLock { $0 = false } }
}
