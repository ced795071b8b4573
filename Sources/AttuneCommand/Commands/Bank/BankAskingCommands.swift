import Attune

/// `attune bank similar USER`: what others did in a situation like the user's last one.
struct BankSimilarCommand: Command {
    let file: String
    let project: String
    let user: String
    let limit: Int
    let minimumReward: Double
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "bank similar",
        abstract: "Find other users' updates in a situation like a user's last one.",
        discussion: [
            "Compares the situation of the user's latest episode (taste, feedbacks seen, and so on) with those of all episodes "
                + "that have an outcome, and prints the most alike, none of the user's own. The file isn't changed, and may be "
                + "in use."
        ],
        arguments: [PositionalSpecification(name: "USER", help: "The user's id."), .storageFile],
        options: [
            .value("limit", "N", .integer(1...10_000), default: "5", help: "Find at most so many."),
            .value(
                "minimum-reward", "R", .number(0...1), default: "0",
                help: "Only episodes whose gain had at least this rank among all gains."),
            .project, .format, .progress,
        ],
        examples: [
            .init(line: "attune bank similar 42 attune.db", explanation: "Five episodes like the last one of user 42.")
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        guard let user = arguments.positional("USER") else { preconditionFailure("USER isn't declared") }
        self.user = user
        limit = arguments.integer("limit")
        minimumReward = arguments.number("minimum-reward")
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let digest = storage.bankKey.digest(of: user)
        guard let last = try await storage.bankEpisodes(of: digest).last else {
            await storage.close()
            throw CommandFailure(
                .badData, "the bank of \(printable(file)) has no episode of the user \(quoted(user))")
        }
        let bank = try await SQLiteReasoningBank.opened(storage, console, showsProgress: showsProgress)
        let found = try await bank.retrievePatterns(
            PatternQuery(
                context: last.episode.context, limit: limit, minimumReward: minimumReward, excluding: digest))
        await storage.close()
        switch format {
        case .json:
            let all = found.map { pattern in
                JSONText.object([
                    ("episode", .string("\(pattern.id)")), ("user", .string("\(pattern.user)")),
                    ("similarity", .number(pattern.similarity)), ("reward", .number(pattern.reward)),
                    ("success", .bool(pattern.success)), ("age_seconds", .number(pattern.age)),
                    ("learning_rate", .number(Double(pattern.action.learningRate))), ("loss", .number(pattern.loss)),
                ])
            }
            console.write(
                JSONText.object([("like", .string("\(last.id)")), ("similar", .array(all))]).text + "\n")
        case .text:
            var table = TextTable()
            table.add(["episode", "user", "similarity", "reward", "success", "rate", "loss"])
            for pattern in found {
                table.add([
                    "\(pattern.id)", String("\(pattern.user)".prefix(8)),
                    ConfidenceInterval.rounded(pattern.similarity), ConfidenceInterval.rounded(pattern.reward),
                    pattern.success ? "yes" : "no", "\(pattern.action.learningRate)",
                    ConfidenceInterval.rounded(pattern.loss),
                ])
            }
            console.write("Like episode \(last.id) of user \(printable(user)):\n\n" + table.text)
        }
    }
}

/// `attune bank strategy TASK`: what the bank would advise a new user.
struct BankStrategyCommand: Command {
    let file: String
    let project: String
    let task: ObjectiveKind
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "bank strategy",
        abstract: "Show what the bank of a storage file advises a new user.",
        discussion: [
            "TASK is what adapters learn from: \(ObjectiveKind.allCases.map(\.rawValue).joined(separator: ", ")). Prints, for each "
                + "kind of adapter that learned from it, the advised learning rate with its confidence, the episodes behind "
                + "it, the mean gain of their updates over the adapter before with its 95 % interval, the rates to try with "
                + "their probabilities, and the start. The file isn't changed, and may be in use."
        ],
        arguments: [
            PositionalSpecification(name: "TASK", help: "What adapters learn from; 'ranking' for likes."), .storageFile,
        ],
        options: [.project, .format, .progress],
        examples: [
            .init(line: "attune bank strategy ranking attune.db", explanation: "The advice for who learns from likes.")
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        let name = arguments.positional("TASK") ?? ""
        let names = ObjectiveKind.allCases.map(\.rawValue)
        guard let task = ObjectiveKind(rawValue: name) else {
            throw UsageError(
                "TASK is one of \(names.joined(separator: ", ")); \(quoted(name)) isn't."
                    + suggestion(for: name, among: names), command: Self.specification.name)
        }
        self.task = task
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let bank = try await SQLiteReasoningBank.opened(storage, console, showsProgress: showsProgress)
        var answers: [(kind: AdapterKind, advice: StrategyAdvice)] = []
        for kind in bank.kinds where kind.objective == task {
            let context = AdaptationContext(
                objective: task, dimension: kind.dimension, rank: kind.rank, model: kind.model)
            let configured = EngineConfiguration(dimension: kind.dimension).update.learningRates[task]
            answers.append(
                (
                    kind,
                    try await bank.learnStrategy(AdaptationTask(context: context, configuredLearningRate: configured))
                ))
        }
        await storage.close()
        switch format {
        case .json:
            let all = answers.map { kind, advice in
                JSONText.object([
                    ("kind", kind.json), ("learning_rate", advice.learningRate.map { .number($0) } ?? .null),
                    ("confidence", .number(advice.confidence)), ("episodes", .integer(advice.episodes)),
                    ("gain", advice.gain?.json ?? .null),
                    (
                        "rates",
                        .array(
                            advice.rateArms.map {
                                .object([
                                    ("learning_rate", .number(Double($0.learningRate))),
                                    ("probability", .number($0.probability)),
                                ])
                            })
                    ),
                    ("start", advice.initialization.map { .string("\($0.id)") } ?? .null),
                    ("sentence", .string(advice.sentence)),
                ])
            }
            console.write(JSONText.object([("strategies", .array(all))]).text + "\n")
        case .text:
            if answers.isEmpty {
                console.write("The bank knows nothing of adapters that learn from \(task.rawValue).\n")
            }
            for (kind, advice) in answers {
                var table = TextTable()
                table.add(["learning rate", advice.learningRate.map { "\($0)" } ?? "none"])
                table.add(["confidence", ConfidenceInterval.rounded(advice.confidence)])
                table.add(["episodes", "\(advice.episodes)"])
                table.add(["gain of an update, 95 %", advice.gain?.words ?? "unknown"])
                for arm in advice.rateArms {
                    table.add(["try \(arm.learningRate)", ConfidenceInterval.rounded(arm.probability)])
                }
                table.add(["start", advice.initialization.map { "\($0.id)" } ?? "none"])
                let sentence = advice.sentence.isEmpty ? "" : "\n\(printable(advice.sentence))\n"
                console.write("\(kind.words)\n\n" + table.text + sentence)
            }
        }
    }
}

extension StrategyAdvice {
    /// The rate that is advised in numbers.
    fileprivate var learningRate: Double? {
        if case .value(let rate) = hints.learningRate { rate } else { nil }
    }
}
