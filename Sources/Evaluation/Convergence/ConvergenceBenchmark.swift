internal import LoRA
internal import TensorCore

/// How fast variants of methods learn: their settings chosen on donors, what was chosen evaluated on other users.
///
/// ```swift
/// let data = try EvaluationData(DataFolder(path: "shop"))
/// let benchmark = try ConvergenceBenchmark(data, grid: ConvergenceGrid(path: "grid.json"))
/// let folder = try ConvergenceFolder(path: "out/shop")
/// let result = try await benchmark.run(in: folder)
/// try folder.write(result)
/// ```
///
/// A candidate is tried on the donors with one seed. Where a bank or donors' adapters inform a start, a donor's own likes never
/// inform that donor's. Of the candidates of `engine`, and of methods that do not learn, the one with the highest NDCG@10 is
/// chosen, of those of pairwise methods the one with the highest AUC; of equals the first. Only it runs on the evaluated users,
/// with all seeds. Variants without settings are tuned, and give the same, as in ``Evaluation``.
public struct ConvergenceBenchmark: Sendable {
    /// The data set.
    public let data: EvaluationData
    /// What is compared.
    public let grid: ConvergenceGrid
    /// The query, the seeds, and what else variants do not say. Its methods are those of the variants.
    public let configuration: EvaluationConfiguration
    /// The variant that others are compared with; `nil` for `cold`, or `none` where there is no `cold`.
    public let reference: String?
    /// The version of Attune, for the record.
    public let version: String
    /// What tells one build of the program from another; pieces that another build or version made are not used.
    public let build: String
    /// The command line, for the record.
    public let command: String

    /// A benchmark.
    ///
    /// - Throws: ``DataError``: `invalidConfiguration` for a setting of the run, or a reference that is no variant; `malformedGrid` for
    ///   a setting of a variant.
    public init(
        _ data: EvaluationData, grid: ConvergenceGrid,
        configuration: EvaluationConfiguration = EvaluationConfiguration(), reference: String? = nil,
        version: String = "", build: String = "", command: String = ""
    ) throws(DataError) {
        try grid.validate(dimension: data.dimension)
        if let reference, !grid.variants.contains(where: { $0.name == reference }) {
            throw DataError(
                .invalidConfiguration, value: reference,
                "the reference is none of the variants: name one of \(grid.variants.map(\.name).joined(separator: ", "))"
            )
        }
        var configuration = configuration
        let methods = Set(grid.variants.map(\.method))
        configuration.methods = EvaluationMethod.allCases.filter(methods.contains)
        try configuration.validate(dimension: data.dimension)
        self.data = data
        self.grid = grid
        self.configuration = configuration
        self.reference = reference
        self.version = version
        self.build = build
        self.command = command
    }

    /// Tunes and evaluates every variant.
    ///
    /// - Parameters:
    ///   - folder: Where finished pieces are kept and looked for; nothing is kept without it.
    ///   - notice: Told in a sentence of each piece in the folder that cannot be used.
    ///   - progress: Told how far the run is; called from any thread, one call at a time.
    /// - Throws: `CancellationError` when the task is cancelled; ``DataError``: `malformedGrid` for a variant whose adapters can bear
    ///   none of its candidates, `cannotWrite` for a piece; a method's own error when it fails on the evaluated users.
    ///
    /// **Numerics.** As ``Evaluation/run(progress:)``; whether pieces were found in the folder makes no difference.
    public func run(
        in folder: ConvergenceFolder? = nil, notice: @escaping @Sendable (String) -> Void = { _ in },
        progress: @escaping @Sendable (EvaluationProgress) -> Void = { _ in }
    ) async throws -> ConvergenceResult {
        let pieces = folder.map { PieceFolder(folder: $0, context: context, tell: notice) }
        let outcome = try await VariantRun(
            data: data, configuration: configuration, variants: grid.variants, pieces: pieces, progress: progress
        ).run()
        return try ConvergenceResult(
            outcome, grid: grid, reference: reference, version: version, command: command)
    }

    /// What every piece depends on.
    private var context: String {
        """
        attune \(version), build \(build), numerics \(Numerics.version)
        data \(data.contentHash)
        query \(configuration.query.rawValue), rank \(configuration.rank), seed \(configuration.seed)
        popularity weights \(configuration.popularityWeights)
        """
    }
}
