public import LoRA
public import Reasoning
public import Telemetry
internal import TensorCore

/// Personalizes embeddings, with one low-rank adapter for each user.
///
/// ```swift
/// let engine = try PersonalizationEngine(configuration: EngineConfiguration(dimension: 384))
/// let before = try await engine.personalize(embedding, for: "ada")
/// try await engine.updateAdapter(for: "ada", with: [Feedback(embedding: embedding, signal: .target(liked))])
/// let after = try await engine.personalize(embedding, for: "ada")
/// ```
///
/// **Contract.** Updates of one user are applied one at a time, in the order in which they were accepted; a read sees a whole
/// version, never half of an update, and names it; whoever awaited an update reads its result or a later one. Without a bank
/// no byte of one user's adapter depends on another user: the same configuration and the same feedback for a user give the
/// same bytes, whatever happens to other users, on any number of threads.
///
/// **Cost.** A read or update of a user in memory takes one uncontended lock and no suspension. Users are spread over 256
/// shards; two users of one shard wait for each other's arithmetic, never for a store.
public final class PersonalizationEngine: Sendable {
    /// The effective settings, and whether a bank is connected; never the bank itself, nor the key under which it knows users.
    public var configuration: EngineConfiguration {
        var configuration = fixed
        configuration.hasReasoningBank = hasReasoningBank
        configuration.reasoning.sessionID = sessionID
        configuration.reasoning.digestKey = nil
        return configuration
    }
    /// The shape of every adapter.
    public let shape: AdapterShape

    /// The settings that do not change.
    let fixed: EngineConfiguration
    let store: any AdapterStore
    let reporting: Reporting
    /// What is the engine's of its journal, where it has one.
    let journalHub: JournalHub?
    /// What is the engine's of its bank.
    let reasoning: ReasoningHub
    /// Orders checkpoints and removals, so that no checkpoint brings back what was removed.
    let storeGate = FIFOGate()
    let resident: ResidentMemory
    private let shards = Shards(count: 256)

    /// Makes an engine.
    ///
    /// - Parameters:
    ///   - configuration: The settings; checked here once.
    ///   - store: Where adapters are looked for when they are not in memory, and where ``checkpoint()`` saves them.
    ///   - journal: Where every update is recorded before it is acknowledged, as durably as
    ///     ``EngineConfiguration/durability`` says; usually the same object as `store`.
    ///   - reporting: Where log lines and measurements go; nowhere by default.
    ///   - clock: What episodes are stamped with and cached answers age by.
    /// - Throws: ``EngineError`` (`invalidConfiguration`) naming the setting.
    public init(
        configuration: EngineConfiguration, store: any AdapterStore = InMemoryAdapterStore(),
        journal: (any FeedbackJournal)? = nil, reporting: Reporting = Reporting(),
        clock: any ReasoningClock = SystemClock()
    ) throws(EngineError) {
        shape = try configuration.validatedShape()
        var fixed = configuration
        fixed.reasoningBank = nil
        let durability = configuration.durability ?? (journal == nil ? .none : .buffered)
        fixed.durability = durability
        if durability != .none, journal == nil {
            throw EngineError(
                .invalidConfiguration, "configuration",
                "durability: \(durability) needs a journal: give the engine one")
        }
        // Without durability a journal is read all the same: what it has was acknowledged.
        journalHub = journal.map { [shape] journal in
            JournalHub(
                journal, durability: durability, policy: configuration.checkpoints, retention: configuration.retention,
                configuration: JournalConfiguration(
                    shape: shape, seed: configuration.seed, embeddingModel: configuration.embeddingModel,
                    update: configuration.update), clock: clock)
        }
        self.fixed = fixed
        self.store = store
        self.reporting = reporting
        var reasoningConfiguration = configuration.reasoning
        reasoningConfiguration.digestKey = reasoningConfiguration.digestKey ?? store.digestKey
        reasoning = ReasoningHub(
            reasoningConfiguration, isCacheEnabled: configuration.enableReasoningBankCache,
            dimension: configuration.dimension, embeddingModel: configuration.embeddingModel, clock: clock,
            reporting: reporting)
        resident = ResidentMemory(limit: configuration.residentLimit(shape))
        if let bank = configuration.reasoningBank {
            if let key = bank.digestKey, key != reasoning.digestKey {
                throw EngineError(
                    .invalidConfiguration, "configuration",
                    "reasoning.digestKey: the bank knows users under its file's key; leave this out, and give the engine "
                        + "the storage as its store")
            }
            _ = reasoning.swap(bank)
        }
    }

