internal import LoRA
internal import Reasoning
internal import TensorCore

/// What is to be done after an update, outside every lock.
struct AfterUpdate: Sendable {
    var report: UpdateReport
    /// What is left to do for the episode of the update before this one.
    var arrival: EpisodeQueue.Arrival?
    var applied = AppliedHints()
    /// Whether the bank was not asked because it has failed repeatedly.
    var isSkipped = false
    /// Whether the adapter was made, and whether from a prior.
    var isNew = false
    var isWarm = false
    var isRestarted = false
    /// What replaced the configured settings.
    var overrides = UpdateOverrides()
    /// What the adapter was made from, where it was made.
    var prior: AdapterPrior?
}

/// What a bank is asked before an update.
struct AdviceQuestion: Sendable {
    var key: AdviceKey
    var task: AdaptationTask
    /// Whether the adapter is to be made.
    var isNew: Bool
    /// Whether the answer may make a new adapter again.
    var mayRestart: Bool
}

extension PersonalizationEngine {
    /// An update with the bank's advice.
    func updateAdvised(
        _ user: String, _ feedback: [Feedback], _ overrides: UpdateOverrides, _ connection: BankConnection,
        _ origin: FeedbackOrigin, since start: ContinuousClock.Instant
    ) async throws -> UpdateReport {
        let shard = shard(of: user)
        var hasLooked = false
        var done: AfterUpdate?
        if !isJournalling {
            done = try shard.withLock { state throws(EngineError) in
                try advisedFastPath(user, feedback, overrides, connection, &state, start, &hasLooked)
            }
        }
        if done == nil {
            done = try await updateAdvisedInLine(
                user, feedback, overrides, connection, origin, start, hasLooked: hasLooked)
        }
        guard let done else { return .nothing }
        done.arrival?.finish()
        if done.isSkipped { reasoning.totals.skipped() }
        reasoning.totals.applied(done.applied)
        if done.isWarm { reasoning.totals.warmStarted() }
        if done.isRestarted { reasoning.totals.restarted() }
        // Disconnected meanwhile: nobody else lets go of what this update has left.
        if !hasReasoningBank { settlePending(of: [shard], forgettingUsers: true) }
        return done.report
    }

    /// The update when the adapter is in memory, nobody stands in line and the cache has the answer; `nil` otherwise.
    private func advisedFastPath(
        _ user: String, _ feedback: [Feedback], _ overrides: UpdateOverrides, _ connection: BankConnection,
        _ state: inout ShardState, _ start: ContinuousClock.Instant, _ hasLooked: inout Bool
    ) throws(EngineError) -> AfterUpdate? {
        let scratch = state.scratch
        let found: AfterUpdate?? = try state.withSlot(user) { slot throws(EngineError) -> AfterUpdate? in
            // No second reference to the adapter, or the update would copy it.
            guard slot.adapter != nil, slot.holders == 0, let memory = slot.memory, !feedback.isEmpty
            else { return nil }
            if memory.isRestartDue(reasoning.configuration) { return nil }
            let planned = try planned(feedback, slot.adapter, user)
            var advice: CheckedAdvice?
            var isSkipped = false
            let uptime = reasoning.clock.uptime
            switch connection.cached(key(memory, slot.adapter, planned, feedback.count, uptime), at: uptime) {
            case .found(let found): advice = found
            case .paused: isSkipped = true
            case .missing:
                hasLooked = true
                return nil
            }
            var done = try apply(
                advice, planned, feedback, overrides, connection, user, &slot, memory, scratch, start, uptime)
            done?.isSkipped = isSkipped
            return done
        }
        guard let done = found ?? nil else { return nil }
        state.statistics.updates += 1
        return done
    }

