internal import LoRA

/// What a recovery did.
public struct RecoveryReport: Sendable, Hashable {
    /// The users whose saved adapters had not seen all of their entries.
    public var users = 0
    /// The entries that were replayed.
    public var entries = 0
    /// How long it took.
    public var duration = Duration.zero
}

extension PersonalizationEngine {
    /// A user's adapter as store and journal have it, and how many entries were replayed to it.
    func recovered(_ user: String, _ operation: String) async throws -> (record: StoredAdapter, entries: Int)? {
        if let known = await loadedAtOnce(user) {
            if let record = known.record { try check(record, of: user, operation) }
            if known.entries.isEmpty { return known.record.map { ($0, 0) } }
            return try await journalling(operation, user) {
                try await replayed(known.entries, onto: known.record, of: user, operation)
            }
        }
        var record: StoredAdapter?
        var isHealing = false
        do {
            record = try await storing(operation, user: user) { try await store.load(user) }
        } catch let error as EngineError where journalHub != nil && error.isDamage {
            // The journal has what the store has lost.
            report(error)
            isHealing = true
        }
        if let record { try check(record, of: user, operation) }
        guard let hub = journalHub else { return record.map { ($0, 0) } }
        return try await journalling(operation, user) {
            if record == nil { record = try await hub.journal.base(of: user) }
            let entries = try await hub.journal.entries(of: user, after: record?.adapter.version)
            if entries.isEmpty, !isHealing { return record.map { ($0, 0) } }
            return try await replayed(entries, onto: record, of: user, operation)
        }
    }

    /// What a store that is the journal too has of a user, in one look; `nil` for others, and where that fails: looking at both apart
    /// tells which of them did, and may do with the other.
    private func loadedAtOnce(_ user: String) async -> (record: StoredAdapter?, entries: [JournalEntry])? {
        guard let both = store as? any JournallingStore, let journal = journalHub?.journal,
            both as AnyObject === journal as AnyObject
        else { return nil }
        do { return try await both.loadWithEntries(user) } catch { return nil }
    }

    /// The adapter that entries give, and how many they are.
    private func replayed(
        _ entries: [JournalEntry], onto record: StoredAdapter?, of user: String, _ operation: String
    ) async throws -> (record: StoredAdapter, entries: Int) {
        guard let hub = journalHub else { preconditionFailure("entries without a journal") }
        let replayed = try await hub.replayer.replay(entries[...], onto: record?.adapter)
        if let gap = replayed.gap {
            throw EngineError(
                .damagedJournal, operation,
                "version \(gap) does not follow on the one before: entries between them are missing", user: user)
        }
        guard let adapter = replayed.adapter else {
            throw EngineError(
                .damagedJournal, operation, "the adapter is damaged, and the journal has no entries to make it from",
                user: user)
        }
        let made = StoredAdapter(
            user: user, embeddingModel: replayed.embeddingModel ?? fixed.embeddingModel, adapter: adapter,
            isJournalled: true)
        try check(made, of: user, operation)
        return (made, entries.count)
    }

    func journalling<R>(_ operation: String, _ user: String?, _ body: () async throws -> R) async throws -> R {
        do {
            return try await body()
        } catch let error as EngineError {
            throw error
        } catch let error as CancellationError {
            throw error
        } catch {
            throw EngineError(
                .journalFailed, operation, "the journal failed; nothing was changed", user: user, cause: error)
        }
    }

    /// Replays what stands in the journal alone, for all users, and saves their adapters. Nobody has to: a user's own first read
    /// or update replays what is theirs. Adapters that have seen all of their entries are neither loaded nor looked at.
    ///
    /// - Parameter progress: Told of the users done and of all with something to replay.
    /// - Throws: ``EngineError`` of the first user who cannot be recovered; `CancellationError`.
    /// - Complexity: That of the updates that are replayed; one look at each user's last and saved version.
    @discardableResult
    public func recover(progress: @Sendable (Int, Int) -> Void = { _, _ in }) async throws -> RecoveryReport {
        guard let hub = journalHub else { return RecoveryReport() }
        let start = ContinuousClock.now
        var result = RecoveryReport()
        let users = try await reportingFailures { try await usersToReplay(hub) }
        result.users = users.count
        var rest = users[...]
        var done = 0
        try await withThrowingTaskGroup(of: Int.self) { group in
            func begin() {
                guard let user = rest.popFirst() else { return }
                group.addTask {
                    try await self.reportingFailures {
                        try await self.withLoaded(user, "recover") { shard in
                            shard.withLock { state in
                                state.withSlot(user) { slot in
                                    // To be saved, without durability too.
                                    slot.isUnsaved = slot.isUnsaved || slot.unsavedEntries > 0
                                    return Int(slot.unsavedEntries)
                                } ?? 0
                            }
                        }
                    }
                }
            }
            // While some wait for their entries the others replay theirs, on all cores.
            for _ in 0..<8 { begin() }
            while let entries = try await group.next() {
                result.entries += entries
                done += 1
                progress(done, users.count)
                begin()
            }
        }
        try await checkpoint()
        result.duration = .now - start
        return result
    }
}

extension PersonalizationEngine {
    /// The users with entries that their saved adapters have not seen; those whose adapters cannot be read are among them.
    private func usersToReplay(_ hub: JournalHub) async throws -> [String] {
        var users: [String] = []
        try await journalling("recover", nil) {
            try await hub.journal.withLastVersions { page in
                try Task.checkCancellation()
                let saved = try await storing("recover", user: nil) {
                    try await store.savedVersions(of: page.map(\.user))
                }
                guard saved.count == page.count else {
                    throw EngineError(
                        .storeFailed, "recover",
                        "the adapter store gave \(saved.count) versions of \(page.count) adapters")
                }
                for (last, saved) in zip(page, saved) where saved.map({ $0 < last.version }) ?? true {
                    users.append(last.user)
                }
            }
        }
        return users
    }
}

extension EngineError {
    /// Whether a stored adapter's bytes are damaged.
    fileprivate var isDamage: Bool { code == .damagedAdapter || (cause as? EngineError)?.code == .damagedAdapter }
}
