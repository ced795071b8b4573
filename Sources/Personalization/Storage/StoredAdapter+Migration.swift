public import LoRA

extension StoredAdapter {
    /// A record that was changed, and what that cost.
    public struct Migration: Sendable {
        /// The record after the change.
        public let record: StoredAdapter
        /// The change of rank, where one was asked for.
        public let rankChange: LoRAAdapter.RankChange?
        /// How the adapter was carried to another embedding model, where that was asked for.
        public let transport: LoRAAdapter.Transport?
    }

    /// The record under another rank, embedding model or dimension.
    ///
    /// Embeddings of two models have nothing to do with each other, number by number, even where both have as many. So
    /// another model or dimension is refused unless an alignment is given: a map between the two, fitted to items that
    /// both have embedded. Look at its residual and at ``LoRAAdapter/Transport/scoreError`` before the result
    /// serves anyone.
    ///
    /// Each of the two changes raises the version by one; what they keep and drop is said at
    /// ``LoRAAdapter/changed(rank:)`` and ``LoRAAdapter/transported(by:)``. Without a change the record comes
    /// back as it is.
    ///
    /// - Parameters:
    ///   - rank: The new rank; `nil` for the same.
    ///   - embeddingModel: The new model's name; `nil` for the same.
    ///   - dimension: The new model's dimension; `nil` for the same, or for the alignment's.
    ///   - alignment: The map from the new model's embeddings to the old one's. For many users, one serves them all.
    /// - Throws: ``EngineError``: `modelMismatch` or `shapeMismatch` for another model or dimension without an
    ///   alignment, or with one that does not fit, naming both; `invalidConfiguration` for an alignment without a
    ///   model's name, or a rank out of range.
    public func migrated(
        rank: Int? = nil, embeddingModel: String? = nil, dimension: Int? = nil, alignment: EmbeddingAlignment? = nil
    ) throws(EngineError) -> Migration {
        let (model, shape) = (embeddingModel ?? self.embeddingModel, adapter.shape)
        let target = dimension ?? alignment?.newDimension ?? shape.dimension
        if let alignment {
            guard model != self.embeddingModel else {
                throw EngineError(
                    .invalidConfiguration, "migrate",
                    "an alignment was given, but no other embedding model than '\(model)': name the new one",
                    user: user)
            }
            guard alignment.oldDimension == shape.dimension, alignment.newDimension == target else {
                throw EngineError(
                    .shapeMismatch, "migrate",
                    "the alignment leads from dimension \(alignment.oldDimension) to \(alignment.newDimension); "
                        + "needed is one from \(shape.dimension) to \(target)", user: user)
            }
        } else {
            let remedy = "embed items again under the new model and give both, to fit an alignment"
            guard model == self.embeddingModel else {
                throw EngineError(
                    .modelMismatch, "migrate",
                    "the adapter learned with '\(self.embeddingModel)', and '\(model)' means other things; \(remedy)",
                    user: user)
            }
            guard target == shape.dimension else {
                throw EngineError(
                    .shapeMismatch, "migrate",
                    "the adapter has dimension \(shape.dimension), not \(target); \(remedy)", user: user)
            }
        }
        var result = self
        result.embeddingModel = model
        var (rankChange, transport): (LoRAAdapter.RankChange?, LoRAAdapter.Transport?)
        func changeRank() throws(LoRAError) {
            guard let rank, rank != shape.rank else { return }
            let change = try result.adapter.changed(rank: rank)
            result.adapter = change.adapter
            rankChange = change
        }
        do throws(LoRAError) {
            // A lower rank first: the new dimension may not hold the old one. A higher one last, for the same reason.
            let isLowered = rank.map { $0 < shape.rank } ?? false
            if isLowered { try changeRank() }
            if let alignment {
                let moved = try result.adapter.transported(by: alignment)
                result.adapter = moved.adapter
                transport = moved
            }
            if !isLowered { try changeRank() }
        } catch {
            throw EngineError(
                error.code == .invalidShape ? .invalidConfiguration : .shapeMismatch, "migrate", user: user,
                cause: error)
        }
        return Migration(record: result, rankChange: rankChange, transport: transport)
    }
}
