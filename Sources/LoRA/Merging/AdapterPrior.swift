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

extension LoRAAdapter {
    /// A warm start: an adapter whose product is the prior's, balanced between the factors.
    ///
    /// ```text
    /// A = c·√σ·V        B = √σ·U / (c·scale)        c such that ‖A‖ is that of a cold start
    /// ```
    ///
    /// Directions without a singular value are free: A random as in a cold start, B zero. A prior of higher rank than the shape
    /// is cut to its first directions. A prior that is zero gives a cold start.
    ///
    /// - Parameters:
    ///   - shape: The adapter's shape.
    ///   - identity: Keys the random numbers.
    ///   - prior: The product to start from, of the shape's dimension.
    /// - Throws: ``LoRAError``: `shapeMismatch` for another dimension, `unsupported` where the shape has no bias and the prior's
    ///   is not zero, `nonFinite` for a prior beyond the range of Float.
    public init(shape: AdapterShape, identity: AdapterIdentity, startingFrom prior: AdapterPrior) throws(LoRAError) {
        guard prior.dimension == shape.dimension else {
            throw LoRAError(
                .shapeMismatch, "warm start",
                "the prior has dimension \(prior.dimension), the adapter \(shape.dimension)")
        }
        guard shape.hasBias || prior.bias.allSatisfy({ $0 == 0 }) else {
            throw LoRAError(
                .unsupported, "warm start", "the prior has a bias and the adapter none: give its shape one")
        }
        self.init(shape: shape, identity: identity)
        let kept = min(shape.rank, prior.rank)
        let energy = prior.singularValues.prefix(kept).reduce(0.0) { $0 + Double($1) }
        guard energy > 0 || shape.hasBias else { return }
        let d = shape.dimension
        // ‖A‖² of the warm rows is c²·Σσ; of a cold row it is bound²·d/3 on average.
        let warm = prior.singularValues.prefix(kept).count { $0 > 0 }
        let coldSquare = Double(shape.coldBound) * Double(shape.coldBound) * Double(d) / 3 * Double(warm)
        let c = energy > 0 ? (coldSquare / energy).squareRoot() : 1
        parameters.withBuffer { all in
            for k in 0..<kept where prior.singularValues[k] > 0 {
                let root = Double(prior.singularValues[k]).squareRoot()
                let down = all.slice((k * d)..<((k + 1) * d))
                let up = all.slice(shape.upRange).slice((k * d)..<((k + 1) * d))
                let (left, right) = (prior.left[k], prior.right[k])
                down.copy(from: right.span)
                Kernels.scale(down, by: Float(c * root))
                up.copy(from: left.span)
                Kernels.scale(up, by: Float(root / (c * Double(shape.scale))))
            }
            if shape.hasBias { all.slice(shape.biasRange).copy(from: prior.bias.span) }
        }
        guard parameters.withBuffer({ Kernels.allFinite($0) }) else {
            throw LoRAError(.nonFinite, "warm start", "the prior is beyond the range of Float")
        }
    }
}
