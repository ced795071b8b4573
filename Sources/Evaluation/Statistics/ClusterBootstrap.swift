import TensorCore

/// Resamples users (clusters of events), with replacement, and sums the users' numbers in each resample.
///
/// Every statistic of an evaluation is a function of sums over users: a mean over events is a sum of values over a sum
/// of counts. So one table of users × numbers, resampled once, gives all intervals; methods, steps and levels that
/// lie in the same table are resampled together, which is what makes differences paired.
///
/// **Source.** Davison & Hinkley 1997, *Bootstrap Methods and their Application*, §2.4 (percentile intervals), §3.8
/// (clusters).
struct ClusterBootstrap: Sendable {
    /// The numbers per user.
    let width: Int
    /// The sums over all users, shape `[width]`.
    let totals: [Double]
    /// The sums over each resample, shape `[resamples, width]`.
    private let sums: [Double]
    let resamples: Int

    /// - Parameters:
    ///   - table: Shape `[users, width]`, row-major; at least one user.
    ///   - seed: Resample b draws its users from (seed, b) alone.
    /// - Complexity: O(resamples · users · width) time; O(resamples · width) memory.
    init(table: [Double], users: Int, resamples: Int, seed: UInt64) {
        precondition(
            users > 0 && table.count % users == 0, "ClusterBootstrap: \(table.count) numbers for \(users) users")
        let width = table.count / users
        var totals = [Double](repeating: 0, count: width)
        for u in 0..<users { for k in 0..<width { totals[k] += table[u * width + k] } }
        var sums = [Double](repeating: 0, count: resamples * width)
        var counts = [Double](repeating: 0, count: users)
        let source = table.span
        var target = sums.mutableSpan
        for b in 0..<resamples {
            Self.draw(&counts, seed: seed, resample: b)
            for u in 0..<users where counts[u] > 0 {
                let count = counts[u]
                for k in 0..<width { target[b * width + k] += count * source[u * width + k] }
            }
        }
        self.width = width
        self.totals = totals
        self.sums = sums
        self.resamples = resamples
    }

    /// How often each user occurs in a resample.
    static func draw(_ counts: inout [Double], seed: UInt64, resample: Int) {
        for u in counts.indices { counts[u] = 0 }
        var random = PhiloxGenerator(seed: seed, stream: UInt64(resample), purpose: .resampling)
        for _ in counts.indices { counts[random.integer(below: counts.count)] += 1 }
    }

    /// A statistic of the sums, with its interval.
    func interval(_ statistic: (ArraySlice<Double>) -> Double) -> Interval {
        Interval(
            mean: statistic(totals[...]),
            resampled: (0..<resamples).map { b in statistic(sums[(b * width)..<((b + 1) * width)]) })
    }

    /// A difference's interval, and the two-sided p of there being none: the least level at which the percentile interval would
    /// leave out 0, twice the smaller share of resamples on either side of it, those at 0 on both. One is added to both counts, so
    /// that p is never 0.
    ///
    /// **Source.** Davison & Hinkley 1997, §4.2.5 (tests from intervals), §4.2.1 (the one that is added).
    func test(_ difference: (ArraySlice<Double>) -> Double) -> (interval: Interval, p: Double) {
        let values = (0..<resamples).map { b in difference(sums[(b * width)..<((b + 1) * width)]) }
        let below = values.count { $0 <= 0 }
        let above = values.count { $0 >= 0 }
        let p = min(1, 2 * Double(min(below, above) + 1) / Double(resamples + 1))
        return (Interval(mean: difference(totals[...]), resampled: values), p)
    }

    /// Several statistics of the sums at once, with their intervals.
    func intervals(_ statistics: (ArraySlice<Double>) -> [Double]) -> [Interval] {
        let estimates = statistics(totals[...])
        var values = estimates.map { _ in [Double]() }
        for k in values.indices { values[k].reserveCapacity(resamples) }
        for b in 0..<resamples {
            for (k, value) in statistics(sums[(b * width)..<((b + 1) * width)]).enumerated() { values[k].append(value) }
        }
        return zip(estimates, values).map { Interval(mean: $0, resampled: $1) }
    }
}