    /// The update in its turn: the adapter may have to be loaded, made or made again, and the bank asked.
    private func updateAdvisedInLine(
        _ user: String, _ feedback: [Feedback], _ overrides: UpdateOverrides, _ connection: BankConnection,
        _ origin: FeedbackOrigin, _ start: ContinuousClock.Instant, hasLooked: Bool
    ) async throws -> AfterUpdate? {
        try await withLine(user, "updateAdapter") { shard -> AfterUpdate? in
            try await load(user, "updateAdapter", shard)
            let question = try shard.withLock { state throws(EngineError) in
                try self.question(user, feedback, &state)
            }
            var advice: CheckedAdvice?
            if let question {
                advice = try await answer(question, connection, again: hasLooked)
                try await recordStart(of: user, question, &advice, connection, "updateAdapter")
            }
            try Task.checkCancellation()
            // What the update before came to is told whatever becomes of this one: its queue waits for that.
            var arrival: EpisodeQueue.Arrival?
            defer { arrival?.finish() }
            var (done, outcome) = try await committing(user, shard, "updateAdapter") {
                state throws(EngineError) -> (AfterUpdate?, JournalDraft?) in
                var done = try advisedUpdate(user, feedback, overrides, connection, advice, question, &state, start)
                arrival = done?.arrival
                done?.arrival = nil
                guard let done, done.report.samples > 0, isJournalling else { return (done, nil) }
                var start: JournalAction.Start?
                if done.isNew || done.isRestarted {
                    start = JournalAction.Start(
                        prior: done.prior.map { content($0).hash }, relearns: done.isRestarted)
                }
                return (done, draft(done.report, done.overrides, feedback, origin, start: start, prior: done.prior))
            }
            guard outcome != .appended, let report = try settled(done?.report, outcome, user, shard) else {
                return done
            }
            // Not learned.
            done?.report = report
            done?.isNew = false
            done?.isWarm = false
            done?.isRestarted = false
            return done
        }
    }

    /// The cache's answer or the bank's; `nil` when there is none in time.
    ///
    /// - Parameter again: Whether this update has looked into the cache before.
    func answer(
        _ question: AdviceQuestion, _ connection: BankConnection, again: Bool = false
    ) async throws -> CheckedAdvice? {
        if case .found(let advice) = connection.cached(question.key, at: reasoning.clock.uptime, again: again) {
            return advice
        }
        return try await connection.ask(question.key, task: question.task, shape: shape)
    }

    /// What to ask before an update; `nil` for an empty batch.
    private func question(_ user: String, _ feedback: [Feedback], _ state: inout ShardState)
        throws(EngineError) -> AdviceQuestion?
    {
        try state.withSlot(user) { slot throws(EngineError) -> AdviceQuestion? in
            if slot.adapter == nil, fixed.isStrict { throw unknownUser("updateAdapter", user) }
            if feedback.isEmpty { return nil }
            let memory = remember(user, &slot)
            let planned = try planned(feedback, slot.adapter, user)
            memory.lastObjective = planned.objective
            return question(memory, slot.adapter, planned, feedback.count)
        } ?? nil
    }

    private func advisedUpdate(
        _ user: String, _ feedback: [Feedback], _ overrides: UpdateOverrides, _ connection: BankConnection,
        _ advice: CheckedAdvice?, _ question: AdviceQuestion?, _ state: inout ShardState,
        _ start: ContinuousClock.Instant
    ) throws(EngineError) -> AfterUpdate? {
        guard question != nil else {
            // An empty batch: the version, if there is one.
            return try update(user, feedback, overrides, &state, overtaking: true).map { AfterUpdate(report: $0) }
        }
        let scratch = state.scratch
        let done = try state.withSlot(user) { slot throws(EngineError) -> AfterUpdate in
            let memory = remember(user, &slot)
            let isNew = slot.adapter == nil
            let mayRestart = question?.mayRestart == true
            // The way back from a refusal. Only where the adapter is replaced: a second reference makes the update copy it.
            let previous = mayRestart ? slot.adapter : nil
            let kept = memory.restartState
            var isWarm = false
            var isRestarted = false
            var prior: AdapterPrior?
            do throws(EngineError) {
                if isNew {
                    let made = newAdapter(user, advice?.initialization)
                    slot.adapter = made.adapter
                    prior = made.prior
                    isWarm = made.adapter.startedFrom != nil
                } else if mayRestart {
                    isRestarted = restart(&slot, memory, advice?.initialization, user, scratch)
                    prior = isRestarted ? advice?.initialization?.prior : nil
                }
                let planned = try planned(feedback, slot.adapter, user)
                guard
                    var done = try apply(
                        advice, planned, feedback, overrides, connection, user, &slot, memory, scratch, start,
                        reasoning.clock.uptime)
                else { preconditionFailure("an update without an adapter") }
                done.isNew = isNew
                done.isWarm = isWarm
                done.isRestarted = isRestarted
                done.prior = prior
                return done
            } catch {
                // A refused update leaves things as they were: a new adapter is not there, an old one not made again.
                if isNew || mayRestart {
                    slot.adapter = previous
                    memory.restartState = kept
                }
                throw error
            }
        }
        if let done {
            state.statistics.updates += 1
            if done.isNew { state.statistics.created += 1 }
        }
        return done
    }

