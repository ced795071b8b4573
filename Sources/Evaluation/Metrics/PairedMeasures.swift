/// What two methods are compared in.
public enum ComparedMeasure: String, Sendable, Hashable, CaseIterable {
    /// The mean share of other candidates below the next like.
    case auc
    /// Mean reciprocal rank.
    case mrr
    /// NDCG at 10.
    case ndcg10
    /// How often the next like is among the first ten.
    case hit10
    /// The area under the curve of AUC gained over no adapter, in AUC · steps.
    case area
    /// The known likes until nine tenths of what the first method ends with are gained.
    case t90
    /// The share of users whose mean AUC is below that without an adapter.
    case worse

    /// Whether more of it is better.
    public var isGain: Bool { self != .t90 && self != .worse }
}

/// All measures of several methods on the same users and events, with intervals from the same resamples.
struct PairedMeasures: Sendable {
    /// What is averaged over events.
    enum EventMeasure: Int, CaseIterable, Sendable {
        case auc, reciprocalRank, ndcg10, hit10, regret
    }

    private let bootstrap: ClusterBootstrap
    private let users: Int
    /// The number of steps: the longest sequence's events.
    let steps: Int
    /// The number of ranked events.
    let events: Int
    private let layout: Layout

    /// Where each sum lies in a row of the bootstrap's table.
    private struct Layout: Sendable {
        let steps: Int
        let methods: Int

        var events: Int { 0 }
        func active(step: Int) -> Int { 1 + step }
        private var perMethod: Int { EventMeasure.allCases.count + 1 + steps }
        private func start(_ method: Int) -> Int { 1 + steps + method * perMethod }
        func measure(_ measure: EventMeasure, _ method: Int) -> Int { start(method) + measure.rawValue }
        func worse(_ method: Int) -> Int { start(method) + EventMeasure.allCases.count }
        func gain(step: Int, _ method: Int) -> Int { start(method) + EventMeasure.allCases.count + 1 + step }
        var width: Int { start(methods) }
    }

    /// - Parameters:
    ///   - tables: One table per method, of the same users and events.
    ///   - reference: The position of `none`, against which gains and losses are counted.
    init(tables: [EventTable], reference: Int, resamples: Int, seed: UInt64) {
        let none = tables[reference]
        precondition(
            tables.allSatisfy { $0.offsets == none.offsets }, "PairedMeasures: tables of different users or events")
        self.init(
            tables.map { UserRecords($0, over: none) }, reference: reference,
            events: (0..<none.userCount).map { none.events(of: $0).count }, resamples: resamples, seed: seed)
    }

    /// - Parameters:
    ///   - records: One per method, of the same users and events.
    ///   - reference: The position of `none`.
    ///   - events: How many events each user has.
    init(_ records: [UserRecords], reference: Int, events counts: [Int], resamples: Int, seed: UInt64) {
        let users = counts.count
        let steps = counts.max() ?? 0
        let layout = Layout(steps: steps, methods: records.count)
        var rows = [Double](repeating: 0, count: users * layout.width)
        for user in 0..<users {
            let row = user * layout.width
            rows[row + layout.events] = Double(counts[user])
            for step in 0..<counts[user] { rows[row + layout.active(step: step)] = 1 }
        }
        for (m, record) in records.enumerated() {
            for measure in EventMeasure.allCases {
                for (user, sum) in record.sums(measure).enumerated() {
                    rows[user * layout.width + layout.measure(measure, m)] = sum
                }
            }
            for user in 0..<users {
                let row = user * layout.width
                for (step, gain) in record.gains[user].enumerated() { rows[row + layout.gain(step: step, m)] = gain }
                if record.isWorse(user, than: records[reference], events: counts[user]) {
                    rows[row + layout.worse(m)] = 1
                }
            }
        }
        self.users = users
        self.steps = steps
        self.layout = layout
        events = counts.reduce(0, +)
        bootstrap = ClusterBootstrap(table: rows, users: users, resamples: resamples, seed: seed)
    }

    /// The mean of a measure over all events.
    func mean(_ measure: EventMeasure, of method: Int) -> Interval {
        bootstrap.interval { $0.at(layout.measure(measure, method)) / $0.at(layout.events) }
    }

