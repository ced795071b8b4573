import TensorCore
import TestSupport
import Testing

@testable import LoRA

/// Merging one adapter after another, against plain loops in Float64, and what the merger must not hold.
@Suite("An adapter merger")
struct AdapterMergerTests {
    /// Adapters of mixed ranks, scales and biases with weights of both signs; the same for the same seed.
    struct Donors {
        let dimension: Int
        var adapters: [LoRAAdapter] = []
        var weights: [Double] = []

        init(seed: UInt64, dimension: Int, count: Int, equalWeights: Bool = false) throws {
            self.dimension = dimension
            var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
            for i in 0..<count {
                let rank = 1 + generator.integer(below: min(5, dimension))
                let shape = try AdapterShape(
                    dimension: dimension, rank: rank, alpha: 0.5 + 4 * generator.uniformFloat(),
                    scaling: i % 2 == 0 ? .standard : .rankStabilized, hasBias: i % 3 == 0)
                func matrix() throws -> Matrix<Float> {
                    try Matrix(
                        rows: (0..<rank).map { _ in (0..<dimension).map { _ in Float(generator.normal()) } })
                }
                let (down, up) = (try matrix(), try matrix())
                adapters.append(
                    try LoRAAdapter(
                        shape: shape, identity: AdapterIdentity(seed: seed, stream: UInt64(i)), down: down, up: up,
                        bias: shape.hasBias ? (0..<dimension).map { _ in Float(generator.normal()) } : nil))
                weights.append(equalWeights ? 1.25 : 0.2 + generator.normal())
            }
        }

        /// Σ w·s·B·A, entry by entry.
        func product(_ weights: [Double]) -> [[Double]] {
            var sum = [[Double]](repeating: Array(repeating: 0, count: dimension), count: dimension)
            for (adapter, weight) in zip(adapters, weights) {
                let term = MergingTests.product(adapter)
                for i in sum.indices { for j in sum.indices { sum[i][j] += weight * term[i][j] } }
            }
            return sum
        }

        func bias(_ weights: [Double]) -> [Double] {
            var sum = [Double](repeating: 0, count: dimension)
            for (adapter, weight) in zip(adapters, weights) {
                for (i, value) in (adapter.bias ?? []).enumerated() { sum[i] += weight * Double(value) }
            }
            return sum
        }

        func merger() throws -> AdapterMerger {
            var merger = try AdapterMerger(dimension: dimension)
            for (adapter, weight) in zip(adapters, weights) { try merger.add(adapter, weight: weight) }
            return merger
        }
    }

    static func distance(_ a: [Double], _ b: [Double]) -> Double { MergingTests.distance([a], [b]) }
    static func norm(_ values: [Float]) -> Double { MergingTests.norm([values.map { Double($0) }]) }

