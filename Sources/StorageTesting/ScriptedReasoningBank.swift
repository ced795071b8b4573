public import Reasoning
internal import TensorCore

/// A bank that answers, waits, hangs, fails and talks nonsense as a test wants it, and records what it was asked.
///
/// Calls go to a base bank unless something is scripted for them:
///
/// ```swift
/// let bank = ScriptedReasoningBank()
/// bank.script(.learn, .hang, .fail(Fault()), .garbage(.notANumber))   // the next three calls; then as usual
/// bank.always(.retrieve, .delay(.milliseconds(80)))
/// bank.answerLearn { task in StrategyAdvice(confidence: 1) }
/// ```
///
/// **Concurrency.** All calls may be made from many tasks at once; steps are taken in the order in which calls come.
public final class ScriptedReasoningBank: ReasoningBank {
    /// The calls of a bank.
    public enum Call: String, Sendable, Hashable, CaseIterable {
        /// ``ReasoningBank/storePattern(_:)``.
        case store
        /// ``ReasoningBank/retrievePatterns(_:)``.
        case retrieve
        /// ``ReasoningBank/learnStrategy(_:)``.
        case learn
        /// ``ReasoningBank/autoConsolidate(_:donors:)``.
        case consolidate
        /// ``ReasoningBank/forget(_:donors:)``.
        case forget
    }

    /// What happens in one call.
    public enum Step: Sendable {
        /// The usual answer.
        case answer
        /// The usual answer after a time; a cancelled task throws `CancellationError` at once.
        case delay(Duration)
        /// The usual answer once ``ScriptedReasoningBank/release()`` is called; cancellation changes nothing, as in a
        /// bank that does not look.
        case hang
        /// This error.
        case fail(any Error)
        /// Nonsense.
        case garbage(Garbage)
    }

    /// Kinds of nonsense. A call for which a kind means nothing gives the usual answer.
    public enum Garbage: String, Sendable, Hashable, CaseIterable {
        /// NaN wherever an answer holds a number with a fraction.
        case notANumber
        /// Infinity there.
        case infinity
        /// 1,000,000 patterns, whatever the limit; a million evidence ids and 10,000 rate arms.
        case tooMuch
        /// A learning rate of 10³⁰, and arms of it.
        case absurdRate
        /// A rate below 0.
        case negativeRate
        /// A confidence of 7.
        case absurdConfidence
        /// Probabilities that sum to 3.
        case absurdProbabilities
        /// A start of one more dimension.
        case otherDimension
        /// Patterns of the excluded user, below the least reward, in ascending likeness.
        case brokenPromises
        /// Texts of a million characters.
        case longText
    }

    /// What the bank was asked.
    public enum Request: Sendable {
        /// To store.
        case store(Episode)
        /// For patterns.
        case retrieve(PatternQuery)
        /// For advice.
        case learn(AdaptationTask)
        /// To consolidate.
        case consolidate(ConsolidationPolicy)
        /// To forget.
        case forget(UserDigest)

        /// Which call it was.
        public var call: Call {
            switch self {
            case .store: .store
            case .retrieve: .retrieve
            case .learn: .learn
            case .consolidate: .consolidate
            case .forget: .forget
            }
        }
    }

    private struct State {
        var steps: [Call: [Step]] = [:]
        var usual: [Call: Step] = [:]
        var requests: [Request] = []
        var finished: [Call: Int] = [:]
        var hanging: [CheckedContinuation<Void, Never>] = []
        var retrieve: (@Sendable (PatternQuery) async throws -> [RetrievedPattern])?
        var learn: (@Sendable (AdaptationTask) async throws -> StrategyAdvice)?
        var store: (@Sendable (Episode) async throws -> EpisodeID)?
        var consolidate: (@Sendable (ConsolidationPolicy) async throws -> ConsolidationReport)?
        var forget: (@Sendable (UserDigest) async throws -> ForgettingReport)?
    }

    /// Gives the usual answers.
    public let base: any ReasoningBank
    private let state = Lock(State())

    /// A bank that does as another one does until it is told otherwise.
    public init(_ base: any ReasoningBank = InMemoryReasoningBank()) { self.base = base }

    /// Scripts the next calls of a kind, one step each, after those scripted before.
    public func script(_ call: Call, _ steps: Step...) {
        state.withLock { $0.steps[call, default: []] += steps }
    }

    /// Scripts every call of a kind for which ``script(_:_:)`` holds no step; `nil` for the usual answer.
    public func always(_ call: Call, _ step: Step?) { state.withLock { $0.usual[call] = step } }

