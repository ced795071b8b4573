import TensorCore
import TestSupport
import Testing

@testable import Evaluation

@Suite struct IntervalTests {
    /// `numpy.quantile([1, 2, 4, 8, 16], [0.025, 0.5, 0.975])`.
    @Test func interpolatesQuantilesAsNumPyDoes() {
        let values = [1.0, 2, 4, 8, 16]
        #expect(abs(Interval.quantile(0.025, of: values) - 1.1) < 1e-12)
        #expect(Interval.quantile(0.5, of: values) == 4)
        #expect(abs(Interval.quantile(0.975, of: values) - 15.2) < 1e-12)
        #expect(Interval.quantile(0.025, of: [7]) == 7)
        let interval = Interval(mean: 3, resampled: [16, 1, 8, 2, 4])
        #expect(interval.mean == 3 && abs(interval.high - 15.2) < 1e-12)
    }
}

@Suite struct ClusterBootstrapTests {
    @Test func drawsAsManyUsersAsThereAre() {
        var counts = [Double](repeating: 0, count: 37)
        var first: [Double] = []
        for resample in 0..<50 {
            ClusterBootstrap.draw(&counts, seed: 3, resample: resample)
            #expect(counts.reduce(0, +) == 37)
            if resample == 0 { first = counts }
        }
        ClusterBootstrap.draw(&counts, seed: 3, resample: 0)
        #expect(counts == first, "a resample is named by its seed and number alone")
    }

    @Test func sumsWhatItDrew() {
        let table = (0..<15).map(Double.init)  // 5 users, 3 numbers
        let bootstrap = ClusterBootstrap(table: table, users: 5, resamples: 20, seed: 8)
        #expect(bootstrap.totals == [30, 35, 40])
        var counts = [Double](repeating: 0, count: 5)
        var expected: [Double] = []
        for b in 0..<20 {
            ClusterBootstrap.draw(&counts, seed: 8, resample: b)
            expected.append((0..<5).map { counts[$0] * table[$0 * 3 + 1] }.reduce(0, +))
        }
        let found = bootstrap.interval { $0[$0.startIndex + 1] }
        #expect(found == Interval(mean: 35, resampled: expected))
    }

    /// Users with random effects: the interval of the mean holds the truth in about 95 % of made-up data sets.
    @Test func coversTheTruthAsOftenAsItSays() {
        let rounds = underSanitizer(100, otherwise: 300)
        var covered = 0
        for round in 0..<rounds {
            var random = PhiloxGenerator(seed: 77, stream: UInt64(round), purpose: .simulation)
            var table: [Double] = []
            for _ in 0..<60 {
                let level = 0.3 + random.normal(standardDeviation: 0.1)
                let events = 5 + random.integer(below: 20)
                let sum = (0..<events).map { _ in level + random.normal(standardDeviation: 0.3) }.reduce(0, +)
                table += [sum, Double(events)]
            }
            let bootstrap = ClusterBootstrap(table: table, users: 60, resamples: 200, seed: UInt64(round))
            let interval = bootstrap.interval { $0[$0.startIndex] / $0[$0.startIndex + 1] }
            if interval.low <= 0.3, 0.3 <= interval.high { covered += 1 }
        }
        // 95 % of 300 is 285 with a standard deviation of 4; percentile intervals of 60 clusters are a little short.
        let expected = rounds * 269 / 300...rounds * 297 / 300
        #expect(expected.contains(covered), "\(covered) of \(rounds) intervals hold the truth")
    }
}

@Suite struct GainCurveTests {
    @Test func smoothsWithRepeatedEnds() {
        let curve = GainCurve(gains: [0, 7, 14, 21, 28])
        // By hand: at step 1 the window is 0 0 0 0 7 14 21.
        #expect(curve.smoothed == [6, 10, 14, 18, 22])
        #expect(curve.area == 70)
        #expect(GainCurve(gains: [3]).smoothed == [3])
        #expect(GainCurve(gains: []).smoothed.isEmpty)
    }

    @Test func readsTheLevelFromTheLastThird() {
        let curve = GainCurve(gains: [0, 7, 14, 21, 28])
        // The last third of 5 steps are 2: 0.9 · (18 + 22) / 2.
        #expect(abs(curve.convergenceLevel - 18) < 1e-12)
        #expect(curve.firstStep(reaching: 18) == 4)
        #expect(curve.firstStep(reaching: 6) == 1)
    }

    @Test func takesAllStepsWhenTheLevelIsNotReached() {
        let flat = GainCurve(gains: [Double](repeating: 0, count: 9))
        #expect(flat.firstStep(reaching: 0.1) == 9)
        #expect(flat.firstStep(reaching: 0) == 9, "nothing to reach is not reached")
        #expect(GainCurve(gains: [1, 1]).firstStep(reaching: -1) == 2)
    }
}

@Suite struct PairedMeasuresTests {
    private let counts = [5, 3, 4, 1]

    private func table(_ auc: (Int, Int) -> Double) -> EventTable {
        var table = EventTable(eventsPerUser: counts)
        for user in counts.indices {
            for step in 0..<counts[user] {
                let value = auc(user, step)
                table.quality[table.offsets[user] + step].auc = value
                table.quality[table.offsets[user] + step].ndcg10 = value / 2
            }
        }
        return table
    }

