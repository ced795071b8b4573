/// `attune inspect`: what one adapter file holds.
struct InspectCommand: Command {
    /// The path of the adapter file.
    let adapter: String
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "inspect",
        abstract: "Show what an adapter file holds.",
        discussion: [
            "Reads one .safetensors file as 'attune personalize --output' writes it, checks it, and prints the user, "
                + "version, dimension, rank, scale, norms of the factors and bytes held. The file isn't changed."
        ],
        arguments: [
            PositionalSpecification(name: "ADAPTER", help: "An adapter file (.safetensors).")
        ],
        options: [.format],
        examples: [
            .init(
                line: "attune inspect adapters/42.safetensors",
                explanation: "The adapter of user 42, as a table."),
            .init(
                line: "attune inspect --format json -- -odd-name.safetensors",
                explanation: "What follows '--' is never taken for an option."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        guard let adapter = arguments.positional("ADAPTER") else { preconditionFailure("ADAPTER isn't declared") }
        self.adapter = adapter
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        throw notConnected(Self.specification)
    }
}
