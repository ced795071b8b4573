internal import LoRA
internal import Personalization

/// What a ``PersonalizationRun`` changed.
public struct PersonalizationSummary: Sendable {
    /// The data set's name.
    public let dataset: String
    /// The ranked items.
    public let items: Int
    /// The number of values of an embedding.
    public let dimension: Int
    /// The adapters' rank.
    public let rank: Int
    /// What the queries were made from.
    public let query: QueryKind
    /// The weight of the items' popularity beside plain queries, tuned on donors.
    public let plainPopularityWeight: Double
    /// The same beside personalized queries.
    public let popularityWeight: Double
    /// The users with at least one ranked like, who each have an adapter.
    public let users: Int
    /// The updates: one for each like but a user's first.
    public let updates: Int
    /// The likes that the engine's journal had already: neither learned again nor ranked.
    public let known: Int
    /// The likes of users whom the engine's journal was told to forget: neither learned nor ranked.
    public let forgotten: Int
    /// How long the whole run took, rankings included.
    public let duration: Duration
    /// Updates per second of one task that does nothing else, through the engine.
    public let updatesPerSecond: Double
    /// The mean loss of an update's like before the update.
    public let lossBefore: Double
    /// The mean loss of the same like after it.
    public let lossAfter: Double
    /// The measures of ranking the next like, as the query is and personalized. Each: mean over all events, 95 % interval by
    /// resampling users.
    public let rankings: [Ranking]
    /// The share of users whose mean AUC is lower with their adapter than without.
    public let worse: Interval
    /// The adapters that the engine has in memory: also of users of whom nothing new came.
    public let adapters: Int
    /// The bytes of all of these adapters.
    public let adapterBytes: Int

    /// One measure of ranking.
    public struct Ranking: Sendable {
        /// The measure's name: `auc`, `ndcg10`, `mrr` or `hit10`.
        public let measure: String
        /// With the query as it is.
        public let before: Interval
        /// With the query personalized.
        public let after: Interval
        /// The paired difference.
        public let gain: Interval
    }

    init(
        data: EvaluationData, engine: PersonalizationEngine, run: PersonalizationRun, parts: [PersonalizationRun.Part],
        duration: Duration
    ) {
        dataset = data.name
        items = data.itemCount
        dimension = data.dimension
        rank = engine.shape.rank
        query = run.query
        plainPopularityWeight = run.plainPopularityWeight
        popularityWeight = run.popularityWeight
        self.duration = duration
        let sums = parts.flatMap(\.users)
        users = sums.count
        updates = parts.reduce(0) { $0 + $1.updates }
        known = parts.reduce(0) { $0 + $1.known }
        forgotten = parts.reduce(0) { $0 + $1.forgotten }
        let time = parts.reduce(Duration.zero) { $0 + $1.updateTime } / .seconds(1)
        updatesPerSecond = time > 0 ? Double(updates) / time : 0
        let count = Double(max(updates, 1))
        lossBefore = parts.reduce(0) { $0 + $1.lossBefore } / count
        lossAfter = parts.reduce(0) { $0 + $1.lossAfter } / count
        let statistics = engine.statistics()
        adapters = statistics.residentAdapters
        adapterBytes = statistics.residentBytes

        // Columns: users, events, worse; then each measure before and after.
        let measures: [(name: String, value: @Sendable (RankingQuality) -> Double)] = [
            ("auc", { $0.auc }), ("ndcg10", { $0.ndcg10 }), ("mrr", { $0.reciprocalRank }), ("hit10", { $0.hit10 }),
        ]
        let table = sums.flatMap { user -> [Double] in
            [1, Double(user.events), user.personalized.auc < user.plain.auc ? 1 : 0]
                + measures.flatMap { [$0.value(user.plain), $0.value(user.personalized)] }
        }
        let bootstrap = ClusterBootstrap(
            table: table.isEmpty ? [Double](repeating: 0, count: 3 + 2 * measures.count) : table,
            users: max(sums.count, 1), resamples: 2000, seed: 0)
        func mean(_ column: Int, less other: Int? = nil, over count: Int) -> Interval {
            bootstrap.interval { row in
                let first = row.startIndex
                let value = row[first + column] - (other.map { row[first + $0] } ?? 0)
                return value / max(row[first + count], 1)
            }
        }
        worse = mean(2, over: 0)
        rankings = measures.enumerated().map { k, measure in
            Ranking(
                measure: measure.name, before: mean(3 + 2 * k, over: 1), after: mean(4 + 2 * k, over: 1),
                gain: mean(4 + 2 * k, less: 3 + 2 * k, over: 1))
        }
    }
}
