/// `attune config`: the defaults of the engine.
struct ConfigCommand: Command {
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "config",
        abstract: "Print the engine's default configuration.",
        discussion: [
            "Every setting with its value and unit: dimension and rank limits, objective, learning rate, clipping, "
                + "optimizer, schedule, protection against forgetting, seed. These are the values that the library "
                + "uses where a program doesn't set its own, and that the method 'engine' of 'attune evaluate' runs "
                + "with."
        ],
        arguments: [],
        options: [.format],
        examples: [
            .init(line: "attune config", explanation: "As a table."),
            .init(line: "attune config --format json > attune.json", explanation: "As one JSON object."),
        ],
        exitCodes: [.internalError, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        throw notConnected(Self.specification)
    }
}
