import TensorCore
import Testing

@testable import LoRA

/// The laws of blending priors, on products formed in full.
@Suite("Blending priors")
struct BlendingTests {
    /// A prior of rank 4 in 40 dimensions, or of another one.
    static func prior(_ seed: UInt64, dimension: Int = 40, bias: Bool = false) throws -> AdapterPrior {
        let first = try MergingTests.random(seed, dimension: dimension, bias: bias)
        let second = try MergingTests.random(seed + 50, dimension: dimension, bias: bias)
        return try AdapterPrior(merging: [(first, 2), (second, 1)], rank: 4, shrinkage: .factor(0.9))
    }

    static func distance(_ left: AdapterPrior, _ right: AdapterPrior) -> Double {
        MergingTests.distance(MergingTests.product(left), MergingTests.product(right))
    }

    @Test("reproduces a single prior, and one with itself", arguments: [UInt64](1...5))
    func reproduces(seed: UInt64) throws {
        let prior = try Self.prior(seed, bias: true)
        let scale = MergingTests.norm(MergingTests.product(prior))
        for blend in [
            try AdapterPrior(blending: [(prior, 3)], rank: 4),
            try AdapterPrior(blending: [(prior, 1), (prior, 2)], rank: 4),
        ] {
            #expect(Self.distance(blend, prior) < 1e-5 * scale)
            #expect(abs(blend.shrinkage - 0.9) < 1e-12)
            #expect(blend.discardedTail < 1e-5 * scale)
            for (a, b) in zip(blend.bias, prior.bias) { #expect(abs(a - b) < 1e-5) }
        }
    }

    @Test("is the weighted mean of the products, whatever the order", arguments: [UInt64](1...5))
    func isTheMean(seed: UInt64) throws {
        let (one, two) = (try Self.prior(seed, bias: true), try Self.prior(seed + 10, bias: true))
        // Rank 8 holds the whole sum.
        let blend = try AdapterPrior(blending: [(one, 3), (two, -1)], rank: 8)
        let other = try AdapterPrior(blending: [(two, -0.5), (one, 1.5)], rank: 8)
        let (a, b) = (MergingTests.product(one), MergingTests.product(two))
        let expected = zip(a, b).map { zip($0, $1).map { 1.5 * $0 - 0.5 * $1 } }
        let scale = MergingTests.norm(expected)
        #expect(MergingTests.distance(MergingTests.product(blend), expected) < 1e-5 * scale)
        #expect(Self.distance(blend, other) < 1e-5 * scale)
        for i in 0..<40 { #expect(abs(blend.bias[i] - (1.5 * one.bias[i] - 0.5 * two.bias[i])) < 1e-5) }
        #expect(blend.donors == 4)
    }

    @Test("keeps the best product of the rank, and says what it left out")
    func truncates() throws {
        let (one, two) = (try Self.prior(1), try Self.prior(2))
        let whole = try AdapterPrior(blending: [(one, 1), (two, 1)], rank: 8)
        let cut = try AdapterPrior(blending: [(one, 1), (two, 1)], rank: 3)
        #expect(abs(Self.distance(whole, cut) - cut.discardedTail) < 1e-4 * cut.discardedTail)
        #expect(cut.discardedTail > 0.1)
        let tail = whole.singularValues.dropFirst(3).reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        #expect(abs(cut.discardedTail - tail) < 1e-4 * tail)
    }

    @Test("gives the same in the full form, where the ranks reach the dimension")
    func agreesInFull() throws {
        let (one, two) = (try Self.prior(1, dimension: 9), try Self.prior(2, dimension: 9))
        let zero = try AdapterPrior(
            merging: [
                (
                    LoRAAdapter(
                        shape: AdapterShape(dimension: 9, rank: 4), identity: AdapterIdentity(seed: 1, stream: 1)), 1
                )
            ], rank: 1)
        #expect(zero.isZero && !one.isZero)
        let stacked = try AdapterPrior(blending: [(one, 1), (two, 1)], rank: 4)
        let full = try AdapterPrior(blending: [(one, 1), (two, 1), (zero, 0)], rank: 4)
        #expect(Self.distance(stacked, full) < 1e-5 * MergingTests.norm(MergingTests.product(full)))
    }

    @Test("names priors by their numbers")
    func names() throws {
        let prior = try Self.prior(1)
        #expect(prior.contentHash == (try Self.prior(1)).contentHash)
        #expect(prior.contentHash != (try Self.prior(2)).contentHash)
        #expect(prior.contentHash != (try AdapterPrior(blending: [(prior, 1)], rank: 3)).contentHash)
    }

    @Test("refuses what has no value")
    func refuses() throws {
        let prior = try Self.prior(1)
        func code(_ priors: [(AdapterPrior, Double)], rank: Int = 4) throws -> LoRAError.Code? {
            #expect(throws: LoRAError.self) { try AdapterPrior(blending: priors, rank: rank) }?.code
        }
        #expect(try code([]) == .undefinedMerge)
        #expect(try code([(prior, 1), (prior, -1)]) == .undefinedMerge)
        #expect(try code([(prior, .nan)]) == .nonFinite)
        #expect(try code([(prior, 1e308), (prior, 1e308)]) == .nonFinite)
        // The weights are normalised to 10⁶⁰.
        #expect(try code([(prior, 1), (try Self.prior(2), -1), (prior, 1e-60)]) == .nonFinite)
        #expect(try code([(prior, 1)], rank: 0) == .invalidShape)
        #expect(try code([(prior, 1)], rank: 41) == .invalidShape)
        let error = #expect(throws: LoRAError.self) {
            try AdapterPrior(blending: [(prior, 1), (try Self.prior(1, dimension: 41), 1)], rank: 4)
        }
        #expect(error?.code == .shapeMismatch && error?.position == 1)
    }
}
