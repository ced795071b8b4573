/// What an evaluation found: every method's measures with paired 95 % intervals.
public struct EvaluationResult: Sendable {
    /// One method's measures; see ``EvaluationResult`` for their definitions.
    public struct Method: Sendable {
        /// The name in reports: that of the method, or of a variant of it.
        public let name: String
        /// The method.
        public let method: EvaluationMethod
        /// The share of the other candidates ranked below the next like, 0...1.
        public let auc: Interval
        /// NDCG at 10 with the next like as the only relevant item, 0...1.
        public let ndcg10: Interval
        /// Mean reciprocal rank, 0...1.
        public let mrr: Interval
        /// How often the next like is among the first ten, 0...1.
        public let hit10: Interval
        /// The step, from 1, at which the AUC gain reaches 0.9 times what `cold` ends with; the number of steps when it
        /// never does. Nil without `cold`.
        public let t90: Interval?
        /// 1 − t90 / t90 of `cold`: the share of interactions saved. Nil without `cold`.
        public let saving: Interval?
        /// The area under the curve of AUC gain over `none` against the step, in AUC · steps.
        public let area: Interval
        /// The share of users whose mean AUC is below what they have with `none`; nil for `none` itself.
        public let worse: Interval?
        /// The expected AUC lost against ranking by the true preferences; nil where they are not known.
        public let regret: Interval?
        /// The weight of log(1 + donor likes) in every score, chosen on the donors.
        public let kappa: Double
        /// The other settings that were chosen on the donors, by name.
        public let settings: [(name: String, value: Double)]
        /// The AUC gain over `none` at each step, from step 1, averaged over the users who have it.
        public let gains: [Interval]
        /// The centred mean of 7 of the gains, from which `t90` is read.
        public let smoothedGains: [Interval]
        /// The time that evaluating the method took, tuning excluded.
        public let duration: Duration
    }

    /// The data set's name.
    public let dataset: String
    /// The name of the embeddings; empty when the data set has only one kind.
    public let embeddings: String
    /// The number of ranked items: those with an embedding.
    public let items: Int
    /// The embeddings' dimension.
    public let dimension: Int
    /// The users on whom settings were tuned.
    public let donors: Int
    /// The users who were evaluated.
    public let users: Int
    /// The number of ranked events: a user with n likes has n − 1.
    public let events: Int
    /// How many users have each step, from step 1.
    public let activeUsers: [Int]
    /// What was asked for.
    public let configuration: EvaluationConfiguration
    /// The methods in the order of ``EvaluationConfiguration/methods``.
    public let methods: [Method]

    /// A hash of the data that the result depends on.
    public let dataHash: UInt64
    let userHashes: [UInt64]
    let eventsPerUser: [Int]
    /// What each method did for each user, in the order of ``positions``.
    let records: [UserRecords]
    let measures: PairedMeasures
    /// Where each method lies in ``measures``.
    let positions: [String: Int]

    /// The measures of one method, when it was evaluated.
    public subscript(method: EvaluationMethod) -> Method? { self[method.rawValue] }

    /// The measures of the method or variant with a name.
    public subscript(name: String) -> Method? { methods.first { $0.name == name } }

    /// A measure that is a mean over ranked events.
    public enum Measure: String, Sendable, Hashable, CaseIterable {
        /// The share of the other candidates ranked below the next like.
        case auc
        /// NDCG at 10.
        case ndcg10
        /// Mean reciprocal rank.
        case mrr
        /// How often the next like is among the first ten.
        case hit10

        var eventMeasure: PairedMeasures.EventMeasure {
            switch self {
            case .auc: .auc
            case .ndcg10: .ndcg10
            case .mrr: .reciprocalRank
            case .hit10: .hit10
            }
        }
    }

    /// The difference of two methods with its paired interval; nil unless both were run.
    ///
    /// Methods are resampled together, so this interval is much narrower than those of the two means would suggest.
    public func difference(_ measure: Measure, of method: EvaluationMethod, minus other: EvaluationMethod) -> Interval?
    { difference(measure, of: method.rawValue, minus: other.rawValue) }

    /// The same by names.
    public func difference(_ measure: Measure, of name: String, minus other: String) -> Interval? {
        guard let first = positions[name], let second = positions[other] else { return nil }
        return measures.difference(measure.eventMeasure, of: first, minus: second)
    }

    /// The difference of two methods in ``Method/worse`` with its paired interval; nil unless both were run.
    public func differenceOfWorse(of method: EvaluationMethod, minus other: EvaluationMethod) -> Interval? {
        differenceOfWorse(of: method.rawValue, minus: other.rawValue)
    }

    /// The same by names.
    public func differenceOfWorse(of name: String, minus other: String) -> Interval? {
        guard let first = positions[name], let second = positions[other] else { return nil }
        return measures.differenceOfShareWorse(first, minus: second)
    }
}
