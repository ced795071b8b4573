import Attune

/// `attune data retain`: how long records are kept.
struct DataRetainCommand: Command {
    let file: String
    let policy: RecordRetention
    let archive: String?
    let isDryRun: Bool
    let project: String
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "data retain",
        abstract: "Delete the oldest records of a storage file.",
        discussion: [
            "Records and workflows go that have ended and began more than --days ago, and the oldest until the contents of the rest have no "
                + "more than --megabytes; with their scores, embeddings and messages, whether those were delivered or not. What waits or runs "
                + "stays, and so do the totals of recordings.",
            "With --archive they are written to a new file before, with their scores, one JSON object a line: where that fails nothing is "
                + "deleted. Room in the "
                + "file is used again; 'attune compact' gives it back. Nobody else may have the file open for writing.",
        ],
        arguments: [.storageFile],
        options: [
            .value("days", "N", .integer(0...100_000), help: "Delete what began more than so many days ago."),
            .value(
                "megabytes", "N", .integer(0...1_000_000_000), help: "Keep at most so much contents, in 10^6 bytes."),
            .value("archive", "OUT.jsonl", .path(suffix: nil), help: "Write what is deleted to this new file before."),
            .flag("dry-run", help: "Only tell what would be deleted."), .project, .format,
        ],
        examples: [
            .init(line: "attune data retain attune.db --days 90 --dry-run", explanation: "What would go."),
            .init(
                line: "attune data retain attune.db --days 90 --archive until-august.jsonl",
                explanation: "What is older than 90 days goes to a file."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        let days = arguments.given.contains("days") ? arguments.integer("days") : nil
        let megabytes = arguments.given.contains("megabytes") ? arguments.integer("megabytes") : nil
        guard days != nil || megabytes != nil else {
            throw UsageError(
                "Say how much to keep: '--days', '--megabytes', or both.", command: Self.specification.name)
        }
        policy = RecordRetention(
            age: days.map { .seconds($0 * 86_400) }, bytes: megabytes.map { Int64($0) * 1_000_000 })
        archive = arguments.text("archive")
        isDryRun = arguments.flag("dry-run")
        project = arguments.project
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        if let archive { try requireNewOutput(archive) }
        let storage = try await existingProject(project, in: file, access: .writing)
        let store = try await SQLiteRecordStore(storage)
        let report = try await store.retain(policy, isDryRun: isDryRun, archivingTo: archive)
        await storage.close()
        switch format {
        case .json:
            console.write(
                JSONText.object([
                    ("records", .integer(report.spans)), ("workflows", .integer(report.workflows)),
                    ("bytes", .integer(Int(report.bytes))),
                    ("messages", .integer(report.messages)), ("dry_run", .bool(isDryRun)),
                ]).text + "\n")
        case .text:
            let verb = isDryRun ? "Would delete" : "Deleted"
            console.write(
                "\(verb) \(report.spans) records and \(report.workflows) workflows with \(report.bytes) bytes of contents.\n"
            )
            if let archive, !isDryRun, report.spans + report.workflows == 0 {
                console.write("Nothing was due, so there is no archive at \(printable(archive)).\n")
            }
        }
    }
}

/// `attune data erase`: all of a subject, in the storage file and in files of records.
struct DataEraseCommand: Command {
    let forgetting: ForgetCommand

    static let specification = CommandSpecification(
        name: "data erase",
        abstract: "Erase a subject: records, files, messages, adapter and what a bank has of them.",
        discussion: [
            "As 'attune forget', and in files of records too: contents, messages, embeddings, scores' comments and workflows' states that are "
                + "about the subject are deleted and overwritten, files of records about them are deleted and their sessions' summaries written "
                + "without them, their adapter is forgotten and later updates of theirs are refused. What was done when, by which agent, and how "
                + "it ended stays.",
            "Prints what was removed. Exports and backups that were made before hold the subject still, and records that are told again later are "
                + "kept.",
        ],
        arguments: [.storageFile],
        options: [
            .user,
            .value(
                "files", "DIR", .path(suffix: nil),
                help: "The folder of files of records, such as training_recording."),
            .flag(
                "replay-starters",
                help: "Make the adapters of users again who started from a prior that has become stale."),
            .project, .format, .progress,
        ],
        examples: [
            .init(
                line: "attune data erase attune.db --user 42 --files training_recording",
                explanation: "All of user 42.")
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        forgetting = ForgetCommand(
            file: arguments.storageFile, project: arguments.project,
            user: try arguments.user("whom to erase", for: Self.specification),
            replaysStarters: arguments.flag("replay-starters"), recordFiles: arguments.text("files"),
            format: arguments.format, showsProgress: arguments.flag("progress"))
    }

    func run(_ console: Console) async throws { try await forgetting.run(console) }
}
