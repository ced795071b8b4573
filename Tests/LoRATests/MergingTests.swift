import Foundation
import TensorCore
import Testing

@testable import LoRA

/// Merging against NumPy's dense values (`Tests/Fixtures/merging.py`), and its laws as properties.
@Suite struct MergingTests {
    struct Fixture: Decodable {
        struct Adapter: Decodable {
            let name: String
            let rank: Int
            let scale: Double
            let A: [[Float]]
            let Bt: [[Float]]
        }
        struct Shrinkage: Decodable { let rho: Double }
        struct Case: Decodable {
            let name: String
            let adapters: [String]
            let weights: [Double]
            let normalize: Bool
            let shrink: Bool
            let shrinkage: Shrinkage?
            let rank: Int
            let singularValues: [Double]
            let truncated: [[Double]]
            let discardedTail: Double
        }
        let dimension: Int
        let adapters: [Adapter]
        let cases: [Case]
    }

    static let fixture: Fixture = {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        do {
            let data = try Data(contentsOf: folder.appendingPathComponent("Fixtures/merging.json"))
            return try JSONDecoder().decode(Fixture.self, from: data)
        } catch {
            preconditionFailure("cannot read merging.json: \(error)")
        }
    }()

    static func adapter(_ name: String) throws -> LoRAAdapter {
        let raw = try #require(fixture.adapters.first { $0.name == name })
        let shape = try AdapterShape(
            dimension: fixture.dimension, rank: raw.rank, alpha: Float(raw.scale * Double(raw.rank)))
        return try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 1, stream: 2), down: Matrix(rows: raw.A),
            up: Matrix(rows: raw.Bt))
    }

    static func product(_ prior: AdapterPrior) -> [[Double]] {
        let d = prior.dimension
        var m = [[Double]](repeating: Array(repeating: 0, count: d), count: d)
        for k in 0..<prior.rank {
            for i in 0..<d {
                for j in 0..<d {
                    m[i][j] += Double(prior.singularValues[k]) * Double(prior.left[k][i]) * Double(prior.right[k][j])
                }
            }
        }
        return m
    }

    static func product(_ adapter: LoRAAdapter) -> [[Double]] {
        let d = adapter.shape.dimension
        let (a, b) = (adapter.down, adapter.up)
        var m = [[Double]](repeating: Array(repeating: 0, count: d), count: d)
        for k in 0..<adapter.shape.rank {
            for i in 0..<d {
                for j in 0..<d { m[i][j] += Double(adapter.shape.scale) * Double(b[k, i]) * Double(a[k, j]) }
            }
        }
        return m
    }

    static func distance(_ a: [[Double]], _ b: [[Double]]) -> Double {
        zip(a, b).reduce(0.0) { sum, rows in
            zip(rows.0, rows.1).reduce(sum) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }.squareRoot()
    }

    static func norm(_ a: [[Double]]) -> Double { distance(a, a.map { $0.map { _ in 0 } }) }

    @Test(arguments: fixture.cases.map(\.name))
    func equalsNumPysTruncatedProduct(name: String) throws {
        let expected = try #require(Self.fixture.cases.first { $0.name == name })
        let donors = try zip(expected.adapters, expected.weights).map { (try Self.adapter($0), $1) }
        let prior = try AdapterPrior(
            merging: donors, rank: expected.rank, normalizing: expected.normalize,
            shrinkage: expected.shrink ? .estimated : .none)
        // The prior's vectors are Float32: 1e-6 of the largest singular value.
        let tolerance = 1e-6 * max(1, expected.singularValues[0])
        #expect(Self.distance(Self.product(prior), expected.truncated) < tolerance)
        #expect(abs(prior.discardedTail - expected.discardedTail) < tolerance)
        for (value, reference) in zip(prior.singularValues, expected.singularValues) {
            #expect(abs(Double(value) - (reference < 1e-14 ? 0 : reference)) < tolerance)
        }
        if expected.shrink, let shrinkage = expected.shrinkage {
            #expect(abs(prior.shrinkage - shrinkage.rho) < 1e-9)
        }
    }

    /// Random adapters whose B is not zero; the same for the same seed.
    static func random(_ seed: UInt64, dimension: Int = 40, rank: Int = 4, alpha: Float = 3, bias: Bool = false) throws
        -> LoRAAdapter
    {
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        func matrix() throws -> Matrix<Float> {
            try Matrix(rows: (0..<rank).map { _ in (0..<dimension).map { _ in Float(generator.normal()) } })
        }
        let shape = try AdapterShape(dimension: dimension, rank: rank, alpha: alpha, hasBias: bias)
        return try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: seed, stream: 0), down: matrix(), up: matrix(),
            bias: bias ? (0..<dimension).map { _ in Float(generator.normal()) } : nil)
    }

    @Test(arguments: [UInt64](1...10))
    func oneAdapterOfWeightOneIsReproduced(seed: UInt64) throws {
        let donor = try Self.random(seed)
        let prior = try AdapterPrior(merging: [(donor, 1)], rank: 4, shrinkage: .none)
        let m = Self.product(donor)
        #expect(Self.distance(Self.product(prior), m) < 1e-5 * Self.norm(m))
        #expect(prior.discardedTail < 1e-9 * Self.norm(m))
    }

    @Test(arguments: [UInt64](1...10))
    func aChangeOfBasisBetweenTheFactorsChangesNothing(seed: UInt64) throws {
        let donor = try Self.random(seed)
        // G scales and shears the rows of A; B gets the inverse: rows 0 and 1 are mixed, row 2 is scaled by 8.
        var (a, b) = (donor.down, donor.up)
        for j in 0..<40 {
            a[0, j] = donor.down[0, j] + 0.5 * donor.down[1, j]
            b[1, j] = donor.up[1, j] - 0.5 * donor.up[0, j]
            a[2, j] *= 8
            b[2, j] /= 8
        }
        let turned = try LoRAAdapter(shape: donor.shape, identity: donor.identity, down: a, up: b)
        let other = try Self.random(seed + 100)
        // The weights make the donors agree on something, so that the estimated shrinkage is not zero.
        let first = try AdapterPrior(merging: [(donor, 1), (other, 1), (donor, 1)], rank: 4)
        let second = try AdapterPrior(merging: [(turned, 1), (other, 1), (turned, 1)], rank: 4)
        #expect(first.shrinkage > 0.1)
        #expect(Self.distance(Self.product(first), Self.product(second)) < 1e-4 * Self.norm(Self.product(first)))
        #expect(abs(first.shrinkage - second.shrinkage) < 1e-4)
    }

    @Test(arguments: [UInt64](1...10))
    func isLinearInTheWeightsBeforeTruncation(seed: UInt64) throws {
        let donors = try (0..<3).map { try Self.random(seed * 10 + $0) }
        let weights = [0.7, -1.3, 2.0]
        // Rank 12 holds the whole sum, so nothing is truncated.
        let merged = try AdapterPrior(
            merging: Array(zip(donors, weights)), rank: 12, normalizing: false, shrinkage: .none)
        var sum = Self.product(donors[0]).map { $0.map { $0 * weights[0] } }
        for k in 1..<3 {
            let m = Self.product(donors[k])
            for i in sum.indices { for j in sum.indices { sum[i][j] += weights[k] * m[i][j] } }
        }
        #expect(Self.distance(Self.product(merged), sum) < 1e-5 * Self.norm(sum))
    }

    @Test func theFullAndTheStackedFormAgree() throws {
        // Ten donors of rank 4: 40 rows reach the dimension, so the product is accumulated in full; nine stay below.
        let donors = try (1...9).map { (try Self.random($0), 1.0) }
        let none = try LoRAAdapter(
            shape: donors[0].0.shape, identity: AdapterIdentity(seed: 0, stream: 0),
            down: Matrix(rows: 4, columns: 40), up: Matrix(rows: 4, columns: 40))
        let stacked = try AdapterPrior(merging: donors, rank: 8, normalizing: false, shrinkage: .none)
        let full = try AdapterPrior(merging: donors + [(none, 1)], rank: 8, normalizing: false, shrinkage: .none)
        let scale = Self.norm(Self.product(full))
        #expect(Self.distance(Self.product(stacked), Self.product(full)) < 1e-5 * scale)
        #expect(abs(stacked.discardedTail - full.discardedTail) < 1e-9 * scale)
    }

    @Test func averagingTheFactorsWouldNotDo() throws {
        // The measure of the mistake that merging products avoids: the same map in two bases, its factors averaged.
        let donor = try Self.random(7)
        var (a, b) = (donor.down, donor.up)
        for k in 0..<4 {
            for j in 0..<40 {
                a[k, j] = -a[k, j]
                b[k, j] = -b[k, j]
            }
        }
        let mirrored = try LoRAAdapter(shape: donor.shape, identity: donor.identity, down: a, up: b)
        let prior = try AdapterPrior(merging: [(donor, 0.5), (mirrored, 0.5)], rank: 4, shrinkage: .none)
        let m = Self.product(donor)
        #expect(Self.distance(Self.product(prior), m) < 1e-5 * Self.norm(m))  // mean factors would be zero: error 1.00
    }

    @Test func weightsThatSumToZeroCannotBeNormalised() throws {
        let (one, two) = (try Self.random(1), try Self.random(2))
        let error = #expect(throws: LoRAError.self) {
            try AdapterPrior(merging: [(one, 1), (two, -1)], rank: 4)
        }
        #expect(error?.code == .undefinedMerge)
        _ = try AdapterPrior(merging: [(one, 1), (two, -1)], rank: 4, normalizing: false)
        #expect(throws: LoRAError.self) { try AdapterPrior(merging: [], rank: 4) }
        #expect(throws: LoRAError.self) { try AdapterPrior(merging: [(one, .nan)], rank: 4) }
        #expect(throws: LoRAError.self) {
            try AdapterPrior(merging: [(one, 1), (try Self.random(3, dimension: 41), 1)], rank: 4)
        }
    }

    @Test func opposedDonorsShrinkToNothing() throws {
        let donor = try Self.random(3)
        var b = donor.up
        for k in 0..<4 { for j in 0..<40 { b[k, j] = -b[k, j] } }
        let opposite = try LoRAAdapter(shape: donor.shape, identity: donor.identity, down: donor.down, up: b)
        let prior = try AdapterPrior(merging: [(donor, 1), (opposite, 1)], rank: 4)
        #expect(prior.shrinkage == 0)
        #expect(prior.singularValues.allSatisfy { $0 == 0 })
        // A prior that is zero gives a cold start, to the bit.
        let identity = AdapterIdentity(seed: 5, stream: 6)
        let cold = LoRAAdapter(shape: donor.shape, identity: identity)
        let warm = try LoRAAdapter(shape: donor.shape, identity: identity, startingFrom: prior)
        #expect(warm.stateHash == cold.stateHash)
    }

    @Test(arguments: [3, 4, 6])
    func aWarmStartHasThePriorsProductBalanced(rank: Int) throws {
        let prior = try AdapterPrior(
            merging: [(try Self.random(1, bias: true), 1), (try Self.random(2, bias: true), 2)], rank: 4,
            shrinkage: .factor(0.8))
        let shape = try AdapterShape(dimension: 40, rank: rank, alpha: 5, hasBias: true)
        let identity = AdapterIdentity(seed: 9, stream: 9)
        let warm = try LoRAAdapter(shape: shape, identity: identity, startingFrom: prior)
        let full = Self.product(prior)
        if rank >= 4 {
            #expect(Self.distance(Self.product(warm), full) < 1e-5 * Self.norm(full))
        } else {
            // Cut to three directions: the error is the fourth singular value.
            let error = Self.distance(Self.product(warm), full)
            #expect(abs(error - Double(prior.singularValues[3])) < 1e-4 * Self.norm(full))
        }
        #expect(warm.bias == prior.bias)
        // Each direction's singular value is shared by the two factors, A having no less than B.
        let sum = prior.singularValues.prefix(rank).reduce(0.0) { $0 + Double($1) }
        let warmRows = Double(min(rank, 4))
        let share = max(1, 2 * warmRows * warmRows / (Double(40 + rank) * sum))
        for k in 0..<min(rank, 4) {
            func square(_ row: [Float]) -> Double { row.reduce(0.0) { $0 + Double($1) * Double($1) } }
            let sigma = Double(prior.singularValues[k])
            let scale = Double(shape.scale)
            #expect(abs(square(warm.down.row(k)) / (sigma * share) - 1) < 1e-4)
            #expect(abs(square(warm.up.row(k)) * scale * scale * share / sigma - 1) < 1e-4)
        }
        // Free directions: random A, zero B, as in the cold start of the same identity.
        if rank == 6 {
            let cold = LoRAAdapter(shape: shape, identity: identity)
            for k in 4..<6 {
                #expect(warm.down.row(k) == cold.down.row(k))
                #expect(warm.up.row(k).allSatisfy { $0 == 0 })
            }
        }
        // The sign of each direction is fixed by its largest entry.
        for k in 0..<min(rank, 4) {
            let row = warm.down.row(k)
            #expect((row.max { abs($0) < abs($1) } ?? 0) > 0)
        }
    }
}

