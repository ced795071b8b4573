public import LoRA

extension PersonalizationEngine {
    /// Whether a prior contains what was forgotten since it was merged, so that no new user may start from it.
    ///
    /// Known of priors that were merged by an engine with this journal, in any process; of others nobody knows, and the answer is
    /// `false`, as without a journal.
    ///
    /// - Throws: ``EngineError`` (`journalFailed`).
    /// - Complexity: O(rank · dimension).
    public func isStale(_ prior: AdapterPrior) async throws -> Bool {
        guard let hub = journalHub else { return false }
        let hash = content(prior).hash
        return try await reportingFailures {
            try await journalling("isStale", nil) { try await hub.journal.isStale(hash) }
        }
    }

    /// Merging and forgetting never overlap: what is merged was there before, and is marked stale, or was never seen. Before a
    /// user's line, never in it.
    func apartFromMerging<R>(_ body: () async throws -> R) async throws -> R {
        guard let hub = journalHub else { return try await body() }
        return try await hub.merging.pass(body)
    }

    /// Records whose adapters a prior was merged from.
    func record(_ donors: [PriorDonor], of prior: AdapterPrior) async throws {
        guard let hub = journalHub, prior.holdsAnything else { return }
        let hash = content(prior).hash
        try await journalling("mergeAdapters", nil) { try await hub.journal.recordDonors(donors, of: hash) }
    }

    /// Records that a user without an adapter is about to start from a prior, in the user's line.
    ///
    /// - Throws: ``EngineError``: `stalePrior`; `journalFailed`.
    func recordStart(of user: String, from prior: AdapterPrior, _ shard: Shard) async throws {
        if shard.withLock({ $0.withSlot(user) { $0.adapter != nil } ?? false }) { return }
        guard try await recordsStart(of: user, from: prior, "createAdapter") else {
            throw EngineError(
                .stalePrior, "createAdapter",
                "the prior contains what was forgotten since: merge adapters again, and start from the result",
                user: user)
        }
    }

    /// Records that a user is about to start from a prior, in the user's line.
    ///
    /// - Returns: Whether they may: not from a stale one.
    /// - Throws: ``EngineError`` (`journalFailed`).
    func recordsStart(of user: String, from prior: AdapterPrior, _ operation: String) async throws -> Bool {
        guard let hub = journalHub else { return true }
        let hash = content(prior).hash
        return try await journalling(operation, user) { try await hub.journal.recordStart(of: user, from: hash) }
    }

    /// The priors that contain what is about to be forgotten.
    ///
    /// - Parameters:
    ///   - version: The version at which the feedback was learned; 0 for all of the user.
    ///   - isWhole: Whether the user goes as well, and is no reader of a prior any more.
    func priorsToBecomeStale(
        _ user: String, learnedAt version: UInt64, isWhole: Bool, _ hub: JournalHub
    ) async throws -> [StalePrior] {
        try await StalePrior.all(
            in: try await hub.journal.priors(from: user), learnedAt: version, without: isWhole ? user : nil,
            present: presentUsers)
    }
}

extension AdapterPrior {
    /// Whether there is anything of anybody in it: of adapters that never learned there is not. Where donors disagree entirely the
    /// product is shrunk to zero, but its directions are theirs and stand in the bytes.
    fileprivate var holdsAnything: Bool {
        !isZero || (left + right).contains { $0.contains { $0 != 0 } }
    }
}
