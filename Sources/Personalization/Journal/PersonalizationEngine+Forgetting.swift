internal import LoRA
public import Reasoning
internal import TensorCore

/// What was removed when a user was forgotten.
public struct ForgettingReceipt: Sendable {
    /// Whether there was an adapter, in memory, store or journal.
    public var hadAdapter: Bool
    /// The journal's entries that were removed.
    public var entries: Int
    /// Whether their bytes are gone from the journal's file as well; if not, ``PersonalizationEngine/eraseForgotten()`` tries again.
    public var isErased = true
    /// What the connected bank removed; `nil` without one.
    public var bank: ForgettingReport?
    /// The priors that were merged from the user's adapter, as far as the journal knows; those that were stale before too. Empty when
    /// a call that failed half-way had removed the user already: see ``PersonalizationEngine/stalePriors()``.
    public var stalePriors: [StalePrior] = []
    /// The users who had started from stale priors, these or others before, and were made again without them, where
    /// ``EngineConfiguration/replaysStarters`` asks for that.
    public var starters = StarterReplay()
}

/// What was removed when a piece of feedback was forgotten.
public struct FeedbackReceipt: Sendable, Hashable {
    /// The user.
    public var user: String
    /// The version of the adapter that first knew the feedback.
    public var learnedAt: UInt64
    /// The version of the adapter that never saw it.
    public var version: UInt64
    /// The entries that were replayed.
    public var replayed: Int
    /// Whether its bytes are gone from the journal's file as well; if not, ``PersonalizationEngine/eraseForgotten()`` tries again.
    public var isErased: Bool
    /// The priors that were merged from an adapter of the user that had learned the feedback, as far as the journal knows; those that
    /// were stale before too.
    public var stalePriors: [StalePrior] = []
}

extension PersonalizationEngine {
    /// Forgets a user: adapter, stored adapter, the journal's entries, and all that the connected bank has of them; every skill
    /// that they gave to is made again without them, and every prior that was merged from their adapter
    /// (``mergeAdapters(_:normalizing:shrinkage:)``) is stale from now on: the receipt lists who started from it, or, with
    /// ``EngineConfiguration/replaysStarters``, makes the adapters of those who did again without it. With a journal the user stays
    /// forgotten: late or imported feedback of theirs is refused with ``EngineError`` (`forgottenUser`), until ``readmit(_:)``.
    ///
    /// Episodes on their way are caught, to banks that were exchanged or disconnected too. What such a bank holds already is not
    /// reached: connect it and forget again.
    ///
    /// - Throws: ``EngineError`` as ``removeAdapter(for:)``; what the bank throws; ``ReasoningError`` (`timedOut`) when a bank
    ///   does not come back from storing one of the user's episodes; `CancellationError`. What was removed until then stays
    ///   removed; call again.
    @discardableResult
    public func forget(_ user: String) async throws -> ForgettingReceipt {
        let removed = try await apartFromMerging { try await remove(user, settling: false, isForgotten: true) }
        var receipt = ForgettingReceipt(hadAdapter: removed.hadAdapter, entries: removed.entries)
        receipt.stalePriors = removed.priors
        receipt.isErased = await isErased()
        let digest = reasoning.digestKey.digest(of: user)
        let connection = reasoning.connection
        var queued = 0
        for queue in reasoning.queues { queued += try await queue.forget(digest) }
        guard let connection else { return try await replaying(receipt) }
        // What others were told may rest on this user.
        connection.clearCache()
        let donors = try await donors()
        var report = try await connection.call("forget") { try await $0.forget(digest, donors: donors) }
        report.episodes += queued
        connection.clearCache()
        reasoning.forgetStarts()
        receipt.bank = report
        return try await replaying(receipt)
    }

    /// With the users who had started from what is stale made again, where that is wanted.
    private func replaying(_ receipt: ForgettingReceipt) async throws -> ForgettingReceipt {
        guard fixed.replaysStarters else { return receipt }
        // Those that a call before left too, as it failed half-way.
        let stale = try await stalePriors()
        if stale.isEmpty { return receipt }
        var receipt = receipt
        receipt.starters = try await replayStarters(of: stale, after: receipt.bank)
        receipt.isErased = await isErased()
        return receipt
    }

    /// Makes sure that the bytes of what was forgotten are gone from the journal's file, where a receipt said that they are not yet.
    ///
    /// - Throws: ``EngineError`` (`journalFailed`) while somebody reads the file: call again.
    public func eraseForgotten() async throws {
        guard let hub = journalHub else { return }
        try await reportingFailures { try await journalling("eraseForgotten", nil) { try await hub.journal.erase() } }
    }

    /// Whether the bytes of what was removed are gone; where not, that was reported.
    func isErased() async -> Bool {
        do {
            try await eraseForgotten()
            return true
        } catch {
            // Reported: what was asked for is done, and the receipt says what is left.
            return false
        }
    }

