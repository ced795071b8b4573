internal import TensorCore

/// Merges adapters one after another, without holding them: what ``AdapterPrior/init(merging:rank:normalizing:shrinkage:)`` does
/// with all at once, to the bit.
///
/// ```text
/// M = ρ·Σ w_u·s_u·B_u·A_u          added up in Float64, truncated by ``merged(rank:normalizing:shrinkage:)``
/// ```
///
/// Held are the sums alone, and the rows of the factors while there are fewer of them than the dimension d: at most 2·d² numbers
/// of eight bytes then, later d² + 512·d, whatever the number of donors; twice that once two weights differ, since
/// ``AdapterPrior/Shrinkage/estimated`` asks for the mean without weights. At d = 384 that is 2.8 MB.
///
/// The same donors in the same order give the same bytes on one machine; in another order the sums differ by rounding.
///
/// **Source.** Merging of the products and not of the factors: see ``AdapterPrior``. Of what is cut, Eckart & Young 1936.
public struct AdapterMerger: Sendable {
    /// The number of values of an embedding.
    public let dimension: Int
    /// The number of adapters added so far.
    public private(set) var donors = 0

    /// Σ s·B·A, without weights.
    private var plain: ProductSum
    private var plainBias: [Double]
    /// Σ w·s·B·A, from the moment on when two weights differ; until then it is the first weight times ``plain``.
    private var weighted: ProductSum?
    private var weightedBias: [Double]
    private var firstWeight = 0.0
    private var weightSum = 0.0
    /// Σ ‖s·B·A‖² and Σ ‖b‖².
    private var squares = 0.0
    private var biasSquares = 0.0

    /// A merge of nothing.
    ///
    /// - Parameter dimension: The dimension of the adapters to come, 1...65,536.
    /// - Throws: ``LoRAError`` (`invalidShape`).
    public init(dimension: Int) throws(LoRAError) {
        try self.init(dimension: dimension, largestFull: ProductSum.largestFull)
    }

    init(dimension: Int, largestFull: Int) throws(LoRAError) {
        guard AdapterShape.dimensions.contains(dimension) else {
            throw LoRAError(.invalidShape, "merge", "dimension \(dimension) is not in 1...65536")
        }
        self.dimension = dimension
        plain = ProductSum(dimension: dimension, operation: "merge", largestFull: largestFull)
        plainBias = Array(repeating: 0, count: dimension)
        weightedBias = plainBias
    }

    /// The Float64 numbers that are held.
    var heldNumbers: Int {
        plain.heldNumbers + (weighted?.heldNumbers ?? 0) + plainBias.count + weightedBias.count
    }

    /// Adds an adapter. It isn't kept.
    ///
    /// - Parameters:
    ///   - adapter: Of the merger's dimension, of any rank and scale.
    ///   - weight: Its weight, finite; a negative one pushes away.
    /// - Throws: ``LoRAError`` with the number of adapters added before as its position: `shapeMismatch` for another dimension;
    ///   `unsupported` for an adapter that normalises its output, and where the ranks come to add up to the dimension or more and
    ///   that is above 8,192; `nonFinite` for the weight. The merger is then as it was.
    /// - Complexity: O(rank·d) while the ranks add up to less than d; later O(rank·d²), in products of blocks.
    public mutating func add(_ adapter: LoRAAdapter, weight: Double = 1) throws(LoRAError) {
        func refusal(_ code: LoRAError.Code, _ message: String) -> LoRAError {
            LoRAError(code, "merge", message, position: donors)
        }
        guard adapter.shape.dimension == dimension else {
            throw refusal(
                .shapeMismatch, "the adapter has dimension \(adapter.shape.dimension) among those of \(dimension)")
        }
        guard !adapter.shape.normalizesOutput else {
            throw refusal(.unsupported, "the adapter normalises its output, so its map is no product")
        }
        guard weight.isFinite else { throw refusal(.nonFinite, "the weight is \(weight)") }
        if donors == 0 { firstWeight = weight }
        if weight != firstWeight && weighted == nil { weighted = plain.scaled(by: firstWeight) }
        do throws(LoRAError) {
            // Both sums have the same ranks: where the first takes the adapter, so does the second.
            try plain.add(adapter, weight: 1)
            try weighted?.add(adapter, weight: weight)
            squares += try plain.squaredNorm(ofLast: adapter.shape.rank)
        } catch {
            throw error.at(donors)
        }
        if let bias = adapter.bias {
            for (i, value) in bias.enumerated() {
                biasSquares += Double(value) * Double(value)
                plainBias[i] += Double(value)
                weightedBias[i] += weight * Double(value)
            }
        }
        weightSum += weight
        donors += 1
    }

