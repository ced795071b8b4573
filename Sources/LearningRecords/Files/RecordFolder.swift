#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif
internal import Reasoning
internal import TensorCore

/// The folder of all sessions' files.
struct RecordFolder {
    let path: String

    private static func failure(_ what: String) -> RecordError {
        RecordError(.files, "files", "\(what): \(unsafe String(cString: strerror(errno)))")
    }

    /// The names in a folder, in order of their bytes; none where there is no folder.
    static func names(in folder: String) throws(RecordError) -> [String] {
        guard let directory = unsafe opendir(folder) else {
            if errno == ENOENT { return [] }
            throw failure("a folder of records cannot be read")
        }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
    }

    // MARK: Summary

    /// Writes a session's summary: facts, statistics, and all records from their files, of which one at a time is in memory.
    static func writeSummary(
        of recording: RecordingRecord, _ status: RecordingStatus, at moment: Timestamp, in session: String
    ) throws(RecordError) {
        let records = try names(in: session).filter { $0.hasSuffix(".json") && $0 != RecordFiles.summary }
        do throws(TensorFileError) {
            try AtomicFile.write(to: "\(session)/\(RecordFiles.summary)", isPrivate: true) {
                file throws(TensorFileError) in
                var head = facts(recording, status, at: moment)
                head += Array(",\"records\":[".utf8)
                try file.append(head)
                var isFirst = true
                for name in records {
                    guard let bytes = record("\(session)/\(name)") else { continue }
                    try file.append(isFirst ? [0x0A] : Array(",\n".utf8))
                    try file.append(bytes)
                    isFirst = false
                }
                try file.append(Array("]}\n".utf8))
            }
        } catch {
            throw RecordError(.files, "end", "the summary of a session cannot be written: \(error)")
        }
    }

    /// A record's file; `nil` where it holds no JSON object: it was cut, or is somebody else's.
    private static func record(_ path: String) -> [UInt8]? {
        do throws(TensorFileError) {
            let source = try ByteSource(path: path)
            guard source.count <= 3 * SpanRecord.largestContent else { return nil }
            var bytes = try source.bytes(0..<source.count)
            while bytes.last == 0x0A { bytes.removeLast() }
            return JSONCheck.isObject(String(decoding: bytes, as: UTF8.self)) ? bytes : nil
        } catch {
            return nil
        }
    }

    /// All but the records, without the last brace.
    private static func facts(_ recording: RecordingRecord, _ status: RecordingStatus, at moment: Timestamp) -> [UInt8]
    {
        var json = JSONOutput()
        json.beginObject()
        json.member("session_id", recording.id)
        var agent: String?
        if case .agent(let name) = recording.scope { agent = name }
        json.member("agent_id", agent)
        json.member("description", recording.description)
        json.member("started_at", recording.startedAt)
        json.member("completed_at", recording.completedAt ?? moment)
        let (seconds, attoseconds) = status.duration.components
        json.member("duration_ms", Double(seconds) * 1e3 + Double(attoseconds) / 1e15)
        json.beginObject("statistics")
        json.member("total", Int64(status.total))
        json.member("successful", Int64(status.successful))
        json.member("failed", Int64(status.failed))
        json.member("success_rate", status.successRate)
        json.member("stored", Int64(status.records))
        json.member("dropped", Int64(status.dropped))
        json.member("sink_failures", Int64(status.sinkFailures))
        json.member("file_failures", Int64(status.fileFailures))
        json.member("redaction_failures", Int64(status.redactionFailures))
        json.beginObject("execution_time_ms")
        json.member("p50", status.medianLatency.map { $0 / 1_000 })
        json.member("p95", status.latency95.map { $0 / 1_000 })
        json.member("p99", status.latency99.map { $0 / 1_000 })
        json.endObject()
        json.endObject()
        return json.bytes
    }

    // MARK: Retention

    private struct Session {
        let name: String
        var bytes = 0
        var changed = Int64.min
        var isEnded = false
    }

    /// Deletes what need not be kept; the names of what is gone.
    func retain(
        _ retention: FileRetention, at moment: Timestamp, except active: Set<String>
    ) throws(RecordError) -> [String] {
        if retention.age == nil, retention.bytes == nil { return [] }
        var sessions: [Session] = []
        // One session's trouble is not the others'.
        var trouble: RecordError?
        for name in try Self.names(in: path) where name.hasPrefix("session_") {
            // Not what is behind a link, nor files.
            var folder = stat()
            guard unsafe lstat("\(path)/\(name)", &folder) == 0, folder.st_mode & S_IFMT == S_IFDIR else { continue }
            do throws(RecordError) { sessions.append(try session(name)) } catch { trouble = trouble ?? error }
        }
        sessions.sort { ($0.changed, $0.name) < ($1.changed, $1.name) }
        let now = moment.microseconds / 1_000_000
        var left = sessions.reduce(0) { $0 + $1.bytes }
        var gone: [String] = []
        for session in sessions {
            let age = session.changed == .min ? Int64.max : now - session.changed
            guard !active.contains(session.name), session.isEnded || age > 86_400 else { continue }
            let isOld = retention.age.map { age > $0.components.seconds } ?? false
            guard isOld || retention.bytes.map({ left > $0 }) ?? false else { continue }
            do throws(RecordError) { try Self.remove("\(path)/\(session.name)") } catch {
                trouble = trouble ?? error
                continue
            }
            left -= session.bytes
            gone.append(session.name)
        }
        if let trouble { throw trouble }
        return gone
    }

    private func session(_ name: String) throws(RecordError) -> Session {
        var session = Session(name: name)
        for file in try Self.names(in: "\(path)/\(name)") {
            var facts = stat()
            // One that is gone meanwhile takes no room.
            guard unsafe lstat("\(path)/\(name)/\(file)", &facts) == 0 else { continue }
            session.bytes += Int(facts.st_size)
            session.changed = max(session.changed, Int64(facts.st_mtim.tv_sec))
            if file == RecordFiles.summary { session.isEnded = true }
        }
        return session
    }

    /// Removes a session's folder with the files in it; never what is behind a link, nor folders in it.
    private static func remove(_ folder: String) throws(RecordError) {
        for name in try names(in: folder) {
            guard unsafe unlink("\(folder)/\(name)") == 0 || errno == ENOENT else {
                throw failure("a record's file cannot be deleted")
            }
        }
        guard unsafe rmdir(folder) == 0 || errno == ENOENT else {
            throw failure("a session's folder cannot be deleted")
        }
    }
}
