internal import TensorCore

/// What some adapters have in common, as a product: the start that others are given.
///
/// ```text
/// M ≈ Uᵀ·diag(σ)·V          U, V [rank, dimension], rows orthonormal; σ [rank], descending
/// ```
///
/// Products are merged, never factors: the product of mean factors has nothing to do with the mean of the products, since
/// (A, B) and (G·A, B·G⁻¹) are the same map. A prior is computed once and kept with its bytes; it is never recomputed.
public struct AdapterPrior: Sendable, Hashable {
    /// The number of values of an embedding.
    public let dimension: Int
    /// The left singular vectors of M, transposed: one row each, `[rank][dimension]`.
    package let left: [[Float]]
    /// The right singular vectors, transposed; the largest entry of each row is positive.
    package let right: [[Float]]
    /// The singular values σ, descending; those below 1e-7 of the first are zero.
    public let singularValues: [Float]
    /// The merged bias `[dimension]`; zeros when no adapter had one.
    package let bias: [Float]
    /// The Frobenius norm of what the truncation to `rank` left out: √Σ σᵢ² over i > rank (Eckart–Young).
    public let discardedTail: Double
    /// The factor ρ by which M was shrunk towards zero.
    public let shrinkage: Double
    /// The number of adapters merged.
    public let donors: Int

    /// The number of singular values that are kept, zeros included.
    public var rank: Int { singularValues.count }

    package init(
        dimension: Int, left: [[Float]], right: [[Float]], singularValues: [Float], bias: [Float],
        discardedTail: Double, shrinkage: Double, donors: Int
    ) {
        self.dimension = dimension
        self.left = left
        self.right = right
        self.singularValues = singularValues
        self.bias = bias
        self.discardedTail = discardedTail
        self.shrinkage = shrinkage
        self.donors = donors
    }
}

extension AdapterPrior {
    /// A stable hash of the prior's numbers: its name.
    ///
    /// - Complexity: O(rank · dimension).
    public var contentHash: UInt64 {
        var hash = StableHash()
        hash.combine(UInt64(dimension))
        hash.combine(UInt64(rank))
        for vector in [singularValues, bias] + left + right {
            for value in vector { hash.combine(UInt64(value.bitPattern)) }
        }
        return hash.finalized()
    }

    /// Whether every number is finite.
    package var isFinite: Bool {
        ([singularValues, bias] + left + right).allSatisfy { $0.allSatisfy(\.isFinite) }
    }
}
