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
        let users = none.userCount
        let steps = (0..<users).map { none.events(of: $0).count }.max() ?? 0
        let layout = Layout(steps: steps, methods: tables.count)
        var rows = [Double](repeating: 0, count: users * layout.width)
        for user in 0..<users {
            let range = none.events(of: user)
            let row = user * layout.width
            rows[row + layout.events] = Double(range.count)
            for step in 0..<range.count { rows[row + layout.active(step: step)] = 1 }
            for (m, table) in tables.enumerated() {
                var difference = 0.0
                for (step, event) in range.enumerated() {
                    let quality = table.quality[event]
                    let gain = quality.auc - none.quality[event].auc
                    rows[row + layout.measure(.auc, m)] += quality.auc
                    rows[row + layout.measure(.reciprocalRank, m)] += quality.reciprocalRank
                    rows[row + layout.measure(.ndcg10, m)] += quality.ndcg10
                    rows[row + layout.measure(.hit10, m)] += quality.hit10
                    if !table.regret.isEmpty { rows[row + layout.measure(.regret, m)] += table.regret[event] }
                    rows[row + layout.gain(step: step, m)] = gain
                    difference += gain
                }
                // Rounding alone must not make a user worse off.
                if difference / Double(max(range.count, 1)) < -1e-12 { rows[row + layout.worse(m)] = 1 }
            }
        }
        self.users = users
        self.steps = steps
        self.layout = layout
        events = none.eventCount
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
