import Attune

/// `attune retain`: a storage file without the updates that are older than some days.
struct RetainCommand: Command {
    let file: String
    let project: String
    let days: Int
    let isDryRun: Bool
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "retain",
        abstract: "Remove the updates of a storage file that are older than some days.",
        discussion: [
            "What users' adapters have learned stays, to the bit: the adapter that the removed updates give becomes what the "
                + "rest begin from, and 'attune verify' stays clean. A removed update can't be forgotten by itself any more; "
                + "its id stays known, so that it isn't learned again. The bytes are overwritten in the file and its log.",
            "A user's updates go from the first one on, up to the first that isn't older. Where an adapter was made again "
                + "from a bank's better start, what was learned before goes when that moment is old enough too. Each user is "
                + "done whole or not at all; where one fails, the others are done, and the end is 65, or 74 where the disk is all "
                + "that failed. Nobody else may have the file open for writing; an engine with the retention 'days' does the same while it runs.",
        ],
        arguments: [.storageFile],
        options: [
            .value(
                "days", "N", .integer(1...1_000_000),
                help: "Updates older than so many days of 24 hours go."),
            .flag("dry-run", help: "Print what would be removed, and change nothing."),
            .project, .format, .progress,
        ],
        examples: [
            .init(line: "attune retain attune.db --days 30 --dry-run", explanation: "How many updates would go."),
            .init(line: "attune retain attune.db --days 30", explanation: "Keep the updates of the last 30 days."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        guard arguments.given.contains("days") else {
            throw UsageError("'--days' is missing: how long updates are kept.", command: Self.specification.name)
        }
        days = arguments.integer("days")
        isDryRun = arguments.flag("dry-run")
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: isDryRun ? .reading : .writing)
        let moment = JournalRetention.moment(days: days, before: SystemClock().now.microseconds)
        if showsProgress { console.beginProgress("removing", total: 1000) }
        let result = try await JournalTrimming.run(storage, storage, before: moment, isDryRun: isDryRun) { done, all in
            console.advanceProgress(to: all > 0 ? done * 1000 / all : 0)
        }
        console.endProgress()
        await storage.close()
        switch format {
        case .json: console.write(json(result).text + "\n")
        case .text: console.write(text(result, before: moment))
        }
        guard result.failures.isEmpty else {
            throw CommandFailure(
                Self.exitCode(for: result.failures),
                "the old updates of \(result.failures.count) users can't be removed; these users are as they were, see above."
            )
        }
    }

    /// That of a failed disk where nothing else is wrong with any user; else what the file holds is at fault.
    static func exitCode(for failures: [JournalTrimming.Failure]) -> ExitCode {
        let isDisk = failures.allSatisfy { failure in
            [.ioError, .cannotCreate].contains(failure.cause.map { ExitCode(for: $0) } ?? .badData)
        }
        return isDisk ? .ioError : .badData
    }

    private func json(_ result: JournalTrimming) -> JSONText {
        let failures = result.failures.map {
            JSONText.object([("user", .string($0.user)), ("reason", .string($0.reason))])
        }
        return .object([
            ("dry_run", .bool(isDryRun)), ("days", .integer(days)), ("users", .integer(result.users)),
            ("removed_entries", .integer(result.entries)), ("held_entries", .integer(result.heldEntries)),
            ("erased", .bool(result.isErased)), ("failures", .array(failures)),
        ])
    }

    private func text(_ result: JournalTrimming, before moment: Int64) -> String {
        let verb = isDryRun ? "would be removed" : "were removed"
        var text = "\(result.entries) updates of \(result.users) users from before "
        text += "\(timestamp(microseconds: moment)) \(verb)"
        text += isDryRun ? "; nothing was written.\n" : ".\n"
        if result.heldEntries > 0 {
            text +=
                "\(result.heldEntries) older ones stay: adapters that were made again later are replayed from them.\n"
        }
        if !result.isErased {
            text +=
                "Their bytes are in the file's log still, because somebody reads the file: run the command again later.\n"
        }
        for failure in result.failures {
            text += "FAILED  user \(printable(failure.user)): \(printable(failure.reason))\n"
        }
        return text
    }
}