    /// One step under the advice, and the bookkeeping of the episodes around it.
    private func apply(
        _ advice: CheckedAdvice?, _ planned: PlannedSettings, _ feedback: [Feedback], _ overrides: UpdateOverrides,
        _ connection: BankConnection, _ user: String, _ slot: inout Slot, _ memory: UserMemory,
        _ scratch: UpdateScratch, _ start: ContinuousClock.Instant, _ uptime: Double
    ) throws(EngineError) -> AfterUpdate? {
        let applied = advice?.applied(to: planned, dimension: shape.dimension, draw: memory.draw) ?? AppliedHints()
        // What the caller asks for comes first.
        let effective = UpdateOverrides(
            learningRate: overrides.learningRate ?? applied.overrides.learningRate,
            clipThreshold: overrides.clipThreshold ?? applied.overrides.clipThreshold,
            consolidationStrength: overrides.consolidationStrength ?? applied.overrides.consolidationStrength)
        let looksBack = memory.pending != nil && LookBack.isPossible(feedback)
        let next = looksBack ? .none : judged(feedback, slot.adapter, memory.pending, scratch)
        let trace = memory.takeSpareTrace()
        let report: UpdateReport?
        do throws(LoRAError) {
            report =
                try slot.adapter?.update(
                    with: feedback, configuration: fixed.update, overrides: effective, scratch: scratch, trace: trace,
                    judging: looksBack ? memory.pending?.trace : nil)
        } catch {
            memory.spareTrace = trace
            throw EngineError(.refusedFeedback, "updateAdapter", user: user, cause: error)
        }
        guard let report else { return nil }
        slot.isUnsaved = true
        slot.lastUse = resident.epoch
        // Taken by the queue under this lock: forgetting the user finds the episode in one place or the other.
        let arrival = memory.pending.map { pending in
            pending.connection.take(
                pending.episode, next: trace.lookBack.map { .init($0, after: report.lossBefore) } ?? next)
        }
        let cosine = memory.pending.map { trace.gradientCosine(with: $0.trace) }
        memory.spareTrace = memory.pending?.trace
        let prior = slot.adapter?.startedFrom.map(PriorID.init)
        let elapsed = (ContinuousClock.now - start).components
        memory.pending = UserMemory.Pending(
            episode: PendingEpisode(
                user: memory.digest, version: report.version, tracker: memory.tracker, objective: planned.objective,
                batchSize: feedback.count, shape: shape, model: reasoning.model,
                action: AdaptationAction(
                    learningRate: Float(report.learningRate), scheduleFactor: Float(planned.scheduleFactor),
                    clipThreshold: Float(report.clipThreshold),
                    consolidationStrength: effective.consolidationStrength
                        ?? planned.consolidationStrength.map { Float($0) } ?? 0,
                    initialization: prior,
                    propensity: overrides.learningRate == nil ? applied.propensity : 1),
                lossBefore: report.lossBefore, lossAfter: report.lossAfter,
                latency: elapsed.seconds * 1_000_000_000 + elapsed.attoseconds / 1_000_000_000,
                recordedAt: reasoning.clock.now, uptime: uptime),
            trace: trace, connection: connection)
        memory.keep(feedback, effective)
        memory.tracker.observe(
            feedback, loss: report.lossBefore, cosine: cosine, objective: fixed.update.objective,
            projection: reasoning.projection, uptime: uptime)
        return AfterUpdate(report: report, arrival: arrival, applied: applied, overrides: effective)
    }
}

// MARK: - Parts

