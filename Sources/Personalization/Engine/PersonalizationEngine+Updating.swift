public import LoRA
internal import Reasoning
internal import Telemetry
internal import TensorCore

extension PersonalizationEngine {
    /// Updates a user's adapter with a batch of feedback: one step.
    ///
    /// Updates of one user are applied in the order in which they were accepted. A task that was cancelled before its turn
    /// changes nothing.
    ///
    /// - Parameters:
    ///   - user: The user's id. The first update makes a cold adapter, unless the engine is strict.
    ///   - feedback: The batch. Empty: nothing changes, and the present version is returned.
    ///   - overrides: Settings that replace the configured ones this time.
    ///   - id: The application's name for this batch. A journal learns what has a name only once: again, or after it was
    ///     forgotten, nothing changes. Without a journal it has no effect.
    ///   - position: How far a stream has been read with this batch. A journal keeps it in the transaction that keeps what was learned,
    ///     and also where nothing was, unless the call throws or the batch is empty.
    /// - Returns: Loss before and after, gradient norm, clip factor, rate, step and version.
    /// - Throws: ``EngineError``: `refusedFeedback` (its position names the feedback), `invalidUser`, `unknownUser` in strict
    ///   mode, and what loading throws; `CancellationError`. The adapter keeps its bytes and version then.
    /// - Complexity: O(n · rank · dimension), and passes over a catalogue for likes under softmax.
    @discardableResult
    public func updateAdapter(
        for user: String, with feedback: [Feedback], overrides: UpdateOverrides = UpdateOverrides(),
        id: FeedbackID? = nil, position: StreamPosition? = nil
    ) async throws -> UpdateReport {
        if let position { try StreamPosition.check(position.stream, "updateAdapter") }
        let key = UserKey(user)
        if let report = try updateResident(key, nil, feedback, overrides) { return report }
        return try await updateInTurn(key, nil, feedback, overrides, FeedbackOrigin(id: id, position: position))
    }

    /// The same for a user who was looked up before.
    @discardableResult
    public func updateAdapter(
        for handle: UserHandle, with feedback: [Feedback], overrides: UpdateOverrides = UpdateOverrides(),
        id: FeedbackID? = nil, position: StreamPosition? = nil
    ) async throws -> UpdateReport {
        if let position { try StreamPosition.check(position.stream, "updateAdapter") }
        if let report = try updateResident(handle.key, handle, feedback, overrides) { return report }
        return try await updateInTurn(
            handle.key, handle, feedback, overrides, FeedbackOrigin(id: id, position: position))
    }

    /// The fast path: the adapter is in memory, nobody stands in line, and nothing is to be asked or measured; `nil` otherwise.
    private func updateResident(
        _ key: UserKey, _ handle: UserHandle?, _ feedback: [Feedback], _ overrides: UpdateOverrides
    ) throws -> UpdateReport? {
        guard reporting.metrics == nil, !hasReasoningBank, !isJournalling else { return nil }
        if Task.isCancelled { throw CancellationError() }
        do throws(EngineError) {
            return try shard(of: key).withLock { state throws(EngineError) -> UpdateReport? in
                guard let place = handle.map({ state.place(of: $0) }) ?? state.place(of: key) else { return nil }
                return try update(place, key.user, feedback, overrides, &state, overtaking: false)
            }
        } catch {
            failed(error, key)
            throw error
        }
    }

    func failed(_ error: EngineError, _ key: UserKey) {
        shard(of: key).withLock { $0.statistics.failedUpdates += 1 }
        report(error)
    }