    @Test("adds up what plain loops add up, in stacks and in full", arguments: [UInt64](1...24))
    func agreesWithPlainLoops(seed: UInt64) throws {
        var generator = PhiloxGenerator(seed: seed, purpose: .sampling)
        let dimension = 4 + generator.integer(below: 28)
        let count = 1 + generator.integer(below: seed % 4 == 0 ? 200 : 12)
        let donors = try Donors(seed: seed, dimension: dimension, count: count, equalWeights: seed % 3 == 0)
        let merger = try donors.merger()
        #expect(merger.donors == count)
        for normalizing in [false, true] {
            let total = donors.weights.reduce(0, +)
            let weights = donors.weights.map { normalizing ? $0 / total : $0 }
            let expected = donors.product(weights)
            let scale = donors.adapters.indices.reduce(1e-9) {
                $0 + abs(weights[$1]) * MergingTests.norm(MergingTests.product(donors.adapters[$1]))
            }
            let prior = try merger.merged(rank: dimension, normalizing: normalizing, shrinkage: .none)
            // At full rank nothing is cut but values below 1e-7 of the largest; the vectors are Float32.
            let error = MergingTests.distance(MergingTests.product(prior), expected) / scale
            #expect(error < 2e-6, "seed \(seed), d \(dimension), \(count) donors, normalised \(normalizing): \(error)")
            let biases = donors.adapters.indices.reduce(1e-9) {
                $0 + abs(weights[$1]) * Self.norm(donors.adapters[$1].bias ?? [])
            }
            let biasError = Self.distance(prior.bias.map { Double($0) }, donors.bias(weights)) / biases
            #expect(biasError < 1e-6, "seed \(seed), biases: \(biasError)")
            // The singular values beyond the rank are the tail: ‖M‖² = Σσ² + tail², in Float64.
            let cut = try merger.merged(rank: 1, normalizing: normalizing, shrinkage: .none)
            let norm = MergingTests.norm(expected)
            let first = Double(cut.singularValues[0])
            #expect(
                abs((first * first + cut.discardedTail * cut.discardedTail).squareRoot() - norm) < 1e-6 * scale,
                "seed \(seed): σ₁ \(first), tail \(cut.discardedTail), norm \(norm)")
        }
    }

    @Test("estimates the shrinkage from all products without holding them", arguments: [UInt64](1...12))
    func estimatesTheShrinkage(seed: UInt64) throws {
        // Copies of one adapter among others: they agree on something.
        var donors = try Donors(
            seed: seed, dimension: 6 + Int(seed), count: seed % 2 == 0 ? 3 : 40, equalWeights: seed % 3 == 0)
        for _ in 0..<donors.adapters.count {
            donors.adapters.append(donors.adapters[0])
            donors.weights.append(seed % 3 == 0 ? donors.weights[0] : 0.3)
        }
        let n = Double(donors.adapters.count)
        func rho(_ terms: [[Double]]) -> Double {
            let mean = terms[0].indices.map { i in terms.reduce(0.0) { $0 + $1[i] } / n }
            let spread = terms.reduce(0.0) { $0 + Self.distance($1, mean) * Self.distance($1, mean) } / (n - 1)
            let signal = max(0, mean.reduce(0.0) { $0 + $1 * $1 } - spread / n)
            return signal > 0 ? signal / (signal + spread / n) : 0
        }
        let expected = rho(donors.adapters.map { MergingTests.product($0).flatMap(\.self) })
        let prior = try donors.merger().merged(rank: 1, normalizing: false)
        #expect(abs(prior.shrinkage - expected) < 1e-9, "seed \(seed): \(prior.shrinkage), \(expected)")
        #expect(expected > 0.1 && expected < 1)
        let whole = try donors.merger().merged(rank: 1, normalizing: false, shrinkage: .none)
        let zeros = [Float](repeating: 0, count: donors.dimension)
        let biasRho = rho(donors.adapters.map { ($0.bias ?? zeros).map { Double($0) } })
        #expect(
            Self.distance(prior.bias.map { Double($0) }, whole.bias.map { biasRho * Double($0) })
                < 1e-6 * Self.norm(whole.bias), "seed \(seed)")
    }

    @Test("is what merging all at once is, to the bit, and is not changed by a look at the prior")
    func isTheSameAsAllAtOnce() throws {
        for (seed, count): (UInt64, Int) in [(1, 1), (2, 3), (3, 30), (4, 400)] {
            let donors = try Donors(seed: seed, dimension: 24, count: count)
            var merger = try AdapterMerger(dimension: 24)
            for (i, adapter) in donors.adapters.enumerated() {
                try merger.add(adapter, weight: donors.weights[i])
                if i == count / 2 { _ = try merger.merged(rank: 3, normalizing: false) }
            }
            for shrinkage in [AdapterPrior.Shrinkage.none, .estimated, .factor(0.3)] {
                let whole = try AdapterPrior(
                    merging: Array(zip(donors.adapters, donors.weights)), rank: 5, normalizing: false,
                    shrinkage: shrinkage)
                #expect(try merger.merged(rank: 5, normalizing: false, shrinkage: shrinkage) == whole)
                #expect(try donors.merger().merged(rank: 5, normalizing: false, shrinkage: shrinkage) == whole)
            }
        }
    }

    @Test("reproduces one adapter, whatever its weight", arguments: [1, -2, 1e300, 1e-300])
    func reproducesOne(weight: Double) throws {
        let donor = try MergingTests.random(7, dimension: 12, rank: 3, bias: true)
        var merger = try AdapterMerger(dimension: 12)
        try merger.add(donor, weight: weight)
        let prior = try merger.merged(rank: 3)
        let m = MergingTests.product(donor)
        #expect(MergingTests.distance(MergingTests.product(prior), m) < 1e-5 * MergingTests.norm(m))
        #expect(prior.bias == donor.bias && prior.shrinkage == 1 && prior.donors == 1)
    }

    @Test("gives the same in another order and in another basis, to rounding", arguments: [UInt64](1...8))
    func doesNotDependOnTheOrder(seed: UInt64) throws {
        let donors = try Donors(seed: seed, dimension: 20, count: seed % 2 == 0 ? 5 : 60)
        let prior = try donors.merger().merged(rank: 4, normalizing: false)
        var turned = donors
        var generator = PhiloxGenerator(seed: seed, purpose: .shuffling)
        var order = Array(donors.adapters.indices)
        generator.shuffle(&order)
        turned.weights = order.map { donors.weights[$0] }
        turned.adapters = try order.map { i in
            // Powers of two: exact, so that only the merger's own rounding is seen.
            let donor = donors.adapters[i]
            var (down, up) = (donor.down, donor.up)
            for k in 0..<down.rows {
                let factor: Float = k % 2 == 0 ? 64 : -0.125
                for j in 0..<20 {
                    down[k, j] *= factor
                    up[k, j] /= factor
                }
            }
            return try LoRAAdapter(
                shape: donor.shape, identity: donor.identity, down: down, up: up, bias: donor.bias)
        }
        let other = try turned.merger().merged(rank: 4, normalizing: false)
        let (m, scale) = (MergingTests.product(prior), MergingTests.norm(donors.product(donors.weights)))
        #expect(MergingTests.distance(m, MergingTests.product(other)) < 1e-5 * scale, "seed \(seed)")
        #expect(
            abs(prior.shrinkage - other.shrinkage) < 1e-9
                && abs(prior.discardedTail - other.discardedTail) < 1e-9 * scale)
    }

    @Test("holds no more after thousands of donors than after hundreds", arguments: [true, false])
    func holdsTheSumsAlone(equalWeights: Bool) throws {
        let d = 16
        let donors = try Donors(seed: 5, dimension: d, count: 50, equalWeights: equalWeights)
        var merger = try AdapterMerger(dimension: d)
        var most = 0
        for i in 0..<underSanitizer(600, otherwise: 4000) {
            try merger.add(donors.adapters[i % 50], weight: donors.weights[i % 50])
            if i < 300 { most = max(most, merger.heldNumbers) }
            #expect(merger.heldNumbers <= most)
        }
        #expect(most <= (equalWeights ? 1 : 2) * (d * d + 512 * d) + 2 * d)
        // While there are few rows it is these that are held.
        var few = try AdapterMerger(dimension: 4096)
        for seed in UInt64(1)...3 { try few.add(MergingTests.random(seed, dimension: 4096)) }
        #expect(few.heldNumbers <= 2 * 16 * 4096 + 2 * 4096)
    }

    @Test("refuses what cannot be merged, naming its place, and goes on as if it had not been there")
    func refuses() throws {
        let donors = try Donors(seed: 6, dimension: 10, count: 8)
        var merger = try AdapterMerger(dimension: 10)
        #expect(refusal { _ = try merger.merged(rank: 2) } == .undefinedMerge)
        for i in 0..<5 { try merger.add(donors.adapters[i], weight: donors.weights[i]) }
        let normalising = try LoRAAdapter(
            shape: AdapterShape(dimension: 10, rank: 1, normalizesOutput: true), identity: donors.adapters[0].identity,
            down: Matrix(rows: 1, columns: 10), up: Matrix(rows: 1, columns: 10))
        for (adapter, weight, code): (LoRAAdapter, Double, LoRAError.Code) in [
            (try MergingTests.random(1, dimension: 11), 1, .shapeMismatch), (normalising, 1, .unsupported),
            (donors.adapters[0], .nan, .nonFinite), (donors.adapters[0], -.infinity, .nonFinite),
        ] {
            let error = #expect(throws: LoRAError.self) { try merger.add(adapter, weight: weight) }
            #expect(error?.code == code && error?.position == 5 && error?.operation == "merge")
            let whole = #expect(throws: LoRAError.self) {
                try AdapterPrior(
                    merging: [(donors.adapters[1], 1), (donors.adapters[2], 1), (adapter, weight)], rank: 2)
            }
            #expect(whole?.code == code && whole?.position == 2)
        }
        for i in 5..<8 { try merger.add(donors.adapters[i], weight: donors.weights[i]) }
        #expect(try merger.merged(rank: 3, normalizing: false) == donors.merger().merged(rank: 3, normalizing: false))
        for rank in [0, 11] { #expect(refusal { _ = try merger.merged(rank: rank) } == .invalidShape) }
        for factor in [-0.1, 1.1, .nan] {
            #expect(refusal { _ = try merger.merged(rank: 2, shrinkage: .factor(factor)) } == .invalidConfiguration)
        }
        for dimension in [0, 65_537] {
            #expect(refusal { _ = try AdapterMerger(dimension: dimension) } == .invalidShape)
        }
        var cancelling = try AdapterMerger(dimension: 10)
        try cancelling.add(donors.adapters[0], weight: 1)
        try cancelling.add(donors.adapters[1], weight: -1)
        #expect(refusal { _ = try cancelling.merged(rank: 2) } == .undefinedMerge)
        _ = try cancelling.merged(rank: 2, normalizing: false)
        try cancelling.add(donors.adapters[2], weight: 1e300)
        #expect(refusal { _ = try cancelling.merged(rank: 2, normalizing: false) } == .nonFinite)
    }

    @Test("does not form a sum in full above a dimension, 8,192, and is then as it was")
    func refusesLargeSums() throws {
        let donors = try (UInt64(1)...6).map { try MergingTests.random($0, dimension: 20) }
        #expect(ProductSum.largestFull == 8192)
        for (largest, count) in [(19, 4), (20, 6)] {
            var merger = try AdapterMerger(dimension: 20, largestFull: largest)
            for donor in donors[..<count] { try merger.add(donor) }
            let before = try merger.merged(rank: 3)
            guard largest < 20 else { continue }
            let error = #expect(throws: LoRAError.self) { try merger.add(donors[4]) }
            #expect(error?.code == .unsupported && error?.position == 4)
            #expect(try merger.merged(rank: 3) == before && merger.donors == 4)
        }
    }

    private func refusal(_ body: () throws -> Void) -> LoRAError.Code? {
        do {
            try body()
            return nil
        } catch { return (error as? LoRAError)?.code }
    }
}