extension PersonalizationEngine {
    /// What a batch shows of the update before it, where its own update will not tell.
    private func judged(
        _ feedback: [Feedback], _ adapter: LoRAAdapter?, _ pending: UserMemory.Pending?, _ scratch: UpdateScratch
    ) -> NextBatch {
        guard let pending, let adapter else { return .none }
        do throws(LoRAError) {
            if let judged = try HeldBatch.judgement(
                feedback, for: adapter, trace: pending.trace, configuration: fixed.update, scratch: scratch)
            {
                return .judged(judged)
            }
        } catch {
            // Judged again in the background, where the failure is counted, if the update accepts the batch at all.
        }
        return HeldBatch(feedback, for: adapter, trace: pending.trace, configuration: fixed.update).map { .held($0) }
            ?? .none
    }
}

extension NextBatch {
    /// What a batch's own update tells.
    fileprivate init(_ looked: Result<LookBack.Losses, LoRAError>, after loss: Double) {
        self =
            switch looked {
            case .success(let losses): .judged(losses.judgement(after: loss))
            case .failure(let error): .failed(error)
            }
    }
}

extension PersonalizationEngine {
    /// The user's memory; a new one where there is none.
    func remember(_ user: String, _ slot: inout Slot) -> UserMemory {
        if let memory = slot.memory { return memory }
        let steps = slot.adapter?.steps ?? 0
        let memory = UserMemory(
            user: user, seen: Int(min(steps, UInt64(Int32.max))),
            // A start that the caller has chosen stays. Making it again needs the first entries, which not every journal keeps.
            mayRestart: steps == 0 && journalHub?.retention != .untilCheckpoint && slot.adapter?.startedFrom == nil
                && !reasoning.configuration.restartsAfter.isEmpty, seed: fixed.seed,
            key: reasoning.digestKey)
        slot.memory = memory
        return memory
    }

    private func planned(_ feedback: [Feedback], _ adapter: LoRAAdapter?, _ user: String) throws(EngineError)
        -> PlannedSettings
    {
        do throws(LoRAError) {
            return try LoRAAdapter.planned(feedback, adapter, fixed.update)
        } catch {
            throw EngineError(.refusedFeedback, "updateAdapter", user: user, cause: error)
        }
    }

    private func key(
        _ memory: UserMemory, _ adapter: LoRAAdapter?, _ planned: PlannedSettings, _ count: Int,
        _ uptime: Double
    ) -> AdviceKey {
        AdviceKey(
            memory.tracker, objective: planned.objective, batchSize: count, shape: shape, model: reasoning.model,
            initialization: adapter?.startedFrom.map(PriorID.init), learningRate: Float(planned.learningRate),
            user: memory.digest, uptime: uptime)
    }

    /// What to ask before an adapter is made, when no feedback is there yet.
    func question(_ memory: UserMemory, _ adapter: LoRAAdapter?, _ objective: ObjectiveKind) -> AdviceQuestion {
        question(memory, adapter, LoRAAdapter.planned(objective, adapter, fixed.update), 1)
    }

    private func question(_ memory: UserMemory, _ adapter: LoRAAdapter?, _ planned: PlannedSettings, _ count: Int)
        -> AdviceQuestion
    {
        AdviceQuestion(
            key: key(memory, adapter, planned, count, reasoning.clock.uptime),
            task: task(memory, adapter, planned.objective, Float(planned.learningRate), count),
            isNew: adapter == nil, mayRestart: memory.isRestartDue(reasoning.configuration))
    }

    /// Records the start that an adapter is about to be made from; a stale one is not taken, and neither is any answer of its time.
    func recordStart(
        of user: String, _ question: AdviceQuestion, _ advice: inout CheckedAdvice?, _ connection: BankConnection,
        _ operation: String
    ) async throws {
        guard question.isNew || question.mayRestart, let start = advice?.initialization else { return }
        if try await recordsStart(of: user, from: start.prior, operation) { return }
        advice?.initialization = nil
        connection.clearCache()
    }

    func task(
        _ memory: UserMemory, _ adapter: LoRAAdapter?, _ objective: ObjectiveKind, _ learningRate: Float, _ count: Int
    ) -> AdaptationTask {
        AdaptationTask(
            context: memory.tracker.context(
                objective: objective, batchSize: count, shape: shape, model: reasoning.model,
                initialization: adapter?.startedFrom.map(PriorID.init), uptime: reasoning.clock.uptime),
            configuredLearningRate: learningRate, excluding: memory.digest)
    }
}
