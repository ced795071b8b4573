import TensorCore
import Testing

/// Our exp, log and cosine against the C library's, in units in the last place of the library's value.
struct ElementaryTests {
    static let seed: UInt64 = 77

    static func ulps(_ got: Double, _ expected: Double) -> Double {
        got == expected ? 0 : abs(got - expected) / expected.ulp
    }

    /// The worst error over 50,000 random arguments, and where.
    static func worst(
        _ ours: (Double) -> Double, _ theirs: (Double) -> Double,
        argument: (inout PhiloxGenerator) -> Double
    ) -> (ulps: Double, at: Double) {
        var generator = PhiloxGenerator(seed: seed, stream: 0, purpose: .simulation)
        var worst = (ulps: 0.0, at: 0.0)
        for _ in 0..<50_000 {
            let x = argument(&generator)
            let error = ulps(ours(x), theirs(x))
            if error > worst.ulps { worst = (error, x) }
        }
        return worst
    }

    @Test(arguments: [(-745.0, 709.7), (-1, 1), (-1e-3, 1e-3), (-40, 0), (-708, -744.9), (-0.35, 0.35)])
    func expIsWithinTwoUnits(range: (Double, Double)) {
        let worst = Self.worst(Elementary.exp, referenceExp) {
            range.0 + (range.1 - range.0) * $0.uniformDouble()
        }
        #expect(worst.ulps <= 2, "at \(worst.at), seed \(Self.seed)")
    }

    @Test func expHandlesItsEdges() {
        #expect(Elementary.exp(0) == 1 && Elementary.exp(-0.0) == 1)
        #expect(Elementary.exp(.infinity) == .infinity && Elementary.exp(710) == .infinity)
        #expect(Elementary.exp(-.infinity) == 0 && Elementary.exp(-746) == 0)
        #expect(Elementary.exp(.nan).isNaN)
        for x in [
            709.78, 709.782712893384, -708.4, -745.13, Double.leastNonzeroMagnitude, -Double.leastNonzeroMagnitude,
        ] {
            #expect(Self.ulps(Elementary.exp(x), referenceExp(x)) <= 2, "at \(x)")
        }
    }

    @Test(arguments: [(-1074, 1024), (-1, 1), (-1074, -1022), (0, 1)])
    func logIsWithinTwoUnits(exponents: (Int, Int)) {
        let worst = Self.worst(Elementary.log, referenceLog) {
            let exponent = $0.integer(in: exponents.0..<exponents.1)
            return max(
                Double.leastNonzeroMagnitude,
                Double(sign: .plus, exponent: exponent, significand: 1 + $0.uniformDouble()))
        }
        #expect(worst.ulps <= 2, "at \(worst.at), seed \(Self.seed)")
    }

    @Test func logIsWithinTwoUnitsNearOne() {
        let worst = Self.worst(Elementary.log, referenceLog) {
            1 + ($0.uniformDouble() - 0.5) * Elementary.power(0.5, UInt64($0.integer(below: 50)))
        }
        #expect(worst.ulps <= 2, "at \(worst.at), seed \(Self.seed)")
    }

    @Test func logHandlesItsEdges() {
        #expect(Elementary.log(1) == 0 && Elementary.log(0) == -.infinity && Elementary.log(-0.0) == -.infinity)
        #expect(Elementary.log(.infinity) == .infinity)
        #expect(Elementary.log(-1).isNaN && Elementary.log(.nan).isNaN && Elementary.log(-.infinity).isNaN)
        for x in [
            Double.leastNonzeroMagnitude, .leastNormalMagnitude, .greatestFiniteMagnitude, 1.0.nextUp, 1.0.nextDown,
        ] {
            #expect(Self.ulps(Elementary.log(x), referenceLog(x)) <= 2, "at \(x)")
        }
    }

    @Test func log1pIsWithinThreeUnits() {
        let worst = Self.worst(Elementary.log1p, referenceLog1p) {
            let small = Elementary.power(0.5, UInt64($0.integer(below: 80)))
            return $0.bernoulli(0.5) ? small * $0.uniformDouble() * 4 : -small * $0.uniformDouble()
        }
        #expect(worst.ulps <= 3, "at \(worst.at), seed \(Self.seed)")
        #expect(Elementary.log1p(0) == 0 && Elementary.log1p(-1) == -.infinity)
        #expect(Elementary.log1p(.infinity) == .infinity && Elementary.log1p(.nan).isNaN && Elementary.log1p(-2).isNaN)
        #expect(Elementary.log1p(Double.leastNonzeroMagnitude) == Double.leastNonzeroMagnitude)
    }

    @Test func cosineIsWithinTwoUnits() {
        let worst = Self.worst(Elementary.cosine, referenceCosine) { $0.uniformDouble() * .pi }
        #expect(worst.ulps <= 2, "at \(worst.at), seed \(Self.seed)")
        for x in [0, 1e-300, 1e-8, .pi / 2, (.pi / 2 as Double).nextUp, .pi / 3, .pi / 4, .pi] {
            #expect(Self.ulps(Elementary.cosine(x), referenceCosine(x)) <= 2, "at \(x)")
        }
    }

    @Test(arguments: [(0.97, 200), (0.5, 1074), (0.999, 1_000_000), (1, 1_000_000_000), (0, 3), (0.1, 0), (0, 0)])
    func powerIsWithinItsExponentInUnits(base: Double, n: Int) {
        // Each squaring doubles the relative error before it: at most n half-units altogether.
        let got = Elementary.power(base, UInt64(n))
        #expect(Self.ulps(got, referencePower(base, Double(n))) <= max(1, Double(n) / 2))
    }

    @Test func powerOfHugeExponentsEnds() {
        #expect(Elementary.power(0.9, .max) == 0 && Elementary.power(1, .max) == 1)
    }
}