    private func updateInTurn(
        _ key: UserKey, _ handle: UserHandle?, _ feedback: [Feedback], _ overrides: UpdateOverrides,
        _ origin: FeedbackOrigin
    ) async throws -> UpdateReport {
        let connection = reasoning.connection
        let started = reporting.metrics == nil && connection == nil ? nil : ContinuousClock.now
        do {
            try Self.check(key.user, "updateAdapter")
            try Task.checkCancellation()
            if let connection, let started {
                let report = try await updateAdvised(key.user, feedback, overrides, connection, origin, since: started)
                if report.samples > 0 { measure(since: started) }
                return report
            }
            var report: UpdateReport?
            if isJournalling {
                report = try await updateAlone(key, handle, feedback, overrides, origin)
            } else {
                report = try shard(of: key).withLock { state throws(EngineError) in
                    try update(key.user, feedback, overrides, &state, overtaking: false)
                }
            }
            if report == nil { report = try await updateInLine(key.user, feedback, overrides, origin) }
            let done = report ?? .nothing
            if let started, done.samples > 0 { measure(since: started) }
            return done
        } catch let error as EngineError {
            failed(error, key)
            throw error
        }
    }

    /// An update in its turn, of an adapter that may have to be loaded or made first; `nil` where nothing was to be done.
    private func updateInLine(
        _ user: String, _ feedback: [Feedback], _ overrides: UpdateOverrides,
        _ origin: FeedbackOrigin
    ) async throws -> UpdateReport? {
        try await withLine(user, "updateAdapter") { shard in
            try await load(user, "updateAdapter", shard)
            let (report, outcome) = try await committing(user, shard, "updateAdapter") {
                state throws(EngineError) -> (UpdateReport?, JournalDraft?) in
                let isNew = try makeIfMissing(user, isEmptyBatch: feedback.isEmpty, &state)
                do throws(EngineError) {
                    let report = try update(user, feedback, overrides, &state, overtaking: true)
                    if isNew { state.statistics.created += 1 }
                    guard let report, report.samples > 0, isJournalling else { return (report, nil) }
                    return (report, draft(report, overrides, feedback, origin))
                } catch {
                    // A first update that is refused leaves no adapter behind.
                    if isNew { _ = state.withSlot(user) { $0.adapter = nil } }
                    throw error
                }
            }
            return try settled(report, outcome, user, shard)
        }
    }

    /// The report of an update that the journal has taken, or of none where it has it already.
    func settled(
        _ report: UpdateReport?, _ outcome: AppendOutcome, _ user: String, _ shard: Shard
    ) throws(EngineError) -> UpdateReport? {
        switch outcome {
        case .appended: return report
        case .duplicate, .forgottenFeedback:
            var report = UpdateReport.nothing
            if let adapter = shard.withLock({ $0.withSlot(user) { $0.adapter } ?? nil }) {
                report.version = adapter.version
                report.step = adapter.steps
            }
            return report
        case .forgottenUser:
            throw EngineError(
                .forgottenUser, "updateAdapter",
                "the user was forgotten: readmit them before they are learned from again",
                user: user)
        }
    }

    /// Counts an update that was applied and the time that its caller waited for it. Outside every lock: sinks are others' code.
    private func measure(since start: ContinuousClock.Instant) {
        let elapsed = (ContinuousClock.now - start).components
        reporting.count("attune_updates_total")
        reporting.metrics?.record(
            timer: "attune_update_duration",
            nanoseconds: elapsed.seconds * 1_000_000_000 + elapsed.attoseconds / 1_000_000_000)
    }

    /// Updates the adapters of many users in one call; the same bytes as one call for each, in any order of users. A journal
    /// gets many of them together, which takes less time than one by one.
    ///
    /// - Parameter updates: Batches with their users. Several of one user are applied in this order.
    /// - Returns: What became of each, in the same order: one user's failure does not touch the others.
    public func updateAdapters(_ updates: [UserFeedback]) async -> [Result<UpdateReport, any Error>] {
        if let hub = journalHub, isJournalling, reporting.metrics == nil, !hasReasoningBank {
            return await updateTogether(updates, hub)
        }
        var results: [Result<UpdateReport, any Error>] = []
        results.reserveCapacity(updates.count)
        for update in updates {
            do {
                let report = try await updateAdapter(for: update.user, with: update.feedback, id: update.id)
                results.append(.success(report))
            } catch {
                results.append(.failure(error))
            }
        }
        return results
    }

