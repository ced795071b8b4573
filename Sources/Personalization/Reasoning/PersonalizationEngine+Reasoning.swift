internal import LoRA
public import Reasoning
internal import TensorCore

/// An adaptation of another user in a situation like this one.
public struct SimilarAdaptation: Sendable, Hashable {
    /// The other user, as the bank knows them.
    public var userKey: UserDigest
    /// The rank of the adapter.
    public var rank: Int
    /// The loss of the batch after its update.
    public var loss: Double
    /// The rank of its gain among the population's, 0...1.
    public var reward: Double
    /// The learning rate that was applied.
    public var learningRate: Float
    /// How alike the situations are, −1...1.
    public var similarity: Double
}

/// A bank's advice and what an update would make of it.
public struct LearnedStrategy: Sendable, Hashable {
    /// The bank's advice, as it gave it.
    public var advice: StrategyAdvice
    /// The hints that are followed: the bank's typed ones, those read from its sentence, or those of similar successes.
    public var hints: AdaptationHints
    /// What of it is not followed, and why.
    public var ignored: [IgnoredHint]
    /// The learning rate of the user's next update under it, schedule included.
    public var learningRate: Float
    /// The clipping threshold.
    public var clipThreshold: Float
    /// The strength λ of the protection; `nil` where that is off.
    public var consolidationStrength: Float?
}

// MARK: - Connecting

extension PersonalizationEngine {
    /// Whether a bank is connected.
    public var hasReasoningBank: Bool { reasoning.connection != nil }

    /// The engine's session, as its episodes name it.
    public var sessionID: String { reasoning.sessionID }

    /// Connects a bank, in place of the one that is connected now, if there is one. At any time, also during updates.
    ///
    /// The cache starts empty. Episodes of updates made so far go to the bank that gave their hints.
    ///
    /// Traps where the bank needs to know users under another key than the engine's (``ReasoningBank/digestKey``): forgetting would
    /// not reach it.
    ///
    /// - Complexity: O(users in memory).
    public func connectReasoningBank(_ bank: any ReasoningBank) {
        if let key = bank.digestKey {
            precondition(key == reasoning.digestKey, "connectReasoningBank: the bank knows users under another key")
        }
        swapBank(bank)
    }

    /// Disconnects the bank: from now on the engine works as if it had never been there.
    ///
    /// Updates whose outcome nobody knows yet are stored without one, in the background; ``flushReasoningBank(deadline:)`` waits
    /// for them, and for those on their way, before or after this call.
    ///
    /// - Complexity: O(users in memory).
    public func disconnectReasoningBank() { swapBank(nil) }

    private func swapBank(_ bank: (any ReasoningBank)?) {
        let old = reasoning.swap(bank)
        settlePending(of: allShards, forgettingUsers: bank == nil)
        old?.close()
    }

    /// Stores every update of these users whose outcome is not known without one.
    func settlePending(of shards: [Shard], forgettingUsers: Bool) {
        for shard in shards {
            // Taken by the queues before the lock is released, so that forgetting a user finds them in one place or the other.
            let arrivals = shard.withLock { state in
                var arrivals: [EpisodeQueue.Arrival] = []
                state.updateAll { _, slot in
                    if let taken = slot.memory?.takePending() { arrivals.append(taken.settled()) }
                    if forgettingUsers { slot.memory = nil }
                }
                return arrivals
            }
            for arrival in arrivals { arrival.finish() }
        }
    }

    /// Ends the work with the bank: updates whose outcome is not known are stored without one, and everything on its way is
    /// waited for, to banks that were exchanged or disconnected too. The bank stays connected.
    ///
    /// - Returns: Whether everything was stored before the deadline.
    /// - Throws: `CancellationError`.
    @discardableResult
    public func shutdown(deadline: Duration = .seconds(10)) async throws -> Bool {
        settlePending(of: allShards, forgettingUsers: false)
        return try await flushReasoningBank(deadline: deadline)
    }

    /// Waits until the episodes on their way are stored, or given up on because their bank failed, which is counted; those of
    /// banks that were exchanged or disconnected too.
    ///
    /// The last update of each user is not among them: its outcome is known when the next one comes.
    ///
    /// - Returns: Whether none was left before the deadline; `true` where there never was a bank.
    /// - Throws: `CancellationError`.
    @discardableResult
    public func flushReasoningBank(deadline: Duration = .seconds(10)) async throws -> Bool {
        try await reasoning.flush(deadline: deadline)
    }

    /// What the engine's work with its banks has come to.
    public func reasoningBankStatistics() -> ReasoningStatistics {
        var statistics = reasoning.totals.snapshot
        statistics.sessionID = reasoning.sessionID
        statistics.isCacheEnabled = reasoning.isCacheEnabled
        if let connection = reasoning.connection {
            statistics.isEnabled = true
            connection.addCache(to: &statistics)
        }
        statistics.queueDepth = reasoning.queues.reduce(0) { $0 + $1.depth }
        return statistics
    }

