#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif
internal import Reasoning
internal import TensorCore

extension RecordFiles {
    /// Deletes the files of records that are about a subject, and takes those records out of the summaries of their sessions.
    ///
    /// A file is about the subject that it names (`entity_id`). Sessions that are going on are reached too: what is written later is
    /// not, so flush the recorder before. What is behind a link is not touched.
    ///
    /// - Returns: How many files were deleted.
    /// - Throws: ``RecordError`` (`files`) where a folder or file cannot be read, deleted or written; what was deleted until then stays
    ///   deleted: call again.
    @discardableResult
    public func erase(_ subject: String) async throws(RecordError) -> Int {
        let subject = SpanRecord.fitting(subject)
        return try await running { [self] () throws(RecordError) in
            try RecordFolder(path: folder).erase(subject)
        }
    }
}

extension RecordFolder {
    func erase(_ subject: String) throws(RecordError) -> Int {
        var deleted = 0
        for name in try Self.names(in: path) where name.hasPrefix("session_") {
            let session = "\(path)/\(name)"
            var folder = stat()
            guard unsafe lstat(session, &folder) == 0, folder.st_mode & S_IFMT == S_IFDIR else { continue }
            deleted += try Self.erase(subject, in: session)
        }
        return deleted
    }

    private static func erase(_ subject: String, in session: String) throws(RecordError) -> Int {
        let names = try names(in: session)
        var deleted = 0
        for name in names where name.hasSuffix(".json") && name != RecordFiles.summary {
            guard try isAbout(subject, "\(session)/\(name)") else { continue }
            try delete("\(session)/\(name)")
            deleted += 1
        }
        var summary = stat()
        if unsafe lstat("\(session)/\(RecordFiles.summary)", &summary) == 0, summary.st_mode & S_IFMT == S_IFREG {
            try rewrite("\(session)/\(RecordFiles.summary)", without: subject)
        }
        // What a process that was killed left half written may be about anybody.
        for name in names where name.hasSuffix(".tmp") {
            var facts = stat()
            guard unsafe lstat("\(session)/\(name)", &facts) == 0, facts.st_mode & S_IFMT == S_IFREG,
                Int64(facts.st_mtim.tv_sec) < SystemClock().now.microseconds / 1_000_000 - 60
            else { continue }
            try delete("\(session)/\(name)")
        }
        return deleted
    }

    private static func delete(_ path: String) throws(RecordError) {
        guard unsafe unlink(path) == 0 || errno == ENOENT else {
            throw RecordError(
                .files, "erase", "a record's file cannot be deleted: \(unsafe String(cString: strerror(errno)))")
        }
    }

    /// Whether a record's file names a subject. One that holds no record is nobody's.
    private static func isAbout(_ subject: String, _ path: String) throws(RecordError) -> Bool {
        var facts = stat()
        guard unsafe lstat(path, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else { return false }
        let bytes: [UInt8]
        do throws(TensorFileError) {
            let source = try ByteSource(path: path)
            guard source.count <= 3 * SpanRecord.largestContent else { return false }
            bytes = try source.bytes(0..<source.count)
        } catch {
            throw RecordError(.files, "erase", "a record's file cannot be read: \(error)")
        }
        return isAbout(subject, bytes)
    }

    private static func isAbout(_ subject: String, _ record: [UInt8]) -> Bool {
        guard case .object(let members)? = JSONCheck.value(String(decoding: record, as: UTF8.self))?.content,
            case .string(let entity)? = members.first(where: { $0.key == "entity_id" })?.value.content
        else { return false }
        return entity == subject
    }

    /// Writes a summary again without the records about a subject, which stand on a line each, where there are any.
    private static func rewrite(_ summary: String, without subject: String) throws(RecordError) {
        do throws(TensorFileError) {
            var lines = SummaryLines(try ByteSource(path: summary))
            var isFound = false
            while let line = try lines.next() { isFound = isFound || isAbout(subject, line.record) }
            guard isFound else { return }
            lines = SummaryLines(try ByteSource(path: summary))
            try AtomicFile.write(to: summary, isPrivate: true) { file throws(TensorFileError) in
                var isFirst = true
                while let line = try lines.next() {
                    if line.isHead {
                        try file.append(line.record)
                    } else if !isAbout(subject, line.record) {
                        try file.append(isFirst ? [0x0A] : Array(",\n".utf8))
                        try file.append(line.record)
                        isFirst = false
                    }
                }
                try file.append(Array("]}\n".utf8))
            }
        } catch {
            throw RecordError(.files, "erase", "the summary of a session cannot be read or written: \(error)")
        }
    }
}

/// The lines of a summary, one at a time in memory: what is before the records, and the records.
private struct SummaryLines {
    private let source: ByteSource
    private var place = 0
    private var buffer: [UInt8] = []
    private var isFirst = true

    init(_ source: ByteSource) { self.source = source }

    mutating func next() throws(TensorFileError) -> (record: [UInt8], isHead: Bool)? {
        var searched = 0
        while true {
            if let end = buffer[searched...].firstIndex(of: 0x0A) {
                defer { buffer.removeSubrange(...end) }
                return line(buffer[..<end])
            }
            searched = buffer.count
            guard place < source.count else {
                defer { buffer = [] }
                return buffer.isEmpty ? nil : line(buffer[...])
            }
            let count = min(1 << 18, source.count - place)
            buffer += try source.bytes(place..<place + count)
            place += count
        }
    }

    /// A line without what stands between records and after the last.
    private mutating func line(_ bytes: ArraySlice<UInt8>) -> (record: [UInt8], isHead: Bool) {
        defer { isFirst = false }
        var record = bytes
        let end = Array("]}".utf8)
        if isFirst {
            // Without records all stands on one line.
            if record.suffix(3) == Array("[]}".utf8)[...] { record.removeLast(2) }
            return (Array(record), true)
        }
        if record.last == UInt8(ascii: ",") {
            record.removeLast()
        } else if record.suffix(2) == end[...] {
            record.removeLast(2)
        }
        return (Array(record), false)
    }
}
