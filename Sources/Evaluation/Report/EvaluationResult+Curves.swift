extension EvaluationResult {
    /// The first line of ``curvesCSV``.
    package static let curvesHeader =
        "method,step,users,gain,gain_low,gain_high,smoothed,smoothed_low,smoothed_high\n"

    /// The gain curves as CSV: one row per method and step.
    ///
    /// Columns: `method`; `step`, from 1; `users` who have the step; `gain`, the mean AUC gain over `none`, with
    /// `gain_low` and `gain_high`, its 95 % interval; `smoothed`, the centred mean of 7 gains, with `smoothed_low` and
    /// `smoothed_high`.
    public var curvesCSV: String {
        var text = Self.curvesHeader
        for method in methods {
            for (step, (gain, smoothed)) in zip(method.gains, method.smoothedGains).enumerated() {
                let numbers = [gain.mean, gain.low, gain.high, smoothed.mean, smoothed.low, smoothed.high]
                text += "\(method.name),\(step + 1),\(activeUsers[step])"
                text += numbers.map { ",\($0)" }.joined() + "\n"
            }
        }
        return text
    }
}