    /// Empties the cache of the bank's answers. What is being asked meanwhile is not put into it.
    public func clearReasoningBankCache() { reasoning.connection?.clearCache() }
}

// MARK: - Asking

extension PersonalizationEngine {
    /// Turns the bank's episodes into skills, and retires skills that no longer help.
    ///
    /// Episodes on their way to the bank are waited for first.
    ///
    /// - Parameters:
    ///   - minimumSuccessRate: The least share of a group's users whose adaptations succeeded, 0...1.
    ///   - minimumUses: The fewest episodes of a group.
    ///   - lookbackDays: How many days back episodes count.
    /// - Returns: What was created, updated, retired, and why groups were refused; `nil` without a bank.
    /// - Throws: What the bank throws; ``ReasoningError``: `timedOut` when episodes could not be stored in time, `invalidPolicy`;
    ///   what loading donors' adapters throws; `CancellationError` as soon as the task is cancelled, which the bank is told.
    public func consolidateAdaptationPatterns(
        minimumSuccessRate: Double = 0.85, minimumUses: Int = 5, lookbackDays: Double = 30
    ) async throws -> ConsolidationReport? {
        try await consolidateAdaptationPatterns(
            ConsolidationPolicy(
                minimumSuccessRate: minimumSuccessRate, minimumUses: minimumUses, lookbackDays: lookbackDays,
                seed: fixed.seed))
    }

    /// The same with every setting of the policy.
    public func consolidateAdaptationPatterns(_ policy: ConsolidationPolicy) async throws -> ConsolidationReport? {
        guard let connection = reasoning.connection else { return nil }
        try policy.validate()
        guard try await reasoning.flush(deadline: .seconds(60)) else {
            throw ReasoningError(
                .timedOut, "consolidateAdaptationPatterns",
                "episodes on their way to the bank were not stored in a minute")
        }
        let donors = try await donors()
        let report = try await connection.call("consolidateAdaptationPatterns") { bank in
            try await bank.autoConsolidate(policy, donors: donors)
        }
        // Answers from before do not know the new skills.
        connection.clearCache()
        return report
    }

    /// Other users' adaptations in situations like that of this user, the most alike first.
    ///
    /// - Parameters:
    ///   - user: The user; one without an adapter is asked for as new.
    ///   - limit: The most that are wanted.
    /// - Returns: At most `limit`, none of this user; `nil` without a bank.
    /// - Throws: ``EngineError``: `invalidUser`, and what loading throws; what the bank throws; ``ReasoningError``:
    ///   `malformedAnswer` for an answer that cannot be, `timedOut` past ``ReasoningConfiguration/storeDeadline``;
    ///   `CancellationError`.
    public func similarAdaptations(to user: String, limit: Int = 5) async throws -> [SimilarAdaptation]? {
        guard let connection = reasoning.connection else { return nil }
        let task = try await task(of: user, "similarAdaptations").task
        let query = PatternQuery(
            context: task.context, limit: limit, minimumReward: 0, excluding: task.excluding)
        try query.validate()
        let answer = try await connection.call("similarAdaptations", deadline: fixed.reasoning.storeDeadline) { bank in
            try await bank.retrievePatterns(query)
        }
        return try RetrievedPattern.checked(answer, asked: query, "similarAdaptations").map { pattern in
            SimilarAdaptation(
                userKey: pattern.user, rank: pattern.rank, loss: pattern.loss, reward: pattern.reward,
                learningRate: pattern.action.learningRate, similarity: pattern.similarity)
        }
    }

    /// The bank's advice for a user's next update, and what that would make of it. Asks the bank as an update does, past the cache.
    ///
    /// - Returns: `nil` without a bank.
    /// - Throws: ``EngineError``: `invalidUser`, and what loading throws; what the bank throws; ``ReasoningError``:
    ///   `malformedAnswer` for an advice that cannot be, `timedOut` past ``ReasoningConfiguration/storeDeadline``;
    ///   `CancellationError`.
    public func learnStrategy(for user: String) async throws -> LearnedStrategy? {
        guard let connection = reasoning.connection else { return nil }
        let (task, planned, draw) = try await task(of: user, "learnStrategy")
        let (advice, checked) = try await connection.strategy(task, shape: shape)
        let applied = checked.applied(to: planned, dimension: shape.dimension, draw: draw)
        return LearnedStrategy(
            advice: advice, hints: checked.hints, ignored: checked.ignored + applied.ignored,
            learningRate: applied.overrides.learningRate ?? Float(planned.learningRate * planned.scheduleFactor),
            clipThreshold: applied.overrides.clipThreshold ?? Float(planned.clipThreshold),
            consolidationStrength: applied.overrides.consolidationStrength
                ?? planned.consolidationStrength.map { Float($0) })
    }

