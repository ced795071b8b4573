package import LoRA
internal import TensorCore

/// What a storage has of one user, as of one moment.
package struct UserRecord: Sendable {
    /// A name that the user's feedback has or had.
    package struct KnownFeedback: Sendable, Hashable {
        /// The name.
        package var id: FeedbackID
        /// The version that learned it; `nil` where it was forgotten.
        package var version: UInt64?

        package init(id: FeedbackID, version: UInt64?) {
            self.id = id
            self.version = version
        }
    }

    /// Whose it is.
    package var user: String
    /// The adapter that was saved last.
    package var saved: StoredAdapter?
    /// Why the saved adapter cannot be read, where there is one.
    package var damage: EngineError?
    /// The adapter that the entries begin from, where they do not reach back to the beginning.
    package var base: StoredAdapter?
    /// The journal's entries, by version.
    package var entries: [JournalEntry]
    /// The names by which feedback is not learned twice, in the order of their bytes.
    package var feedback: [KnownFeedback]

    package init(
        user: String, saved: StoredAdapter?, damage: EngineError? = nil, base: StoredAdapter?, entries: [JournalEntry],
        feedback: [KnownFeedback]
    ) {
        self.user = user
        self.saved = saved
        self.damage = damage
        self.base = base
        self.entries = entries
        self.feedback = feedback
    }

    /// The entries that the saved adapter has not seen.
    package var unsavedEntries: ArraySlice<JournalEntry> {
        guard let version = saved?.adapter.version else { return entries[...] }
        return entries[(entries.firstIndex { $0.version > version } ?? entries.endIndex)...]
    }
}

/// An entry in terms that people and other programs understand.
package struct DecodedEntry: Sendable {
    /// What was done.
    package enum Kind: String, Sendable {
        /// The adapter was made.
        case create
        /// One step was learned.
        case update
        /// The protection was anchored.
        case consolidate
        /// Feedback before this entry was forgotten.
        case correction
    }

    /// What an adapter was made from.
    package struct Start: Sendable, Hashable {
        /// A prior, by the hash of its bytes; `nil` for a cold start.
        package var prior: UInt64?
        /// Whether what the adapter before it had learned was learned again.
        package var relearns: Bool
    }

    /// One step.
    package struct Update: Sendable {
        /// What was asked for instead of the configured settings.
        package var overrides: UpdateOverrides
        /// The rate that was used.
        package var learningRate: Double
        /// The threshold beyond which gradients were clipped.
        package var clipThreshold: Double
        /// The strength of the protection.
        package var consolidationStrength: Float
        /// The adapter's steps before this one.
        package var stepsBefore: UInt64
        /// The catalogues that feedback refers to.
        package var catalogues: [UInt64]
        /// What the user showed.
        package var feedback: [Feedback]
    }

    /// The entry.
    package var entry: JournalEntry
    /// What was done.
    package var kind: Kind
    /// The hash of the settings it was done under.
    package var configuration: UInt64
    /// Set where an adapter was made, for an update too.
    package var start: Start?
    /// Set for an update.
    package var update: Update?
}

/// Reads what a journal says of users, without changing anything.
///
/// Content that entries name is read once, and kept.
package final class JournalReader: Sendable {
    private let journal: any FeedbackJournal
    private let replayer: JournalReplayer
    private let settings = Lock<[UInt64: EngineConfiguration]>([:])

    package init(_ journal: any FeedbackJournal) {
        self.journal = journal
        replayer = JournalReplayer(journal)
    }

    /// The adapter that a user has now: the saved one with the entries that it has not seen. Where the saved one is damaged, it
    /// is made again from the journal.
    ///
    /// - Throws: ``EngineError``: `unknownUser` where there is nothing to make it from; `damagedAdapter` where that is so because
    ///   the saved one is damaged; `damagedJournal` for entries that do not follow on each other, or that cannot be replayed;
    ///   `numericsMismatch`; what the journal throws.
    /// - Complexity: That of the updates that are replayed.
    package func current(_ record: UserRecord) async throws -> StoredAdapter {
        let entries = record.unsavedEntries
        let start = record.saved ?? record.base
        guard let last = entries.last else {
            // A base without entries is what was saved with it.
            if let start { return start }
            throw record.damage
                ?? EngineError(.unknownUser, "read", "nothing makes an adapter of the user", user: record.user)
        }
        let replayed = try await replayer.replay(entries, onto: start?.adapter, of: record.entries)
        // Every entry raises the version by one, and says what it is then: where some are missing, the two part.
        guard let adapter = replayed.adapter, adapter.version == last.version else {
            throw EngineError(
                .damagedJournal, "read",
                "the entries do not lead to version \(last.version): some of them are missing", user: record.user)
        }
        return StoredAdapter(
            user: record.user, embeddingModel: replayed.embeddingModel ?? start?.embeddingModel ?? "", adapter: adapter,
            isJournalled: true)
    }

    /// What an entry says.
    ///
    /// - Throws: ``EngineError``: `damagedJournal`, `numericsMismatch`; what the journal throws.
    /// - Complexity: O(bytes of the entry), and of the content that it is the first to name.
    package func decoded(_ entry: JournalEntry) async throws -> DecodedEntry {
        let action = try JournalAction(encoded: entry.action)
        func start(_ start: JournalAction.Start?) -> DecodedEntry.Start? {
            start.map { DecodedEntry.Start(prior: $0.prior, relearns: $0.relearns) }
        }
        var decoded = DecodedEntry(entry: entry, kind: .correction, configuration: action.configuration)
        switch action.kind {
        case .correction: break
        case .consolidate: decoded.kind = .consolidate
        case .create(let made):
            decoded.kind = .create
            decoded.start = start(made)
        case .update(let update):
            decoded.kind = .update
            decoded.start = start(update.start)
            let dimension = try await configuration(action.configuration).dimension
            let feedback: [Feedback]
            do {
                feedback = try [Feedback](
                    encoded: update.feedback, dimension: dimension,
                    catalogues: try await replayer.catalogues(of: update))
            } catch let error as LoRAError {
                throw EngineError(
                    .damagedJournal, "read", "the feedback of version \(entry.version) cannot be read: \(error)",
                    user: entry.user, cause: error)
            }
            decoded.update = DecodedEntry.Update(
                overrides: update.overrides, learningRate: update.learningRate, clipThreshold: update.clipThreshold,
                consolidationStrength: update.consolidationStrength, stepsBefore: update.steps,
                catalogues: update.catalogues, feedback: feedback)
        }
        return decoded
    }

    /// The settings that entries name.
    ///
    /// - Throws: ``EngineError``: `damagedJournal`, `numericsMismatch`; what the journal throws.
    package func configuration(_ hash: UInt64) async throws -> EngineConfiguration {
        if let known = settings.withLock({ $0[hash] }) { return known }
        guard let bytes = try await journal.content(.configuration, hash) else {
            throw EngineError(.damagedJournal, "read", "the settings that entries name are not in the journal")
        }
        let made = EngineConfiguration(try JournalConfiguration(encoded: bytes))
        settings.withLock { $0[hash] = made }
        return made
    }
}

extension EngineConfiguration {
    /// The settings of an engine that makes such entries.
    init(_ settings: JournalConfiguration) {
        let shape = settings.shape
        self.init(
            dimension: shape.dimension, rank: shape.rank, alpha: shape.alpha, scaling: shape.scaling,
            hasBias: shape.hasBias, normalizesOutput: shape.normalizesOutput, embeddingModel: settings.embeddingModel,
            seed: settings.seed, update: settings.update)
    }
}