    private var tables: [EventTable] {
        [
            table { 0.5 + 0.01 * Double($0) + 0.001 * Double($1) },
            table { 0.5 + 0.02 * Double($0) - 0.005 + 0.02 * Double($1) },
        ]
    }

    @Test func weighsEveryEventTheSame() {
        let measures = PairedMeasures(tables: tables, reference: 0, resamples: 100, seed: 1)
        let all = tables[1].quality.map(\.auc)
        #expect(measures.events == 13 && measures.steps == 5)
        #expect(abs(measures.mean(.auc, of: 1).mean - all.reduce(0, +) / 13) < 1e-12)
        #expect(abs(measures.mean(.ndcg10, of: 1).mean - all.reduce(0, +) / 26) < 1e-12)
        #expect(measures.activeUsers == [4, 3, 3, 2, 1])
    }

    @Test func averagesGainsOverTheUsersOfEachStep() {
        let measures = PairedMeasures(tables: tables, reference: 0, resamples: 100, seed: 1)
        let gains = measures.gains(of: 1).map(\.mean)
        for step in 0..<5 {
            let users = counts.indices.filter { counts[$0] > step }
            let sum = users.map { user in
                tables[1].quality[tables[1].offsets[user] + step].auc
                    - tables[0].quality[tables[0].offsets[user] + step].auc
            }.reduce(0, +)
            #expect(abs(gains[step] - sum / Double(users.count)) < 1e-12)
        }
        #expect(measures.gains(of: 0).allSatisfy { $0.mean == 0 && $0.low == 0 && $0.high == 0 })
        #expect(abs(measures.area(1).mean - gains.reduce(0, +)) < 1e-12)
    }

    @Test func countsUsersMadeWorse() {
        // User 0 loses 0.005 at first but gains overall; user 3 has one event and gains 0.025.
        let better = PairedMeasures(tables: tables, reference: 0, resamples: 100, seed: 1)
        #expect(better.shareWorse(1).mean == 0)
        let worse = PairedMeasures(
            tables: [
                tables[0],
                table { user, step in
                    tables[0].quality[tables[0].offsets[user] + step].auc + (user == 1 ? -0.01 : 1e-15)
                },
            ], reference: 0, resamples: 100, seed: 1)
        #expect(worse.shareWorse(1).mean == 0.25)
        #expect(worse.shareWorse(0).mean == 0)
    }

    /// Whoever is made worse by both methods leaves no uncertainty in their difference.
    @Test func pairsTheSharesOfUsersMadeWorse() {
        let none = tables[0]
        func losing(_ users: Set<Int>) -> EventTable {
            table { user, step in none.quality[none.offsets[user] + step].auc - (users.contains(user) ? 0.01 : 0) }
        }
        let measures = PairedMeasures(
            tables: [none, losing([1, 2]), losing([1, 2]), losing([2])], reference: 0, resamples: 200, seed: 1)
        #expect(measures.shareWorse(1).low < measures.shareWorse(1).high)
        #expect(measures.differenceOfShareWorse(2, minus: 1) == Interval(mean: 0, low: 0, high: 0))
        let fewer = measures.differenceOfShareWorse(3, minus: 1)
        #expect(fewer.mean == -0.25 && fewer.low < -0.25 && fewer.high == 0)
    }

    @Test func pairsDifferences() {
        let shifted = tables[0].quality.map(\.auc)
        let measures = PairedMeasures(
            tables: [tables[0], table { user, step in shifted[tables[0].offsets[user] + step] + 0.125 }], reference: 0,
            resamples: 500, seed: 1)
        let difference = measures.difference(.auc, of: 1, minus: 0)
        // The same shift for everyone leaves no uncertainty, however much users differ.
        #expect(abs(difference.low - 0.125) < 1e-12 && abs(difference.high - 0.125) < 1e-12)
        let mean = measures.mean(.auc, of: 1)
        #expect(mean.high - mean.low > 0.005)
        #expect(mean.low < mean.mean && mean.mean < mean.high)
    }

    @Test func measuresConvergenceAgainstTheReference() {
        let fast = table { _, _ in 0.6 }
        let none = table { _, _ in 0.5 }
        let slow = table { 0.5 + ($1 >= 4 ? 0.2 : 0) + 0.0 * Double($0) }
        let measures = PairedMeasures(tables: [none, fast, slow], reference: 0, resamples: 200, seed: 1)
        // The level is 0.09: `fast` is there at once, `none` never.
        let own = measures.convergence(of: 1, cold: 1)
        #expect(own.step.mean == 1 && own.saving.mean == 0)
        let never = measures.convergence(of: 0, cold: 1)
        #expect(never.step.mean == 5 && never.saving.mean == -4)
        #expect(never.step.high == 5)
        // Smoothed, `slow` rises from 0.2 / 7 at step 2 to 0.8 / 7 at step 5; only users with 5 events have that step.
        #expect(measures.convergence(of: 2, cold: 1).step.mean == 5)
    }
}
