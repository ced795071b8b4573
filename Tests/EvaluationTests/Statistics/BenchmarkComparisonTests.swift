import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// Records of benchmarks, there and back, and what follows from two of them.
@Suite struct BenchmarkComparisonTests {
    /// Made-up users: without an adapter, with one, and with one that is better by `lead` at each event.
    private func record(lead: Double = 0.02, users: Int = 80, seed: UInt64 = 1) -> BenchmarkRecord {
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        let events = (0..<users).map { _ in random.integer(in: 5..<40) }
        var tables = [EventTable](repeating: EventTable(eventsPerUser: events), count: 3)
        for event in 0..<tables[0].eventCount {
            let without = random.uniformDouble() * 0.5 + 0.2
            let gain = 0.05 + random.normal(standardDeviation: 0.02)
            for (m, auc) in [without, without + gain, without + gain + lead].enumerated() {
                tables[m].quality[event].auc = auc
                tables[m].quality[event].ndcg10 = auc / 2
                tables[m].quality[event].reciprocalRank = auc / 3
            }
        }
        return BenchmarkRecord(
            dataset: "made-up", dataHash: 0xFFFF_0000_1234_5678, query: .last, seeds: 2, version: "test",
            command: "attune evaluate", users: (0..<users).map { UInt64($0) << 50 }, events: events,
            runs: zip(["none", "cold", "engine"], tables).map { name, table in
                .init(name: name, settings: ["kappa": 0.25], records: UserRecords(table, over: tables[0]))
            })
    }

    @Test func aRecordIsReadAsItWasWritten() throws {
        let record = record()
        let read = try BenchmarkRecord(Array(record.json.utf8), name: "a.json")
        var rounded = record
        for i in rounded.runs.indices {
            rounded.runs[i].records.gains = rounded.runs[i].records.gains.map { $0.map { ($0 * 1e6).rounded() / 1e6 } }
        }
        #expect(read == rounded)
    }

