import LoRA
import Reasoning
import StorageTesting
import Telemetry
import TensorCore
import Testing

@testable import Personalization

/// A clock that moves when a test says so.
final class ManualClock: ReasoningClock {
    private let moment: Lock<Timestamp>

    init(_ now: Timestamp = Timestamp(microseconds: 1_700_000_000_000_000)) { moment = Lock(now) }

    var now: Timestamp { moment.withLock { $0 } }
    var uptime: Double { Double(now.microseconds) / 1e6 }

    func advance(seconds: Double) { moment.withLock { $0.microseconds += Int64(seconds * 1e6) } }
    func set(_ time: Timestamp) { moment.withLock { $0 = time } }
}

/// What a bank throws in these tests.
struct BankFault: Error {}

extension ReasoningConfiguration {
    /// No deadline that a busy machine could miss, and a key that tests know.
    static func patient(
        deadline: Duration = .seconds(60), storeDeadline: Duration = .seconds(60), restartsAfter: [Int] = []
    ) -> ReasoningConfiguration {
        ReasoningConfiguration(
            deadline: deadline, storeDeadline: storeDeadline, restartsAfter: restartsAfter, digestKey: DigestKey(1, 2),
            sessionID: "session")
    }
}

extension Script {
    /// An engine with a bank.
    func engine(
        _ bank: (any ReasoningBank)?, reasoning: ReasoningConfiguration = .patient(),
        update: UpdateConfiguration? = nil, isCached: Bool = true, isStrict: Bool = false,
        store: any AdapterStore = InMemoryAdapterStore(), reporting: Reporting = Reporting(),
        clock: any ReasoningClock = ManualClock()
    ) throws -> PersonalizationEngine {
        var configuration = configuration(isStrict: isStrict, update: update)
        configuration.reasoningBank = bank
        configuration.reasoning = reasoning
        configuration.enableReasoningBankCache = isCached
        return try PersonalizationEngine(
            configuration: configuration, store: store, reporting: reporting, clock: clock)
    }

    /// Settings without schedule, state or fading, so that one step is easy to make by hand.
    var plain: UpdateConfiguration {
        UpdateConfiguration(
            objective: update.objective, learningRates: update.learningRates, fading: PerObjective(all: 0))
    }

    /// One feedback of a kind.
    func one(_ kind: ObjectiveKind, _ user: String, _ step: Int, in dimension: Int? = nil) -> Feedback {
        var generator = PhiloxGenerator(
            seed: seed &+ UInt64(step) &+ 1, stream: StableHash.hash(user), purpose: .general)
        func vector() -> [Float] { Self.vector(dimension ?? self.dimension, &generator) }
        let signal: Feedback.Signal =
            switch kind {
            case .target: .target(vector())
            case .preference: .preference(.vector(vector()), over: [.vector(vector()), .vector(vector())])
            case .ranking: .ranking(.vector(vector()), among: [.vector(vector()), .vector(vector())])
            case .reward: .reward(0.8, for: .vector(vector()))
            }
        return Feedback(embedding: vector(), signal: signal)
    }

    /// A prior that is not zero: two adapters that have learned, merged.
    func prior(_ number: Int = 0, hasBias: Bool = false) throws -> AdapterPrior {
        let adapters = try (0..<2).map { i in
            let user = "donor \(number) \(i)"
            var adapter = LoRAAdapter(
                shape: try AdapterShape(dimension: dimension, rank: rank, hasBias: hasBias),
                identity: AdapterIdentity(seed: seed, user: user))
            for step in 0..<4 { _ = try adapter.update(with: [one(.ranking, user, step)], configuration: plain) }
            return (adapter, 1.0)
        }
        return try AdapterPrior(merging: adapters, rank: rank, shrinkage: .none)
    }

    /// The adapter that a user starts with from a prior.
    func warm(_ user: String, _ prior: AdapterPrior) throws -> LoRAAdapter {
        try LoRAAdapter(
            shape: try configuration().validatedShape(), identity: AdapterIdentity(seed: seed, user: user),
            startingFrom: prior)
    }
}

extension ScriptedReasoningBank {
    /// A bank that always gives this advice, and keeps episodes without using them.
    static func advising(_ advice: StrategyAdvice) -> ScriptedReasoningBank {
        let bank = ScriptedReasoningBank()
        bank.answerLearn { _ in advice }
        bank.answerRetrieve { _ in [] }
        return bank
    }

    /// A bank that always advises this rate.
    static func advising(rate: Double, confidence: Double = 1) -> ScriptedReasoningBank {
        advising(StrategyAdvice(hints: AdaptationHints(learningRate: .value(rate)), confidence: confidence))
    }

    /// The episodes that came to it, in order.
    var storedEpisodes: [Episode] {
        requests.compactMap { if case .store(let episode) = $0 { episode } else { nil } }
    }
    var tasks: [AdaptationTask] {
        requests.compactMap { if case .learn(let task) = $0 { task } else { nil } }
    }
    var queries: [PatternQuery] {
        requests.compactMap { if case .retrieve(let query) = $0 { query } else { nil } }
    }
}

/// A user's digest under the key of these tests.
func digest(_ user: String) -> UserDigest { DigestKey(1, 2).digest(of: user) }

/// Everything that a value shows of itself, through all its parts.
func dumped(_ value: Any) -> String {
    var text = ""
    dump(value, to: &text)
    return text
}

/// Comes back when `condition` holds; when it does not in a minute, that is an issue. Sleeps in between, so that what runs in the
/// background at a lower priority has its turn.
func eventually(sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async -> Bool) async {
    let end = ContinuousClock.now + .seconds(60)
    while ContinuousClock.now < end {
        if await condition() { return }
        do { try await Task.sleep(for: .milliseconds(1)) } catch { break }
    }
    Issue.record("what the test waits for does not happen", sourceLocation: sourceLocation)
}
