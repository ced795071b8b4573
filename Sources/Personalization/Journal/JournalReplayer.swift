internal import LoRA
internal import TensorCore

/// Makes adapters from what a journal holds, and from nothing else.
///
/// Content that entries name is read once, and kept.
final class JournalReplayer: Sendable {
    /// What a replay gives.
    struct Replayed {
        var adapter: LoRAAdapter?
        /// Whether what was recorded of each step is what came of it. Forgetting shifts the counters: after a correction it says
        /// nothing.
        var isAsRecorded: Bool
        /// The model under which the last entry was made; `nil` without entries.
        var embeddingModel: String?
        /// The first version that does not follow on the one before: entries between them are missing. What was forgotten leaves
        /// gaps on purpose, and a correction says so.
        var gap: UInt64?
    }

    private struct Contents {
        var configurations: [UInt64: JournalConfiguration] = [:]
        var catalogues: [UInt64: ItemCatalogue] = [:]
        var starts: [UInt64: [WarmStart]] = [:]
    }

    private let journal: any FeedbackJournal
    private let contents = Lock<Contents>(Contents())

    init(_ journal: any FeedbackJournal) { self.journal = journal }

    /// The adapter after some entries of a user.
    ///
    /// - Parameters:
    ///   - entries: Some in a row, by version.
    ///   - adapter: The one before them; `nil` where they begin with its making.
    ///   - all: All of the user's entries, where they are not those of the journal.
    /// - Throws: ``EngineError``: `damagedJournal`, `numericsMismatch`; what the journal throws.
    /// - Complexity: That of the updates.
    func replay(
        _ entries: ArraySlice<JournalEntry>, onto adapter: LoRAAdapter?, of all: [JournalEntry]? = nil
    ) async throws -> Replayed {
        var adapter = adapter
        var isAsRecorded = true
        var model: String?
        var gap: UInt64?
        var isCorrected = false
        // An adapter that is made has the version that its entry says.
        var next = adapter.map { $0.version &+ 1 }
        for entry in entries {
            do {
                guard entry.version < 1 << 62 else {
                    throw EngineError(.damagedJournal, "replay", "the version is 2^62 or more", user: entry.user)
                }
                let action = try JournalAction(encoded: entry.action)
                let configuration = try await configuration(action.configuration)
                model = configuration.embeddingModel
                var expected = next ?? 1
                switch action.kind {
                case .create(let start):
                    if next == nil { expected = entry.version }
                    adapter = try await made(start, configuration, entry, after: adapter, of: all)
                    adapter?.version = entry.version
                case .consolidate: adapter?.consolidate()
                case .correction:
                    isCorrected = true
                    var corrected: LoRAAdapter
                    if let adapter {
                        corrected = adapter
                    } else {
                        corrected = try await made(.init(), configuration, entry.user)
                    }
                    corrected.version = entry.version
                    adapter = corrected
                case .update(let update):
                    let report = try await step(update, entry, configuration, &adapter, all)
                    if report.learningRate != update.learningRate || report.clipThreshold != update.clipThreshold
                        || report.step != update.steps &+ 1
                    {
                        isAsRecorded = false
                    }
                }
                if entry.version != expected, gap == nil { gap = entry.version }
                next = entry.version &+ 1
            } catch let error as LoRAError {
                throw EngineError(
                    .damagedJournal, "replay", "the entry of version \(entry.version) cannot be replayed: \(error)",
                    user: entry.user, cause: error)
            } catch let error as EngineError where error.user == nil {
                throw EngineError(
                    error.code, error.operation, "the entry of version \(entry.version): \(error.message)",
                    user: entry.user, cause: error.cause)
            }
        }
        return Replayed(
            adapter: adapter, isAsRecorded: isAsRecorded, embeddingModel: model, gap: isCorrected ? nil : gap)
    }