    @Test func whatIsNoRecordIsRefusedWithItsPlace() throws {
        let text = record(users: 3).json
        let faults: [(find: String, put: String, says: String)] = [
            ("attune-benchmark", "something", "it is no benchmark's record"),
            ("\"format_version\":1", "\"format_version\":2", "its version is not 1"),
            ("\"query\":\"last\"", "\"query\":\"first\"", "neither last nor profile"),
            ("0000000000000000", "000000000000000g", "a user is not 16 hexadecimal digits"),
            ("0004000000000000", "0000000000000000", "a user stands in it twice"),
            ("\"seeds\":2", "\"seeds\":-2", "'seeds' is no whole number"),
            ("\"name\":\"engine\"", "\"name\":\"cold\"", "two runs have one name"),
            ("\"auc\":[", "\"auc\":[1e9,", "'auc' has 4 numbers for 3 users"),
            ("\"mrr\":[", "\"mrr\":[-", "'mrr' is no sum over"),
            ("\"gains\":[[", "\"gains\":[[7,", "a user's gains are not one for each"),
            ("\"kappa\":0.25", "\"kappa\":\"x\"", "not a finite number"),
            ("\"command\":", "\"command\":1,\"other\":", "'command' is no text"),
        ]
        for fault in faults {
            let changed = try #require(
                text.range(of: fault.find).map { text.replacingCharacters(in: $0, with: fault.put) })
            let error = #expect(throws: DataError.self) { try BenchmarkRecord(Array(changed.utf8), name: "a.json") }
            #expect(
                error?.code == .malformedRecord && error?.message.contains(fault.says) == true,
                "\(fault.says): \(String(describing: error))")
        }
        var random = PhiloxGenerator(seed: 5, purpose: .simulation)
        let bytes = Array(text.utf8)
        for _ in 0..<underSanitizer(50, otherwise: 400) {
            var broken = bytes
            broken[random.integer(below: broken.count)] = UInt8(random.integer(below: 256))
            // Whatever it is: an error or another record, and no trap.
            do throws(DataError) { _ = try BenchmarkRecord(broken, name: "a.json") } catch {
                #expect(!error.message.isEmpty)
            }
            #expect(throws: DataError.self) {
                try BenchmarkRecord(Array(bytes.prefix(random.integer(below: bytes.count))), name: "a.json")
            }
        }
    }

    @Test func theBetterIsFoundAndTheSameIsNot() throws {
        let record = record()
        let better = try BenchmarkComparison(
            record, record, pairs: [("cold", "engine")], measures: ComparedMeasure.allCases, resamples: 2_000)
        let auc = try #require(better.rows.first { $0.measure == .auc })
        #expect(abs(auc.difference.mean - 0.02) < 1e-9 && abs(auc.secondValue - auc.firstValue - 0.02) < 1e-9)
        #expect(auc.verdict == .better && auc.adjusted < 0.05)
        let worse = try BenchmarkComparison(
            record, record, pairs: [("engine", "cold")], measures: [.auc, .t90], resamples: 2_000)
        #expect(worse.rows[0].verdict == .worse)
        // No gain comes up here: both are there from the first event on.
        #expect(worse.rows[1].verdict == .unclear || worse.rows[1].difference.mean != 0)
        let same = try BenchmarkComparison(record, record, measures: ComparedMeasure.allCases, resamples: 1_000)
        #expect(same.rows.count == 2 * ComparedMeasure.allCases.count, "'none' is compared with nothing")
        for row in same.rows {
            #expect(
                row.verdict == .unclear && row.difference == Interval(mean: 0, low: 0, high: 0) && row.adjusted == 1)
        }
    }

    @Test func whatIsNotOfTheSameUsersIsNotCompared() throws {
        let first = record()
        func refusal(_ second: BenchmarkRecord, pairs: [(first: String, second: String)]? = nil) -> String? {
            do throws(DataError) {
                _ = try BenchmarkComparison(first, second, pairs: pairs, resamples: 1_000)
                return nil
            } catch {
                #expect(error.code == .incomparable)
                return error.message
            }
        }
        var second = first
        second.dataHash ^= 1
        #expect(refusal(second)?.contains("other data, though both are called") == true)
        second.dataset = "another"
        #expect(refusal(second)?.contains("and another)") == true)
        second = first
        second.query = .profile
        #expect(refusal(second)?.contains("other queries") == true)
        second = first
        second.users[0] ^= 1
        #expect(refusal(second)?.contains("other users") == true)
        second = first
        second.runs.removeAll { $0.name != "none" }
        #expect(refusal(second)?.contains("no method in common") == true)
        #expect(refusal(first, pairs: [("cold", "warm")])?.contains("the second has no run 'warm'") == true)
        #expect(refusal(first) == nil)
    }

    /// `p.adjust(c(.01, .04, .03, .02, .8), "holm")` in R, and `multipletests(..., method="holm")` in statsmodels.
    @Test func adjustsAsHolmDoes() {
        let adjusted = BenchmarkComparison.adjusted([0.01, 0.04, 0.03, 0.02, 0.8])
        for (value, expected) in zip(adjusted, [0.05, 0.09, 0.09, 0.08, 0.8]) { #expect(abs(value - expected) < 1e-12) }
        #expect(BenchmarkComparison.adjusted([]).isEmpty && BenchmarkComparison.adjusted([0.7, 0.7]) == [1, 1])
    }

    /// Where there is no difference, p is below 0.05 in about 5 % of made-up comparisons.
    @Test func rejectsTheTruthAsSeldomAsItSays() {
        let rounds = underSanitizer(100, otherwise: 400)
        var rejected = 0
        for round in 0..<rounds {
            var random = PhiloxGenerator(seed: 91, stream: UInt64(round), purpose: .simulation)
            let table = (0..<80).map { _ in random.normal(standardDeviation: 0.1) }
            let bootstrap = ClusterBootstrap(table: table, users: 80, resamples: 400, seed: UInt64(round))
            if bootstrap.test({ $0[$0.startIndex] }).p < 0.05 { rejected += 1 }
        }
        // 20 of 400, with a standard deviation of 4.4; percentile intervals of 80 users are a little short.
        #expect((rounds * 8 / 400...rounds * 38 / 400).contains(rejected), "\(rejected) of \(rounds)")
    }

    /// The study itself, small: intervals hold the truth in most evaluations, and it does not depend on the threads.
    @Test func studiesCoverage() async throws {
        let study = CoverageStudy(
            users: 50, replicates: underSanitizer(8, otherwise: 20), resamples: 100, population: 2_000, seed: 3)
        let results = try await study.run(threads: 2)
        #expect(results == (try await study.run(threads: 1)))
        #expect(results.count == 8 && results[0].measure == "AUC")
        for result in results {
            #expect(result.coverage.mean >= 0.6, "\(result)")
            #expect(abs(result.coverage.mean + result.below + result.above - 1) < 1e-9)
        }
        #expect(abs(results[0].truth - 0.85) < 0.03 && results[1].truth > 0)
    }
}
