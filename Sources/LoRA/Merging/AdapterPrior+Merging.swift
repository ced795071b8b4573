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
    /// - Complexity: O(R²·d + R³) for ranks that add up to R < d, without ever forming d × d numbers; O(R·d² + d³) otherwise.
    ///   ``AdapterMerger`` does the same without holding the donors.
    ///
    /// **Numerics.** Float64 through LAPACK. A prior is computed once and kept; its last bits may differ between machines.
    public init(
        merging donors: [(adapter: LoRAAdapter, weight: Double)], rank: Int, normalizing: Bool = true,
        shrinkage: Shrinkage = .estimated
    ) throws(LoRAError) {
        guard let first = donors.first?.adapter.shape else {
            throw LoRAError(.undefinedMerge, "merge", "no adapters were given")
        }
        var merger = try AdapterMerger(dimension: first.dimension)
        for donor in donors { try merger.add(donor.adapter, weight: donor.weight) }
        self = try merger.merged(rank: rank, normalizing: normalizing, shrinkage: shrinkage)
    }

    /// Keeps the first `rank` directions, with fixed signs.
    init(
        _ product: ProductSum.Decomposition, dimension: Int, rank: Int, rho: Double, bias: [Float], donors: Int,
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
}
