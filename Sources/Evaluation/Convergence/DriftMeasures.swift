/// When the taste of every user of a data set changes, and when it comes back.
public struct TasteChange: Sendable, Hashable {
    /// The first like that follows the new taste, counted from 0: so many follow the old one before.
    public let step: Int
    /// The first like that follows the old taste again.
    public let returnStep: Int
}

/// How one method follows a taste that changes and comes back, in AUC over no adapter at the same events: so nothing that makes
/// some events harder than others, for everybody, shows in it.
public struct DriftMeasures: Sendable, Hashable {
    /// The events over which the old taste is measured, just before the change and just after the return.
    public static let window = 5

    /// What is gained on the old taste by the last five likes before the change.
    public let before: Interval
    /// What is gained on the new taste over the last third of its likes: adaptation. The more, the better.
    public let adaptation: Interval
    /// What is gained on the old taste by the first five likes after its return.
    public let after: Interval
    /// How much less of the old taste is gained after its return than before the change: forgetting. The less, the better;
    /// below 0 it is known better than before.
    public let forgetting: Interval
}

extension TasteChange {
    /// The events, of which the first ranks the second like, that measure what.
    private func events(_ likes: Range<Int>) -> Range<Int> {
        max(0, likes.lowerBound - 1)..<max(0, likes.upperBound - 1)
    }
    var before: Range<Int> { events(max(1, step - DriftMeasures.window)..<step) }
    var adaptation: Range<Int> { events((returnStep - max(1, (returnStep - step) / 3))..<returnStep) }
    var after: Range<Int> { events(returnStep..<(returnStep + DriftMeasures.window)) }
}

extension EvaluationResult {
    /// How a method follows a change of everybody's taste, or how much more of it than another, with 95 % intervals over users.
    func drift(of name: String, minus other: String? = nil, _ change: TasteChange) -> DriftMeasures {
        var gains = positions[name].map { records[$0].gains } ?? []
        if let other = other.flatMap({ positions[$0] }).map({ records[$0].gains }) {
            gains = zip(gains, other).map { zip($0, $1).map { $0 - $1 } }
        }
        let windows = [change.before, change.adaptation, change.after]
        // For each window the sum of gains and the number of events.
        let rows = gains.flatMap { user in
            windows.flatMap { window -> [Double] in
                let part = user.indices.clamped(to: window)
                return [user[part].reduce(0, +), Double(part.count)]
            }
        }
        let bootstrap = ClusterBootstrap(
            table: rows, users: gains.count, resamples: configuration.resamples, seed: configuration.seed)
        let found = bootstrap.intervals { sums in
            let means = windows.indices.map { w in
                sums[sums.startIndex + 2 * w] / max(sums[sums.startIndex + 2 * w + 1], 1)
            }
            return means + [means[0] - means[2]]
        }
        return DriftMeasures(before: found[0], adaptation: found[1], after: found[2], forgetting: found[3])
    }
}
