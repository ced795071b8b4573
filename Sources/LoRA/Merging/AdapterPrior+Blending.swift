internal import TensorCore

extension AdapterPrior {
    /// Blends priors: `M = Σ w_p·M_p / Σ w_p`, truncated to the best product of a rank. The biases are blended alike.
    ///
    /// Products are blended, never vectors of a decomposition. Nothing is shrunk: each prior was when it was merged.
    /// Laws: one prior is reproduced; the order does not matter; equal priors blend to themselves; it is linear in the
    /// weights before truncation.
    ///
    /// - Parameters:
    ///   - priors: Of one dimension, of any ranks, with finite weights that do not sum to zero.
    ///   - rank: The rank to keep, 1...min(256, dimension).
    /// - Throws: ``LoRAError``: `undefinedMerge` without priors or with weights that sum to zero; `shapeMismatch`
    ///   naming the prior of another dimension; `nonFinite`; `invalidShape` for the rank; `unsupported` as in merging
    ///   adapters.
    /// - Complexity: O(R²·d + R³) for ranks that add up to R < d; O(R·d² + d³) otherwise.
    ///
    /// ``shrinkage`` is the weighted mean of the priors', ``donors`` their sum (who gave to two counts twice), and
    /// ``discardedTail`` what this truncation left out.
    public init(blending priors: [(prior: AdapterPrior, weight: Double)], rank: Int) throws(LoRAError) {
        guard let first = priors.first?.prior else { throw LoRAError(.undefinedMerge, "blend", "no priors were given") }
        let d = first.dimension
        guard rank >= 1, rank <= min(AdapterShape.highestRank, d) else {
            throw LoRAError(.invalidShape, "blend", "rank \(rank) is not in 1...\(min(AdapterShape.highestRank, d))")
        }
        for (i, term) in priors.enumerated() {
            guard term.prior.dimension == d else {
                throw LoRAError(
                    .shapeMismatch, "blend", "the prior has dimension \(term.prior.dimension), the first one \(d)",
                    position: i)
            }
            guard term.weight.isFinite else {
                throw LoRAError(.nonFinite, "blend", "the weight is \(term.weight)", position: i)
            }
        }
        let sum = priors.reduce(0.0) { $0 + $1.weight }
        guard sum.isFinite else { throw LoRAError(.nonFinite, "blend", "the weights sum to \(sum): scale them down") }
        guard sum != 0 else { throw LoRAError(.undefinedMerge, "blend", "the weights sum to zero") }
        let weights = priors.map { $0.weight / sum }
        let terms = priors.map(\.prior)
        var bias = [Double](repeating: 0, count: d)
        for (term, weight) in zip(terms, weights) {
            for i in bias.indices { bias[i] += weight * Double(term.bias[i]) }
        }
        var product = ProductSum(dimension: d, operation: "blend")
        for (i, term) in terms.enumerated() {
            do throws(LoRAError) { try product.add(term, weight: weights[i]) } catch { throw error.at(i) }
        }
        self.init(
            try product.decomposed(), dimension: d, rank: rank, rho: 1, bias: bias.map { Float($0) },
            donors: terms.reduce(0) { $0 + $1.donors },
            shrinkage: zip(terms, weights).reduce(0.0) { $0 + $1.1 * $1.0.shrinkage })
        guard singularValues.allSatisfy(\.isFinite), self.bias.allSatisfy(\.isFinite), discardedTail.isFinite else {
            throw LoRAError(.nonFinite, "blend", "the sum is beyond the range of Float: scale the weights down")
        }
    }

    /// Whether the prior is the zero product without a bias, from which a start is a cold one.
    package var isZero: Bool { singularValues.allSatisfy { $0 == 0 } && bias.allSatisfy { $0 == 0 } }
}