    /// Anchors the protection against forgetting (``ElasticWeightConsolidation``) of a user at their present parameters.
    ///
    /// - Returns: The adapter's version afterwards; it rises where the protection is in use.
    /// - Throws: ``EngineError``: `unknownUser`, and what loading throws.
    @discardableResult
    public func consolidateAdapter(for user: String) async throws -> UInt64 {
        let isProtected = fixed.update.elasticWeightConsolidation != nil
        return try await reportingFailures {
            try Self.check(user, "consolidateAdapter")
            return try await withLine(user, "consolidateAdapter") { shard in
                try await load(user, "consolidateAdapter", shard)
                let (version, _) = try await committing(user, shard, "consolidateAdapter") {
                    state throws(EngineError) -> (UInt64?, JournalDraft?) in
                    let (before, after) =
                        state.withSlot(user) { slot -> (UInt64?, UInt64?) in
                            let before = slot.adapter?.version
                            if isProtected { slot.adapter?.consolidate() }
                            if slot.adapter?.version != before { slot.isUnsaved = true }
                            return (before, slot.adapter?.version)
                        } ?? (nil, nil)
                    guard let after, after != before else { return (after, nil) }
                    return (after, JournalDraft(kind: .consolidate, version: after))
                }
                guard let version else {
                    throw EngineError(.unknownUser, "consolidateAdapter", "the user has no adapter", user: user)
                }
                return version
            }
        }
    }

    /// One update under the shard's lock; `nil` when there is no adapter in memory or, unless `overtaking`, somebody in line.
    func update(
        _ user: String, _ feedback: [Feedback], _ overrides: UpdateOverrides, _ state: inout ShardState,
        overtaking: Bool
    ) throws(EngineError) -> UpdateReport? {
        guard let place = state.place(of: UserKey(user)) else { return nil }
        return try update(place, user, feedback, overrides, &state, overtaking: overtaking)
    }

    func update(
        _ place: Int32, _ user: String, _ feedback: [Feedback], _ overrides: UpdateOverrides,
        _ state: inout ShardState, overtaking: Bool
    ) throws(EngineError) -> UpdateReport? {
        let scratch = state.scratch
        let epoch = resident.epoch
        let report: UpdateReport?
        do throws(LoRAError) {
            report = try state.withPlace(place) { slot throws(LoRAError) -> UpdateReport? in
                guard slot.adapter != nil, overtaking || slot.holders == 0 else { return nil }
                // What the next batch was to show of the last step is void after a step that no bank saw.
                if let memory = slot.memory, !feedback.isEmpty {
                    // Seldom: an update that has overtaken a disconnection. Finished outside the lock.
                    if let arrival = memory.takePending()?.settled() { Task.detached { arrival.finish() } }
                    slot.memory = nil
                }
                let report = try slot.adapter?.update(
                    with: feedback, configuration: fixed.update, overrides: overrides, scratch: scratch)
                if !feedback.isEmpty { slot.isUnsaved = true }
                slot.lastUse = epoch
                return report
            }
        } catch {
            throw EngineError(.refusedFeedback, "updateAdapter", user: user, cause: error)
        }
        if let report, report.samples > 0 { state.statistics.updates += 1 }
        return report
    }

    /// Makes a cold adapter where there is none; says whether it did.
    private func makeIfMissing(_ user: String, isEmptyBatch: Bool, _ state: inout ShardState) throws(EngineError)
        -> Bool
    {
        let isMissing = state.withSlot(user) { $0.adapter == nil } ?? false
        guard isMissing else { return false }
        if fixed.isStrict { throw unknownUser("updateAdapter", user) }
        // An empty batch changes nothing, so it makes no adapter either.
        if isEmptyBatch { return false }
        let adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: fixed.seed, user: user))
        _ = state.withSlot(user) { $0.adapter = adapter }
        return true
    }
}
