public import LoRA

extension PersonalizationEngine {
    /// Merges users' adapters into a prior that others can start from (``createAdapter(for:startingFrom:)``).
    ///
    /// The adapters are those of one moment each; they are not changed. What a user's adapter contributed stays in the prior
    /// after that adapter is removed.
    ///
    /// With a journal the donors and the versions of their adapters are recorded here, not when somebody starts from the prior:
    /// only here are they known, a prior may first be used by another process, and a donor may be forgotten before that. A prior
    /// whose donor, or feedback that it contains, is forgotten is *stale*: receipts name it, and new users can't start from it.
    /// Of a prior that was merged, or blended with others, elsewhere than here the journal knows no donors. Those of a donor's own
    /// start are not followed.
    ///
    /// - Parameters:
    ///   - weights: The donors with their weights; negative ones push away.
    ///   - normalizing: Whether the weights are divided by their sum.
    ///   - shrinkage: How far the result is drawn towards zero; by default as far as the donors disagree.
    /// - Returns: The prior, of the engine's rank.
    /// - Throws: ``EngineError``: `unknownUser` naming a donor without an adapter, `refusedMerge` with the reason, naming the
    ///   donor concerned if it is one, `journalFailed` where the donors cannot be recorded, and what loading throws.
    /// - Complexity: As ``AdapterMerger``: adapters are added one after another, in the order of the donors' ids, so that the
    ///   same donors give the same prior.
    public func mergeAdapters(
        _ weights: [String: Double], normalizing: Bool = true, shrinkage: AdapterPrior.Shrinkage = .estimated
    ) async throws -> AdapterPrior {
        try await reportingFailures {
            try await apartFromMerging {
                let (prior, donors) = try await merged(weights, normalizing, shrinkage)
                try await record(donors, of: prior)
                return prior
            }
        }
    }

    private func merged(
        _ weights: [String: Double], _ normalizing: Bool, _ shrinkage: AdapterPrior.Shrinkage
    ) async throws -> (prior: AdapterPrior, donors: [PriorDonor]) {
        let donors = weights.sorted { UserKey($0.key) < UserKey($1.key) }
        var versions: [PriorDonor] = []
        do {
            var merger = try AdapterMerger(dimension: shape.dimension)
            for (user, weight) in donors {
                guard let adapter = try await adapter(for: user, "mergeAdapters") else {
                    throw EngineError(.unknownUser, "mergeAdapters", "a donor has no adapter", user: user)
                }
                try merger.add(adapter, weight: weight)
                versions.append(PriorDonor(user: user, version: adapter.version))
            }
            let prior = try merger.merged(rank: shape.rank, normalizing: normalizing, shrinkage: shrinkage)
            return (prior, versions)
        } catch let error as LoRAError {
            // The position among the donors says nothing to a caller who gave them without an order; their id does.
            throw EngineError(
                .refusedMerge, "mergeAdapters", error.message, user: error.position.map { donors[$0].key },
                cause: error)
        }
    }
}
