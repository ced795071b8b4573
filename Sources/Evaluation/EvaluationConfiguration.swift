/// A way of ranking that an evaluation compares.
public enum EvaluationMethod: String, Sendable, Hashable, CaseIterable {
    /// No adapter: the query itself.
    case none
    /// Donor likes alone.
    case popularity
    /// The profile query without learning.
    case profile
    /// One learned vector per user, added to the query; stochastic gradient descent on the pairwise loss.
    case bias
    /// Ridge regression of the user's likes on the embeddings (fold-in of implicit-feedback matrix factorisation).
    case ridge
    /// A low-rank adapter per user from a cold start; stochastic gradient descent on the pairwise loss.
    case cold
    /// The same from a warm start: the merge of adapters that donors learned as `cold` does.
    case warm
    /// The same; once 4 likes are known, started anew from half that merge and half the mean of the most similar donors.
    case similar
    /// The same with donors drawn at random in place of the similar ones: the control.
    case random
    /// The personalization engine with its default settings.
    case engine
}

/// What is compared, and how.
public struct EvaluationConfiguration: Sendable, Hashable {
    /// The methods, in the order of reports. `none` is always run, as the reference; without `cold` there is no `t90`
    /// and no saving.
    public var methods = EvaluationMethod.allCases
    /// The query from which all methods but `profile`, `popularity` and `ridge` rank.
    public var query = QueryKind.last
    /// The rank of adapters.
    public var rank = 8
    /// How many times learning methods run, with different starts and negatives; each event is averaged over them.
    public var seeds = 5
    /// The seed of everything random.
    public var seed: UInt64 = 0
    /// The bootstrap's resamples.
    public var resamples = 2_000
    /// The largest number of tasks at once. Results do not depend on it.
    public var threads = 2
    /// The popularity weights κ that are tried on the donors.
    public var popularityWeights: [Double] = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]

    /// The default settings.
    public init() {}

    /// Checks every setting.
    ///
    /// - Parameter dimension: The embeddings' dimension, which a rank may not exceed.
    /// - Throws: ``DataError`` (`invalidConfiguration`) naming the setting and its range.
    public func validate(dimension: Int) throws(DataError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(DataError) {
            if !holds { throw DataError(.invalidConfiguration, message()) }
        }
        try check(!methods.isEmpty, "no methods are named")
        try check(Set(methods).count == methods.count, "a method is named twice")
        try check(
            rank >= 1 && rank <= min(256, dimension),
            "rank \(rank) is not in 1...\(min(256, dimension)) (dimension \(dimension))")
        try check((1...1_000).contains(seeds), "\(seeds) seeds are not in 1...1000")
        try check((100...1_000_000).contains(resamples), "\(resamples) resamples are not in 100...1000000")
        try check((1...1_024).contains(threads), "\(threads) threads are not in 1...1024")
        try check(
            !popularityWeights.isEmpty && popularityWeights.allSatisfy { $0.isFinite && $0 >= 0 },
            "the popularity weights must be finite, 0 or more, and one at least")
    }
}
