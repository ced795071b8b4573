import Attune

/// `attune personalize`: the main job.
struct PersonalizeCommand: Command {
    let source: DataSource
    /// `nil`: the engine's default, as far as the embeddings' dimension allows.
    let rank: Int?
    /// The folder the adapters are written to, if any.
    let output: String?
    /// The storage file that updates are recorded in, if any.
    let store: String?
    /// Whether the bank in that file advises, and learns.
    let usesBank: Bool
    let format: OutputFormat
    let showsProgress: Bool

    static let specification = CommandSpecification(
        name: "personalize",
        abstract: "Train an adapter for every user of a data folder, and say what changed.",
        discussion: [
            "Streams the interactions in order of time through the engine. Each like first shows how well the user's "
                + "adapter ranks the liked item, and only then trains it, so every figure is about events that the "
                + "adapter had not seen.",
            "Prints the numbers of users and updates, updates per second, the mean loss and the ranking gain before "
                + "and after, and the share of users who are worse off than with no adapter.",
        ],
        arguments: [.dataFolder],
        options: [
            .synthetic, .embeddings, .rank,
            .value(
                "output", short: "o", "DIR", .path(suffix: nil),
                help: "Write the adapters to this folder, one .safetensors file for each user; it is made if it isn't "
                    + "there. Without this option nothing is written."),
            .value(
                "store", "FILE", .path(suffix: nil),
                help:
                    "Record every update in this storage file (SQLite), which is made if it isn't there, and go on from "
                    + "what is in it: likes that it has already are skipped."),
            .flag(
                "bank",
                help: "Keep what worked in the bank of the file of --store as well, and start users from its skills. "
                    + "'attune consolidate' makes them."),
            .format, .progress,
        ],
        examples: [
            .init(
                line: "attune personalize --synthetic",
                explanation: "The built-in population: no data needed, under half a minute."),
            .init(
                line: "attune personalize data/ml-latest-small --embeddings cf --output adapters",
                explanation: "A data folder with embeddings-cf.npy; the adapters are kept."),
            .init(
                line: "attune personalize --synthetic --store attune.db",
                explanation: "Updates survive the process; run again, it finds them all there."),
            .init(
                line: "ATTUNE_DATA=data/ml-latest-small attune personalize --format json",
                explanation: "The folder from the environment; the result as JSON."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        source = try arguments.dataSource(for: Self.specification)
        rank = arguments.rank
        output = arguments.text("output")
        store = arguments.text("store")
        usesBank = arguments.flag("bank")
        guard !usesBank || store != nil else {
            throw UsageError("'--bank' needs '--store': the bank is in that file.", command: Self.specification.name)
        }
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        // The file and its tables are there before the first row is read.
        var storage: SQLiteStorage?
        if let store { storage = try await SQLiteStorage(path: store) }
        let (data, rank) = try source.load(rank: rank, for: Self.specification)
        // What would fail at the end of a long run is tried before it.
        if let output { try AdapterFolder.make(output) }
        var configuration = EngineConfiguration(
            dimension: data.dimension, rank: rank,
            embeddingModel: data.embeddingsName.isEmpty ? data.name : data.embeddingsName)
        let engine: PersonalizationEngine
        if usesBank, let storage {
            configuration.reasoningBank = try await SQLiteReasoningBank.opened(
                storage, console, showsProgress: showsProgress)
            // Nobody waits for the single update: what comes of a run is not to depend on how busy the machine is.
            configuration.reasoning.deadline = .seconds(60)
            // An update takes less than storing an episode: all of them may have to wait.
            configuration.reasoning.queueCapacity = 10_000_000
        }
        if let storage {
            engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        } else {
            engine = try PersonalizationEngine(configuration: configuration)
        }
        let run = try await PersonalizationRun(data, query: Self.query)
        if showsProgress { console.beginProgress("personalizing", total: Self.progressSteps) }
        let summary = try await run.run(engine) { progress in
            console.advanceProgress(to: Int(progress.fraction * Double(Self.progressSteps)))
        }
        console.endProgress()
        try await engine.checkpoint()
        if usesBank { try await Self.finishBank(engine, console) }
        var written: Int?
        var failure: (any Error)?
        if let output {
            if showsProgress { console.beginProgress("writing adapters", total: summary.users) }
            do {
                written = try await AdapterFolder(path: output).write(engine) { console.advanceProgress(to: $0) }
            } catch {
                // What was found is printed all the same.
                failure = error
            }
            console.endProgress()
        }
        await storage?.close()
        switch format {
        case .json: console.write(summary.json(adaptersWritten: written).text + "\n")
        case .text: console.write(summary.text(adaptersWritten: written, output: output, store: store))
        }
        if let failure { throw failure }
    }

    /// Waits until the last episodes are in the file.
    private static func finishBank(_ engine: PersonalizationEngine, _ console: Console) async throws {
        guard try await engine.shutdown(deadline: .seconds(60)) else {
            throw CommandFailure(.ioError, "episodes on their way to the bank were not stored in a minute")
        }
        let statistics = engine.reasoningBankStatistics()
        guard statistics.dropped + statistics.failed > 0 else { return }
        console.writeError(
            "Warning: \(statistics.dropped) episodes were dropped and \(statistics.failed) calls of the bank failed: the bank "
                + "knows less than it could.\n")
    }

    /// What users are recommended from: their latest like.
    private static let query = QueryKind.last
    private static let progressSteps = 1000
}
