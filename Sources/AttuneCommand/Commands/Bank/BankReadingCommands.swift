import Attune

/// `attune bank stats`: how much a file's bank holds.
struct BankStatsCommand: Command {
    let file: String
    let project: String
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "bank stats",
        abstract: "Count what the bank of a storage file holds.",
        discussion: [
            "Prints the episodes, how many of them have an outcome, their users, skills and starts, and each kind of adapter: "
                + "objective, dimension, rank and embedding model. The file isn't changed, and may be in use."
        ],
        arguments: [.storageFile], options: [.project, .format, .progress],
        examples: [.init(line: "attune bank stats attune.db", explanation: "A table of the counts.")],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let bank = try await SQLiteReasoningBank.opened(storage, console, showsProgress: showsProgress)
        let statistics = try await bank.statistics()
        let overview = try await storage.bankOverview()
        let kinds = bank.kinds
        await storage.close()
        let facts: [(String, Int)] = [
            ("episodes", statistics.episodes), ("resolved", statistics.resolved), ("users", statistics.users),
            ("skills", statistics.skills), ("populations", statistics.populations),
        ]
        switch format {
        case .json:
            console.write(
                JSONText.object(
                    facts.map { ($0, .integer($1)) } + [
                        ("interrupted_consolidation", .bool(overview.isConsolidationInterrupted)),
                        ("kinds", .array(kinds.map(\.json))),
                    ]
                ).text + "\n")
        case .text:
            var table = TextTable()
            for (name, count) in facts { table.add([name, "\(count)"]) }
            for kind in kinds { table.add(["kind", "\(kind.words), model \(fixedHex(kind.model))"]) }
            console.write(table.text)
            if overview.isConsolidationInterrupted {
                console.write("\nA consolidation was interrupted: 'attune consolidate' goes on with it.\n")
            }
        }
    }
}

/// `attune bank episodes`: what updates did, and what came of it.
struct BankEpisodesCommand: Command {
    let file: String
    let project: String
    let after: Int
    let limit: Int
    let user: String?
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "bank episodes",
        abstract: "List episodes of a storage file's bank.",
        discussion: [
            "An episode is one update: the situation, the settings that were applied, the loss before and after, and what the "
                + "next update showed of it. Users stand there as a keyed hash. The file isn't changed, and may be in use."
        ],
        arguments: [.storageFile],
        options: [
            .value(
                "after", "ID", .integer(0...Int.max), default: "0",
                help: "List episodes that came after this one, in the order in which they were stored."),
            .value("limit", "N", .integer(1...100_000), default: "20", help: "List at most so many."),
            .value("user", short: "u", "ID", .text("a user's id"), help: "List this user's episodes alone."),
            .project, .format,
        ],
        examples: [
            .init(line: "attune bank episodes attune.db --user 42", explanation: "What was learned of user 42."),
            .init(
                line: "attune bank episodes attune.db --after 1000 --limit 50 --format json",
                explanation: "The next 50 after episode 1000, for a program."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        after = arguments.integer("after")
        limit = arguments.integer("limit")
        user = arguments.text("user")
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        var episodes: [StoredEpisode]
        if let user {
            let all = try await storage.bankEpisodes(of: storage.bankKey.digest(of: user))
            episodes = Array(all.filter { $0.id.value > UInt64(after) }.prefix(limit))
        } else {
            episodes = try await storage.bankEpisodes(after: EpisodeID(UInt64(after)), limit: limit)
        }
        await storage.close()
        switch format {
        case .json:
            let all = episodes.map { EpisodeRow(stored: $0).json }
            console.write(JSONText.object([("episodes", .array(all))]).text + "\n")
        case .text:
            var table = TextTable()
            table.add(EpisodeRow.heading)
            for stored in episodes { table.add(EpisodeRow(stored: stored).cells) }
            console.write(table.text)
        }
    }
}

/// `attune bank skills`: what consolidation has made.
struct BankSkillsCommand: Command {
    let file: String
    let project: String
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "bank skills",
        abstract: "List the skills of a storage file's bank.",
        discussion: [
            "A skill is a group of users alike in taste whose adapters helped them, with the learning rate under which they "
                + "gained most and a start for the next user like them. 'attune consolidate' makes skills. The file isn't "
                + "changed, and may be in use."
        ],
        arguments: [.storageFile], options: [.project, .format],
        examples: [.init(line: "attune bank skills attune.db", explanation: "A table of the skills.")],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let skills = try await storage.bankSkills()
        await storage.close()
        switch format {
        case .json: console.write(JSONText.object([("skills", .array(skills.map(\.json)))]).text + "\n")
        case .text:
            var table = TextTable()
            table.add(Skill.heading)
            for skill in skills { table.add(skill.cells) }
            console.write(skills.isEmpty ? "No skills: 'attune consolidate' makes them.\n" : table.text)
        }
    }
}
