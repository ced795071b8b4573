internal import Personalization
public import Reasoning
internal import TensorCore

/// What a ``BankDemonstration`` showed.
public struct BankDemonstrationResult: Sendable {
    /// The gain of new users at one point of their lives: AUC over no adapter, mean over the users who came so far, with its
    /// 95 % bootstrap interval.
    public struct Gain: Sendable, Hashable {
        /// The likes that were known; all but the first were learned from.
        public let likes: Int
        /// The users.
        public let users: Int
        /// Without the bank.
        public let without: Interval
        /// With it.
        public let with: Interval
        /// With it less without, paired.
        public let difference: Interval
    }

    /// The times of updates, as this machine took them in this run. Nothing else depends on the machine.
    public struct Times: Sendable, Hashable {
        /// The mean time of an update without a bank, in microseconds.
        public let without: Double
        /// The same with the bank, its look-ups and starts included.
        public let with: Double
        /// What the bank added to all updates of a user, mean over users, in microseconds.
        public let addedInALife: Double
        /// The number of updates with the bank after which their time, in all, is no longer than that of the updates which
        /// bring as much without it; `nil` when that never came.
        public let repaidAfter: Int?
    }

    /// The demonstration's number of users and seed.
    public let demonstration: BankDemonstration
    /// The users who taught the bank.
    public let teachers: Int
    /// Their episodes in the bank, and how many of them have an outcome.
    public let episodes: (stored: Int, resolved: Int)
    /// What the bank made of them.
    public let report: ConsolidationReport
    /// The users who came later.
    public let newUsers: Int
    /// Their gain after 1, 2, 4, … likes.
    public let gains: [Gain]
    /// The mean gain over all likes.
    public let overall: Gain
    /// The likes until 90 % of what is gained in the end without the bank: without it, and with it.
    public let likesToConverge: (without: Int, with: Int)
    /// New users' updates that found the bank's answer in the cache, 0...1 of those that looked for one.
    public let cacheHitRate: Double
    /// Adapters that started from what the bank knew, and that were started again from something nearer.
    public let starts: (warm: Int, again: Int)
    /// What updates took.
    public let times: Times

    init(
        _ demonstration: BankDemonstration, data: EvaluationData, held: ReasoningBankStatistics,
        report: ConsolidationReport, lives: [NewUserLife], statistics: ReasoningStatistics
    ) {
        self.demonstration = demonstration
        self.report = report
        teachers = data.donors.count
        newUsers = lives.count
        episodes = (held.episodes, held.resolved)
        starts = (statistics.warmStarts, statistics.restarts)
        cacheHitRate = statistics.cacheHitRate
        let longest = lives.map(\.auc.count).max() ?? 0
        let seed = demonstration.seed
        gains = [1, 2, 4, 8, 16, 32].filter { $0 <= longest }.map { likes in
            Self.gain(lives.filter { $0.auc.count >= likes }.map { [$0.auc[likes - 1]] }, likes: likes, seed: seed)
        }
        overall = Self.gain(lives.map(\.auc), likes: longest, seed: seed)
        let without = Self.curve(lives, of: \.plain)
        let with = Self.curve(lives, of: \.advised)
        let level = without.convergenceLevel
        likesToConverge = (without.firstStep(reaching: level), with.firstStep(reaching: level))
        times = Self.times(lives, without, with)
    }

    private typealias Quality = (none: Double, plain: Double, advised: Double)

    /// The mean of each user's events, users resampled.
    private static func gain(_ lives: [[Quality]], likes: Int, seed: UInt64) -> Gain {
        let rows = lives.flatMap { events -> [Double] in
            let plain = events.reduce(0.0) { $0 + $1.plain - $1.none }
            let advised = events.reduce(0.0) { $0 + $1.advised - $1.none }
            return [Double(events.count), plain, advised]
        }
        let intervals = ClusterBootstrap(table: rows, users: lives.count, resamples: 2000, seed: seed).intervals {
            let first = $0.startIndex
            let (plain, advised) = ($0[first + 1] / $0[first], $0[first + 2] / $0[first])
            return [plain, advised, advised - plain]
        }
        return Gain(
            likes: likes, users: lives.count, without: intervals[0], with: intervals[1], difference: intervals[2])
    }

    private static func curve(_ lives: [NewUserLife], of engine: KeyPath<Quality, Double>) -> GainCurve {
        let longest = lives.map(\.auc.count).max() ?? 0
        return GainCurve(
            gains: (0..<longest).map { step in
                let there = lives.filter { $0.auc.count > step }
                return there.reduce(0.0) { $0 + $1.auc[step][keyPath: engine] - $1.auc[step].none }
                    / Double(there.count)
            })
    }

    private static func times(_ lives: [NewUserLife], _ without: GainCurve, _ with: GainCurve) -> Times {
        func mean(_ step: Int, _ engine: KeyPath<(plain: Double, advised: Double), Double>) -> Double {
            let there = lives.filter { $0.seconds.count > step }
            return there.reduce(0.0) { $0 + $1.seconds[step][keyPath: engine] } / Double(there.count)
        }
        // Element n: the mean time of a user's first n updates, in all.
        var spent: (plain: [Double], advised: [Double]) = ([0], [0])
        for step in without.gains.indices {
            spent.plain.append(spent.plain[step] + mean(step, \.plain))
            spent.advised.append(spent.advised[step] + mean(step, \.advised))
        }
        let reached = with.smoothed
        // The first rankings come before any update: what is gained there has cost a start, but no update.
        let repaid = (1..<max(2, reached.count)).first { updates in
            guard updates < reached.count, reached[updates] > 0 else { return false }
            let equal = without.smoothed.firstIndex { $0 >= reached[updates] } ?? without.gains.count
            return spent.advised[updates] <= spent.plain[equal]
        }
        func sum(_ engine: KeyPath<(plain: Double, advised: Double), Double>) -> Double {
            1e6 * lives.reduce(0.0) { $0 + $1.seconds.reduce(0.0) { $0 + $1[keyPath: engine] } }
        }
        let updates = Double(max(1, lives.reduce(0) { $0 + $1.seconds.count }))
        let (plain, advised) = (sum(\.plain), sum(\.advised))
        return Times(
            without: plain / updates, with: advised / updates,
            addedInALife: (advised - plain) / Double(max(1, lives.count)),
            repaidAfter: repaid)
    }
}
