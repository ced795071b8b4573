internal import TensorCore

/// What a benchmark of convergence found.
///
/// ``evaluation`` has the measures, curves and intervals of every variant by its name, as an evaluation of methods has them;
/// ``variants`` has in the same order what else is known.
public struct ConvergenceResult: Sendable {
    /// One combination of settings, and what it did for the donors.
    public struct Candidate: Sendable {
        /// The settings by name, as text, but for κ; those that the variant or the method names.
        public let settings: [(name: String, value: String)]
        /// The weight of log(1 + donor likes) in every score.
        public let kappa: Double
        /// The donors' mean AUC, with a 95 % interval over donors; `nil` where the adapters could not bear the settings.
        public let auc: Interval?
        /// The donors' NDCG@10; `nil` where the adapters could not bear the settings.
        public let ndcg10: Interval?
        /// Why the adapters could not bear the settings.
        public let failure: String?
        /// The time that it took; of several κ tried at once each has its share.
        public let duration: Duration
        /// Whether it was evaluated.
        public let isChosen: Bool

        /// Settings and κ in one line.
        public var text: String {
            (settings.map { "\($0.name) \($0.value)" } + ["kappa \(kappa)"]).joined(separator: ", ")
        }
    }

    /// A variant.
    public struct Variant: Sendable {
        /// Its name, unique in the result.
        public let name: String
        /// What it is a variant of.
        public let method: EvaluationMethod
        /// What was tried on the donors, in order; empty where there was nothing to choose.
        public let candidates: [Candidate]
        /// Its measures: the same as in ``ConvergenceResult/evaluation``.
        public let measures: EvaluationResult.Method
        /// Each user's mean AUC less that with `none`, `[users]`: below 0 for those who are worse off.
        public let userGains: [Double]
        /// How it differs from ``ConvergenceResult/reference`` in AUC and NDCG@10, and from any but `none` in t90 and the share of users
        /// made worse too, with p values that are adjusted for all variants and measures; empty for the reference and for `none`.
        public let differences: [BenchmarkComparison.Row]
        /// The memory of one user's adapter with its optimizer's state; 0 without one, `nil` where it grows with the likes.
        public let bytesPerAdapter: Int?
        /// How it follows a taste that changes and comes back; `nil` where tastes do not.
        public let drift: DriftMeasures?
        /// What of that is more than the reference's, paired; `nil` for the reference, and where tastes do not change.
        public let driftDifference: DriftMeasures?
        /// The mean time of one update, as the learning tasks saw it while they shared the machine; `nil` where nothing is
        /// learned.
        public let learningTime: Duration?
    }

    /// The measures of all variants, and what the data is.
    public let evaluation: EvaluationResult
    /// The variants, in the order of the grid.
    public let variants: [Variant]
    /// The name of the variant that others are compared with: the one that was asked for, or `cold`, or `none` where there is no
    /// `cold`.
    public let reference: String
    /// How often users were resampled for ``Variant/differences``.
    public let comparisonResamples: Int
    /// The version of Attune.
    public let version: String
    /// The command line that gives the same result.
    public let command: String
    /// Hashes of the evaluated users' ids, `[users]`.
    public var userHashes: [UInt64] { evaluation.userHashes }
    /// The number of ranked events of each user, `[users]`.
    public var eventsPerUser: [Int] { evaluation.eventsPerUser }
    /// The result as a record, for ``BenchmarkComparison``.
    public var record: BenchmarkRecord { evaluation.record(version: version, command: command) }

    /// The variant with a name.
    public subscript(name: String) -> Variant? { variants.first { $0.name == name } }

