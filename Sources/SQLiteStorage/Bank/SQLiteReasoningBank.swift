internal import LoRA
public import Personalization
public import Reasoning
internal import TensorCore

/// A bank in the file of a ``SQLiteStorage``, beside adapters and journal: episodes and skills outlive the process, and survive its
/// death like updates.
///
/// ```swift
/// let storage = try await SQLiteStorage(path: "attune.db")
/// let bank = try await SQLiteReasoningBank(storage)
/// var configuration = EngineConfiguration(dimension: 384)
/// configuration.reasoningBank = bank
/// let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
/// ```
///
/// Keeps every promise of ``ReasoningBank``. Besides:
/// - What look-ups ask is held in memory, and read from the file when the bank is opened; the episodes themselves are read when they
///   answer.
/// - Episodes that come at the same time are stored in one transaction.
/// - A consolidation stores each skill in one transaction; one that was interrupted goes on when it is asked for again.
/// - It holds at most a given number of episodes; the oldest go first. An evicted one would be stored anew.
/// - Users who were forgotten while no bank was open (``PersonalizationEngine/forget(_:)``) are forgotten when it is opened, and episodes
///   of theirs are refused.
public final class SQLiteReasoningBank: ReasoningBank {
    /// Where everything is kept.
    public let storage: SQLiteStorage
    /// The most episodes that are held.
    public let capacity: Int
    /// How safe an episode or a skill is when it is acknowledged.
    public let durability: Durability
    /// How the bank weighs what it knows.
    public let configuration: ReasoningBankConfiguration
    let clock: any ReasoningClock
    let state: Lock<BankContents>
    /// Consolidations and forgettings, one at a time.
    let turns = TurnGate()
    let arrivals = Lock<Arrivals>(Arrivals())
    private let claim: BankClaim?
    private let answers: BankAnswers
    private let indexing = BackgroundWork()

    /// Opens the bank of a storage's project. Traps at a capacity below 1.
    ///
    /// - Parameters:
    ///   - storage: The file; it has one bank at a time. From one that was opened for reading a bank only answers.
    ///   - capacity: The most episodes that are held, of all kinds together. Not kept in the file: with a smaller one than before the
    ///     oldest beyond it go with the next episode that is stored.
    ///   - durability: How safe episodes and skills are when they are acknowledged; at least `buffered`.
    ///   - clock: Tells episodes' ages.
    ///   - configuration: How the bank weighs what it knows.
    ///   - progress: Told how many episodes were read.
    /// - Throws: ``StorageError``: `inUse` where another bank of this storage is there still, `damaged` for an episode or skill that is
    ///   none; ``ReasoningError`` (`invalidConfiguration`).
    /// - Complexity: O(episodes): each is read once.
    public convenience init(
        _ storage: SQLiteStorage, capacity: Int = 1_000_000, durability: Durability = .buffered,
        clock: any ReasoningClock = SystemClock(),
        configuration: ReasoningBankConfiguration = ReasoningBankConfiguration(),
        progress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws {
        try await self.init(
            unsettled: storage, capacity: capacity, durability: durability, clock: clock, configuration: configuration,
            progress: progress)
        if storage.access == .writing { try await forgetTheForgotten() }
    }

    /// One that may have users who were forgotten meanwhile.
    package init(
        unsettled storage: SQLiteStorage, capacity: Int = 1_000_000, durability: Durability = .buffered,
        clock: any ReasoningClock = SystemClock(),
        configuration: ReasoningBankConfiguration = ReasoningBankConfiguration(),
        progress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws {
        precondition(capacity >= 1, "SQLiteReasoningBank: the capacity \(capacity) is below 1")
        try configuration.validate()
        claim = storage.access == .writing ? try await BankClaim.made(storage) : nil
        self.storage = storage
        self.capacity = capacity
        self.durability = durability
        self.clock = clock
        self.configuration = configuration
        var plan = GraphPlan()
        plan.weights = configuration.retrieval
        state = Lock(BankContents(plan))
        answers = BankAnswers(configuration)
        try await readContents(progress)
        indexIfDue()
    }

    /// Brings the graphs up to date in the background.
    func indexIfDue() {
        guard state.withLock({ $0.isIndexingDue }) else { return }
        indexing.start { [weak self] in self?.state.withLock { $0.indexMore() } ?? false }
    }

    /// Appends an episode. An unresolved one is kept, and counts toward no rate.
    ///
    /// - Returns: Its identifier, higher than those of all before; the first one's for an episode that is held.
    /// - Throws: ``ReasoningError``: `invalidEpisode`; `forgottenUser`. ``StorageError``. Nothing was stored then.
    public func storePattern(_ episode: Episode) async throws -> EpisodeID {
        try storage.refuseReading("storePattern")
        try episode.validate()
        return try await append([episode])[0].get()
    }

    /// That of the file: under it the file knows who was forgotten.
    public var digestKey: DigestKey? { storage.digestKey }

    /// 256: together they share a transaction.
    public var storesTogether: Int { 256 }

    /// Appends episodes, in one transaction for some thousand; what became of each, as of ``storePattern(_:)``.
    public func storePatterns(_ episodes: [Episode]) async -> [Result<EpisodeID, any Error>] {
        do { try storage.refuseReading("storePatterns") } catch {
            return Array(repeating: .failure(error), count: episodes.count)
        }
        var results = [Result<EpisodeID, any Error>?](repeating: nil, count: episodes.count)
        var (valid, places): ([Episode], [Int]) = ([], [])
        for (place, episode) in episodes.enumerated() {
            do {
                try episode.validate()
                valid.append(episode)
                places.append(place)
            } catch {
                results[place] = .failure(error)
            }
        }
        // Not all at once: what is in memory of a transaction is bounded, and others come in between.
        for start in stride(from: 0, to: valid.count, by: Self.largestGroup) {
            let end = min(start + Self.largestGroup, valid.count)
            for (place, result) in zip(places[start..<end], await append(Array(valid[start..<end]))) {
                results[place] = result
            }
        }
        return results.map { result in
            guard let result else { preconditionFailure("an episode without a result") }
            return result
        }
    }

    /// The resolved episodes most like a context, by the score of ``RetrievalWeights``, ties by identifier; through graphs as in
    /// ``InMemoryReasoningBank/retrievePatterns(_:)``, which are made anew in the background when the bank is opened.
    ///
    /// With ``PatternQuery/relevance`` below 1 the choice is made among the `max(200, 4·limit)` best by score, with the score in
    /// place of the similarity to the query.
    ///
    /// - Throws: ``ReasoningError`` (`invalidQuery`) for a query that contradicts itself or holds a number that is not
    ///   finite; ``StorageError``.
    public func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] {
        try query.validate()
        if let fault = query.context.fault { throw ReasoningError(.invalidQuery, "retrievePatterns", fault) }
        let now = clock.now
        let weights = configuration.retrieval
        let kind = AdapterKind(query.context)
        let found = state.withLock { state -> [(match: EpisodeIndex.Match, vector: [Float])] in
            guard let index = state.kinds[kind]?.index else { return [] }
            let answer = index.answer(PatternCandidate.pool(query), for: query, weights: weights, now: now)
            state.lookups.count(answer)
            return answer.matches.map { match in
                (match, query.relevance < 1 ? index.vector(match.id) : [])
            }
        }
        if found.isEmpty { return [] }
        let episodes = try await episodes(found.map(\.match.id), of: kind, "retrievePatterns")
        let pool = zip(found, episodes).compactMap { found, episode in
            episode.map { PatternCandidate(episode: $0, match: found.match, vector: found.vector) }
        }
        return PatternCandidate.patterns(pool, query, now: now)
    }

    /// What has worked for adapters of this kind; see ``StrategyAdvice`` and ``InMemoryReasoningBank/learnStrategy(_:)``.
    ///
    /// - Throws: ``ReasoningError`` (`invalidQuery`) for a context that holds a number that is not finite or a rate
    ///   that is not above 0.
    /// - Complexity: O(rates + skills + local starts), whatever the number of episodes.
    public func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        try task.validate()
        let known = state.withLock { state in
            answers.known(of: task, in: state.kinds[AdapterKind(task.context)], state.knowledge)
        }
        return answers.advice(on: task, known)
    }
}

