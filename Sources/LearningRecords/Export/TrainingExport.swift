public import Reasoning
internal import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// How training data is written.
public enum TrainingFormat: String, Sendable, Hashable, CaseIterable {
    /// A JSON object a line, with the columns' names.
    case jsonLines = "jsonl"
    /// RFC 4180, with a header that tells types: ``CSVWriter``.
    case csv
    /// Conversations for fine-tuning, a line each: ``TrainingExample/chat(input:output:)``. Of calls that ended well alone.
    case chat
    /// Prompts and how they go on: ``TrainingExample/completion(input:output:)``. Of calls that ended well alone.
    case completion
    /// A prompt with the answer that was scored best and the one that was scored worst.
    case preference

    /// The end of a file's name.
    public var fileExtension: String { self == .csv ? "csv" : "jsonl" }
}

/// What an export holds: it stands beside it, in `{file}.manifest.json`.
public struct TrainingManifest: Sendable, Hashable {
    /// The file.
    public var path: String
    /// The kind of rows.
    public var kind: TrainingKind
    /// How they are written.
    public var format: TrainingFormat
    /// Rows, or examples.
    public var rows: Int
    /// Rows that are no example: without input or output, or of a call that failed.
    public var skipped: Int
    /// The file's bytes.
    public var bytes: Int
    /// The file's SHA-256, in hexadecimal digits.
    public var sha256: String

    static func path(for path: String) -> String { path + ".manifest.json" }
}

extension TrainingDataStore {
    /// Writes training data to a new file as it is at one moment, one row after the other in memory, with a manifest beside it: row count,
    /// filter, version of the tables, and SHA-256.
    ///
    /// The file appears when it is whole; one that is there is replaced then. Where the manifest is missing, the export did not end.
    ///
    /// - Parameters:
    ///   - kind: The kind of rows; examples are made of `modelCalls` alone.
    ///   - path: The file; `{kind}_training.{jsonl|csv}` in the present folder unless given.
    ///   - from: Rows that began at this moment or later.
    ///   - until: Rows that began before this moment.
    ///   - filter: Rows that fit.
    ///   - isSpreadsheetSafe: Whether text in a CSV that a spreadsheet would take for a formula is marked: see ``CSVWriter``.
    ///   - progress: Told of rows that were written, now and then.
    /// - Throws: ``RecordError``: `invalid` for a filter or format that does not fit the kind, `files` for the file; what the store throws.
    public func exportForTraining(
        _ kind: TrainingKind, to path: String? = nil, from: Timestamp? = nil, until: Timestamp? = nil,
        filter: RecordFilter? = nil, format: TrainingFormat = .jsonLines, isSpreadsheetSafe: Bool = false,
        at moment: Timestamp = SystemClock().now, progress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws -> TrainingManifest {
        let path = path ?? "\(kind.rawValue)_training.\(format.fileExtension)"
        let query = TrainingQuery(kind, from: from, until: until, filter: filter)
        try ExportTarget.check(path, besides: place, "export")
        let isOfRows = format == .jsonLines || format == .csv
        guard isOfRows || kind == .modelCalls else {
            throw RecordError(
                .invalid, "export", "examples (\(format.rawValue)) are made of calls, and not of \(kind.rawValue)")
        }
        let body: @Sendable (TrainingRows) throws -> TrainingManifest = { rows in
            let file = ExportFile(
                path: path, format: format, columns: rows.columns, isSpreadsheetSafe: isSpreadsheetSafe,
                progress: progress)
            return try file.write(rows, kind)
        }
        let manifest =
            format == .preference
            ? try await withPreferences(query, body) : try await withRows(query, body)
        try manifest.write(query, schemaVersion: schemaVersion, at: moment)
        return manifest
    }
}

extension TrainingDataStore {
    /// Deletes the oldest of what has ended, as a policy says, after it was written to a new file: a record a line, as it stands in a
    /// record's file, with its scores, and a workflow as its message has it.
    ///
    /// - Parameter path: The file, which is whole and synced before anything is deleted; none where nothing is to be kept.
    /// - Throws: ``RecordError`` (`files`) where the file cannot be written: nothing was deleted then; what the store throws.
    public func retain(
        _ policy: RecordRetention, isDryRun: Bool = false, archivingTo path: String?
    ) async throws -> RetentionReport {
        guard let path else { return try await retain(policy, isDryRun: isDryRun, archive: nil) }
        try ExportTarget.check(path, hasManifest: false, besides: place, "retain records")
        var facts = stat()
        guard unsafe lstat(path, &facts) != 0 else {
            throw RecordError(
                .files, "retain records", "there is something at the archive's path already: give another")
        }
        return try await retain(policy, isDryRun: isDryRun) { rows in
            var problem: (any Error)?
            do throws(TensorFileError) {
                try AtomicFile.write(to: path, isPrivate: true) { file throws(TensorFileError) in
                    do {
                        try rows.forEach { row in
                            if case .json(let record)? = row.first { try file.append(Array(record.utf8) + [0x0A]) }
                        }
                    } catch let error as TensorFileError {
                        throw error
                    } catch {
                        problem = error
                        throw TensorFileError(.inputOutput, path: path, "the records cannot be read")
                    }
                }
            } catch {
                throw problem ?? RecordError(.files, "retain records", "\(error)")
            }
        }
    }
}

/// A file that rows are written to.
private struct ExportFile {
    let path: String
    let format: TrainingFormat
    let columns: [TrainingColumn]
    let isSpreadsheetSafe: Bool
    let progress: (Int) -> Void
    private static let chunk = 1 << 18

