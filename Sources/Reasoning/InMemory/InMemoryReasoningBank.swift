internal import LoRA
internal import TensorCore

/// A bank in memory: for one process, for tests, and for what need not outlive a restart.
///
/// Keeps every promise of ``ReasoningBank``. Besides:
/// - It holds at most a given number of episodes; the oldest go first and are counted. An evicted one is
///   forgotten, and would be stored anew.
/// - Sums over users are kept as whole numbers, so that neither the order of storage nor what was evicted, forgotten or
///   excluded shows in any advice.
/// - ``learnStrategy(_:)`` takes the same time however many episodes there are; ``retrievePatterns(_:)`` reads each
///   episode of the kind once, up to some 16,000. Above, it asks graphs that are made in the background, and reads what
///   they do not hold yet.
/// - Consolidation and forgetting take turns; neither holds up the other calls.
public final class InMemoryReasoningBank: ReasoningBank {
    /// The most episodes that are held.
    public let capacity: Int
    /// How the bank weighs what it knows.
    public let configuration: ReasoningBankConfiguration
    let clock: any ReasoningClock
    let state: Lock<BankState>
    /// Consolidations and forgettings, one at a time.
    let turns = TurnGate()
    private let answers: BankAnswers
    private let indexing = BackgroundWork()

    /// An empty bank. Traps at a capacity below 1 and at a configuration that does not pass
    /// ``ReasoningBankConfiguration/validate()``.
    ///
    /// - Parameters:
    ///   - capacity: The most episodes that are held, of all kinds together; some 700 bytes each beside texts,
    ///     and 560 more where graphs hold them.
    ///   - clock: Tells episodes' ages.
    ///   - configuration: How the bank weighs what it knows.
    public convenience init(
        capacity: Int = 100_000, clock: any ReasoningClock = SystemClock(),
        configuration: ReasoningBankConfiguration = ReasoningBankConfiguration()
    ) {
        self.init(capacity: capacity, clock: clock, configuration: configuration, plan: GraphPlan())
    }

    /// The same with another plan for its graphs; ``GraphPlan/weights`` are the configuration's.
    package init(
        capacity: Int, clock: any ReasoningClock = SystemClock(),
        configuration: ReasoningBankConfiguration = ReasoningBankConfiguration(), plan: GraphPlan
    ) {
        precondition(capacity >= 1, "InMemoryReasoningBank: the capacity \(capacity) is below 1")
        do throws(ReasoningError) { try configuration.validate() } catch {
            preconditionFailure("InMemoryReasoningBank: \(error)")
        }
        self.capacity = capacity
        self.clock = clock
        self.configuration = configuration
        var plan = plan
        plan.weights = configuration.retrieval
        state = Lock(BankState(capacity: capacity, plan: plan))
        answers = BankAnswers(configuration)
    }

    /// Appends an episode. An unresolved one is kept, and counts toward no rate.
    ///
    /// - Returns: Its identifier, higher than those of all before; the first one's for an episode that is held.
    /// - Throws: ``ReasoningError`` (`invalidEpisode`); nothing was stored.
    /// - Complexity: O(1) amortised; O(kinds) when the bank is full.
    public func storePattern(_ episode: Episode) async throws -> EpisodeID {
        try episode.validate()
        let kind = AdapterKind(episode.context)
        let (id, isDue) = state.withLock { ($0.store(episode), $0.isIndexingDue(for: kind)) }
        if isDue { indexing.start { [weak self] in self?.state.withLock { $0.indexMore() } ?? false } }
        return id
    }

    /// Brings the graphs up to date now instead of in the background: for benchmarks and tests.
    package func finishIndexing() { while state.withLock({ $0.indexMore() }) {} }

