internal import LoRA
internal import Reasoning
internal import Telemetry
internal import TensorCore

extension PersonalizationEngine {
    /// Changes a user's adapter, in the user's line. With a journal readers see the adapter as it was until the journal has the
    /// change, and if the journal fails or refuses it, the change never was; without one it stands at once.
    ///
    /// - Parameter change: Makes the change under the shard's lock; says what of it goes to the journal, or `nil` where nothing
    ///   changed.
    /// - Returns: What the change returned, and what became of it.
    /// - Throws: What the change throws; ``EngineError``: `journalFailed`, `staleVersion`; `CancellationError`.
    func committing<R: Sendable>(
        _ user: String, _ shard: Shard, _ operation: String,
        _ change: (inout ShardState) throws(EngineError) -> (result: R, draft: JournalDraft?)
    ) async throws -> (result: R, outcome: AppendOutcome) {
        guard let hub = journalHub, isJournalling else {
            return (try shard.withLock { state throws(EngineError) in try change(&state).result }, .appended)
        }
        // From here on a cancelled task's update counts.
        try Task.checkCancellation()
        let key = UserKey(user)
        let (result, draft) = try shard.withLock { state throws(EngineError) in
            _ = state.withSlot(key) { $0.commit = PendingCommit($0.adapter, wasUnsaved: $0.isUnsaved) }
            do throws(EngineError) {
                let changed = try change(&state)
                if changed.draft == nil { _ = state.withSlot(key) { $0.commit = nil } }
                return changed
            } catch {
                _ = state.withSlot(key) { $0.commit = nil }
                throw error
            }
        }
        guard let draft else { return (result, .appended) }
        return (result, try await commit(draft, hub, key, shard, operation))
    }

    /// Gives a change that was made to the journal, and takes it back where the journal has not taken it.
    func commit(
        _ draft: JournalDraft, _ hub: JournalHub, _ key: UserKey, _ shard: Shard, _ operation: String
    ) async throws -> AppendOutcome {
        let result: Result<AppendOutcome, any Error>
        do {
            result = .success(try await hub.append(draft, of: key.user))
        } catch {
            result = .failure(error)
        }
        return try conclude(draft, result, hub, key, shard, operation)
    }

    /// Makes a change visible that the journal has taken, or takes it back.
    func conclude(
        _ draft: JournalDraft, _ result: Result<AppendOutcome, any Error>, _ hub: JournalHub, _ key: UserKey,
        _ shard: Shard, _ operation: String
    ) throws -> AppendOutcome {
        do {
            let outcome = try result.get()
            guard outcome == .appended else {
                takeBack(draft, key, shard)
                return outcome
            }
            let unsaved = shard.withLock { state in
                state.withSlot(key) { slot -> UInt32 in
                    slot.commit = nil
                    slot.isUnsaved = true
                    slot.unsavedEntries += 1
                    return slot.unsavedEntries
                } ?? 0
            }
            if hub.note(key, bytes: draft.bytes, unsaved: unsaved) { Task.detached { await self.saveBacklog(hub) } }
            return outcome
        } catch {
            takeBack(draft, key, shard)
            if let error = error as? EngineError, error.code == .staleVersion {
                // Another engine writes to this journal: what is in memory is not the latest.
                _ = letGo(key.user, shard, settling: false)
                throw error
            }
            throw EngineError(
                .journalFailed, operation, "the journal failed; the adapter is as it was", user: key.user, cause: error)
        }
    }

    /// Puts the adapter back that readers have seen all the time.
    private func takeBack(_ draft: JournalDraft, _ key: UserKey, _ shard: Shard) {
        shard.withLock { state in
            let wasNew = state.withSlot(key) { slot -> Bool in
                guard let commit = slot.commit else { return false }
                let wasNew = commit.adapter == nil
                slot.adapter = commit.adapter
                slot.isUnsaved = commit.wasUnsaved
                slot.commit = nil
                // What a bank was to learn of the change.
                slot.memory = nil
                return wasNew
            }
            if wasNew == true { state.statistics.created -= 1 }
            if case .update = draft.kind { state.statistics.updates -= 1 }
        }
    }

    /// Whether changes go to a journal before they are acknowledged, so that feedback with a name is learned once.
    public var hasJournal: Bool { isJournalling }

    /// Whether changes go to a journal before they are acknowledged.
    var isJournalling: Bool { journalHub.map { $0.durability != .none } ?? false }

    /// An update for the journal; of feedback that was learned from, so that it is in order.
    func draft(
        _ report: UpdateReport, _ overrides: UpdateOverrides, _ feedback: [Feedback], _ origin: FeedbackOrigin,
        start: JournalAction.Start? = nil, prior: AdapterPrior? = nil
    ) -> JournalDraft {
        let feedback = feedback.encoded()
        var contents = feedback.catalogues.map { catalogue in
            content(.catalogue, catalogue.contentHash) { catalogue.encoded() }
        }
        if let prior { contents.append(content(prior)) }
        let action = JournalAction.Update(
            overrides: overrides, learningRate: report.learningRate, clipThreshold: report.clipThreshold,
            consolidationStrength: overrides.consolidationStrength
                ?? fixed.update.elasticWeightConsolidation?.strength ?? 0,
            steps: report.step - 1, start: start,
            catalogues: feedback.catalogues.map(\.contentHash), feedback: feedback.bytes)
        return JournalDraft(
            kind: .update(action), version: report.version, contents: contents.compactMap { $0 }, origin: origin)
    }

    /// The making of an adapter for the journal.
    func draft(creating adapter: LoRAAdapter, from prior: AdapterPrior?) -> JournalDraft {
        let kept = prior.map { self.content($0) }
        return JournalDraft(
            kind: .create(JournalAction.Start(prior: kept?.hash)), version: adapter.version,
            contents: kept.map { [$0] } ?? [])
    }

    /// A prior under the hash of its bytes: ``AdapterPrior/contentHash`` leaves out what it says about itself.
    func content(_ prior: AdapterPrior) -> JournalContent {
        let bytes = prior.encoded()
        return JournalContent(kind: .prior, hash: Checksum.of(bytes[...]), bytes: bytes)
    }

    private func content(_ kind: JournalContent.Kind, _ hash: UInt64, _ bytes: () -> [UInt8]) -> JournalContent? {
        guard let hub = journalHub, !hub.has(hash) else { return nil }
        return JournalContent(kind: kind, hash: hash, bytes: bytes())
    }

    /// Saves what stands in the journal alone for too long or is too much, in the background.
    private func saveBacklog(_ hub: JournalHub) async {
        while let work = hub.nextWork() {
            do {
                switch work {
                case .everything:
                    // Its failures are reported.
                    _ = try await saveUnsaved()
                    // A task of its own: what is due meanwhile is saved before old entries are.
                    Task.detached { await self.applyRetentionIfDue() }
                case .users(let keys): try await save(keys)
                }
            } catch let error as EngineError {
                report(error)
            } catch {
                reporting.log(
                    .warning, "saving in the background ended: \(type(of: error))", [:], source: "Personalization")
            }
        }
    }

    private func save(_ keys: [UserKey]) async throws {
        try await storeGate.pass {
            for key in keys {
                let shard = shard(of: key)
                let record = shard.withLock { state in
                    state.withSlot(key) { slot in
                        slot.isUnsavedVisibly
                            ? slot.visible.map {
                                StoredAdapter(
                                    user: slot.user, embeddingModel: fixed.embeddingModel, adapter: $0,
                                    isJournalled: isJournalling)
                            } : nil
                    } ?? nil
                }
                if let record { _ = try await save([record], from: shard, "checkpoint") }
            }
        }
    }
}
