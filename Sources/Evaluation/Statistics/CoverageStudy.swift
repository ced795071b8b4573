import TensorCore

/// How often the 95 % intervals of an evaluation hold the truth, where the truth is known.
///
/// Made-up evaluations: each user has a level without an adapter and gains of their own with two, `cold` and a faster one, that come up
/// exponentially with the known likes; events scatter around them, and the shares lie in 0...1.
///
/// ```text
/// none_us = b_u + ε          cold_us = none_us + g_u·(1 − exp(−s/15)) + ε'       fast_us = none_us + h_u·(1 − exp(−s/7)) + ε''
/// ```
///
/// with b ~ N(0.82, 0.06), g ~ N(0.05, 0.05), h ~ g + N(0.005, 0.02), ε of 0.12, ε' and ε'' of 0.06, and 5 to 60 events a user. What is
/// true is what the same measures give for very many users; the intervals are those of small samples of users, in the very code
/// that reports use.
public struct CoverageStudy: Sendable {
    /// One measure's intervals.
    public struct Result: Sendable, Hashable, Codable {
        /// The measure.
        public let measure: String
        /// Its value for very many users.
        public let truth: Double
        /// The share of the intervals that hold it, with the 95 % interval of that share (Wilson).
        public let coverage: Interval
        /// The share of the intervals that lie below it.
        public let below: Double
        /// The share of the intervals that lie above it.
        public let above: Double
        /// The mean length of the intervals.
        public let length: Double
    }

    /// The users of an evaluation.
    public let users: Int
    /// How many evaluations are made up.
    public let replicates: Int
    /// The bootstrap's resamples.
    public let resamples: Int
    /// The users from whom the truth is taken.
    public let population: Int
    /// The seed of everything.
    public let seed: UInt64

    /// A study. Traps at numbers below 1, and below 100 for the resamples.
    public init(
        users: Int = 300, replicates: Int = 1_000, resamples: Int = 2_000, population: Int = 200_000, seed: UInt64 = 1
    ) {
        precondition(
            users >= 1 && replicates >= 1 && resamples >= 100 && population >= 1,
            "CoverageStudy: users, replicates and population are at least 1, resamples at least 100")
        self.users = users
        self.replicates = replicates
        self.resamples = resamples
        self.population = population
        self.seed = seed
    }

    private static let measures = [
        "AUC", "difference of AUC from cold", "area under the gain curve", "gain at step 10, smoothed",
        "users made worse", "difference of users made worse from cold", "t90", "saving",
    ]

    /// Runs the study.
    ///
    /// - Parameters:
    ///   - threads: The largest number of tasks at once; the result does not depend on it.
    ///   - progress: Told of the evaluations done.
    /// - Throws: `CancellationError`.
    /// - Complexity: O(replicates · resamples · users · events a user).
    public func run(threads: Int = 2, progress: (Int) -> Void = { _ in }) async throws -> [Result] {
        // Without resamples: the estimate on very many users is the truth.
        let truth = values(users: population, stream: .max, resamples: 1).map(\.mean)
        var found = [[Interval]](repeating: [], count: replicates)
        try await withThrowingTaskGroup(of: (Int, [Interval]).self) { group in
            var next = 0
            func startNext() {
                let replicate = next
                next += 1
                group.addTask {
                    try Task.checkCancellation()
                    return (replicate, self.values(users: users, stream: UInt64(replicate), resamples: resamples))
                }
            }
            while next < min(max(threads, 1), replicates) { startNext() }
            var done = 0
            for try await (replicate, intervals) in group {
                found[replicate] = intervals
                done += 1
                progress(done)
                if next < replicates { startNext() }
            }
        }
        // Added up in the order of the replicates, in whatever order they ended.
        var hits = [[Int]](repeating: [0, 0, 0], count: truth.count)
        var lengths = [Double](repeating: 0, count: truth.count)
        for intervals in found {
            for (m, interval) in intervals.enumerated() {
                hits[m][interval.high < truth[m] ? 0 : interval.low > truth[m] ? 2 : 1] += 1
                lengths[m] += interval.high - interval.low
            }
        }
        let n = Double(replicates)
        return truth.indices.map { m in
            Result(
                measure: Self.measures[m], truth: truth[m], coverage: Self.wilson(hits[m][1], of: replicates),
                below: Double(hits[m][0]) / n, above: Double(hits[m][2]) / n, length: lengths[m] / n)
        }
    }

    /// The measures of a made-up evaluation, in the order of ``measures``.
    private func values(users: Int, stream: UInt64, resamples: Int) -> [Interval] {
        let (none, cold, fast) = (0, 1, 2)
        let measures = PairedMeasures(
            tables: tables(users: users, stream: stream), reference: none, resamples: resamples, seed: seed &+ stream)
        let convergence = measures.convergence(of: fast, cold: cold)
        return [
            measures.mean(.auc, of: fast), measures.difference(.auc, of: fast, minus: cold), measures.area(fast),
            measures.smoothedGains(of: fast)[9], measures.shareWorse(fast),
            measures.differenceOfShareWorse(fast, minus: cold), convergence.step, convergence.saving,
        ]
    }

    private func tables(users: Int, stream: UInt64) -> [EventTable] {
        var random = PhiloxGenerator(seed: seed, stream: stream, purpose: .simulation)
        let counts = (0..<users).map { _ in random.integer(in: 5..<61) }
        var tables = [EventTable](repeating: EventTable(eventsPerUser: counts), count: 3)
        func normal(_ deviation: Double) -> Double { random.normal(standardDeviation: deviation) }
        func put(_ value: Double, _ event: Int, _ table: Int) {
            tables[table].quality[event].auc = min(1, max(0, value))
        }
        for user in 0..<users {
            let level = 0.82 + normal(0.06)
            let cold = 0.05 + normal(0.05)
            let fast = cold + 0.005 + normal(0.02)
            for (step, event) in tables[0].events(of: user).enumerated() {
                let likes = Double(step + 1)
                let without = level + normal(0.12)
                put(without, event, 0)
                put(without + cold * (1 - Elementary.exp(-likes / 15)) + normal(0.06), event, 1)
                put(without + fast * (1 - Elementary.exp(-likes / 7)) + normal(0.06), event, 2)
            }
        }
        return tables
    }

    /// A share with its 95 % interval.
    ///
    /// **Source.** Wilson 1927, *Probable inference, the law of succession, and statistical inference*, JASA 22(158).
    private static func wilson(_ hits: Int, of count: Int) -> Interval {
        let (n, z) = (Double(count), 1.959_963_984_540_054)
        let share = Double(hits) / n
        let centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        let half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot()
        return Interval(mean: share, low: centre - half, high: centre + half)
    }
}
