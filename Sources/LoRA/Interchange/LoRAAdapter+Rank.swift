internal import TensorCore

extension LoRAAdapter {
    /// An adapter of another rank, and what the change cost.
    public struct RankChange: Sendable {
        /// The adapter of the new rank.
        public let adapter: LoRAAdapter
        /// The Frobenius norm of what was left out of scale · B·A: √Σ σᵢ² over i > rank; 0 for a rank that is not
        /// lower.
        public let discardedTail: Double
        /// ``discardedTail`` over the norm of scale · B·A before; 0 for a map without one.
        public let relativeError: Double
    }

    /// The same map under another rank, as near as that rank allows.
    ///
    /// A higher rank keeps A and B to the bit and adds free directions: rows of A as a cold start draws them, rows of B
    /// that are zero. A lower one merges the product into the new rank (``AdapterPrior``): the best product of that
    /// rank, balanced between the factors as in a warm start. The scale stays, so alpha changes with the rank, and so
    /// do bias, identity, updates counted so far, and what a schedule remembers of the loss. The version rises by one.
    ///
    /// What the factors are to each other is another thing afterwards, so what belongs to them is dropped: the
    /// optimizer's state, the protection (``consolidate()`` starts it anew), and the weights of reads with an adapter
    /// that was set aside. What the adapter started from is carried over, so that it fades towards the same map, for a
    /// lower rank as near as A still reaches it.
    ///
    /// - Parameter rank: 1...min(256, dimension).
    /// - Throws: ``LoRAError``: `invalidShape` for the rank, or where alpha would leave its range; `unsupported` as
    ///   in merging adapters; `nonFinite` where numbers leave the range of Float.
    /// - Complexity: O(rank² · dimension), with the larger of the two ranks.
    public func changed(rank: Int) throws(LoRAError) -> RankChange {
        let ratio = Double(rank) / Double(shape.rank)
        let alpha = Double(shape.alpha) * (shape.scaling == .standard ? ratio : max(0, ratio).squareRoot())
        // A rank of zero or less would make alpha the culprit.
        let shape = try AdapterShape(
            dimension: shape.dimension, rank: rank, alpha: rank < 1 ? nil : Float(alpha), scaling: shape.scaling,
            hasBias: shape.hasBias, normalizesOutput: shape.normalizesOutput)
        if rank >= self.shape.rank {
            return RankChange(adapter: widened(to: shape), discardedTail: 0, relativeError: 0)
        }
        let prior = try merged(into: rank)
        let warm = try WarmStart(prior, shape: shape)
        var adapter = successor(LoRAAdapter(identity: identity, startingFrom: warm))
        adapter.start = start.map { projected($0, onto: adapter, rows: warm.rows) }
        let norm = productNorm
        return RankChange(
            adapter: adapter, discardedTail: prior.discardedTail,
            relativeError: norm > 0 ? prior.discardedTail / norm : 0)
    }

    /// The product alone: a normalised output comes after it and is no part of the merge.
    private func merged(into rank: Int) throws(LoRAError) -> AdapterPrior {
        let plain = LoRAAdapter(
            shape: try AdapterShape(
                dimension: shape.dimension, rank: shape.rank, alpha: shape.alpha, scaling: shape.scaling,
                hasBias: shape.hasBias),
            identity: identity, version: version, steps: steps, parameters: parameters)
        return try AdapterPrior(merging: [(plain, 1)], rank: rank, normalizing: false, shrinkage: .none)
    }

    private func widened(to shape: AdapterShape) -> LoRAAdapter {
        let old = self.shape.rank * shape.dimension
        func copy(_ source: FloatBuffer, to target: FloatBuffer) {
            target.slice(0..<old).copy(from: source.slice(0..<old))
            target.slice(shape.upRange).slice(0..<old).copy(from: source.slice(self.shape.upRange))
            if shape.hasBias { target.slice(shape.biasRange).copy(from: source.slice(self.shape.biasRange)) }
        }
        let adapter = LoRAAdapter(shape: shape, identity: identity)
        parameters.withBuffer { source in adapter.parameters.withBuffer { copy(source, to: $0) } }
        var result = successor(adapter)
        result.start = start.map { start in
            let parameters = AlignedStorage<Float>(count: shape.parameterCount)
            start.parameters.withBuffer { source in parameters.withBuffer { copy(source, to: $0) } }
            return WarmStart(prior: start.prior, shape: shape, parameters: parameters, rows: start.rows)
        }
        return result
    }

    /// `other` as what comes after this adapter.
    func successor(_ other: LoRAAdapter) -> LoRAAdapter {
        var result = other
        result.version = version + 1
        result.steps = steps
        result.plateau = plateau
        return result
    }

    /// The start in terms of another A: fading draws B to the start's, under the A that is there. So B' with B'ᵀ·A' ≈
    /// Bᵀ·A, which for rows of A' that are orthogonal is B'ₖ = Σ (A'ₖ·Aₗ / ‖A'ₖ‖²)·Bₗ, here over the rows that were
    /// merged.
    private func projected(_ start: WarmStart, onto adapter: LoRAAdapter, rows: Int) -> WarmStart {
        let (shape, d) = (adapter.shape, adapter.shape.dimension)
        let parameters = AlignedStorage<Float>(count: shape.parameterCount)
        parameters.withBuffer { new in
            adapter.parameters.withBuffer { new.slice(0..<(rows * d)).copy(from: $0.slice(0..<(rows * d))) }
            self.parameters.withBuffer { old in
                start.parameters.withBuffer { source in
                    for k in 0..<rows {
                        let a = new.slice((k * d)..<((k + 1) * d))
                        let target = new.slice(shape.upRange).slice((k * d)..<((k + 1) * d))
                        let norm = Kernels.squaredNorm(a)
                        guard norm.isNormal else { continue }
                        for l in 0..<self.shape.rank {
                            let share = Kernels.dot(a, old.slice((l * d)..<((l + 1) * d))) / norm
                            Kernels.axpy(
                                share, source.slice(self.shape.upRange).slice((l * d)..<((l + 1) * d)), to: target)
                        }
                    }
                    if shape.hasBias { new.slice(shape.biasRange).copy(from: source.slice(self.shape.biasRange)) }
                }
            }
        }
        return WarmStart(prior: start.prior, shape: shape, parameters: parameters, rows: rows)
    }
}
