internal import Dispatch
internal import Reasoning
public import Telemetry
internal import TensorCore

/// How long files of records are kept.
public struct FileRetention: Sendable, Hashable {
    /// Sessions that ended longer ago than this are deleted.
    public var age: Duration?
    /// The oldest sessions are deleted until the rest has no more bytes than this.
    public var bytes: Int?

    /// For ever, unless given.
    public init(age: Duration? = nil, bytes: Int? = nil) { (self.age, self.bytes) = (age, bytes) }
}

/// Records as files that any JSON viewer opens.
///
/// ```text
/// training_recording/session_1795757469123_5f0a9c31/2026-11-28T05-11-09.123456Z_0193…_TEXT_LARGE.json
/// training_recording/session_1795757469123_5f0a9c31/session_summary.json
/// ```
///
/// Each file appears whole or not at all, and only its owner may read it. A record's file may be missing after a power failure of
/// the last seconds; the summary is synced. What stands in names is cut to 64 characters of `A-Za-z0-9._-`, others become `_`.
public final class RecordFiles: Sendable {
    /// The folder of all sessions.
    public let folder: String
    /// How long they are kept.
    public let retention: FileRetention
    /// Files are written here: a disk may hang.
    private let queue = DispatchQueue(label: "attune.records.files")
    /// The sessions of this process that are going on.
    private let active = Lock<Set<String>>([])
    private let reporting: Reporting

    /// Files in a folder, which is made when the first recording begins.
    ///
    /// - Parameter reporting: Where it is told that old sessions could not be deleted.
    public init(
        folder: String = "training_recording", retention: FileRetention = FileRetention(),
        reporting: Reporting = Reporting()
    ) {
        (self.folder, self.retention, self.reporting) = (folder, retention, reporting)
    }

    /// The name of a summary.
    static let summary = "session_summary.json"

    // MARK: On the recorder's behalf

    /// Where a session's folder is or will be.
    func path(of recording: RecordingRecord) -> String { "\(folder)/\(Self.name(recording.id))" }

    /// Makes a session's folder.
    func begin(_ recording: RecordingRecord) async throws(RecordError) -> String {
        let name = Self.name(recording.id)
        active.withLock { _ = $0.insert(name) }
        return try await running { [self] () throws(RecordError) in
            do throws(TensorFileError) {
                for place in folder.indices.dropFirst() where folder[place] == "/" {
                    try AtomicFile.makeFolder(String(folder[..<place]))
                }
                try AtomicFile.makeFolder(folder)
                try AtomicFile.makeFolder(path(of: recording))
            } catch {
                active.withLock { _ = $0.remove(name) }
                throw RecordError(.files, "begin", "the folder of a session cannot be made: \(error)")
            }
            retain()
            return path(of: recording)
        }
    }

    /// Writes a record.
    func write(_ span: SpanRecord, to session: String) async throws(RecordError) {
        try await running { () throws(RecordError) in
            let path = "\(session)/\(Self.name(of: span))"
            do throws(TensorFileError) {
                let bytes = span.json + [0x0A]
                try AtomicFile.write(to: path, isPrivate: true, isSynced: false) { file throws(TensorFileError) in
                    try file.append(bytes)
                }
            } catch {
                throw RecordError(.files, "write", "a record's file cannot be written: \(error)")
            }
        }
    }

    /// Writes a session's summary from its files, one at a time.
    func end(
        _ recording: RecordingRecord, at moment: Timestamp, in session: String,
        _ facts: @escaping @Sendable () -> (RecordingRecord, RecordingStatus)
    ) async throws(RecordError) {
        let name = Self.name(recording.id)
        try await running { [self] () throws(RecordError) in
            defer {
                active.withLock { _ = $0.remove(name) }
                retain()
            }
            // Asked here: of two summaries the later one knows no less.
            let (recording, status) = facts()
            try RecordFolder.writeSummary(of: recording, status, at: moment, in: session)
        }
    }

    /// Deletes the sessions that need not be kept any longer.
    ///
    /// Never one that is going on in this process, nor one without a summary in which something was written within a day: it may be
    /// another process's.
    ///
    /// - Returns: The names of the sessions that are gone, oldest first.
    /// - Throws: ``RecordError`` (`files`) where the folder cannot be read or a file not be deleted.
    @discardableResult
    public func enforceRetention() async throws(RecordError) -> [String] {
        return try await running { [self] () throws(RecordError) in
            try RecordFolder(path: folder).retain(retention, at: SystemClock().now, except: active.withLock { $0 })
        }
    }

    /// Deletes old sessions; where that fails, recordings go on.
    private func retain() {
        do throws(RecordError) {
            _ = try RecordFolder(path: folder).retain(retention, at: SystemClock().now, except: active.withLock { $0 })
        } catch {
            reporting.log(
                .error, "old sessions could not be deleted", ["error": "\(error)"], source: "LearningRecords")
            reporting.count("attune_record_retention_failed_total")
        }
    }

    func running<R: Sendable>(
        _ body: @escaping @Sendable () throws(RecordError) -> R
    ) async throws(RecordError) -> R {
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<R, RecordError>, Never>) in
            queue.async {
                do throws(RecordError) { continuation.resume(returning: .success(try body())) } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }

    // MARK: Names

    /// What may stand in a file's name.
    static func name(_ text: String) -> String {
        var name = ""
        for byte in text.utf8.prefix(64) {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                name.unicodeScalars.append(Unicode.Scalar(byte))
            case UInt8(ascii: ".") where !name.isEmpty: name += "."
            default: name += "_"
            }
        }
        return name.isEmpty ? "_" : name
    }

    static func name(of span: SpanRecord) -> String {
        let time = String(span.startedAt.text.map { $0 == ":" ? "-" : $0 })
        return "\(time)_\(span.id)_\(name(span.name)).json"
    }
}