    /// The resolved episodes most like a context, by the score of ``RetrievalWeights``, ties by identifier.
    ///
    /// Exact up to some 16,000 episodes of the kind. Above, graphs are asked first (Malkov & Yashunin 2018,
    /// arXiv:1603.09320): whether they give at least 95 % of the true answers is measured again and again on the episodes
    /// themselves, and where they do not, or the query admits few, every episode is read all the same
    /// (``ReasoningBankStatistics/graphRecall``). With ``PatternQuery/relevance`` below 1 the choice is made among the
    /// `max(200, 4·limit)` best by score, with the score in place of the similarity to the query.
    ///
    /// - Throws: ``ReasoningError`` (`invalidQuery`) for a query that contradicts itself or holds a number that is not
    ///   finite.
    /// - Complexity: under the lock O(n) for n episodes of the kind that no graph holds, 80 multiplications each, and
    ///   O(log n) expected for each graph of up to 131,072; O(limit·max(200, 4·limit)) more for variety.
    public func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] {
        try query.validate()
        if let fault = query.context.fault { throw ReasoningError(.invalidQuery, "retrievePatterns", fault) }
        let now = clock.now
        let weights = configuration.retrieval
        let (isVaried, pool) = (query.relevance < 1, PatternCandidate.pool(query))
        let found = state.withLock { state -> [PatternCandidate] in
            guard let index = state.kinds[AdapterKind(query.context)]?.index else { return [] }
            let answer = index.answer(pool, for: query, weights: weights, now: now)
            state.lookups.count(answer)
            return answer.matches.compactMap { match in
                state.episodes[match.id].map { episode in
                    PatternCandidate(episode: episode, match: match, vector: isVaried ? index.vector(match.id) : [])
                }
            }
        }
        return PatternCandidate.patterns(found, query, now: now)
    }

    /// What has worked for adapters of this kind; see ``StrategyAdvice``.
    ///
    /// - `rateArms`: ¼, ½, 1, 2 and 4 times the rate around which the population learns best, as far as
    ///   ``ReasoningBankConfiguration/rates`` allows, with Thompson sampling's probabilities.
    /// - `hints.learningRate`: that rate.
    /// - `confidence`: n / (n + k) for n users.
    /// - `gain`: the mean over users of their mean gain, with Student's interval.
    /// - `initialization`: of the skill nearest in taste, or of the whole population; never one to which the excluded
    ///   user gave.
    ///
    /// Without resolved episodes there is at most an initialization.
    ///
    /// - Throws: ``ReasoningError`` (`invalidQuery`) for a context that holds a number that is not finite or a rate
    ///   that is not above 0.
    /// - Complexity: O(rates + skills), whatever the number of episodes.
    public func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        try task.validate()
        let known = state.withLock { state in
            answers.known(of: task, in: state.kinds[AdapterKind(task.context)], state.knowledge)
        }
        return answers.advice(on: task, known)
    }
}

// MARK: - Reading

/// How much a bank holds.
public struct ReasoningBankStatistics: Sendable, Hashable {
    /// The episodes held.
    public var episodes = 0
    /// Those of them whose outcome is known.
    public var resolved = 0
    /// The users that they are of.
    public var users = 0
    /// The kinds of adapters that they are of.
    public var kinds = 0
    /// The episodes that went because the bank was full, since it was made.
    public var evicted = 0
    /// The skills.
    public var skills = 0
    /// The kinds for which there is a start of the whole population.
    public var populations = 0
    /// The episodes that look-ups find by graphs; the others are read one by one.
    public var indexed = 0
    /// The graphs in use.
    public var graphs = 0
    /// The graphs that did not pass their check: their episodes are read one by one.
    public var refusedGraphs = 0
    /// The most candidates (ef) with which a look-up in a graph begins.
    public var graphEffort = 0
    /// The least share of the true ten best that a graph in use gave in its last check; `nil` without graphs.
    public var graphRecall: Double?
    /// What a graph could not do when it was made or checked (no memory, as a rule), the last time that one failed.
    public var graphFailure: String?
    /// The look-ups for which a graph was asked, since the bank was made.
    public var graphLookups = 0
    /// The look-ups that read every episode.
    public var exactLookups = 0

    /// What a bank counts.
    package init(
        _ kinds: some Collection<KindState>, _ knowledge: SkillShelf, users: Int, evicted: Int, lookups: LookupCounts
    ) {
        episodes = kinds.reduce(0) { $0 + $1.index.count }
        resolved = kinds.reduce(0) { $0 + $1.resolved }
        self.users = users
        self.kinds = kinds.count
        self.evicted = evicted
        skills = knowledge.list.count
        populations = knowledge.populations.values.count { $0.initialization != nil }
        var graphs = GraphStatistics()
        for kind in kinds { graphs.add(kind.index.graphStatistics) }
        (indexed, self.graphs, refusedGraphs) = (graphs.indexed, graphs.graphs, graphs.refused)
        (graphEffort, graphRecall, graphFailure) = (graphs.effort, graphs.recall, graphs.failure)
        (graphLookups, exactLookups) = (lookups.byGraph, lookups.exact)
    }
}

/// Look-ups of episodes, by whether a graph was asked.
package struct LookupCounts: Sendable, Hashable {
    package private(set) var byGraph = 0
    package private(set) var exact = 0

    package init() {}

    package mutating func count(_ answer: EpisodeIndex.Answer) {
        if answer.isByGraph { byGraph += 1 } else { exact += 1 }
    }
}

extension InMemoryReasoningBank {
    /// The episodes held.
    public var episodeCount: Int { state.withLock { $0.count } }

    /// A user's episodes, ascending by identifier.
    public func episodes(of user: UserDigest) -> [StoredEpisode] { state.withLock { $0.episodes(of: user) } }

    /// The skills, ascending by identifier.
    public var skills: [Skill] { state.withLock { $0.knowledge.list } }

    /// The start of the whole population of a kind; `nil` before a consolidation found enough donors.
    public func populationInitialization(of kind: AdapterKind) -> Initialization? {
        state.withLock { $0.knowledge.populations[kind]?.initialization }
    }

    /// How much the bank holds.
    public var statistics: ReasoningBankStatistics {
        state.withLock { state in
            ReasoningBankStatistics(
                state.kinds.values, state.knowledge, users: state.users, evicted: state.evicted, lookups: state.lookups)
        }
    }
}
