/// One subcommand: a value made from checked arguments, and the work it does.
protocol Command: Sendable {
    static var specification: CommandSpecification { get }

    /// Takes the arguments over.
    ///
    /// - Throws: ``UsageError`` for a combination that makes no sense.
    init(_ arguments: ParsedArguments) throws(UsageError)

    /// Does the work. Results go to standard output, everything else to standard error.
    func run(_ console: Console) async throws
}

/// Where the interactions come from.
enum DataSource: Sendable, Equatable {
    /// A data folder, and the name of the embeddings file in it (`cf` for `embeddings-cf.npy`) if one was asked for.
    case folder(String, embeddings: String?)
    /// The built-in population, with its own number of users unless one is given; everybody's taste changes after `drift` likes,
    /// if given, and is the old one again after twice as many.
    case synthetic(users: Int? = nil, drift: Int? = nil)
}

/// How results are printed.
enum OutputFormat: String, Sendable, CaseIterable {
    case text
    case json
}

extension OptionSpecification {
    static let synthetic = OptionSpecification.flag(
        "synthetic", help: "Use the built-in synthetic population in place of DIR. It is the same on every run.")

    static let embeddings = OptionSpecification.value(
        "embeddings", "NAME", .name,
        help: "Use the file embeddings-NAME.npy of DIR; without it the first by name.")

    static let rank = OptionSpecification.value(
        "rank", "N", .integer(1...256), default: "8",
        help: "Rank of every adapter; at most the embeddings' dimension, which also bounds the default.")

    static let format = OptionSpecification.value(
        "format", "FORMAT", .choice(OutputFormat.allCases.map(\.rawValue)), default: OutputFormat.text.rawValue,
        help: "Print tables for people, or one JSON object for programs.")

    static let progress = OptionSpecification.flag(
        "progress", initially: true,
        help: "Show a progress line with the time left, if standard error is a terminal.")
}

extension PositionalSpecification {
    static let dataFolder = PositionalSpecification(
        name: "DIR",
        help: "Data folder: interactions.csv (or queries.csv and queries-*.npy), items.csv, embeddings-*.npy and, "
            + "optionally, donors.txt.",
        environment: "ATTUNE_DATA", alternative: "synthetic")
}

extension ParsedArguments {
    /// DIR with `--embeddings`, or `--synthetic`.
    func dataSource(for command: CommandSpecification) throws(UsageError) -> DataSource {
        let embeddings = text("embeddings")
        guard flag("synthetic") else {
            // The parser has seen to it that one of the two is there.
            guard let folder = positional("DIR") else { preconditionFailure("DIR isn't declared") }
            for name in ["users", "drift"] where given.contains(name) {
                throw UsageError(
                    "'--\(name)' is of the synthetic population: give '--synthetic'.", command: command.name)
            }
            return .folder(folder, embeddings: embeddings)
        }
        guard embeddings == nil else {
            throw UsageError(
                "'--embeddings' chooses a file of DIR; the synthetic population has its own embeddings.",
                command: command.name)
        }
        return .synthetic(
            users: given.contains("users") ? integer("users") : nil,
            drift: given.contains("drift") ? integer("drift") : nil)
    }

    /// The value of `--rank`, if it was given.
    var rank: Int? { given.contains("rank") ? integer("rank") : nil }

    /// The value of `--format`.
    var format: OutputFormat {
        guard let format = text("format").flatMap(OutputFormat.init) else {
            preconditionFailure("--format isn't declared")
        }
        return format
    }
}