    func shard(of key: UserKey) -> Shard { shards[key.hash] }

    func shard(of user: String) -> Shard { shard(of: UserKey(user)) }

    /// All shards, in a fixed order.
    var allShards: [Shard] { shards.all }

    /// How many stand in line for this user, behind the one whose turn it is.
    func waiting(for user: String) -> Int {
        let key = UserKey(user)
        return shard(of: key).withLock { $0.waiting(key) }
    }

    /// The slots in use, with and without an adapter.
    var slotCount: Int { allShards.reduce(0) { sum, shard in sum + shard.withLock { $0.slotCount } } }
}

// MARK: - Users

extension PersonalizationEngine {
    /// Makes an adapter for a user who has none. Without a bank it is cold: the identity, until it learns. With one it starts
    /// from what the bank advises, if it has a start for new users.
    ///
    /// - Parameter user: The user's id, 1 to 1,024 bytes. Ids are bytes: two that only look alike are two users.
    /// - Returns: The adapter's version: 0 for a new one, otherwise that of the one that was there.
    /// - Throws: ``EngineError``: `invalidUser`, or what loading from the store throws.
    @discardableResult
    public func createAdapter(for user: String) async throws -> UInt64 {
        if let connection = reasoning.connection { return try await createAdvisedAdapter(for: user, connection) }
        return try await createAdapter(for: user, from: nil) { identity throws(LoRAError) in
            LoRAAdapter(shape: shape, identity: identity)
        }
    }

    /// Makes an adapter that starts from what others have learned (``mergeAdapters(_:normalizing:shrinkage:)``).
    ///
    /// - Parameters:
    ///   - user: The user's id.
    ///   - prior: The product to start from; of the engine's dimension.
    /// - Returns: The adapter's version: 0 for a new one, otherwise that of the one that was there, which is not changed.
    /// - Throws: ``EngineError``: `invalidUser`, `refusedMerge` for a prior of another dimension, `stalePrior` for a new user where the
    ///   journal knows that something in the prior was forgotten since, or what loading throws.
    @discardableResult
    public func createAdapter(for user: String, startingFrom prior: AdapterPrior) async throws -> UInt64 {
        try await createAdapter(for: user, from: prior) { identity throws(LoRAError) in
            var adapter = try LoRAAdapter(shape: shape, identity: identity, startingFrom: prior)
            if fixed.update.elasticWeightConsolidation != nil { adapter.anchorAtStart() }
            return adapter
        }
    }

    private func createAdapter(
        for user: String, from prior: AdapterPrior?, _ make: (AdapterIdentity) throws(LoRAError) -> LoRAAdapter
    ) async throws -> UInt64 {
        try await reportingFailures {
            try Self.check(user, "createAdapter")
            return try await withLine(user, "createAdapter") { shard in
                try await load(user, "createAdapter", shard)
                let identity = AdapterIdentity(seed: fixed.seed, user: user)
                let made = try Result(catching: { () throws(LoRAError) in try make(identity) })
                    .mapError { EngineError(.refusedMerge, "createAdapter", user: user, cause: $0) }
                    .get()
                if let prior { try await recordStart(of: user, from: prior, shard) }
                return try await place(made, from: prior, of: user, shard).version
            }
        }
    }

    /// Gives a user without an adapter one, in the user's line.
    func place(
        _ made: LoRAAdapter, from prior: AdapterPrior?, of user: String, _ shard: Shard
    ) async throws -> (version: UInt64, isNew: Bool) {
        let (result, outcome) = try await committing(user, shard, "createAdapter") {
            state throws(EngineError) -> ((version: UInt64, isNew: Bool), JournalDraft?) in
            let result = state.withSlot(user) { slot -> (version: UInt64, isNew: Bool) in
                if let adapter = slot.adapter { return (adapter.version, false) }
                slot.adapter = made
                slot.isUnsaved = true
                return (made.version, true)
            }
            guard let result, result.isNew else { return (result ?? (0, false), nil) }
            state.statistics.created += 1
            return (result, draft(creating: made, from: prior))
        }
        if outcome == .forgottenUser {
            throw EngineError(
                .forgottenUser, "createAdapter", "the user was forgotten: readmit them before they get an adapter",
                user: user)
        }
        return result
    }

    /// A copy of the user's adapter as it is now, or `nil` when there is none. Later updates do not change the copy.
    ///
    /// - Throws: ``EngineError``: what loading from the store throws.
    public func adapter(for user: String) async throws -> LoRAAdapter? {
        try await reportingFailures { try await adapter(for: user, "adapter") }
    }

