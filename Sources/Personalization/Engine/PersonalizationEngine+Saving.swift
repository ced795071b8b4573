internal import LoRA

extension PersonalizationEngine {
    /// Saves every adapter that has changed since the last checkpoint to the store.
    ///
    /// Until then an update lives in this process's memory alone.
    ///
    /// What cannot be saved holds up nothing else: the store gets one call a shard, and when it refuses a stale version, one for
    /// each adapter of that shard.
    ///
    /// With ``JournalRetention/days(_:)`` the first checkpoint, and once an hour a later one, removes old entries from the journal
    /// (``applyRetention()``). What fails there is logged and not thrown.
    ///
    /// - Returns: How many adapters were saved.
    /// - Throws: ``EngineError`` (`storeFailed`, `staleVersion`), the first of them when there are several (all are logged);
    ///   the adapters concerned stay unsaved, all others are saved.
    @discardableResult
    public func checkpoint() async throws -> Int {
        let (saved, failure) = try await saveUnsaved()
        // After the gate: users' lines come before it.
        await applyRetentionIfDue()
        if let failure { throw failure }
        return saved
    }

    /// Saves every adapter that has changed.
    ///
    /// - Returns: How many were saved, and the first failure; all of them are reported.
    /// - Throws: `CancellationError`.
    func saveUnsaved() async throws -> (saved: Int, failure: EngineError?) {
        try await storeGate.pass {
            journalHub?.beginCheckpoint()
            var saved = 0
            var firstFailure: EngineError?
            for shard in allShards {
                let records = shard.withLock { state in
                    var records: [StoredAdapter] = []
                    state.forEach { slot in
                        guard slot.isUnsavedVisibly, let adapter = slot.visible else { return }
                        records.append(
                            StoredAdapter(
                                user: slot.user, embeddingModel: fixed.embeddingModel, adapter: adapter,
                                isJournalled: isJournalling))
                    }
                    return records
                }
                if records.isEmpty { continue }
                let done = try await save(records, from: shard, "checkpoint")
                saved += done.saved
                firstFailure = firstFailure ?? done.failure
            }
            return (saved, firstFailure)
        }
    }

    /// Saves what can be saved: in one call, and one by one where the store refuses a stale version among them.
    ///
    /// - Returns: How many were saved, and the first failure; all of them are reported.
    /// - Throws: `CancellationError`.
    func save(
        _ records: [StoredAdapter], from shard: Shard, _ operation: String
    ) async throws -> (saved: Int, failure: EngineError?) {
        do {
            try await saveAll(records, from: shard, operation)
            return (records.count, nil)
        } catch let failure as EngineError where failure.concernsOneUser && records.count > 1 {
            var all: (saved: Int, failure: EngineError?) = (0, nil)
            for record in records {
                let one = try await save([record], from: shard, operation)
                all = (all.saved + one.saved, all.failure ?? one.failure)
            }
            return all
        } catch let failure as EngineError {
            report(failure)
            return (0, failure)
        }
    }

    private func saveAll(_ records: [StoredAdapter], from shard: Shard, _ operation: String) async throws {
        try await give(records, operation, user: nil)
        if let hub = journalHub, isJournalling, hub.retention == .untilCheckpoint {
            for record in records {
                try await journalling(operation, record.user) { try await hub.journal.trim(record) }
            }
        }
        noteSaved(records, shard)
    }

    /// Gives adapters to the store, all or none of them.
    func give(_ records: [StoredAdapter], _ operation: String, user: String?) async throws {
        try await storing(operation, user: user) {
            var records = records
            if let replayed = journalHub?.replayed(before: records), !replayed.isEmpty {
                try await store.save(Array(replayed.values))
                // Who has learned nothing since is saved, and keeps their entries.
                records.removeAll { $0.adapter.version == replayed[UserKey($0.user)]?.adapter.version }
            }
            try await store.save(records)
        }
        journalHub?.forgetReplayed(records.map(\.user))
    }

    /// Notes that the store has these adapters.
    func noteSaved(_ records: [StoredAdapter], _ shard: Shard) {
        shard.withLock { state in
            for record in records {
                _ = state.withSlot(record.user) { slot in
                    // An update since then has yet to be saved.
                    let version = slot.adapter?.version ?? 0
                    if version == record.adapter.version { slot.isUnsaved = false }
                    let left = version - min(record.adapter.version, version)
                    slot.unsavedEntries = min(slot.unsavedEntries, UInt32(clamping: left))
                }
            }
        }
    }
}

extension EngineError {
    /// Whether a store refused one user's adapter, so that it may take others'.
    var concernsOneUser: Bool { code == .staleVersion || (cause as? EngineError)?.user != nil }
}
