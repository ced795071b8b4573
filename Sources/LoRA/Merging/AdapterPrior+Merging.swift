internal import TensorCore

extension AdapterPrior {
    /// How far a merged product is drawn towards zero.
    public enum Shrinkage: Sendable, Hashable {
        /// Not at all: ρ = 1. The laws of merging hold exactly.
        case none
        /// By how much the donors disagree: ρ = τ²/(τ² + σ²/n) over the n donors' products W_u = s_u·B_u·A_u, with
        /// σ² = Σ‖W_u − W̄‖²/(n − 1) and τ² = max(0, ‖W̄‖² − σ²/n). One donor tells nothing of that: ρ = 1.
        /// Biases are shrunk by a ρ of their own, by the same formula.
        case estimated
        /// By a given ρ in 0...1.
        case factor(Double)
    }

    /// Merges adapters: `M = ρ·Σ w_u·s_u·B_u·A_u`, truncated to the best product of a rank.
    ///
    /// Laws, at ρ = 1: merging one adapter with weight 1 reproduces its map; the result does not change under
    /// (A, B) → (G·A, B·G⁻¹); it is linear in the weights, negative ones included, before truncation.
    ///
    /// - Parameters:
    ///   - donors: Adapters of one dimension, of any ranks and scales, with finite weights.
    ///   - rank: The rank to keep, 1...min(256, dimension).
    ///   - normalizing: Whether the weights are divided by their sum.
    ///   - shrinkage: How far M is drawn towards zero.
    /// - Throws: ``LoRAError``: `undefinedMerge` without donors or, when normalising, with weights that sum to zero;
    ///   `shapeMismatch` naming the donor of another dimension; `nonFinite`; `unsupported` when the ranks add up to the dimension
    ///   or more and that is above 8,192 (the product would be formed in full).
    /// - Complexity: O(R²·d + R³) for ranks that add up to R < d, without ever forming d × d numbers; O(R·d² + d³) otherwise,
    ///   one donor at a time.
    ///
    /// **Numerics.** Float64 through LAPACK. A prior is computed once and kept; its last bits may differ between machines.
    public init(
        merging donors: [(adapter: LoRAAdapter, weight: Double)], rank: Int, normalizing: Bool = true,
        shrinkage: Shrinkage = .estimated
    ) throws(LoRAError) {
        guard let first = donors.first?.adapter.shape else {
            throw LoRAError(.undefinedMerge, "merge", "no adapters were given")
        }
        let d = first.dimension
        guard rank >= 1, rank <= min(AdapterShape.highestRank, d) else {
            throw LoRAError(.invalidShape, "merge", "rank \(rank) is not in 1...\(min(AdapterShape.highestRank, d))")
        }
        for (i, donor) in donors.enumerated() {
            guard donor.adapter.shape.dimension == d else {
                throw LoRAError(
                    .shapeMismatch, "merge",
                    "the adapter has dimension \(donor.adapter.shape.dimension), the first one \(d)", position: i)
            }
            guard !donor.adapter.shape.normalizesOutput else {
                throw LoRAError(
                    .unsupported, "merge", "the adapter normalises its output, so its map is no product", position: i)
            }
            guard donor.weight.isFinite else {
                throw LoRAError(.nonFinite, "merge", "the weight is \(donor.weight)", position: i)
            }
        }
        if case .factor(let factor) = shrinkage, !(factor >= 0 && factor <= 1) {
            throw LoRAError(.invalidConfiguration, "merge", "the shrinkage factor \(factor) is not in 0...1")
        }
        let sum = donors.reduce(0.0) { $0 + $1.weight }
        guard sum.isFinite else {
            throw LoRAError(.nonFinite, "merge", "the weights sum to \(sum): scale them down")
        }
        if normalizing, sum == 0 {
            throw LoRAError(
                .undefinedMerge, "merge", "the weights sum to zero, so they cannot be normalised: do not ask for it")
        }
        let weights = donors.map { normalizing ? $0.weight / sum : $0.weight }
        let adapters = donors.map(\.adapter)

        do {
            let rho: Double
            let biasRho: Double
            switch shrinkage {
            case .none: (rho, biasRho) = (1, 1)
            case .factor(let factor): (rho, biasRho) = (factor, factor)
            case .estimated:
                rho = try Self.estimatedShrinkage(adapters)
                biasRho = Self.estimatedBiasShrinkage(adapters)
            }
            let product = try WeightedProduct(adapters, weights: weights).decomposed()
            self.init(
                product, dimension: d, rank: rank, rho: rho, bias: Self.bias(adapters, weights, biasRho),
                donors: donors.count)
        } catch let error as LoRAError {
            throw error
        } catch {
            throw LoRAError(.nonFinite, "merge", "the factorisation failed: \(error)")
        }
        guard singularValues.allSatisfy(\.isFinite), bias.allSatisfy(\.isFinite), discardedTail.isFinite else {
            throw LoRAError(.nonFinite, "merge", "the sum is beyond the range of Float: scale the weights down")
        }
    }

