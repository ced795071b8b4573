import Attune

/// `attune consolidate`: episodes to skills.
struct ConsolidateCommand: Command {
    let file: String
    let project: String
    let policy: ConsolidationPolicy
    let isDryRun: Bool
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "consolidate",
        abstract: "Turn what worked for users into skills, from which others start.",
        discussion: [
            "Reads the episodes of a storage file's bank, groups their users by taste, and makes a skill of each group that "
                + "passes: enough users and episodes, enough users who gained, and a mean gain whose 95 % interval lies "
                + "above 0. New users then start from the skills, and from what all donors have in common. Skills that help "
                + "no more, or whose group is there no more, are retired. Every group that is refused is listed with its numbers and the reason.",
            "Each skill is stored in one transaction. Where the command is interrupted, give it again: it goes on. The same "
                + "episodes, adapters and options make the same skills, to the byte. Nobody else may have the file open for "
                + "writing; a service calls the engine's consolidateAdaptationPatterns() instead.",
        ],
        arguments: [.storageFile],
        options: [
            .value(
                "minimum-uses", "N", .integer(1...1_000_000_000), default: "5",
                help: "The fewest episodes with an outcome that a group must have."),
            .value(
                "minimum-success-rate", "R", .number(0...1), default: "0.85",
                help: "The least share of a group's users who gained."),
            .value(
                "minimum-users", "N", .integer(2...1_000_000_000), default: "5",
                help: "The fewest users of a group; a start of fewer would show too much of each."),
            .value(
                "lookback-days", "N", .integer(1...36_500), default: "30",
                help: "Only episodes of the last N days count."),
            .flag("dry-run", help: "Say what would be made, and change nothing."),
            .project, .format, .progress,
        ],
        examples: [
            .init(line: "attune consolidate attune.db --dry-run", explanation: "What there is to be had."),
            .init(
                line: "attune consolidate attune.db --minimum-success-rate 0.7",
                explanation: "Skills of groups of whom seven in ten gained."),
            .init(
                line: "attune consolidate attune.db --lookback-days 7 --format json",
                explanation: "From the last week's episodes; the result for a program."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        policy = ConsolidationPolicy(
            minimumSuccessRate: arguments.number("minimum-success-rate"),
            minimumUses: arguments.integer("minimum-uses"),
            lookbackDays: Double(arguments.integer("lookback-days")),
            minimumUsers: arguments.integer("minimum-users"))
        isDryRun = arguments.flag("dry-run")
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: isDryRun ? .reading : .writing)
        let bank = try await SQLiteReasoningBank.opened(storage, console, showsProgress: showsProgress)
        let isResumed = try await storage.bankOverview().isConsolidationInterrupted
        let donors = try await storage.donors()
        let stage = Stage(console, shows: showsProgress)
        let report = try await bank.consolidate(policy, donors: donors, isDryRun: isDryRun) { stage.show($0) }
        console.endProgress()
        await storage.close()
        console.warnOfDamage(donors)
        if isResumed {
            console.writeError(
                isDryRun
                    ? "A consolidation was interrupted: with its options, and its episodes still there, the next one goes on with it, "
                        + "and makes what is left of that; this shows a new one.\n"
                    : "A consolidation had been interrupted; with its options, and its episodes still there, it was gone on with, else "
                        + "begun anew.\n")
        }
        switch format {
        case .json: console.write(json(report).text + "\n")
        case .text: console.write(text(report))
        }
    }

    /// Shows one stage after another.
    private final class Stage: Sendable {
        private let console: Console
        private let shows: Bool
        private let current = Lock<ConsolidationProgress.Stage?>(nil)

        init(_ console: Console, shows: Bool) {
            self.console = console
            self.shows = shows
        }

        func show(_ progress: ConsolidationProgress) {
            guard shows else { return }
            let isNew = current.withLock { current in
                defer { current = progress.stage }
                return current != progress.stage
            }
            if isNew {
                console.endProgress()
                let label =
                    switch progress.stage {
                    case .reading: "reading episodes"
                    case .merging: "merging adapters"
                    case .skills: "making skills"
                    }
                console.beginProgress(label, total: progress.total ?? 1)
            }
            console.advanceProgress(to: progress.done)
        }
    }

    private func json(_ report: ConsolidationReport) -> JSONText {
        .object([
            ("dry_run", .bool(isDryRun)), ("episodes", .integer(report.episodes)), ("users", .integer(report.users)),
            ("population_donors", .integer(report.populationDonors)),
            ("created", .array(report.created.map(\.json))), ("updated", .array(report.updated.map(\.json))),
            ("retired", .array(report.retired.map(\.json))),
            (
                "refused",
                .array(
                    report.refused.map {
                        .object([("evidence", $0.evidence.json), ("reason", .string($0.reason))])
                    })
            ),
        ])
    }

    private func text(_ report: ConsolidationReport) -> String {
        var text = "\(report.episodes) episodes with an outcome, of \(report.users) users"
        text += isDryRun ? "; nothing was written.\n" : ".\n"
        if report.episodes == 0 {
            text +=
                "Episodes come from an engine with a reasoning bank in the file, or from 'attune personalize --store FILE --bank'.\n"
        }
        text +=
            report.populationDonors > 0
            ? "New users start from what \(report.populationDonors) donors have in common.\n"
            : "No start for new users: fewer than \(policy.minimumUsers) users gained and have an adapter of that kind, there are fewer "
                + "than \(policy.minimumUses) episodes, or the users' mean gain is not surely above 0.\n"
        var table = TextTable()
        let made = [("created", report.created), ("updated", report.updated), ("retired", report.retired)]
        table.add([""] + Skill.heading)
        for (name, skills) in made { for skill in skills { table.add([name] + skill.cells) } }
        if made.contains(where: { !$0.1.isEmpty }) { text += "\n" + table.text }
        if !report.refused.isEmpty { text += "\n" }
        for group in report.refused { text += "refused  \(group.reason)\n" }
        return text
    }
}
