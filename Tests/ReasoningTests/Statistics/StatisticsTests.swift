import TensorCore
import Testing

@testable import Reasoning

@Suite("Statistics over users")
struct StatisticsTests {
    /// Values of SciPy: `scipy.stats.t.ppf(0.975, degrees)`.
    @Test(
        "take Student's quantiles",
        arguments: [
            (1.0, 12.706205, 1e-6), (2, 4.302653, 1e-6), (2.5, 3.574655, 0.06), (7.3, 2.345067, 0.0013),
            (29.5, 2.043725, 0.0013), (30, 2.042272, 1e-5), (57.5, 2.002088, 1e-5), (1000, 1.962339, 1e-6),
        ])
    func quantiles(degrees: Double, expected: Double, tolerance: Double) {
        #expect(abs(StudentT.twoSided95(degrees: degrees) - expected) <= tolerance)
        #expect(StudentT.twoSided95(degrees: degrees) > expected - 1e-5)
    }

    @Test("take one degree of freedom for less")
    func fewDegrees() { #expect(StudentT.twoSided95(degrees: 0.3) == StudentT.twoSided95(degrees: 1)) }

    /// Values of SciPy: `binomtest(s, n).proportion_ci(method="wilson").low`.
    @Test(
        "take Wilson's lower bound",
        arguments: [
            (0, 0, 0.0), (0, 10, 0), (10, 10, 0.7224672), (22, 22, 0.8513451), (21, 21, 0.8453610), (17, 20, 0.6395811),
        ])
    func wilson(successes: Int, trials: Int, expected: Double) {
        #expect(abs(wilsonLowerBound(successes: successes, of: trials) - expected) < 1e-6)
    }

    @Test("equal a naive two-pass computation", arguments: [1, 2, 3, 31, 127])
    func equalNaive(count: Int) {
        var generator = PhiloxGenerator(seed: UInt64(count), purpose: .simulation)
        let values = (0..<count).map { _ in 0.1 + 0.3 * generator.normal() }
        var moments = UserMoments()
        for value in values { moments.add(OutcomeUnits.units(value)) }
        let mean = values.reduce(0, +) / Double(count)
        #expect(abs(moments.mean - mean) < 1e-9)
        guard count > 1 else {
            #expect(moments.variance == 0)
            #expect(moments.interval == ConfidenceInterval(mean: moments.mean, low: -2, high: 2))
            return
        }
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count - 1)
        #expect(abs(moments.variance - variance) < 1e-9)
        let half = StudentT.twoSided95(degrees: Double(count - 1)) * (variance / Double(count)).squareRoot()
        #expect(abs((moments.interval?.low ?? 9) - max(-2, mean - half)) < 1e-8)
        #expect(abs((moments.interval?.high ?? 9) - min(2, mean + half)) < 1e-8)
    }

    @Test("are those of who is in, to the bit, whoever came and went in whatever order", arguments: [UInt64](1...5))
    func areExact(seed: UInt64) {
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        let stay = (0..<50).map { _ in OutcomeUnits.units(generator.normal()) }
        let leave = (0..<50).map { _ in OutcomeUnits.units(generator.normal()) }
        var (moments, expected) = (UserMoments(), UserMoments())
        for value in stay { expected.add(value) }
        var order = stay + leave
        generator.shuffle(&order)
        for value in order { moments.add(value) }
        for value in leave.reversed() { moments.remove(value) }
        #expect(moments == expected)
        for value in stay { moments.remove(value) }
        #expect(moments == UserMoments() && moments.mean == 0 && moments.variance == 0 && moments.interval == nil)
    }

    @Test("count what lies beyond ±2 as ±2")
    func clamp() {
        #expect(OutcomeUnits.units(1e30) == OutcomeUnits.units(2))
        #expect(OutcomeUnits.units(-1e30) == -OutcomeUnits.units(2))
        #expect(OutcomeUnits.units(0x1p-32) == 1)
    }

    /// SciPy: `ttest_ind(arange(1, 11) / 10, arange(2, 14) / 20, equal_var=False).confidence_interval()`.
    @Test("compare two groups after Welch")
    func welch() {
        var (x, y) = (UserMoments(), UserMoments())
        for i in 1...10 { x.add(OutcomeUnits.units(Double(i) / 10)) }
        for i in 2...13 { y.add(OutcomeUnits.units(Double(i) / 20)) }
        // Between two entries of the table of t: within 1e-4.
        #expect(abs(y.lowerBound(ofLead: x) - -0.0585719) < 1e-4)
        #expect(abs(x.lowerBound(ofLead: y) - -0.4085719) < 1e-4)
        var (one, two) = (UserMoments(), UserMoments())
        for _ in 0..<3 {
            one.add(100)
            two.add(300)
        }
        #expect(one.lowerBound(ofLead: two) == two.mean - one.mean)
    }

    @Test(
        "print numbers with three digits",
        arguments: [
            (0.0, "0"), (0.123456, "0.123"), (-0.123456, "-0.123"), (1234.6, "1235"), (0.000123456, "0.000123"),
            (12.3456, "12.3"), (1, "1.0"), (100, "100"), (.infinity, "inf"), (.nan, "nan"),
            (1e300, "9000000000000000000"),
        ])
    func print(value: Double, text: String) { #expect(brief(value) == text) }
}
