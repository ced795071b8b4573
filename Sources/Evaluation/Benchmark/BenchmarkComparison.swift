/// Two benchmarks of the same users, method by method: paired differences, and a verdict for each.
///
/// Users are resampled together with all that either benchmark has of them. Among all rows of a comparison the chance of any false
/// "better" or "worse" is at most ``level``: the p values are adjusted for their number.
///
/// **Source.** Holm 1979, *A simple sequentially rejective multiple test procedure*, Scand. J. Statist. 6(2).
public struct BenchmarkComparison: Sendable {
    /// What a comparison says.
    public enum Verdict: String, Sendable, Hashable {
        /// The second is surely better.
        case better
        /// The second is surely worse.
        case worse
        /// The data does not tell.
        case unclear = "cannot tell"
    }

    /// One measure of two runs.
    public struct Row: Sendable, Hashable {
        /// The name of the run that is compared with.
        public let first: String
        /// The name of the run that is judged.
        public let second: String
        /// What is compared.
        public let measure: ComparedMeasure
        /// The first's value.
        public let firstValue: Double
        /// The second's value.
        public let secondValue: Double
        /// The second less the first, with its own 95 % interval.
        public let difference: Interval
        /// The two-sided p of the difference alone.
        public let p: Double
        /// The same, adjusted for all rows.
        public let adjusted: Double
        /// What follows.
        public let verdict: Verdict
    }

    /// The chance of any false verdict.
    public static let level = 0.05

    /// One row for each pair of runs and measure.
    public let rows: [Row]
    /// The users that both have.
    public let users: Int
    /// Their ranked events.
    public let events: Int
    /// The bootstrap's resamples.
    public let resamples: Int

    /// Compares two benchmarks.
    ///
    /// - Parameters:
    ///   - pairs: The names of runs of the first and of the second; by default those that both have, but for `none`.
    ///   - measures: What is compared.
    ///   - resamples: The bootstrap's resamples, 1,000 at least. Many rows need many, since p is never below 2 / (resamples + 1).
    /// - Throws: ``DataError``: `incomparable` for other data, another query, other users, a run that is not there or none in common,
    ///   or no run `none`; `invalidConfiguration` for the resamples.
    /// - Complexity: O(pairs · resamples · users · events a user).
    public init(
        _ first: BenchmarkRecord, _ second: BenchmarkRecord, pairs: [(first: String, second: String)]? = nil,
        measures: [ComparedMeasure] = [.auc, .ndcg10, .t90, .worse], resamples: Int = 10_000, seed: UInt64 = 0
    ) throws(DataError) {
        guard (1_000...1_000_000).contains(resamples) else {
            throw DataError(.invalidConfiguration, "\(resamples) resamples are not in 1000...1000000")
        }
        guard first.dataHash == second.dataHash else {
            throw DataError(
                .incomparable,
                first.dataset == second.dataset
                    ? "they are of other data, though both are called \(first.dataset): its files have changed, or one has --drift or "
                        + "--users that the other has not; run both on the same"
                    : "they are of other data (\(first.dataset) and \(second.dataset)): run both on the same")
        }
        guard first.query == second.query else {
            throw DataError(
                .incomparable,
                "they rank from other queries (\(first.query.rawValue) and \(second.query.rawValue)): run both with one"
            )
        }
        guard first.users == second.users, first.events == second.events else {
            throw DataError(.incomparable, "they are of other users, or of other events of theirs")
        }
        let common = first.runs.map(\.name).filter { $0 != "none" && second[$0] != nil }.map { ($0, $0) }
        let pairs = pairs ?? common
        guard !pairs.isEmpty else {
            throw DataError(.incomparable, "they have no method in common: name two that are to be compared")
        }
        func run(_ record: BenchmarkRecord, _ name: String, _ which: String) throws(DataError) -> UserRecords {
            guard let run = record[name] else {
                throw DataError(
                    .incomparable,
                    "the \(which) has no run '\(name)'; it has \(record.runs.map(\.name).joined(separator: ", "))")
            }
            return run.records
        }
        let none = try run(first, "none", "first")
        var rows: [(pair: (first: String, second: String), measure: ComparedMeasure, found: Found)] = []
        for pair in pairs {
            let compared = PairedMeasures(
                [none, try run(first, pair.first, "first"), try run(second, pair.second, "second")], reference: 0,
                events: first.events, resamples: resamples, seed: seed)
            for measure in measures { rows.append((pair, measure, compared.comparison(of: 1, with: 2, in: measure))) }
        }
        let adjusted = Self.adjusted(rows.map(\.found.p))
        self.rows = zip(rows, adjusted).map { row, adjusted in
            let gained = row.measure.isGain ? row.found.difference.mean : -row.found.difference.mean
            return Row(
                first: row.pair.first, second: row.pair.second, measure: row.measure, firstValue: row.found.first,
                secondValue: row.found.second, difference: row.found.difference, p: row.found.p, adjusted: adjusted,
                verdict: adjusted >= Self.level || gained == 0 ? .unclear : gained > 0 ? .better : .worse)
        }
        users = first.users.count
        events = first.events.reduce(0, +)
        self.resamples = resamples
    }

    private typealias Found = (first: Double, second: Double, difference: Interval, p: Double)

    /// Holm's adjusted p values, in the order given.
    static func adjusted(_ values: [Double]) -> [Double] {
        var result = values
        var highest = 0.0
        for (rank, i) in values.indices.sorted(by: { (values[$0], $0) < (values[$1], $1) }).enumerated() {
            highest = max(highest, min(1, Double(values.count - rank) * values[i]))
            result[i] = highest
        }
        return result
    }
}
