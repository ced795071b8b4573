/// An estimate with its 95 % bootstrap interval.
public struct Interval: Sendable, Hashable, Codable {
    /// The estimate on the data as it is; not the middle of the interval.
    public let mean: Double
    /// The 2.5th percentile over the resamples.
    public let low: Double
    /// The 97.5th percentile over the resamples.
    public let high: Double

    /// An estimate with its bounds.
    public init(mean: Double, low: Double, high: Double) {
        self.mean = mean
        self.low = low
        self.high = high
    }

    /// The estimate with the percentiles of `resampled`; the values need not be sorted, and there must be one at least.
    init(mean: Double, resampled: [Double]) {
        let sorted = resampled.sorted()
        self.init(mean: mean, low: Self.quantile(0.025, of: sorted), high: Self.quantile(0.975, of: sorted))
    }

    /// The quantile of sorted values, linear between neighbours.
    ///
    /// **Source.** Hyndman & Fan 1996, *Sample quantiles in statistical packages*, The American Statistician 50(4),
    /// type 7 (NumPy's default).
    static func quantile(_ probability: Double, of sorted: [Double]) -> Double {
        precondition(!sorted.isEmpty, "Interval.quantile: no values")
        let position = probability * Double(sorted.count - 1)
        let below = Int(position.rounded(.down))
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (position - Double(below)) * (sorted[above] - sorted[below])
    }
}
