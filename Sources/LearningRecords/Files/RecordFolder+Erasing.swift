#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif
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
        let files = try names(in: session).filter { $0.hasSuffix(".json") && $0 != RecordFiles.summary }
        var about: [String] = []
        for name in files where try isAbout(subject, "\(session)/\(name)") { about.append(name) }
        let summary = "\(session)/\(RecordFiles.summary)"
        var facts = stat()
        let hasSummary = unsafe lstat(summary, &facts) == 0 && facts.st_mode & S_IFMT == S_IFREG
        // Before the files: who is interrupted finds them again.
        if hasSummary, !about.isEmpty {
            let gone = Set(about)
            try rewrite(summary, session, files.filter { !gone.contains($0) })
        }
        for name in about {
            guard unsafe unlink("\(session)/\(name)") == 0 || errno == ENOENT else {
                throw RecordError(
                    .files, "erase", "a record's file cannot be deleted: \(unsafe String(cString: strerror(errno)))")
            }
        }
        return about.count
    }

    /// Whether a record's file names a subject. One that holds no record is nobody's.
    private static func isAbout(_ subject: String, _ path: String) throws(RecordError) -> Bool {
        let bytes: [UInt8]
        do throws(TensorFileError) {
            let source = try ByteSource(path: path)
            guard source.count <= 3 * SpanRecord.largestContent else { return false }
            bytes = try source.bytes(0..<source.count)
        } catch {
            throw RecordError(.files, "erase", "a record's file cannot be read: \(error)")
        }
        guard case .object(let members)? = JSONCheck.value(String(decoding: bytes, as: UTF8.self))?.content,
            case .string(let entity)? = members.first(where: { $0.key == "entity_id" })?.value.content
        else { return false }
        return entity == subject
    }

    /// Writes a summary again with fewer records: what is before them stays.
    private static func rewrite(_ summary: String, _ session: String, _ records: [String]) throws(RecordError) {
        // Within a JSON string the quotes would be escaped.
        let beginning = Array(",\"records\":[".utf8)
        do throws(TensorFileError) {
            let source = try ByteSource(path: summary)
            let start = try source.bytes(0..<min(source.count, 1 << 20))
            guard let end = start.firstRange(of: beginning)?.upperBound else { return }
            let head = Array(start[..<end])
            try AtomicFile.write(to: summary, isPrivate: true) { file throws(TensorFileError) in
                try writeRecords(records, of: session, after: head, to: file)
            }
        } catch {
            throw RecordError(.files, "erase", "the summary of a session cannot be written: \(error)")
        }
    }
}
