internal import TensorCore

/// The parameters that a prior gives to the adapters of one shape. Shared by all that start from it: what fades draws them back
/// to it.
package final class WarmStart: Sendable {
    /// The name of the prior (``AdapterPrior/contentHash``).
    package let prior: UInt64
    package let shape: AdapterShape
    /// Laid out like an adapter's; rows without a singular value are zero.
    let parameters: AlignedStorage<Float>
    /// How many rows have a singular value.
    let rows: Int

    /// - Throws: ``LoRAError`` as ``LoRAAdapter/init(shape:identity:startingFrom:)``.
    package init(_ prior: AdapterPrior, shape: AdapterShape) throws(LoRAError) {
        guard prior.dimension == shape.dimension else {
            throw LoRAError(
                .shapeMismatch, "warm start",
                "the prior has dimension \(prior.dimension), the adapter \(shape.dimension)")
        }
        guard shape.hasBias || prior.bias.allSatisfy({ $0 == 0 }) else {
            throw LoRAError(
                .unsupported, "warm start", "the prior has a bias and the adapter none: give its shape one")
        }
        self.prior = prior.contentHash
        self.shape = shape
        let kept = min(shape.rank, prior.rank)
        let d = shape.dimension
        let rows = prior.singularValues.prefix(kept).prefix { $0 > 0 }.count
        let energy = prior.singularValues.prefix(rows).reduce(0.0) { $0 + Double($1) }
        // On average over x in the span of V, ‖A·x‖² is c²·Σσ/rows; that of as many cold rows is rows·bound²/3.
        let bound = Double(shape.coldBound)
        let c = max(1, energy > 0 ? Double(rows) * bound / (3 * energy).squareRoot() : 1)
        let parameters = AlignedStorage<Float>(count: shape.parameterCount)
        parameters.withBuffer { all in
            for k in 0..<rows {
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
        self.parameters = parameters
        self.rows = rows
    }

    /// One that was computed before, and kept.
    init(prior: UInt64, shape: AdapterShape, parameters: AlignedStorage<Float>, rows: Int) {
        self.prior = prior
        self.shape = shape
        self.parameters = parameters
        self.rows = rows
    }

    /// Whether it is the identity: nothing to start from.
    var isZero: Bool { parameters.withBuffer { Kernels.squaredNorm($0) } == 0 }
}

extension LoRAAdapter {
    /// A warm start: an adapter whose product is the prior's, balanced between the factors.
    ///
    /// ```text
    /// A = c·√σ·V        B = √σ·U / (c·scale)        c = max(1, c₀)
    /// ```
    ///
    /// with c₀ such that, for x in the span of V, A·x is on average as long as a cold start's.
    /// A step moves the product by rate · scale² · ‖A·x‖² along the output, and embeddings lie along V, not spread over all
    /// directions as for a random A: an A as long as a cold one would multiply the rate. With c = 1 alone a small prior would
    /// hold the rate down.
    ///
    /// Directions without a singular value are free: A random as in a cold start, B zero. A prior of higher rank than the shape
    /// is cut to its first directions. A prior that is zero gives a cold start. What fades (``UpdateConfiguration/fading``)
    /// fades towards this start, not towards the identity.
    ///
    /// - Parameters:
    ///   - shape: The adapter's shape.
    ///   - identity: Keys the random numbers.
    ///   - prior: The product to start from, of the shape's dimension.
    /// - Throws: ``LoRAError``: `shapeMismatch` for another dimension, `unsupported` where the shape has no bias and the prior's
    ///   is not zero, `nonFinite` for a prior beyond the range of Float.
    public init(shape: AdapterShape, identity: AdapterIdentity, startingFrom prior: AdapterPrior) throws(LoRAError) {
        self.init(identity: identity, startingFrom: try WarmStart(prior, shape: shape))
    }

    /// The same from a start that is shared.
    package init(identity: AdapterIdentity, startingFrom start: WarmStart) {
        self.init(shape: start.shape, identity: identity)
        guard !start.isZero else { return }
        let warm = start.rows * shape.dimension
        parameters.withBuffer { all in
            start.parameters.withBuffer { values in
                // The other rows of A stay as in a cold start.
                all.slice(0..<warm).copy(from: values.slice(0..<warm))
                let rest = shape.upRange.lowerBound..<shape.parameterCount
                all.slice(rest).copy(from: values.slice(rest))
            }
        }
        self.start = start
    }
}