    /// What a bank would be asked before a user's next update with one like.
    private func task(of user: String, _ operation: String) async throws -> (
        task: AdaptationTask, planned: PlannedSettings, draw: Double
    ) {
        try await reportingFailures {
            try Self.check(user, operation)
            return try await withLine(user, operation) { shard in
                try await load(user, operation, shard)
                let found = shard.withLock { state in
                    state.withSlot(user) { slot -> (AdaptationTask, PlannedSettings, Double) in
                        let memory = remember(user, &slot)
                        let objective = memory.lastObjective ?? fixed.likeObjective
                        let planned = LoRAAdapter.planned(objective, slot.adapter, fixed.update)
                        let task = self.task(
                            memory, slot.adapter, objective, Float(planned.learningRate), 1)
                        return (task, planned, memory.draw)
                    }
                }
                guard let found else { preconditionFailure("a user in line has a slot") }
                return found
            }
        }
    }
}

// MARK: - Users

extension PersonalizationEngine {
    /// Makes an adapter from the start that the bank has for new users, or a cold one.
    func createAdvisedAdapter(for user: String, _ connection: BankConnection) async throws -> UInt64 {
        try await reportingFailures {
            try Self.check(user, "createAdapter")
            return try await withLine(user, "createAdapter") { shard in
                try await load(user, "createAdapter", shard)
                let question = shard.withLock { state in
                    state.withSlot(user) { slot -> AdviceQuestion? in
                        slot.adapter == nil
                            ? self.question(remember(user, &slot), nil, fixed.likeObjective) : nil
                    } ?? nil
                }
                var advice: CheckedAdvice?
                if let question {
                    advice = try await answer(question, connection)
                    try await recordStart(of: user, question, &advice, connection, "createAdapter")
                }
                try Task.checkCancellation()
                let made = newAdapter(user, advice?.initialization)
                let (version, isNew) = try await place(made.adapter, from: made.prior, of: user, shard)
                let isWarm = isNew && made.adapter.startedFrom != nil
                if isWarm { reasoning.totals.warmStarted() }
                return version
            }
        }
    }

    /// Saves a user's adapter and lets go of it in memory; the next read or update loads it again.
    ///
    /// An update whose outcome is not known yet goes to the bank without one.
    ///
    /// - Returns: Whether there was one in memory.
    /// - Throws: ``EngineError``: `invalidUser`, `storeFailed`, `staleVersion`; the adapter then stays in memory.
    @discardableResult
    public func unloadAdapter(for user: String) async throws -> Bool {
        try await reportingFailures {
            try Self.check(user, "unloadAdapter")
            return try await withLine(user, "unloadAdapter") { shard in
                try await storeGate.pass {
                    let record = shard.withLock { state in
                        state.withSlot(user) { slot in
                            slot.isUnsaved
                                ? slot.adapter.map {
                                    StoredAdapter(
                                        user: slot.user, embeddingModel: fixed.embeddingModel, adapter: $0,
                                        isJournalled: isJournalling)
                                } : nil
                        } ?? nil
                    }
                    if let record { try await give([record], "unloadAdapter", user: user) }
                    return letGo(user, shard, settling: true)
                }
            }
        }
    }

    /// Lets go of what is in memory of a user. In the user's line.
    ///
    /// - Parameter settling: Whether an update whose outcome is not known yet goes to the bank without one.
    /// - Returns: Whether there was an adapter.
    func letGo(_ user: String, _ shard: Shard, settling: Bool) -> Bool {
        let (was, arrival) = shard.withLock { state in
            state.withSlot(user) { slot -> (Bool, EpisodeQueue.Arrival?) in
                let was = slot.adapter != nil
                let pending = slot.memory?.takePending()
                slot.adapter = nil
                slot.memory = nil
                slot.isUnsaved = false
                journalHub?.forgetReplayed([user])
                return (was, settling ? pending?.settled() : nil)
            } ?? (false, nil)
        }
        arrival?.finish()
        return was
    }
}

extension PersonalizationEngine {
    /// The engine's users as donors: found by digest, read from memory or from the store, without loading them.
    func donors() async throws -> EngineDonors {
        var users: [UserDigest: String] = [:]
        for user in try await self.users() { users[reasoning.digestKey.digest(of: user)] = user }
        return EngineDonors(engine: self, users: users)
    }
}

struct EngineDonors: DonorSource {
    let engine: PersonalizationEngine
    let users: [UserDigest: String]

    func adapter(of digest: UserDigest) async throws -> LoRAAdapter? {
        guard let user = users[digest] else { return nil }
        do {
            return try await engine.peek(user)
        } catch let error as EngineError where error.tellsDamage {
            // One user's damage keeps nobody else from giving.
            engine.report(error)
            return nil
        }
    }
}

extension PersonalizationEngine {
    /// A user's adapter, from memory or from the store, which it does not leave.
    fileprivate func peek(_ user: String) async throws -> LoRAAdapter? {
        if let adapter = shard(of: user).withLock({ $0.withSlot(user) { $0.visible } ?? nil }) { return adapter }
        return try await recovered(user, "donors")?.record.adapter
    }
}
