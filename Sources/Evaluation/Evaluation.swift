import LoRA
import TensorCore

/// Compares ways of ranking a user's next like, prequentially, with every setting tuned on donors.
///
/// For each evaluated user and each step t the method ranks every item that has an embedding, except the user's likes
/// so far, by y·e + κ·log(1 + donor likes); the next like is the target. Only then does the method learn from it. AUC,
/// reciprocal rank, NDCG@10 and hit@10 of each event are averaged over the seeds and then over all events, each
/// weighing the same. Intervals are percentiles over resampled users, the same resamples for every method.
///
/// ```swift
/// let data = try EvaluationData(DataFolder(path: "ml-latest-small", embeddings: "cf"))
/// let result = try await Evaluation(data).run()
/// print(result.table)
/// ```
///
/// Tuned on donors: κ of the query (shared by `none`, `bias`, `cold`, `warm`, `similar` and `random`), κ of `profile` and
/// of `engine`, and κ, ω, λ and β of `ridge` by NDCG@10; the rates of `bias` and `cold`, and strength and rate of `warm`,
/// `similar` and `random`, by AUC. `popularity` has nothing to tune. Where donors' adapters inform a start, a donor's own
/// never informs the start that is tuned on that donor.
public struct Evaluation: Sendable {
    /// The data set.
    public let data: EvaluationData
    /// The settings.
    public let configuration: EvaluationConfiguration

    /// An evaluation of a data set.
    ///
    /// - Throws: ``DataError`` (`invalidConfiguration`) naming the setting that is out of range.
    public init(
        _ data: EvaluationData, configuration: EvaluationConfiguration = EvaluationConfiguration()
    ) throws(DataError) {
        try configuration.validate(dimension: data.dimension)
        self.data = data
        self.configuration = configuration
    }

    /// Tunes and evaluates every method.
    ///
    /// - Parameter progress: Told how far the run is; called from any thread, one call at a time.
    /// - Throws: `CancellationError` when the task is cancelled; a method's own error when it fails on the evaluated
    ///   users.
    /// - Complexity: O(methods · events · seeds · items · dimension), in up to ``EvaluationConfiguration/threads``
    ///   tasks.
    ///
    /// **Numerics.** The result depends neither on the number of threads nor on which other methods are compared.
    /// Scores come from BLAS, so their last bits may differ from machine to machine.
    public func run(
        progress: @escaping @Sendable (EvaluationProgress) -> Void = { _ in }
    ) async throws -> EvaluationResult {
        let variants = configuration.methods.map { ConvergenceGrid.Variant($0) }
        return try await VariantRun(
            data: data, configuration: configuration, variants: variants, pieces: nil, progress: progress
        ).run().result
    }
}

/// What learning methods need to know of the catalogue.
struct CatalogueContext: Sendable {
    /// The weight of the popularity in the scores that learning sees.
    let kappa: Double
    /// κ·log(1 + donor likes), shape `[items]`.
    let offsets: [Float]

    init(data: EvaluationData, kappa: Double) {
        self.kappa = kappa
        offsets = data.popularity.map { Float(kappa) * $0 }
    }
}