    /// The difference of two methods in a measure's mean, paired.
    func difference(_ measure: EventMeasure, of method: Int, minus other: Int) -> Interval {
        bootstrap.interval {
            ($0.at(layout.measure(measure, method)) - $0.at(layout.measure(measure, other))) / $0.at(layout.events)
        }
    }

    /// The share of users whose mean AUC is below what they have without an adapter.
    func shareWorse(_ method: Int) -> Interval {
        bootstrap.interval { $0.at(layout.worse(method)) / Double(users) }
    }

    /// The difference of two methods in the share of users made worse, paired.
    func differenceOfShareWorse(_ method: Int, minus other: Int) -> Interval {
        bootstrap.interval { ($0.at(layout.worse(method)) - $0.at(layout.worse(other))) / Double(users) }
    }

    /// The area under the gain curve, in AUC · steps.
    func area(_ method: Int) -> Interval { bootstrap.interval { curve($0, method).area } }

    /// The step at which `method` reaches the level that `cold` sets, and the saving 1 − t90 / t90(cold). Level and
    /// curves come from the same resample.
    func convergence(of method: Int, cold: Int) -> (step: Interval, saving: Interval) {
        let both = bootstrap.intervals { sums in
            let reference = curve(sums, cold)
            let level = reference.convergenceLevel
            let step = Double(curve(sums, method).firstStep(reaching: level))
            return [step, 1 - step / Double(reference.firstStep(reaching: level))]
        }
        return (both[0], both[1])
    }

    /// How two methods differ in a measure, the second less the first, with its two-sided p; and their own values.
    ///
    /// The level of t90 is that of the first: nine tenths of what it ends with.
    func comparison(
        of first: Int, with second: Int, in measure: ComparedMeasure
    ) -> (first: Double, second: Double, difference: Interval, p: Double) {
        func values(_ sums: ArraySlice<Double>) -> (Double, Double) {
            switch measure {
            case .auc, .mrr, .ndcg10, .hit10:
                let event: EventMeasure =
                    switch measure {
                    case .mrr: .reciprocalRank
                    case .ndcg10: .ndcg10
                    case .hit10: .hit10
                    default: .auc
                    }
                let count = sums.at(layout.events)
                return (
                    sums.at(layout.measure(event, first)) / count, sums.at(layout.measure(event, second)) / count
                )
            case .worse:
                return (sums.at(layout.worse(first)) / Double(users), sums.at(layout.worse(second)) / Double(users))
            case .area: return (curve(sums, first).area, curve(sums, second).area)
            case .t90:
                let (own, other) = (curve(sums, first), curve(sums, second))
                let level = own.convergenceLevel
                return (Double(own.firstStep(reaching: level)), Double(other.firstStep(reaching: level)))
            }
        }
        let (own, other) = values(bootstrap.totals[...])
        let (difference, p) = bootstrap.test { sums in
            let (own, other) = values(sums)
            return other - own
        }
        return (own, other, difference, p)
    }

    /// The mean gain at each step, with intervals for each step on its own.
    func gains(of method: Int) -> [Interval] { bootstrap.intervals { curve($0, method).gains } }

    /// The smoothed gain at each step, with intervals for each step on its own.
    func smoothedGains(of method: Int) -> [Interval] { bootstrap.intervals { curve($0, method).smoothed } }

    /// How many users have each step.
    var activeUsers: [Int] { (0..<steps).map { Int(bootstrap.totals[layout.active(step: $0)]) } }

    /// A step that no resampled user reaches (late ones, with few users) keeps the gain of the step before it.
    private func curve(_ sums: ArraySlice<Double>, _ method: Int) -> GainCurve {
        var gains: [Double] = []
        gains.reserveCapacity(steps)
        for step in 0..<steps {
            let active = sums.at(layout.active(step: step))
            gains.append(active > 0 ? sums.at(layout.gain(step: step, method)) / active : gains.last ?? 0)
        }
        return GainCurve(gains: gains)
    }
}

extension ArraySlice<Double> {
    /// The element at a distance from the start of the slice.
    fileprivate func at(_ offset: Int) -> Double { self[startIndex + offset] }
}