    /// Lets a forgotten user be known again, from nothing.
    ///
    /// - Returns: Whether the user was forgotten; `false` without a journal.
    @discardableResult
    public func readmit(_ user: String) async throws -> Bool {
        guard let hub = journalHub else { return false }
        return try await reportingFailures {
            try Self.check(user, "readmit")
            return try await withLine(user, "readmit") { _ in
                try await journalling("readmit", user) { try await hub.journal.readmit(user) }
            }
        }
    }

    /// Forgets one piece of feedback of a user: the adapter becomes, to the bit, the one that never saw it; only the version rises
    /// by one. The id stays refused, so that the same event does not come back. Priors that were merged from an adapter which had
    /// learned it are stale from now on.
    ///
    /// - Parameters:
    ///   - id: The name that was given to the update.
    ///   - user: Whose it was.
    ///   - sample: Which of the update's batch is to go; all of it by default.
    /// - Throws: ``EngineError``: `unknownFeedback`; `notRetained` where the journal no longer reaches back to the feedback
    ///   (``EngineConfiguration/retention``), or to the beginning of the user's adapter; `invalidConfiguration` without a journal; `journalFailed`, `damagedJournal`.
    ///   Nothing was changed then.
    /// - Complexity: That of all of the user's updates, twice.
    @discardableResult
    public func forgetFeedback(
        _ id: FeedbackID, of user: String, sample: Int? = nil
    ) async throws -> FeedbackReceipt {
        guard let hub = journalHub else {
            throw EngineError(
                .invalidConfiguration, "forgetFeedback", "only an engine with a journal can forget feedback")
        }
        return try await reportingFailures {
            try Self.check(user, "forgetFeedback")
            return try await apartFromMerging {
                try await withLine(user, "forgetFeedback") { shard in
                    try await load(user, "forgetFeedback", shard)
                    return try await storeGate.pass {
                        try await journalling("forgetFeedback", user) {
                            try await forgetInTurn(id, user, sample, shard, hub)
                        }
                    }
                }
            }
        }
    }

    private func forgetInTurn(
        _ id: FeedbackID, _ user: String, _ sample: Int?, _ shard: Shard, _ hub: JournalHub
    ) async throws -> FeedbackReceipt {
        func refuse(_ code: EngineError.Code, _ message: String) -> EngineError {
            EngineError(code, "forgetFeedback", message, user: user)
        }
        let life = try await life(of: user, shard, hub)
        guard let index = life.entries.firstIndex(where: { $0.id == id }) else {
            // An adapter without entries or base has come from somewhere else.
            if life.base != nil || (life.entries.isEmpty && life.current != nil) {
                throw refuse(.notRetained, "the journal has no such feedback, and does not reach back to the beginning")
            }
            throw refuse(.unknownFeedback, "the user has no feedback with this id")
        }
        guard let current = life.current, let last = life.entries.last else {
            throw refuse(.unknownFeedback, "the user has no adapter")
        }
        try await check(life, current, "forgetFeedback", hub)
        let removed = life.entries[index]
        let replacement = try await replacement(of: removed, without: sample, hub)
        var rest = life.entries
        if let replacement { rest[index] = replacement } else { rest.remove(at: index) }
        let action = JournalAction(configuration: hub.configuration.hash, kind: .correction)
        rest.append(
            JournalEntry(
                user: user, version: current.version + 1, recordedAt: last.recordedAt, action: action.encoded()))
        try await hub.journal.keep(hub.configuration)
        let priors = try await priorsToBecomeStale(user, learnedAt: removed.version, isWhole: false, hub)
        let version = try await rewrite(life, as: rest, "forgetFeedback", shard, hub) { correction, adapter in
            JournalRewriting(removed: removed, replacement: replacement, correction: correction, adapter: adapter)
        }
        return FeedbackReceipt(
            user: user, learnedAt: removed.version, version: version, replayed: rest.count,
            isErased: await isErased(), stalePriors: priors)
    }

    /// What stays of an entry when its feedback goes: the rest of its batch, and the making of the adapter if it did that.
    private func replacement(of entry: JournalEntry, without sample: Int?, _ hub: JournalHub) async throws
        -> JournalEntry?
    {
        let action = try JournalAction(encoded: entry.action)
        guard case .update(var update) = action.kind else { return nil }
        var entry = entry
        if let sample {
            let rest = try EncodedFeedback.bytes(
                update.feedback, removing: sample, dimension: shape.dimension,
                catalogues: try await hub.replayer.catalogues(of: update))
            guard let rest else {
                throw EngineError(
                    .unknownFeedback, "forgetFeedback", "the update has no sample \(sample)", user: entry.user,
                    position: sample)
            }
            if !rest.isEmpty {
                update.feedback = rest
                entry.action = JournalAction(configuration: action.configuration, kind: .update(update)).encoded()
                return entry
            }
        }
        guard let start = update.start else { return nil }
        entry.id = nil
        entry.action = JournalAction(configuration: action.configuration, kind: .create(start)).encoded()
        return entry
    }
}
