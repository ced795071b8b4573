internal import LoRA
internal import TensorCore

/// Whether the adapters of a store are what the replay of their journal gives.
public struct JournalVerification: Sendable, Hashable {
    /// A user whose adapter is not.
    public struct Mismatch: Sendable, Hashable {
        /// Whose adapter it is.
        public var user: String
        /// What is wrong.
        public var reason: String
    }

    /// The users with an adapter or entries.
    public var users = 0
    /// The entries that were replayed.
    public var entries = 0
    /// The entries that no saved adapter has seen yet.
    public var unsavedEntries = 0
    /// What is wrong; empty for a clean storage.
    public var mismatches: [Mismatch] = []

    /// Replays every user's entries and compares the adapter that comes of them with the stored one, byte by byte. Nothing is
    /// changed, no bank is asked.
    ///
    /// - Parameter progress: Told of the users done and of all.
    /// - Throws: What listing the users throws; `CancellationError`. What is wrong with one user is a mismatch.
    public static func run(
        _ store: any AdapterStore, _ journal: any FeedbackJournal,
        progress: @Sendable (Int, Int) -> Void = { _, _ in }
    ) async throws -> JournalVerification {
        var all = Set<UserKey>()
        for user in try await store.users() { all.insert(UserKey(user)) }
        for user in try await journal.journalledUsers() { all.insert(UserKey(user)) }
        var result = JournalVerification()
        result.users = all.count
        let replayer = JournalReplayer(journal)
        for (i, key) in all.sorted().enumerated() {
            try Task.checkCancellation()
            do {
                var reason = try await result.verify(key.user, store, journal, replayer)
                // Changed between two looks? What is really wrong stays so.
                for _ in 0..<3 where reason != nil {
                    var again = JournalVerification()
                    reason = try await again.verify(key.user, store, journal, replayer)
                }
                if let reason {
                    result.mismatches.append(Mismatch(user: key.user, reason: reason))
                }
            } catch let error as CancellationError {
                throw error
            } catch {
                result.mismatches.append(Mismatch(user: key.user, reason: "\(error)"))
            }
            progress(i + 1, all.count)
        }
        return result
    }

    /// - Returns: What is wrong with a user; `nil` for nothing.
    private mutating func verify(
        _ user: String, _ store: any AdapterStore, _ journal: any FeedbackJournal, _ replayer: JournalReplayer
    ) async throws -> String? {
        var base = try await journal.base(of: user)
        // Entries come after the adapter is read: it may be saved meanwhile, but never one that they do not reach.
        let stored = try await store.load(user)
        var entries = try await journal.entries(of: user, after: nil)
        // And the base may have moved up meanwhile.
        while let now = try await journal.base(of: user)?.adapter.version, now != base?.adapter.version {
            base = try await journal.base(of: user)
            entries = try await journal.entries(of: user, after: nil)
        }
        self.entries += entries.count
        let split = entries.firstIndex { $0.version > stored?.adapter.version ?? 0 } ?? entries.endIndex
        let saved = stored == nil ? entries[..<0] : entries[..<split]
        unsavedEntries += entries.count - saved.count
        let replayed = try await replayer.replay(saved, onto: base?.adapter)
        let (made, isAsRecorded) = (replayed.adapter, replayed.isAsRecorded)
        if let stored {
            guard let made else {
                return "an adapter of version \(stored.adapter.version) that nothing in the journal makes"
            }
            guard made.snapshot() == stored.adapter.snapshot() else {
                return "the stored adapter of version \(stored.adapter.version) is not what replaying "
                    + "\(saved.count) entries gives"
            }
        }
        let restIsAsRecorded = try await replayer.replay(
            entries[saved.endIndex...], onto: made ?? base?.adapter, of: entries
        ).isAsRecorded
        let isCorrected = try entries.contains { entry in
            guard case .correction = try JournalAction(encoded: entry.action).kind else { return false }
            return true
        }
        if !isCorrected, !(isAsRecorded && restIsAsRecorded) {
            return "a step's rate, threshold or counter is not the one that was recorded"
        }
        return nil
    }
}

extension JournalVerification {
    /// The settings under which a user's last entry was made: those of an engine that can go on with it.
    ///
    /// - Throws: ``EngineError``: `notRetained` where the entries are gone and the adapter they began from is left; `unknownUser`
    ///   where nothing is; `damagedJournal`, `numericsMismatch`.
    public static func configuration(
        of user: String, in journal: any FeedbackJournal
    ) async throws -> EngineConfiguration {
        guard let last = try await journal.entries(of: user, after: nil).last else {
            guard try await journal.base(of: user) == nil else {
                throw EngineError(
                    .notRetained, "configuration", "the journal has no entries of the user any more", user: user)
            }
            throw EngineError(.unknownUser, "configuration", "the journal has no entries of the user", user: user)
        }
        let hash = try JournalAction(encoded: last.action).configuration
        guard let bytes = try await journal.content(.configuration, hash) else {
            throw EngineError(.damagedJournal, "configuration", "the settings that entries name are not in the journal")
        }
        return EngineConfiguration(try JournalConfiguration(encoded: bytes))
    }
}
