import Attune

/// `attune bank demo`: what a reasoning bank does for new users.
struct BankDemoCommand: Command {
    let users: Int
    let seed: UInt64
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "bank demo",
        abstract: "Show what a reasoning bank does for new users.",
        discussion: [
            "A reasoning bank is a memory that users' adapters share: what was done in which situation, and what came "
                + "of it. From that it advises learning rates, and makes skills: groups of users alike in taste, with "
                + "a start for the next one like them.",
            "'attune bank demo' shows it on the built-in population, which needs no data. About half of the users live "
                + "first and teach a bank in memory, which is then consolidated. The others come later, and each lives "
                + "the same likes twice, with the bank and without it. Every like is first ranked among all items, "
                + "then learned.",
            "Prints the episodes, the skills with their evidence, the groups that were refused and why, the gain of "
                + "the new users over no adapter after 1, 2, 4, 8, 16 and 32 likes, how many answers came from the "
                + "cache, and what the look-ups cost. Only the times depend on the machine; in the JSON they are under "
                + "'measured'.",
        ],
        arguments: [],
        options: [
            .value(
                "users", "N", .integer(60...20_000), default: "400",
                help: "Users of the population; about half of them teach the bank."),
            .value("seed", "N", .integer(0...1_000_000), default: "1", help: "Seed of the population and the engine."),
            .format, .progress,
        ],
        examples: [
            .init(line: "attune bank demo", explanation: "The built-in population, in some seconds."),
            .init(
                line: "attune bank demo --users 100",
                explanation: "Few users teach little: fewer skills, and a smaller gain."),
            .init(line: "attune bank demo --seed 7 --format json", explanation: "Another population, for a program."),
        ],
        exitCodes: [.internalError, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        users = arguments.integer("users")
        seed = UInt64(arguments.integer("seed"))
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let demonstration = try BankDemonstration(users: users, seed: seed)
        if showsProgress { console.beginProgress("living", total: Self.progressSteps) }
        let result = try await demonstration.run { progress in
            console.advanceProgress(to: Int(progress.fraction * Double(Self.progressSteps)))
        }
        console.endProgress()
        switch format {
        case .json: console.write(result.json.text + "\n")
        case .text: console.write(result.text)
        }
    }

    private static let progressSteps = 1000
}