    /// The prior of all adapters added so far; more may be added after that.
    ///
    /// - Parameters:
    ///   - rank: The rank to keep, 1...min(256, dimension).
    ///   - normalizing: Whether the weights are divided by their sum.
    ///   - shrinkage: How far M is drawn towards zero.
    /// - Throws: ``LoRAError``: `undefinedMerge` without donors or, when normalising, with weights that sum to zero;
    ///   `invalidShape` for the rank; `invalidConfiguration` for the shrinkage; `nonFinite`.
    /// - Complexity: O(R²·d + R³) for ranks that add up to R < d; O(d³) otherwise. Neither grows with the donors.
    public func merged(
        rank: Int, normalizing: Bool = true, shrinkage: AdapterPrior.Shrinkage = .estimated
    ) throws(LoRAError) -> AdapterPrior {
        guard donors > 0 else { throw LoRAError(.undefinedMerge, "merge", "no adapters were given") }
        let highest = min(AdapterShape.highestRank, dimension)
        guard rank >= 1, rank <= highest else {
            throw LoRAError(.invalidShape, "merge", "rank \(rank) is not in 1...\(highest)")
        }
        if case .factor(let factor) = shrinkage, !(factor >= 0 && factor <= 1) {
            throw LoRAError(.invalidConfiguration, "merge", "the shrinkage factor \(factor) is not in 0...1")
        }
        guard weightSum.isFinite else {
            throw LoRAError(.nonFinite, "merge", "the weights sum to \(weightSum): scale them down")
        }
        if normalizing, weightSum == 0 {
            throw LoRAError(
                .undefinedMerge, "merge", "the weights sum to zero, so they cannot be normalised: do not ask for it")
        }
        let (rho, biasRho) = try factors(of: shrinkage)
        let (sum, bias, scale) = weighted.map { ($0, weightedBias, 1) } ?? (plain, plainBias, firstWeight)
        let factor = normalizing ? scale / weightSum : scale
        let prior = AdapterPrior(
            try sum.scaled(by: factor).decomposed(), dimension: dimension, rank: rank, rho: rho,
            bias: bias.map { Float(biasRho * (factor * $0)) }, donors: donors)
        guard prior.isFinite, prior.discardedTail.isFinite else {
            throw LoRAError(.nonFinite, "merge", "the sum is beyond the range of Float: scale the weights down")
        }
        return prior
    }

    /// ρ of the products and of the biases: donors may agree on the one and not on the other.
    private func factors(of shrinkage: AdapterPrior.Shrinkage) throws(LoRAError) -> (Double, Double) {
        switch shrinkage {
        case .none: return (1, 1)
        case .factor(let factor): return (factor, factor)
        case .estimated:
            guard donors > 1 else { return (1, 1) }
            let n = Double(donors)
            return (
                estimate(squares, meanSquare: try plain.squaredNorm() / (n * n)),
                estimate(biasSquares, meanSquare: plainBias.reduce(0.0) { $0 + $1 * $1 } / (n * n))
            )
        }
    }

    /// ρ of ``AdapterPrior/Shrinkage/estimated``. Σ‖W_u − W̄‖² = Σ‖W_u‖² − n·‖W̄‖².
    private func estimate(_ squares: Double, meanSquare: Double) -> Double {
        let n = Double(donors)
        let spread = max(0, squares - n * meanSquare) / (n - 1)
        let signal = max(0, meanSquare - spread / n)
        return signal > 0 ? signal / (signal + spread / n) : 0
    }
}

extension LoRAAdapter {
    /// ‖A‖·‖B‖ with the scale, which bounds the product's norm, and the bias' norm; in Float64.
    package var productBound: Double {
        parameters.withBuffer { all in
            func norm(_ range: Range<Int>) -> Double {
                var sum = 0.0
                for i in range { sum += Double(all[i]) * Double(all[i]) }
                return sum.squareRoot()
            }
            let bias = shape.hasBias ? norm(shape.biasRange) : 0
            return norm(shape.downRange) * norm(shape.upRange) * Double(shape.scale) + bias
        }
    }
}
