import Attune

/// `attune evaluate`: how fast adapters learn, against baselines.
struct EvaluateCommand: Command {
    /// What the ranking query is made from.
    enum Query: String, Sendable, CaseIterable {
        /// The embedding of the user's latest like.
        case last
        /// The exponential average of the user's likes.
        case profile
    }

    /// The methods that can be compared, in the order of the report.
    static let methodNames = [
        "none", "popularity", "profile", "bias", "ridge", "cold", "warm", "similar", "random", "engine",
    ]

    let source: DataSource
    /// `nil`: the engine's default, as far as the embeddings' dimension allows.
    let rank: Int?
    let query: Query
    /// A part of ``methodNames``, in the order given.
    let methods: [String]
    let seeds: Int
    /// The HTML file to write, if any.
    let report: String?
    /// The record to write, if any.
    let record: String?
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "evaluate",
        abstract: "Measure how fast adapters learn, against baselines, with confidence intervals.",
        discussion: [
            "For every test user, ranks all items before each like and trains only afterwards. Reports AUC, MRR, "
                + "NDCG@10, hit@10, the interactions needed until an adapter is good (t90), the saving against a cold "
                + "adapter, the area under the gain curve and the share of users made worse, each with a 95 % "
                + "bootstrap interval over users.",
            "Every setting is tuned on the donor users only; no test user is a donor.",
        ],
        arguments: [.dataFolder],
        options: [
            .synthetic, .embeddings, .rank,
            .value(
                "query", "QUERY", .choice(Query.allCases.map(\.rawValue)), default: Query.last.rawValue,
                help: "Rank from the user's latest like, or from the average of the likes so far."),
            .value(
                "methods", "LIST", .list(methodNames), default: methodNames.joined(separator: ","),
                help: "The methods to compare."),
            .value(
                "seeds", "N", .integer(1...1000), default: "5",
                help: "Number of seeds to average over: one for each start of the adapters and draw of negatives."),
            .value(
                "report", "FILE.html", .path(suffix: ".html"),
                help: "Write a self-contained report with the learning curves to this file, and the curves as CSV "
                    + "beside it."),
            .value(
                "record", "FILE.json", .path(suffix: ".json"),
                help: "Write what each method did for each user to this new file, for 'attune benchmark compare'."),
            .format, .progress,
        ],
        examples: [
            .init(
                line: "attune evaluate --synthetic",
                explanation: "All methods on the built-in population, where the optimum is known."),
            .init(
                line: "attune evaluate data/ml-latest-small --embeddings cf --rank 4 --query profile",
                explanation: "A data folder, ranking from the average of a user's likes."),
            .init(
                line: "attune evaluate --synthetic --methods none,cold --seeds 2 --report curves.html",
                explanation: "Two methods, quickly, with their curves."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        source = try arguments.dataSource(for: Self.specification)
        rank = arguments.rank
        guard let query = arguments.text("query").flatMap(Query.init) else {
            preconditionFailure("--query isn't declared")
        }
        self.query = query
        methods = arguments.list("methods")
        seeds = arguments.integer("seeds")
        report = arguments.text("report")
        record = arguments.text("record")
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let (data, rank) = try source.load(rank: rank, for: Self.specification)
        var configuration = EvaluationConfiguration()
        configuration.query = query == .last ? .last : .profile
        configuration.rank = rank
        configuration.seeds = seeds
        // The specification admits the methods' names only.
        configuration.methods = methods.compactMap(EvaluationMethod.init)
        let evaluation = try Evaluation(data, configuration: configuration)
        // What would fail at the end of a long run is tried before it.
        let files = try report.map { try ReportFiles(html: $0) }
        if let record { try requireNewOutput(record) }
        if showsProgress { console.beginProgress("evaluating", total: Self.progressSteps) }
        let result = try await evaluation.run { progress in
            console.advanceProgress(to: Int(progress.fraction * Double(Self.progressSteps)))
        }
        console.endProgress()
        // Printed first: a report that can't be written takes nothing of the result away.
        switch format {
        case .json: console.write(result.json + "\n")
        case .text: console.write(printable(result.table, except: ["\n"]) + "\n")
        }
        try files?.write(result)
        if let record { try ReportFiles.write(result.record(version: App.version, command: line).json, to: record) }
    }

    /// The command line that gives the same result.
    private var line: String {
        var words = ["attune", "evaluate"] + source.words
        if let rank { words += ["--rank", "\(rank)"] }
        words += ["--query", query.rawValue, "--methods", methods.joined(separator: ","), "--seeds", "\(seeds)"]
        return words.joined(separator: " ")
    }

    private static let progressSteps = 1000
}