    init(
        _ outcome: VariantRun.Outcome, grid: ConvergenceGrid, reference wanted: String? = nil, version: String,
        command: String
    ) throws {
        evaluation = outcome.result
        self.version = version
        self.command = command
        let evaluation = evaluation
        let none = EvaluationMethod.none.rawValue
        let cold = EvaluationMethod.cold.rawValue
        let reference = wanted ?? (evaluation[cold] == nil ? none : cold)
        self.reference = reference
        let compared = evaluation.methods.map(\.name).filter { $0 != none && $0 != reference }
        // p is never below 2 / (resamples + 1): with many rows that must be small enough for the smallest to count.
        // Against doing nothing there is no level to reach, and nobody is worse off than by it.
        let measures: [ComparedMeasure] = reference == none ? [.auc, .ndcg10] : [.auc, .ndcg10, .t90, .worse]
        comparisonResamples = max(1_000, evaluation.configuration.resamples, 50 * measures.count * compared.count)
        var rows: [String: [BenchmarkComparison.Row]] = [:]
        if !compared.isEmpty {
            let record = evaluation.recordWithReference(version: version, command: command)
            let comparison = try BenchmarkComparison(
                record, record, pairs: compared.map { (reference, $0) }, measures: measures,
                resamples: comparisonResamples, seed: evaluation.configuration.seed)
            rows = Dictionary(grouping: comparison.rows, by: \.second)
        }
        let noneAUC = evaluation.positions[none].map { evaluation.records[$0].auc } ?? []
        variants = zip(zip(grid.variants, evaluation.methods), outcome.chosen).map { both, chosen in
            let (variant, measures) = both
            let auc = evaluation.positions[variant.name].map { evaluation.records[$0].auc } ?? []
            let owner = variant.isTunedAsEvaluation ? variant.method.rawValue : variant.name
            let trials = outcome.trials.filter {
                $0.trial.owner == owner && $0.trial.isOfGrid != variant.isTunedAsEvaluation
            }
            return Variant(
                name: variant.name, method: variant.method,
                candidates: trials.map { Candidate($0, outcome: outcome, chosen: chosen.choice) }, measures: measures,
                userGains: zip(zip(auc, noneAUC), evaluation.eventsPerUser).map { ($0.0 - $0.1) / Double(max($1, 1)) },
                differences: rows[variant.name] ?? [], bytesPerAdapter: chosen.piece.bytesPerAdapter,
                drift: outcome.tasteChange.map { evaluation.drift(of: variant.name, $0) },
                driftDifference: variant.name == reference
                    ? nil : outcome.tasteChange.map { evaluation.drift(of: variant.name, minus: reference, $0) },
                learningTime: chosen.piece.lessons > 0 ? chosen.piece.learning / chosen.piece.lessons : nil)
        }
    }
}

extension ConvergenceResult.Candidate {
    fileprivate init(_ entry: TrialLog.Entry, outcome: VariantRun.Outcome, chosen: Tuner.Choice) {
        settings = entry.trial.settings.map { ($0.name, $0.value) }
        kappa = entry.kappa
        duration = entry.duration
        isChosen = entry.trial == chosen.trial && entry.kappa == chosen.kappa
        switch entry.result {
        case .failure(let error):
            failure = error.description
            (auc, ndcg10) = (nil, nil)
        case .success(let scores):
            failure = nil
            let events = outcome.donorEvents
            let rows = events.indices.flatMap { [Double(events[$0]), scores.auc[$0], scores.ndcg10[$0]] }
            let configuration = outcome.result.configuration
            let bootstrap = ClusterBootstrap(
                table: rows, users: events.count, resamples: configuration.resamples, seed: configuration.seed)
            func interval(_ place: Int, _ mean: Double) -> Interval {
                let found = bootstrap.interval { $0[$0.startIndex + place] / max($0[$0.startIndex], 1) }
                return Interval(mean: mean, low: found.low, high: found.high)
            }
            auc = interval(1, scores.mean.auc)
            ndcg10 = interval(2, scores.mean.ndcg10)
        }
    }
}

extension EvaluationResult {
    /// The record with `none` in it, also where it is not shown.
    fileprivate func recordWithReference(version: String, command: String) -> BenchmarkRecord {
        var record = record(version: version, command: command)
        let none = EvaluationMethod.none.rawValue
        if record[none] == nil, let position = positions[none] {
            record.runs.insert(.init(name: none, settings: [:], records: records[position]), at: 0)
        }
        return record
    }
}