extension MergingTests {
    /// A small prior does not hold learning down: along its directions A answers as a cold one does.
    @Test func aSmallPriorKeepsTheColdResponse() throws {
        let donor = try Self.random(1)
        let prior = try AdapterPrior(merging: [(donor, 1e-4)], rank: 4, normalizing: false, shrinkage: .none)
        let shape = try AdapterShape(dimension: 40, rank: 4)
        let warm = try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 9, stream: 9), startingFrom: prior)
        let squares = warm.down.array.reduce(0.0) { $0 + Double($1) * Double($1) }
        // ‖A·x‖² over unit x in four directions: ‖A‖²/4, against 4·bound²/3 = 8/44.
        #expect(abs(squares / 4 / (8.0 / 44) - 1) < 1e-4)
    }

    @Test func whatOverflowsIsRefused() throws {
        let donor = try Self.random(1, bias: true)
        for weights in [[1e300], [1e308, 1e308], [-1e308, -1e308]] {
            let error = #expect(throws: LoRAError.self) {
                try AdapterPrior(merging: weights.map { (donor, $0) }, rank: 4, normalizing: weights.count > 1)
            }
            #expect(error?.code == .nonFinite)
        }
    }

    @Test func biasesAreShrunkByWhatTheyAgreeOn() throws {
        // Products that cancel, biases that are equal: the bias stays.
        let donor = try Self.random(3, bias: true)
        var b = donor.up
        for k in 0..<4 { for j in 0..<40 { b[k, j] = -b[k, j] } }
        let opposite = try LoRAAdapter(
            shape: donor.shape, identity: donor.identity, down: donor.down, up: b, bias: donor.bias)
        let prior = try AdapterPrior(merging: [(donor, 1), (opposite, 1)], rank: 4)
        #expect(prior.shrinkage == 0)
        #expect(zip(prior.bias, donor.bias ?? []).allSatisfy { abs($0 - $1) < 1e-6 })
    }

    @Test func nothingFadesUnderProtectionAndAWarmStartIsHeldAtItsPrior() throws {
        let prior = try AdapterPrior(merging: [(try Self.random(1, alpha: 0.5), 1)], rank: 4)
        let shape = try AdapterShape(dimension: 40, rank: 4)
        var generator = PhiloxGenerator(seed: 4, purpose: .simulation)
        let catalogue = try ItemCatalogue(
            vectors: Matrix(rows: (0..<30).map { _ in (0..<40).map { _ in Float(generator.normal()) / 6 } }))
        func drift(_ protection: ElasticWeightConsolidation?) throws -> Double {
            var adapter = try LoRAAdapter(
                shape: shape, identity: AdapterIdentity(seed: 1, stream: 1), startingFrom: prior)
            let start = Self.product(adapter)
            if protection != nil { adapter.anchorAtStart() }
            let configuration = UpdateConfiguration(dimension: 40, elasticWeightConsolidation: protection)
            for step in 0..<60 {
                let feedback = Feedback(
                    embedding: catalogue.vectors.row(step % 30), signal: .like((step * 7) % 30, in: catalogue))
                _ = try adapter.update(with: [feedback], configuration: configuration)
            }
            return Self.distance(Self.product(adapter), start) / Self.norm(start)
        }
        let free = try drift(nil)
        let held = try drift(ElasticWeightConsolidation(strength: 100))
        #expect(free > 0.5)  // fading alone takes 1 − 0.97⁶⁰ = 84 %
        #expect(held < 0.1 * free)
    }
}
