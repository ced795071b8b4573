import Attune

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// `attune data export`: training data as a file.
struct DataExportCommand: Command {
    let file: String
    let kind: TrainingKind
    let rows: DataArguments
    let destination: String?
    let encoding: TrainingFormat
    let isSpreadsheetSafe: Bool
    let project: String
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "data export",
        abstract: "Write training data to a file, with a manifest beside it.",
        discussion: [
            "The file holds all rows as they were at one moment, and appears when it is whole. OUT.manifest.json says how many there are, "
                + "which were asked for, and the SHA-256 of the file. One row at a time is in memory. The storage file isn't changed, and "
                + "may be in use.",
            "'jsonl' and 'csv' hold the columns of the kind and are read back by 'attune data import'. In a CSV (RFC 4180) the header tells "
                + "each column's type, no value is an empty field, and an empty text is \"\". 'chat', 'completion' and 'preference' are "
                + "examples for fine-tuning, made of calls: the first two of those that ended well, a preference of those with one input whose "
                + "outputs were scored differently.",
        ],
        arguments: [.storageFile],
        options: [
            DataArguments.kind,
            .value(
                "to", "OUT", .path(suffix: nil),
                help:
                    "The file; KIND_training.jsonl or .csv in the present folder unless given. One that is there is replaced."
            ),
            .value(
                "as", "ENCODING", .choice(TrainingFormat.allCases.map(\.rawValue)),
                default: TrainingFormat.jsonLines.rawValue,
                help: "How it is written."),
        ] + DataArguments.options + [
            .flag("spreadsheet-safe", help: "Mark text in a CSV with ' that a spreadsheet would take for a formula."),
            .project, .format, .progress,
        ],
        examples: [
            .init(
                line: "attune data export attune.db --kind tasks --where status=failed",
                explanation: "Tasks that failed."),
            .init(
                line: "attune data export attune.db --as chat --until 2026-11-30",
                explanation: "Conversations until that day, for fine-tuning."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        kind = DataArguments.kind(arguments)
        rows = try DataArguments(arguments, kind, Self.specification)
        destination = arguments.text("to")
        encoding = arguments.text("as").flatMap { TrainingFormat(rawValue: $0) } ?? .jsonLines
        isSpreadsheetSafe = arguments.flag("spreadsheet-safe")
        guard encoding == .jsonLines || encoding == .csv || kind == .modelCalls else {
            throw UsageError(
                "'--as \(encoding.rawValue)' makes examples of calls, and not of \(kind.rawValue).",
                command: Self.specification.name)
        }
        guard !isSpreadsheetSafe || encoding == .csv else {
            throw UsageError("'--spreadsheet-safe' goes with '--as csv'.", command: Self.specification.name)
        }
        project = arguments.project
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let store = try await SQLiteRecordStore(storage)
        if showsProgress { console.beginProgress("exporting", total: 0) }
        let manifest = try await store.exportForTraining(
            kind, to: destination, from: rows.from, until: rows.until, filter: rows.filter, format: encoding,
            isSpreadsheetSafe: isSpreadsheetSafe, progress: { console.advanceProgress(to: $0) })
        await storage.close()
        console.endProgress()
        switch format {
        case .json:
            console.write(
                JSONText.object([
                    ("file", .string(manifest.path)), ("rows", .integer(manifest.rows)),
                    ("skipped", .integer(manifest.skipped)), ("bytes", .integer(manifest.bytes)),
                    ("sha256", .string(manifest.sha256)),
                ]).text + "\n")
        case .text:
            let skipped = manifest.skipped == 0 ? "" : " (\(manifest.skipped) calls are no examples)"
            console.write(
                "Wrote \(manifest.rows) rows\(skipped), \(manifest.bytes) bytes, to \(printable(manifest.path)).\n"
                    + "SHA-256 \(manifest.sha256)\n")
        }
    }
}

/// `attune data import`: rows of a file into a storage file.
struct DataImportCommand: Command {
    let file: String
    let source: String
    let kind: TrainingKind
    let encoding: TrainingFormat
    let isSpreadsheetSafe: Bool
    let project: String
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "data import",
        abstract: "Read rows that 'attune data export' wrote, and keep them.",
        discussion: [
            "The whole file is read first: where a row is wrong, its line or number is told and nothing is kept. Rows with identifiers are "
                + "merged with what is there, so a file of them may be read again; a row without one is kept anew each time. Nobody else may "
                + "have the storage file open for writing."
        ],
        arguments: [
            PositionalSpecification(name: "FILE", help: "A storage file (SQLite); made where there is none."),
            PositionalSpecification(name: "IN", help: "The file to read."),
        ],
        options: [
            DataArguments.kind,
            .value("as", "ENCODING", .choice(["jsonl", "csv"]), default: "jsonl", help: "How it is written."),
            .flag("spreadsheet-safe", help: "It is a CSV that was written with --spreadsheet-safe."), .project, .format,
            .progress,
        ],
        examples: [
            .init(
                line: "attune data import other.db events_training.jsonl --kind events",
                explanation: "Events of another file.")
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.positional("FILE") ?? ""
        source = arguments.positional("IN") ?? ""
        kind = DataArguments.kind(arguments)
        encoding = arguments.text("as").flatMap { TrainingFormat(rawValue: $0) } ?? .jsonLines
        isSpreadsheetSafe = arguments.flag("spreadsheet-safe")
        if isSpreadsheetSafe, encoding != .csv {
            throw UsageError("'--spreadsheet-safe' is for '--as csv'.", command: Self.specification.name)
        }
        project = arguments.project
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        guard unsafe access(source, R_OK) == 0, isRegularFile(source) else {
            throw CommandFailure(.noInput, "There is no file at \(printable(source)) that can be read.")
        }
        do {
            // Before a storage file is made.
            try kind.checkImport(from: source, format: encoding, isSpreadsheetSafe: isSpreadsheetSafe)
        } catch let error as TrainingFormatError {
            throw CommandFailure(.badData, "\(printable(source)): \(error). Nothing was kept.")
        } catch let error as RecordError {
            throw CommandFailure(.badData, "\(printable(source)): \(error.message). Nothing was kept.")
        }
        let storage = try await SQLiteStorage(path: file, project: project)
        let store = try await SQLiteRecordStore(storage)
        if showsProgress { console.beginProgress("importing", total: 0) }
        let count = try await store.importTraining(
            kind, from: source, format: encoding, isSpreadsheetSafe: isSpreadsheetSafe,
            progress: { console.advanceProgress(to: $0) })
        await storage.close()
        console.endProgress()
        switch format {
        case .json: console.write(JSONText.object([("rows", .integer(count)), ("file", .string(source))]).text + "\n")
        case .text: console.write("Read \(count) rows from \(printable(source)).\n")
        }
    }
}