    /// An adapter as an entry makes it; with what the one before it had learned, where the entry says so.
    private func made(
        _ start: JournalAction.Start, _ configuration: JournalConfiguration, _ entry: JournalEntry,
        after old: LoRAAdapter?, of all: [JournalEntry]?
    ) async throws -> LoRAAdapter {
        var next = try await made(start, configuration, entry.user)
        guard start.relearns, let old else { return next }
        let entries: [JournalEntry]
        if let all { entries = all } else { entries = try await journal.entries(of: entry.user, after: nil) }
        for earlier in entries where earlier.version < entry.version {
            let action = try JournalAction(encoded: earlier.action)
            guard case .update(let update) = action.kind else { continue }
            _ = try await learn(update, try await self.configuration(action.configuration), &next)
        }
        guard next.steps == old.steps else {
            throw EngineError(.damagedJournal, "replay", "entries before an adapter was made again are missing")
        }
        next.version = old.version
        return next
    }

    private func step(
        _ update: JournalAction.Update, _ entry: JournalEntry, _ configuration: JournalConfiguration,
        _ adapter: inout LoRAAdapter?, _ all: [JournalEntry]?
    ) async throws -> UpdateReport {
        if let start = update.start {
            adapter = try await made(start, configuration, entry, after: adapter, of: all)
        }
        var next: LoRAAdapter
        if let adapter { next = adapter } else { next = try await made(.init(), configuration, entry.user) }
        // No second reference, or the step would copy it.
        adapter = nil
        let report = try await learn(update, configuration, &next)
        adapter = next
        return report
    }

    private func learn(
        _ update: JournalAction.Update, _ configuration: JournalConfiguration, _ adapter: inout LoRAAdapter
    ) async throws -> UpdateReport {
        let feedback = try [Feedback](
            encoded: update.feedback, dimension: configuration.shape.dimension,
            catalogues: try await catalogues(of: update))
        return try adapter.update(
            with: feedback, configuration: configuration.update, overrides: update.overrides, scratch: .ofThisThread)
    }

    private func made(_ start: JournalAction.Start, _ configuration: JournalConfiguration, _ user: String)
        async throws -> LoRAAdapter
    {
        let identity = AdapterIdentity(seed: configuration.seed, user: user)
        guard let prior = start.prior else { return LoRAAdapter(shape: configuration.shape, identity: identity) }
        var adapter = LoRAAdapter(identity: identity, startingFrom: try await self.start(prior, configuration.shape))
        if configuration.update.elasticWeightConsolidation != nil { adapter.anchorAtStart() }
        return adapter
    }
}

// MARK: - Content by name

extension JournalReplayer {
    private func bytes(_ kind: JournalContent.Kind, _ hash: UInt64) async throws -> [UInt8] {
        guard let bytes = try await journal.content(kind, hash) else {
            throw EngineError(
                .damagedJournal, "replay",
                "the \(kind) \(String(hash, radix: 16)) that entries name is not in the journal")
        }
        return bytes
    }

    private func configuration(_ hash: UInt64) async throws -> JournalConfiguration {
        if let known = contents.withLock({ $0.configurations[hash] }) { return known }
        let made = try JournalConfiguration(encoded: try await bytes(.configuration, hash))
        contents.withLock { $0.configurations[hash] = made }
        return made
    }

    /// The catalogues that an update's feedback refers to.
    func catalogues(of update: JournalAction.Update) async throws -> [ItemCatalogue] {
        var all: [ItemCatalogue] = []
        for hash in update.catalogues { all.append(try await catalogue(hash)) }
        return all
    }

    private func catalogue(_ hash: UInt64) async throws -> ItemCatalogue {
        if let known = contents.withLock({ $0.catalogues[hash] }) { return known }
        let made = try ItemCatalogue(encoded: try await bytes(.catalogue, hash))
        contents.withLock { $0.catalogues[hash] = made }
        return made
    }

    /// Lets go of priors that may be in the journal no more.
    func forgetStarts(_ hashes: [UInt64]) {
        contents.withLock { contents in for hash in hashes { contents.starts[hash] = nil } }
    }

    private func start(_ hash: UInt64, _ shape: AdapterShape) async throws -> WarmStart {
        if let known = contents.withLock({ $0.starts[hash]?.first { $0.shape == shape } }) { return known }
        let made = try WarmStart(try AdapterPrior(encoded: try await bytes(.prior, hash)), shape: shape)
        contents.withLock { $0.starts[hash, default: []].append(made) }
        return made
    }
}