    func adapter(for user: String, _ operation: String) async throws -> LoRAAdapter? {
        try Self.check(user, operation)
        let shard = shard(of: user)
        let epoch = resident.epoch
        let held = shard.withLock { state in
            state.withSlot(user) { slot -> LoRAAdapter? in
                slot.lastUse = epoch
                return slot.visible
            } ?? nil
        }
        if let held { return held }
        return try await withLoaded(user, operation) { shard in
            shard.withLock { $0.withSlot(user) { $0.adapter } ?? nil }
        }
    }

    /// Removes the user's adapter from memory and from the store. A later adapter of the same user starts again at version 0.
    ///
    /// A bank keeps what it has learned from the user: ``forget(_:)`` reaches that too.
    ///
    /// - Returns: Whether there was one.
    /// - Throws: ``EngineError`` (`storeFailed`): the adapter is then still in memory, and the next checkpoint saves it again in
    ///   case the store had removed it before it failed.
    @discardableResult
    public func removeAdapter(for user: String) async throws -> Bool {
        try await remove(user, settling: true, isForgotten: false).hadAdapter
    }

    /// - Parameters:
    ///   - settling: Whether an update whose outcome is not known yet goes to the bank.
    ///   - isForgotten: Whether the journal refuses the user from now on.
    /// - Returns: Whether there was an adapter, the journal's entries that were removed, and of who is forgotten the priors that have
    ///   become stale.
    func remove(
        _ user: String, settling: Bool, isForgotten: Bool
    ) async throws -> (hadAdapter: Bool, entries: Int, priors: [StalePrior]) {
        try await reportingFailures {
            try Self.check(user, "removeAdapter")
            return try await withLine(user, "removeAdapter") { shard in
                try await storeGate.pass {
                    // A store that fails may have removed it nonetheless: what is in memory then has to be saved again.
                    shard.withLock { state in
                        _ = state.withSlot(user) { $0.isUnsaved = $0.adapter != nil }
                    }
                    // The journal first: what it still had would bring the adapter back.
                    var entries = 0
                    var priors: [StalePrior] = []
                    if let hub = journalHub {
                        (entries, priors) = try await journalling("removeAdapter", user) {
                            let priors =
                                isForgotten
                                ? try await priorsToBecomeStale(user, learnedAt: 0, isWhole: true, hub) : []
                            return (try await hub.journal.removeEntries(of: user, isForgotten: isForgotten), priors)
                        }
                    }
                    let wasStored = try await storing("removeAdapter", user: user) { try await store.remove(user) }
                    let wasHeld = letGo(user, shard, settling: settling)
                    return (wasHeld || wasStored || entries > 0, entries, priors)
                }
            }
        }
    }

    /// The users with an adapter, in memory or in the store, in ascending order of their ids' bytes.
    ///
    /// - Throws: ``EngineError`` (`storeFailed`).
    public func users() async throws -> [String] {
        try await reportingFailures { try await presentUsers() }
    }

    /// The same for the engine's own operations, which report their failures themselves.
    func presentUsers() async throws -> [String] {
        // Memory first: who leaves it meanwhile is in the store by then, and the other way round would be in neither list.
        var all: Set<UserKey> = []
        for shard in allShards { shard.withLock { $0.forEach { _ = all.insert($0.key) } } }
        for user in try await storing("users", user: nil, { try await store.users() }) { all.insert(UserKey(user)) }
        if let hub = journalHub {
            let journalled = try await journalling("users", nil) { try await hub.journal.journalledUsers() }
            for user in journalled { all.insert(UserKey(user)) }
        }
        return all.sorted().map(\.user)
    }

    /// What the engine has done and holds.
    ///
    /// - Complexity: O(adapters in memory).
    public func statistics() -> EngineStatistics {
        var sum = EngineStatistics()
        for shard in allShards {
            shard.withLock { state in
                let part = state.statistics
                sum.updates += part.updates
                sum.failedUpdates += part.failedUpdates
                sum.reads += part.reads
                sum.unpersonalizedReads += part.unpersonalizedReads
                sum.created += part.created
                sum.loaded += part.loaded
                sum.evicted += part.evicted
                state.forEach { slot in
                    sum.residentAdapters += 1
                    sum.residentBytes += slot.adapter?.byteCount ?? 0
                    sum.unsavedAdapters += slot.isUnsaved ? 1 : 0
                    sum.unsavedEntries += Int(slot.unsavedEntries)
                }
            }
        }
        return sum
    }
}
