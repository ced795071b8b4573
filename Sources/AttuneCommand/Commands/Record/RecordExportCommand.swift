import Attune

/// `attune record export`: records as lines of JSON.
struct RecordExportCommand: Command {
    let file: String
    let destination: String
    let session: String?
    let project: String
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "record export",
        abstract: "Write records to a new file, one JSON object a line.",
        discussion: [
            "Each line is a record as it stands in a record's file, with OpenTelemetry's names under \"attributes\", in the order in "
                + "which they were stored: all that the storage file held at one moment. The new file appears when it is whole. The "
                + "storage file isn't changed, and may be in use."
        ],
        arguments: [
            .storageFile, PositionalSpecification(name: "OUT.jsonl", help: "The new file."),
        ],
        options: [
            .value("session", "ID", .text("a session's identifier"), help: "Export this recording's records alone."),
            .project, .format, .progress,
        ],
        examples: [
            .init(line: "attune record export attune.db calls.jsonl", explanation: "All records of the file."),
            .init(line: "jq -r .model_type calls.jsonl | sort | uniq -c", explanation: "What was called how often."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        destination = arguments.positional("OUT.jsonl") ?? ""
        session = arguments.text("session")
        project = arguments.project
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        try requireNewOutput(destination)
        let storage = try await existingProject(project, in: file, access: .reading)
        let store = try await SQLiteRecordStore(storage)
        if let session {
            guard try await store.recordings(limit: .max).contains(where: { $0.id == session }) else {
                throw CommandFailure(
                    .badData,
                    "There is no recording \(quoted(session)) in this file: 'attune record sessions' lists them.")
            }
        }
        if showsProgress { console.beginProgress("exporting", total: try await store.count(recording: session)) }
        let count = try await store.export(
            recording: session, to: destination, progress: { console.advanceProgress(to: $0) })
        await storage.close()
        console.endProgress()
        switch format {
        case .json:
            console.write(
                JSONText.object([("records", .integer(count)), ("file", .string(destination))]).text + "\n")
        case .text: console.write("Wrote \(count) records to \(printable(destination)).\n")
        }
    }
}