    func write(_ rows: TrainingRows, _ kind: TrainingKind) throws -> TrainingManifest {
        var manifest = TrainingManifest(
            path: path, kind: kind, format: format, rows: 0, skipped: 0, bytes: 0, sha256: "")
        var problem: (any Error)?
        do throws(TensorFileError) {
            try AtomicFile.write(to: path, isPrivate: true) { file throws(TensorFileError) in
                var output = Output()
                do {
                    let encode = encoder(&output.bytes)
                    try rows.forEach { row in
                        if try encode(row, &output.bytes) { manifest.rows += 1 } else { manifest.skipped += 1 }
                        if output.bytes.count >= Self.chunk { try output.flush(to: file) }
                        if manifest.rows % 1_000 == 0 { progress(manifest.rows) }
                    }
                    try output.flush(to: file)
                    (manifest.bytes, manifest.sha256) = (output.count, output.digest.hexadecimal())
                    // Not an old one beside a new file.
                    unsafe unlink(TrainingManifest.path(for: path))
                } catch let error as TensorFileError {
                    throw error
                } catch {
                    problem = error
                    throw TensorFileError(.inputOutput, path: path, "the rows cannot be read")
                }
            }
        } catch {
            throw problem ?? RecordError(.files, "export", "\(error)")
        }
        progress(manifest.rows)
        return manifest
    }

    /// What waits to be written, and what was.
    private struct Output {
        var bytes: [UInt8] = []
        var count = 0
        let digest = SHA256()

        mutating func flush(to file: borrowing AtomicFile) throws(TensorFileError) {
            try file.append(bytes)
            digest.update(bytes)
            count += bytes.count
            bytes.removeAll(keepingCapacity: true)
        }
    }

    /// What appends a row, after a header where there is one; it says whether there was anything to append.
    private func encoder(_ bytes: inout [UInt8]) -> ([TrainingValue], inout [UInt8]) throws -> Bool {
        switch format {
        case .csv:
            let writer = CSVWriter(columns: columns, isSpreadsheetSafe: isSpreadsheetSafe)
            writer.header(into: &bytes)
            return { row, bytes in
                try writer.row(row, into: &bytes)
                return true
            }
        case .jsonLines:
            let writer = JSONLinesWriter(columns: columns)
            return { row, bytes in
                try writer.row(row, into: &bytes)
                return true
            }
        case .chat, .completion:
            let places = ["input_params", "output", "success"].compactMap { name in
                columns.firstIndex { $0.name == name }
            }
            let isChat = format == .chat
            return { row, bytes in
                guard places.count == 3, row[places[2]] == .boolean(true) else { return false }
                let (input, output) = (Self.content(row[places[0]]), Self.content(row[places[1]]))
                let line =
                    isChat
                    ? TrainingExample.chat(input: input, output: output)
                    : TrainingExample.completion(input: input, output: output)
                guard let line else { return false }
                bytes += line
                bytes.append(0x0A)
                return true
            }
        case .preference:
            return { row, bytes in
                guard row.count == 3,
                    let line = TrainingExample.preference(
                        input: Self.content(row[0]), chosen: Self.content(row[1]), rejected: Self.content(row[2]))
                else { return false }
                bytes += line
                bytes.append(0x0A)
                return true
            }
        }
    }

    private static func content(_ value: TrainingValue) -> RecordContent? {
        if case .json(let text) = value { return RecordContent(stored: text) }
        return nil
    }
}

extension TrainingManifest {
    /// Writes it beside the file.
    fileprivate func write(
        _ query: TrainingQuery, schemaVersion: Int, at moment: Timestamp
    ) throws(RecordError) {
        var json = JSONOutput()
        json.beginObject()
        json.member("file", path.split(separator: "/").last.map(String.init))
        json.member("kind", kind.rawValue)
        json.member("format", format.rawValue)
        json.member("rows", Int64(rows))
        json.member("skipped", Int64(skipped))
        json.member("bytes", Int64(bytes))
        json.member("sha256", sha256)
        json.member("from", query.from)
        json.member("until", query.until)
        json.member("filter", query.filter?.text)
        json.member("schema_version", Int64(schemaVersion))
        json.member("exported_at", moment)
        json.endObject()
        let bytes = json.bytes + [0x0A]
        do throws(TensorFileError) {
            try AtomicFile.write(to: Self.path(for: path), isPrivate: true) { file throws(TensorFileError) in
                try file.append(bytes)
            }
        } catch {
            throw RecordError(.files, "export", "the manifest cannot be written: \(error)")
        }
    }
}