    /// Makes this the usual answer to stores; `nil` for the base's. The same for the other calls below.
    public func answerStore(_ body: (@Sendable (Episode) async throws -> EpisodeID)?) {
        state.withLock { $0.store = body }
    }

    /// Makes this the usual answer to look-ups.
    public func answerRetrieve(_ body: (@Sendable (PatternQuery) async throws -> [RetrievedPattern])?) {
        state.withLock { $0.retrieve = body }
    }

    /// Makes this the usual answer to questions for advice.
    public func answerLearn(_ body: (@Sendable (AdaptationTask) async throws -> StrategyAdvice)?) {
        state.withLock { $0.learn = body }
    }

    /// Makes this the usual answer to consolidations.
    public func answerConsolidate(_ body: (@Sendable (ConsolidationPolicy) async throws -> ConsolidationReport)?) {
        state.withLock { $0.consolidate = body }
    }

    /// Makes this the usual answer to forgetting.
    public func answerForget(_ body: (@Sendable (UserDigest) async throws -> ForgettingReport)?) {
        state.withLock { $0.forget = body }
    }

    /// Lets every call go on that hangs now.
    public func release() {
        let hanging = state.withLock { state in
            defer { state.hanging = [] }
            return state.hanging
        }
        for continuation in hanging { continuation.resume() }
    }

    /// The calls that hang now.
    public var hangingCount: Int { state.withLock { $0.hanging.count } }
    /// What the bank was asked, in order.
    public var requests: [Request] { state.withLock { $0.requests } }
    /// How often a call was made.
    public func count(of call: Call) -> Int { state.withLock { $0.requests.count { $0.call == call } } }
    /// How many calls of a kind have come back, with an answer or an error.
    public func finishedCount(of call: Call) -> Int { state.withLock { $0.finished[call] ?? 0 } }
}

extension ScriptedReasoningBank {
    /// Appends an episode, or does as scripted.
    public func storePattern(_ episode: Episode) async throws -> EpisodeID {
        try await enter(.store(episode)) { garbage in
            let id: EpisodeID
            if let body = state.withLock({ $0.store }) {
                id = try await body(episode)
            } else {
                id = try await base.storePattern(episode)
            }
            return garbage == .brokenPromises ? EpisodeID(0) : id
        }
    }

    /// The episodes most like a context, or what is scripted.
    public func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] {
        try await enter(.retrieve(query)) { garbage in
            let found: [RetrievedPattern]
            if let body = state.withLock({ $0.retrieve }) {
                found = try await body(query)
            } else {
                found = try await base.retrievePatterns(query)
            }
            return garbage.map { $0.patterns(for: query, in: found) } ?? found
        }
    }

    /// What has worked, or what is scripted.
    public func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        try await enter(.learn(task)) { garbage in
            var advice: StrategyAdvice
            if let body = state.withLock({ $0.learn }) {
                advice = try await body(task)
            } else {
                advice = try await base.learnStrategy(task)
            }
            try garbage?.spoil(&advice, task)
            return advice
        }
    }

    /// Consolidates, or does as scripted.
    public func autoConsolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource
    ) async throws -> ConsolidationReport {
        try await enter(.consolidate(policy)) { garbage in
            var report: ConsolidationReport
            if let body = state.withLock({ $0.consolidate }) {
                report = try await body(policy)
            } else {
                report = try await base.autoConsolidate(policy, donors: donors)
            }
            garbage?.spoil(&report)
            return report
        }
    }

    /// Forgets a user, or does as scripted.
    public func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        try await enter(.forget(user)) { _ in
            if let body = state.withLock({ $0.forget }) { return try await body(user) }
            return try await base.forget(user, donors: donors)
        }
    }

    /// Records a request and takes its step; `body` gets the nonsense to talk.
    private func enter<R>(_ request: Request, _ body: (Garbage?) async throws -> R) async throws -> R {
        let call = request.call
        let step = state.withLock { state -> Step in
            state.requests.append(request)
            if state.steps[call]?.isEmpty == false { return state.steps[call]?.removeFirst() ?? .answer }
            return state.usual[call] ?? .answer
        }
        defer { state.withLock { $0.finished[call, default: 0] += 1 } }
        switch step {
        case .answer: return try await body(nil)
        case .delay(let duration):
            try await Task.sleep(for: duration)
            return try await body(nil)
        case .hang:
            await withCheckedContinuation { continuation in state.withLock { $0.hanging.append(continuation) } }
            return try await body(nil)
        case .fail(let error): throw error
        case .garbage(let garbage): return try await body(garbage)
        }
    }
}
