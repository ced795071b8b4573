import Attune

/// `attune personalize`: the main job.
struct PersonalizeCommand: Command {
    let source: DataSource
    /// `nil`: the engine's default, as far as the embeddings' dimension allows.
    let rank: Int?
    /// The folder the adapters are written to, if any.
    let output: String?
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
                line: "ATTUNE_DATA=data/ml-latest-small attune personalize --format json",
                explanation: "The folder from the environment; the result as JSON."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        source = try arguments.dataSource(for: Self.specification)
        rank = arguments.rank
        output = arguments.text("output")
        format = arguments.format
        showsProgress = arguments.flag("progress")
    }

    func run(_ console: Console) async throws {
        let (data, rank) = try source.load(rank: rank, for: Self.specification)
        // What would fail at the end of a long run is tried before it.
        if let output { try AdapterFolder.make(output) }
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(
                dimension: data.dimension, rank: rank,
                embeddingModel: data.embeddingsName.isEmpty
                    ? data.name : data.embeddingsName))
        let run = try await PersonalizationRun(data, query: Self.query)
        if showsProgress { console.beginProgress("personalizing", total: Self.progressSteps) }
        let summary = try await run.run(engine) { progress in
            console.advanceProgress(to: Int(progress.fraction * Double(Self.progressSteps)))
        }
        console.endProgress()
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
        switch format {
        case .json: console.write(summary.json(adaptersWritten: written).text + "\n")
        case .text: console.write(summary.text(adaptersWritten: written, output: output))
        }
        if let failure { throw failure }
    }

    /// What users are recommended from: their latest like.
    private static let query = QueryKind.last
    private static let progressSteps = 1000
}
