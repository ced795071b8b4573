import Attune

/// `attune benchmark compare`: which of two benchmarks of the same users is better, and how sure that is.
struct CompareCommand: Command {
    let first: String
    let second: String
    /// The runs to compare where their names differ.
    let pair: (first: String, second: String)?
    let measures: [ComparedMeasure]
    let resamples: Int
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "benchmark compare",
        abstract: "Compare two benchmarks of the same users: better, worse, or cannot tell.",
        discussion: [
            "Reads two records, written by 'attune evaluate --record' or as result.json by 'attune benchmark convergence', of the same data, query and users, and compares method by "
                + "method what both did for each user. Prints each difference (B less A) with its 95 % interval, and a verdict.",
            "Users are resampled together for A and B, which makes the intervals of differences much narrower than those of the "
                + "two values. A verdict 'better' or 'worse' needs p below 0.05 after Holm's correction for the number of "
                + "rows: with more methods and measures at once each needs more.",
            "auc, mrr, ndcg10 and hit10 are means over ranked likes; area is that under the curve of AUC gained over no adapter; t90 "
                + "is how many known likes it takes to gain nine tenths of what A's method ends with; worse is the share of "
                + "users whose AUC is below that without an adapter. Of the last two less is better.",
            "'attune bench' times kernels; 'attune benchmark' judges learning.",
        ],
        arguments: [
            PositionalSpecification(name: "A.json", help: "The record to compare with."),
            PositionalSpecification(name: "B.json", help: "The record to judge."),
        ],
        options: [
            .value(
                "methods", "A=B", .text("two names with '=' between them"),
                help: "Compare A's method with another of B's, such as 'cold=engine'; otherwise all that both have."),
            .value(
                "measures", "LIST", .list(ComparedMeasure.allCases.map(\.rawValue)), default: "auc,ndcg10,t90,worse",
                help: "What to compare."),
            .value(
                "resamples", "N", .integer(1_000...1_000_000), default: "10000",
                help: "How often users are resampled; p is never below 2 / (N + 1)."),
            .format,
        ],
        examples: [
            .init(
                line: "attune benchmark compare before.json after.json",
                explanation: "For CI: ends with 1 where anything is surely worse, else with 0."),
            .init(
                line: "attune benchmark compare a.json a.json --methods cold=engine",
                explanation: "Two methods of one record."),
        ],
        exitCodes: [.mismatch, .badData, .noInput, .internalError, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        first = arguments.positional("A.json") ?? ""
        second = arguments.positional("B.json") ?? ""
        if let text = arguments.text("methods") {
            let names = text.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
            guard names.count == 2, !names[0].isEmpty, !names[1].isEmpty else {
                throw UsageError(
                    "'--methods' needs two names with '=' between them, such as 'cold=engine', not \(quoted(text)).",
                    command: Self.specification.name)
            }
            pair = (names[0], names[1])
        } else {
            pair = nil
        }
        measures = arguments.list("measures").compactMap(ComparedMeasure.init)
        resamples = arguments.integer("resamples")
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let result = try BenchmarkComparison(
            try BenchmarkRecord(path: first), try BenchmarkRecord(path: second), pairs: pair.map { [$0] },
            measures: measures, resamples: resamples)
        switch format {
        case .json: console.write(result.json + "\n")
        case .text: console.write(printable(result.table, except: ["\n"]))
        }
        let worse = result.rows.count { $0.verdict == .worse }
        if worse > 0 {
            throw CommandFailure(.mismatch, "\(worse) of \(result.rows.count) comparisons say that B is worse.")
        }
    }
}
