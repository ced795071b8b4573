import Attune
import TensorCore

/// `attune benchmark convergence`: how fast variants of methods learn, with settings chosen on donors.
struct ConvergenceCommand: Command {
    let source: DataSource
    let query: QueryKind
    /// The file with the variants, if any.
    let grid: String?
    /// The methods that are tuned as 'attune evaluate' does.
    let methods: [EvaluationMethod]
    /// Whether ``methods`` were named.
    let namesMethods: Bool
    let seeds: Int
    /// The variant that others are compared with, if not `cold`.
    let reference: String?
    let jobs: Int
    /// The folder of results, if any.
    let report: String?
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "benchmark convergence",
        abstract: "Find the settings with which adapters learn fastest, and how fast that is.",
        discussion: [
            "Tries settings on the donor users and evaluates the best ones on the other users, none of whom is a donor. For "
                + "every user all items are ranked before each like, and only then is it learned.",
            "A grid names variants: a method, and for each setting the values to try. Each combination of values is a candidate; "
                + "of a variant's candidates the one that is best on the donors is evaluated, by NDCG@10 for 'engine' and by AUC "
                + "for the pairwise methods. Without a grid the methods are tuned as 'attune evaluate' does, and give the same.",
            "A grid: {\"variants\": [{\"name\": \"no bank\", \"method\": \"engine\", \"settings\": {\"bank\": [false], \"rate\": [0.1, 0.25, "
                + "0.5]}}]}. The engine's settings: " + settings(of: .engine) + ". Those of warm, similar and random: "
                + settings(of: .warm) + "; of cold and bias: those that apply; of none, profile and ridge: kappa.",
            "With --report each finished piece of work is kept in DIR/pieces at once: the same command goes on where a run was "
                + "stopped or killed, and ends with the same files. DIR gets result.json for 'attune benchmark compare', "
                + "measures.csv, curves.csv, candidates.csv, users.csv, with all that depends on the machine times.csv, and report.html, the "
                + "same as figures and tables for a browser.",
            "'attune bench' times kernels; 'attune benchmark' judges learning.",
        ],
        arguments: [.dataFolder],
        options: [
            .synthetic, .embeddings,
            .value(
                "users", "N", .integer(50...1_000_000),
                help: "The users of the synthetic population, of whom about half are donors; 400 unless given."),
            .value(
                "drift", "N", .integer(10...20),
                help:
                    "Let the taste of every user of the synthetic population change after N likes and come back after 2N, and "
                    + "measure adaptation to the new taste and forgetting of the old one."),
            .value(
                "query", "QUERY", .choice(QueryKind.allCases.map(\.rawValue)), default: QueryKind.last.rawValue,
                help: "Rank from the user's latest like, or from the average of the likes so far."),
            .value(
                "grid", "FILE.json", .path(suffix: ".json"), help: "The variants to compare, and the settings to try."),
            .value(
                "methods", "LIST", .list(EvaluateCommand.methodNames),
                default: EvaluateCommand.methodNames.joined(separator: ","),
                help:
                    "The methods that are tuned as 'attune evaluate' does. Beside a grid they are none and cold, unless "
                    + "given; those whose names the grid has are left out."),
            .value(
                "seeds", "N", .integer(1...1000), default: "5",
                help: "Number of seeds to average over when the chosen candidates are evaluated; donors have one."),
            .value(
                "reference", "NAME", .text("the name of a variant"),
                help:
                    "The variant that the others are compared with; 'cold' unless given, or 'none' where there is no 'cold'."
            ),
            .value("jobs", "N", .integer(1...1024), default: "2", help: "Tasks at a time. Results don't depend on it."),
            .value(
                "report", "DIR", .path(suffix: nil),
                help: "Write the results to this folder, which is made if it isn't there, and go on from what it holds."
            ),
            .format, .progress,
        ],
        examples: [
            .init(
                line: "attune benchmark convergence --synthetic --report out/synthetic",
                explanation: "All methods on the built-in population. Kill it and run it again: it goes on."),
            .init(
                line: "attune benchmark convergence --synthetic --drift 20 --grid grid.json",
                explanation: "What adapters forget while they learn another taste."),
            .init(
                line: "attune benchmark convergence shop --grid grid.json --report out/shop",
                explanation: "Your data and your variants, beside 'none' and 'cold'."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    private static func settings(of method: EvaluationMethod) -> String {
        ConvergenceGrid.Setting.settings(of: method).map(\.rawValue).joined(separator: ", ")
    }

    init(_ arguments: ParsedArguments) throws(UsageError) {
        source = try arguments.dataSource(for: Self.specification)
        guard let query = arguments.text("query").flatMap(QueryKind.init) else {
            preconditionFailure("--query isn't declared")
        }
        self.query = query
        grid = arguments.text("grid")
        methods = arguments.list("methods").compactMap(EvaluationMethod.init)
        namesMethods = arguments.given.contains("methods")
        seeds = arguments.integer("seeds")
        reference = arguments.text("reference")
        jobs = arguments.integer("jobs")
        report = arguments.text("report")
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let variants = try variants()
        let (data, rank) = try source.load(rank: nil, for: Self.specification)
        var configuration = EvaluationConfiguration()
        configuration.query = query
        configuration.rank = rank
        configuration.seeds = seeds
        configuration.threads = jobs
        let benchmark = try ConvergenceBenchmark(
            data, grid: variants, configuration: configuration, reference: reference, version: App.version,
            build: Self.build, command: line)
        // What would fail at the end of a long run is tried before it.
        let folder = try report.map { try ConvergenceFolder(path: $0) }
        if showsProgress { console.beginProgress("benchmark", total: Self.progressSteps) }
        let result = try await benchmark.run(
            in: folder, notice: { console.writeError(printable($0) + "\n") },
            progress: { console.advanceProgress(to: Int($0.fraction * Double(Self.progressSteps))) })
        console.endProgress()
        // Printed first: a folder that can't be written takes nothing of the result away.
        switch format {
        case .json: console.write(result.json + "\n")
        case .text: console.write(printable(result.table, except: ["\n"]) + "\n")
        }
        try folder?.write(result)
    }

    /// The methods that are tuned as 'attune evaluate' does, then the grid's.
    private func variants() throws -> ConvergenceGrid {
        guard let grid else { return ConvergenceGrid(methods.map { .init($0) }) }
        var all = try ConvergenceGrid(path: grid)
        let names = Set(all.variants.map(\.name))
        let beside = (namesMethods ? methods : [.none, .cold]).filter { !names.contains($0.rawValue) }
        all.variants.insert(contentsOf: beside.map { .init($0) }, at: 0)
        return all
    }

    /// The command line that gives the same result.
    private var line: String {
        var words = ["attune", "benchmark", "convergence"] + source.words + ["--query", query.rawValue]
        if let grid { words += ["--grid", quotedForShell(grid)] }
        if grid == nil || namesMethods {
            words += ["--methods", methods.map(\.rawValue).joined(separator: ",")]
        }
        if let reference { words += ["--reference", quotedForShell(reference)] }
        return (words + ["--seeds", "\(seeds)"]).joined(separator: " ")
    }

    /// A hash of this program's own file, so that another build finds no pieces of this one; empty where the system does not
    /// give it, and then only the version tells.
    private static var build: String {
        do throws(TensorFileError) {
            let source = try ByteSource(path: "/proc/self/exe")
            return String(Checksum.of(try source.bytes(0..<source.count)[...]), radix: 16)
        } catch {
            return ""
        }
    }

    private static let progressSteps = 1000
}