    /// Keeps the first `rank` directions, with fixed signs.
    init(
        _ product: WeightedProduct.Decomposition, dimension: Int, rank: Int, rho: Double, bias: [Float], donors: Int,
        shrinkage: Double? = nil
    ) {
        let values = product.values
        let floor = (values.first ?? 0) * 1e-7
        var left: [[Float]] = []
        var right: [[Float]] = []
        var kept: [Float] = []
        for k in 0..<rank {
            let value = k < values.count && values[k] > floor ? values[k] : 0
            kept.append(Float(rho * value))
            let u = value > 0 ? product.left(k) : Array(repeating: 0, count: dimension)
            let v = value > 0 ? product.right(k) : Array(repeating: 0, count: dimension)
            // The pair (u, v) is defined up to a common sign: the first of v's largest entries is made positive.
            var largest = 0
            for i in v.indices where abs(v[i]) > abs(v[largest]) { largest = i }
            let sign: Double = v[largest] < 0 ? -1 : 1
            left.append(u.map { Float(sign * $0) })
            right.append(v.map { Float(sign * $0) })
        }
        let tail = values.dropFirst(rank).reduce(0.0) { $0 + $1 * $1 }.squareRoot()
        self.init(
            dimension: dimension, left: left, right: right, singularValues: kept, bias: bias,
            discardedTail: rho * tail, shrinkage: shrinkage ?? rho, donors: donors)
    }

    private static func bias(_ adapters: [LoRAAdapter], _ weights: [Double], _ rho: Double) -> [Float] {
        var sum = [Double](repeating: 0, count: adapters.first?.shape.dimension ?? 0)
        for (adapter, weight) in zip(adapters, weights) {
            guard let bias = adapter.bias else { continue }
            for i in sum.indices { sum[i] += weight * Double(bias[i]) }
        }
        return sum.map { Float(rho * $0) }
    }

    /// ρ of ``Shrinkage/estimated``. Σ‖W_u − W̄‖² = Σ‖W_u‖² − n·‖W̄‖².
    private static func estimatedShrinkage(_ adapters: [LoRAAdapter]) throws -> Double {
        let n = Double(adapters.count)
        guard adapters.count > 1 else { return 1 }
        var squares = 0.0
        for adapter in adapters { squares += try WeightedProduct([adapter], weights: [1]).squaredNorm() }
        let mean = try WeightedProduct(adapters, weights: adapters.map { _ in 1 / n }).squaredNorm()
        return shrinkage(squares: squares, meanSquare: mean, count: n)
    }

    /// The same for the biases: donors may agree on the one and not on the other.
    private static func estimatedBiasShrinkage(_ adapters: [LoRAAdapter]) -> Double {
        let n = Double(adapters.count)
        guard adapters.count > 1 else { return 1 }
        var squares = 0.0
        var mean = [Double](repeating: 0, count: adapters[0].shape.dimension)
        for adapter in adapters {
            for (i, value) in (adapter.bias ?? []).enumerated() {
                squares += Double(value) * Double(value)
                mean[i] += Double(value) / n
            }
        }
        return shrinkage(squares: squares, meanSquare: mean.reduce(0) { $0 + $1 * $1 }, count: n)
    }

    private static func shrinkage(squares: Double, meanSquare: Double, count n: Double) -> Double {
        let spread = max(0, squares - n * meanSquare) / (n - 1)
        let signal = max(0, meanSquare - spread / n)
        return signal > 0 ? signal / (signal + spread / n) : 0
    }
}