/// That a storage that writes has one bank: what is in memory of another would not be what is in the file.
private final class BankClaim: Sendable {
    private let storage: SQLiteStorage

    /// A claim; waits a moment for a bank that was let go of just now, which a thread that ends its work may still hold.
    static func made(_ storage: SQLiteStorage) async throws -> BankClaim {
        for _ in 0..<200 {
            do throws(StorageError) { return try BankClaim(storage) } catch {
                try await Task.sleep(for: .milliseconds(1))
            }
        }
        return try BankClaim(storage)
    }

    private init(_ storage: SQLiteStorage) throws(StorageError) {
        let isFirst = storage.hasOpenBank.withLock { hasBank in
            defer { hasBank = true }
            return !hasBank
        }
        guard isFirst else {
            throw StorageError(
                .inUse, "bank", "the storage has a bank already: use that one, or let go of it", path: storage.path)
        }
        self.storage = storage
    }

    deinit { storage.hasOpenBank.withLock { $0 = false } }
}

/// What a bank holds in memory of what is in its file. Changed on the connection's queue alone, after each commit.
struct BankContents: Sendable {
    var kinds: [AdapterKind: KindState] = [:]
    /// The kinds' numbers in the file.
    var refs: [AdapterKind: Int64] = [:]
    /// Skills and populations, without their trials.
    var knowledge = SkillShelf()
    var count = 0
    var evicted = 0
    var lookups = LookupCounts()
    private let plan: GraphPlan

    init(_ plan: GraphPlan) { self.plan = plan }

    /// No episode has a lower identifier.
    var oldest: EpisodeID { kinds.values.compactMap(\.index.oldest).min() ?? EpisodeID(0) }

    /// Whether graphs wait for work.
    var isIndexingDue: Bool { kinds.values.contains { $0.index.isIndexingDue } }

    /// Works on graphs for about half a millisecond; says whether more is left.
    mutating func indexMore() -> Bool { kinds.indexMore() }

    mutating func append(_ id: EpisodeID, _ episode: Episode) {
        kinds[AdapterKind(episode.context), default: KindState(plan)].append(id, episode)
        count += 1
    }

    mutating func remove(_ id: EpisodeID, _ episode: Episode) {
        let kind = AdapterKind(episode.context)
        kinds[kind]?.remove(id, episode)
        if kinds[kind]?.index.count == 0 { kinds[kind] = nil }
        count -= 1
    }
}
