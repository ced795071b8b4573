internal import LoRA
internal import TensorCore

/// What a retention removed from a journal.
public struct JournalTrimming: Sendable, Hashable {
    /// A user whose old entries could not be removed. Nothing of theirs was changed.
    public struct Failure: Sendable, Hashable {
        /// Whose entries they are.
        public var user: String
        /// What is wrong.
        public var reason: String
        /// What was thrown. Two failures with the same user and reason are equal whatever this is.
        public var cause: (any Error)?

        /// The same user and reason.
        public static func == (one: Failure, other: Failure) -> Bool {
            one.user == other.user && one.reason == other.reason
        }

        /// Hashes the user and the reason.
        public func hash(into hasher: inout Hasher) {
            hasher.combine(user)
            hasher.combine(reason)
        }
    }

    /// The users with removed entries.
    public var users = 0
    /// The entries that were removed.
    public var entries = 0
    /// Old entries that stay because a later one, which is not old enough itself, says that an adapter was made again and learned
    /// all of them again: without them it cannot be replayed.
    public var heldEntries = 0
    /// Whether the bytes of what was removed are gone from the journal's file as well; if not, somebody reads it, and the next
    /// retention tries again.
    public var isErased = true
    /// The users whose old entries could not be removed.
    public var failures: [Failure] = []

    init() {}

    /// Removes the entries that were recorded before a moment, of every user. A user's entries go from the first one on, up to the
    /// first that is not older: the adapter that a replay of them gives becomes what the rest begin from, so that a replay of the
    /// rest gives the same adapter as before, to the bit. The saved adapter is not asked for that, and is replaced only where it
    /// is older than the new base.
    ///
    /// For a journal that no engine writes to; an engine does the same in its users' turns
    /// (``PersonalizationEngine/applyRetention()``).
    ///
    /// - Parameters:
    ///   - store: Where the adapters are saved; usually the same object as `journal`.
    ///   - moment: In microseconds since 1970 (UTC). What was recorded at it stays.
    ///   - isDryRun: Whether nothing is changed: the result says what would be removed.
    ///   - progress: Told of the users done and of all with old entries.
    /// - Returns: What was removed. What is wrong with one user is a failure, and the others are done.
    /// - Throws: What listing the users throws; `CancellationError`: the users so far are done then.
    /// - Complexity: That of the updates that are removed, and for users whose adapters learned again later, of theirs.
    public static func run(
        _ store: any AdapterStore, _ journal: any FeedbackJournal, before moment: Int64, isDryRun: Bool = false,
        progress: @Sendable (Int, Int) -> Void = { _, _ in }
    ) async throws -> JournalTrimming {
        let users = try await journal.users(withFirstEntryBefore: moment)
        let replayer = JournalReplayer(journal)
        var result = JournalTrimming()
        for (i, user) in users.enumerated() {
            try Task.checkCancellation()
            do {
                switch try await plan(for: user, in: journal, replayer, before: moment) {
                case .nothing: break
                case .held(let entries): result.heldEntries += entries
                case .cut(let base, let entries):
                    if !isDryRun {
                        _ = try await saveIfNewer(base, in: store)
                        try await journal.trim(base)
                    }
                    result.users += 1
                    result.entries += entries
                }
            } catch let error as CancellationError {
                throw error
            } catch {
                result.failures.append(Failure(user: user, reason: "\(error)", cause: error))
            }
            progress(i + 1, users.count)
        }
        if !isDryRun {
            do {
                try await journal.erase()
            } catch {
                // What was asked for is done, and the result says what is left.
                result.isErased = false
            }
        }
        return result
    }
}

// MARK: - One user

extension JournalTrimming {
    /// What is to become of a user's old entries.
    enum Plan {
        /// There are none.
        case nothing
        /// So many old ones stay, for a later entry needs them.
        case held(Int)
        /// So many go, and the rest begin from this adapter.
        case cut(StoredAdapter, entries: Int)
    }

    /// What is to become of a user's entries from before a moment. Changes nothing.
    ///
    /// - Throws: ``EngineError``: `damagedJournal` where entries are missing, which a new base would hide, or cannot be replayed;
    ///   `numericsMismatch`; what the journal throws.
    static func plan(
        for user: String, in journal: any FeedbackJournal, _ replayer: JournalReplayer, before moment: Int64
    ) async throws -> Plan {
        let base = try await journal.base(of: user)
        let entries = try await journal.entries(of: user, after: nil)
        // Versions order entries, not dates: a clock may have been put back. What goes is what nothing younger comes before.
        let cut = entries.firstIndex { $0.recordedAt >= moment } ?? entries.endIndex
        guard cut > 0 else { return .nothing }
        var isCorrectedLater = false
        for entry in entries[cut...] {
            let action = try JournalAction(encoded: entry.action)
            // It learned again what all entries before it say, those before an earlier one of its kind included.
            if action.relearns { return .held(cut) }
            if case .correction = action.kind { isCorrectedLater = true }
        }
        let replayed = try await replayer.replay(entries[..<cut], onto: base?.adapter, of: entries)
        if let gap = replayed.gap, !isCorrectedLater {
            throw EngineError(
                .damagedJournal, "applyRetention",
                "version \(gap) does not follow on the one before: entries between them are missing, and removing those "
                    + "around them would hide it", user: user)
        }
        guard var adapter = replayed.adapter, let last = entries[..<cut].last else {
            throw EngineError(.damagedJournal, "applyRetention", "the entries make no adapter", user: user)
        }
        // Where feedback was forgotten in between, the replay has fewer versions than its entries say, until the correction. The
        // base has the version of the last entry that is in it, or that entry would be replayed once more.
        adapter.version = last.version
        let model = replayed.embeddingModel ?? base?.embeddingModel ?? ""
        return .cut(
            StoredAdapter(user: user, embeddingModel: model, adapter: adapter, isJournalled: true), entries: cut)
    }

    /// Saves a new base where the saved adapter has not seen all that is in it: the entries after the base would not follow on
    /// that one. Comes before the trimming; should there be none after all, the entries still lead to it.
    ///
    /// - Returns: Whether it was saved.
    static func saveIfNewer(_ base: StoredAdapter, in store: any AdapterStore) async throws -> Bool {
        if let saved = try await store.load(base.user), saved.adapter.version >= base.adapter.version { return false }
        try await store.save([base])
        return true
    }
}

extension JournalAction {
    /// Whether an adapter was made again, and learned again what all entries before this one say.
    fileprivate var relearns: Bool {
        switch kind {
        case .create(let start): start.relearns
        case .update(let update): update.start?.relearns == true
        case .consolidate, .correction: false
        }
    }
}

extension JournalRetention {
    /// The moment before which entries are older than some days.
    ///
    /// - Parameters:
    ///   - days: Of 24 hours each.
    ///   - now: In microseconds since 1970 (UTC).
    /// - Returns: In microseconds since 1970; the earliest that there is where it would lie before that.
    package static func moment(days: Int, before now: Int64) -> Int64 {
        let (age, isTooLong) = Int64(days).multipliedReportingOverflow(by: 86_400_000_000)
        let (moment, isTooEarly) = now.subtractingReportingOverflow(age)
        return isTooLong || isTooEarly ? .min : moment
    }
}
