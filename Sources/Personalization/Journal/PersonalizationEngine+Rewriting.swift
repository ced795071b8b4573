internal import LoRA

// Adapters made again from changed entries: without a piece of feedback, or from another start.

/// All that a journal has of a user, and the adapter that there is.
struct JournalledLife: Sendable {
    var user: String
    var base: StoredAdapter?
    /// By version.
    var entries: [JournalEntry]
    var current: LoRAAdapter?
}

extension PersonalizationEngine {
    /// In the user's line, with the adapter loaded.
    func life(of user: String, _ shard: Shard, _ hub: JournalHub) async throws -> JournalledLife {
        JournalledLife(
            user: user, base: try await hub.journal.base(of: user),
            entries: try await hub.journal.entries(of: user, after: nil),
            current: shard.withLock { $0.withSlot(user) { $0.adapter } ?? nil })
    }

    /// What the journal gives must be what there is, or something would be lost that it does not know of.
    ///
    /// - Throws: ``EngineError`` (`notRetained`).
    func check(_ life: JournalledLife, _ current: LoRAAdapter, _ operation: String, _ hub: JournalHub) async throws {
        let whole = try await hub.replayer.replay(life.entries[...], onto: life.base?.adapter).adapter
        guard whole?.snapshot() == current.snapshot() else {
            throw EngineError(
                .notRetained, operation,
                "the adapter has learned what is not in the journal: it cannot be made again without it",
                user: life.user)
        }
    }

    /// Makes a user's adapter again from changed entries, and keeps both.
    ///
    /// - Parameters:
    ///   - entries: All of them; the last is the correction.
    ///   - rewriting: How the journal gets there, from the correction and the new adapter.
    /// - Returns: The adapter's version.
    func rewrite(
        _ life: JournalledLife, as entries: [JournalEntry], _ operation: String, _ shard: Shard, _ hub: JournalHub,
        _ rewriting: (JournalEntry, StoredAdapter) -> JournalRewriting
    ) async throws -> UInt64 {
        let user = life.user
        let made = try await hub.replayer.replay(entries[...], onto: life.base?.adapter, of: entries).adapter
        guard let adapter = made, let correction = entries.last else {
            throw EngineError(.damagedJournal, operation, "the entries make no adapter", user: user)
        }
        let record = StoredAdapter(
            user: user, embeddingModel: fixed.embeddingModel, adapter: adapter, isJournalled: true)
        // A store that is not the journal gets the adapter first: its old one has seen what is forgotten.
        if store as AnyObject !== hub.journal as AnyObject {
            try await storing(operation, user: user) { try await store.save([record]) }
        }
        try await hub.journal.rewrite(rewriting(correction, record))
        hub.forgetReplayed([user])
        shard.withLock { state in
            _ = state.withSlot(user) { slot in
                slot.adapter = adapter
                slot.memory = nil
                slot.isUnsaved = false
                slot.unsavedEntries = 0
            }
        }
        return adapter.version
    }
}
