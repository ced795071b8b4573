import Testing

@testable import TensorCore

/// Fixed seeds: a failure is a change of the code, never bad luck. Bounds are about four standard errors or 99.9 % quantiles.
struct DistributionTests {
    static func generator(_ stream: UInt64) -> PhiloxGenerator {
        PhiloxGenerator(seed: 20_240_607, stream: stream, purpose: .simulation)
    }

    @Test func keepsItsMappingFromBitsToNumbers() {
        // From a separate Python implementation; the normal numbers from statistics.NormalDist().inv_cdf.
        var generator = PhiloxGenerator(seed: 42, stream: 7, purpose: .initialization)
        #expect(
            (0..<4).map { _ in generator.uniformFloat() } == [0x1.875f1p-2, 0x1.8764fp-2, 0x1.555178p-3, 0x1.6ae9p-6])
        generator.position = 0
        #expect(
            (0..<4).map { _ in generator.uniformDouble() }
                == [0.3821986249058531, 0.3822209902702668, 0.16665934507592128, 0.022150335347451255])
        generator.position = 0
        let expected = [-0.29971146867011633, -0.29965283220587996, -0.9674508703521104, -2.011234713998424]
        for value in expected { #expect(abs(generator.normal() - value) <= 2 * value.ulp) }
        var other = PhiloxGenerator(seed: 1, stream: 2, purpose: .sampling)
        #expect(other.permutation(10) == [0, 8, 7, 3, 6, 2, 1, 5, 4, 9])
    }

    /// The bits of the first normal numbers: any machine must give these (as a separate Python implementation does).
    @Test func normalNumbersAreTheSameBitsEverywhere() {
        var generator = PhiloxGenerator(seed: 1, stream: 2, purpose: .initialization)
        var hash = StableHash()
        for _ in 0..<10_000 { hash.combine(generator.normal().bitPattern) }
        #expect(hash.finalized() == 8_716_811_230_231_955_436)
    }

    @Test func uniformNumbersFillTheUnitIntervalEvenly() {
        var generator = Self.generator(1)
        var counts = [Int](repeating: 0, count: 100)
        var floatCounts = counts
        var sum = 0.0
        var squares = 0.0
        let n = 100_000
        for _ in 0..<n {
            let x = generator.uniformDouble()
            sum += x
            squares += x * x
            counts[Int(x * 100)] += 1
            let y = generator.uniformFloat()
            #expect(y >= 0 && y < 1)
            floatCounts[min(Int(y * 100), 99)] += 1
        }
        let mean = sum / Double(n)
        #expect(abs(mean - 0.5) < 4 * (1.0 / 12 / Double(n)).squareRoot())
        #expect(abs(squares / Double(n) - mean * mean - 1.0 / 12) < 4 * (1.0 / 180 / Double(n)).squareRoot())
        for c in [counts, floatCounts] { #expect(Self.chiSquare(c, expected: 1000) < 148.2) }  // 99 degrees of freedom
    }

    @Test func uniformNumbersStayInTheirRange() {
        var generator = Self.generator(2)
        for _ in 0..<1000 {
            #expect((1 as Float..<(1 as Float).nextUp).contains(generator.uniform(in: 1..<(1 as Float).nextUp)))
            #expect((-3.0..<5).contains(generator.uniform(in: -3.0..<5)))
            #expect((1e15..<1e15 + 0.25).contains(generator.uniform(in: 1e15..<1e15 + 0.25)))
        }
        var vector = Vector<Float>(count: 1000)
        vector.withMutableSpan { generator.fillUniform(&$0, in: -0.1..<0.1) }
        #expect(vector.array.allSatisfy { $0 >= -0.1 && $0 < 0.1 })
        let sum = vector.array.reduce(0, +)
        #expect(abs(sum) < 7.3)  // four times √(1000 · 0.2² / 12)
    }

    @Test(arguments: [1, 2, 3, 7, 10, 64, 1000])
    func integersAreEquallyLikely(bound: Int) {
        var generator = Self.generator(3)
        var counts = [Int](repeating: 0, count: bound)
        for _ in 0..<bound * 100 { counts[generator.integer(below: bound)] += 1 }
        let freedom = Double(bound - 1)
        // Wilson–Hilferty approximation of the 99.9 % quantile.
        let t = 1 - 2 / (9 * max(freedom, 1)) + 3.09 * (2 / (9 * max(freedom, 1))).squareRoot()
        #expect(Self.chiSquare(counts, expected: 100) <= max(freedom, 1) * t * t * t)
    }

    /// A modulus would give the lower third twice as often as the rest at this bound.
    @Test func integersBelowHugeBoundsHaveNoModuloBias() {
        var generator = Self.generator(4)
        let bound = Int.max / 4 * 3
        var lower = 0
        for _ in 0..<30_000 where generator.integer(below: bound) < bound / 3 { lower += 1 }
        #expect(abs(lower - 10_000) < 4 * 82)
        for _ in 0..<1000 { _ = generator.integer(in: Int.min..<Int.max) }
        var below = 0
        let wide = -(Int.max / 4 * 3)..<(Int.max / 4 * 3)
        for _ in 0..<30_000 where generator.integer(in: wide) < -(Int.max / 4) { below += 1 }
        #expect(abs(below - 10_000) < 4 * 82)
        #expect((0..<100).allSatisfy { _ in (-5 ..< -2).contains(generator.integer(in: -5 ..< -2)) })
    }

    @Test func normalNumbersHaveTheirMoments() {
        var generator = Self.generator(5)
        let n = 100_000
        var moments = [0.0, 0, 0, 0, 0]
        var counts = [Int](repeating: 0, count: 10)
        // Deciles of the standard normal distribution.
        let edges = [
            -1.2815515655, -0.8416212336, -0.5244005127, -0.2533471031, 0, 0.2533471031, 0.5244005127, 0.8416212336,
            1.2815515655,
        ]
        for _ in 0..<n {
            let x = generator.normal()
            var power = 1.0
            for k in 1...4 {
                power *= x
                moments[k] += power
            }
            counts[edges.firstIndex { x < $0 } ?? 9] += 1
        }
        let scale = Double(n)
        #expect(abs(moments[1] / scale) < 4 * (1 / scale).squareRoot())
        #expect(abs(moments[2] / scale - 1) < 4 * (2 / scale).squareRoot())
        #expect(abs(moments[3] / scale) < 4 * (15 / scale).squareRoot())
        #expect(abs(moments[4] / scale - 3) < 4 * (96 / scale).squareRoot())
        #expect(Self.chiSquare(counts, expected: scale / 10) < 27.88)  // 9 degrees of freedom
        #expect(generator.position == UInt64(n))

        var vector = Vector<Float>(count: 10_000)
        vector.withMutableSpan { generator.fillNormal(&$0, mean: 2, standardDeviation: 0.5) }
        let mean = vector.array.reduce(0, +) / 10_000
        #expect(abs(mean - 2) < 0.02)
    }

    // statistics.NormalDist().inv_cdf, which is the same algorithm over libm's log.
    @Test(arguments: [
        (1e-300, -37.0470962993612), (1.1102230246251565e-16, -8.209536151601386), (1e-12, -7.034483825301132),
        (1e-05, -4.2648907939228256), (0.01, -2.3263478740408408), (0.074, -1.4466320671589785),
        (0.075, -1.4395314709384557), (0.3, -0.5244005127080407), (0.5, 0), (0.7, 0.5244005127080407),
        (0.925, 1.439531470938456), (0.926, 1.4466320671589785), (0.999, 3.090232306167813),
    ])
    func quantileAgreesWithAnotherImplementation(probability: Double, expected: Double) {
        #expect(abs(NormalQuantile.value(at: probability) - expected) <= 2 * max(expected.magnitude, 1).ulp)
    }

    @Test func logarithmIsWithinTwoULPOfTheLibrarys() {
        var generator = Self.generator(6)
        for _ in 0..<10_000 {
            let x = Double(
                sign: .plus, exponent: generator.integer(in: -1022..<1023), significand: 1 + generator.uniformDouble())
            for y in [x, 1 - generator.uniformDouble() / 2] {
                let expected = referenceLog(y)
                #expect(abs(Elementary.log(y) - expected) <= 2 * expected.ulp, "log(\(y))")
            }
        }
        #expect(Elementary.log(1) == 0)
        #expect(Elementary.log(.leastNormalMagnitude) == referenceLog(.leastNormalMagnitude))
    }

    @Test func permutationsAreEquallyLikely() {
        var generator = Self.generator(7)
        var counts: [[Int]: Int] = [:]
        for _ in 0..<2400 { counts[generator.permutation(4), default: 0] += 1 }
        #expect(counts.count == 24)
        #expect(Self.chiSquare(Array(counts.values), expected: 100) < 49.73)  // 23 degrees of freedom
        #expect(generator.permutation(0) == [])
        #expect(generator.permutation(1) == [0])
    }

    @Test(arguments: [(0, 0), (0, 5), (1, 1), (5, 5), (3, 7), (100, 1000), (999, 1000), (127, 127)])
    func samplesAreWithoutReplacementAndAgreeWithPermutations(count: Int, population: Int) {
        var generator = Self.generator(8)
        var other = generator
        let sample = generator.sample(count, of: population)
        #expect(sample.count == count)
        #expect(Set(sample).count == count)
        #expect(sample.allSatisfy { (0..<population).contains($0) })
        #expect(sample == Array(other.permutation(population).prefix(count)))
    }

    @Test func samplesFromHugePopulationsTakeLittleMemory() {
        var generator = Self.generator(9)
        let sample = generator.sample(1000, of: Int.max)
        #expect(Set(sample).count == 1000)
        let lower = sample.count { $0 < Int.max / 2 }
        #expect(abs(lower - 500) < 4 * 16)
    }

    @Test func bernoulliKeepsItsProbability() {
        var generator = Self.generator(10)
        var successes = 0
        for _ in 0..<10_000 where generator.bernoulli(0.3) { successes += 1 }
        #expect(abs(successes - 3000) < 4 * 46)
        for _ in 0..<1000 {
            let never = generator.bernoulli(0)
            let always = generator.bernoulli(1)
            #expect(!never && always)
        }
    }

    @Test func trapsOnAnEmptyRange() async {
        await #expect(processExitsWith: .failure) {
            var generator = PhiloxGenerator(seed: 0)
            _ = generator.integer(below: 0)
        }
    }

    static func chiSquare(_ counts: [Int], expected: Double) -> Double {
        counts.reduce(0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
    }
}
