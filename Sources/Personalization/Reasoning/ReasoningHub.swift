internal import LoRA
internal import Reasoning
internal import Synchronization
internal import Telemetry
internal import TensorCore

/// The engine's side of its bank: which one is connected, and what does not change with it.
final class ReasoningHub: Sendable {
    let configuration: ReasoningConfiguration
    let isCacheEnabled: Bool
    let clock: any ReasoningClock
    let digestKey: DigestKey
    let sessionID: String
    let totals: ReasoningTotals
    let projection: TasteProjection
    /// A stable hash of the embedding model's name.
    let model: UInt64
    /// Where all banks of this engine run.
    private let executor = BankExecutor()
    private let isConnected = Atomic<Bool>(false)

    private struct Held {
        var connection: BankConnection?
        /// The queues of all connections there were, as far as anybody still holds them: episodes may come into them and go from
        /// them to their banks.
        var formerQueues: [FormerQueue] = []
    }
    private struct FormerQueue {
        weak var queue: EpisodeQueue?
    }
    private let held = Lock<Held>(Held())
    private let starts = Lock<[PriorID: WarmStart]>([:])
    /// The most starts that are kept for those to come.
    static let mostStarts = 256

    init(
        _ configuration: ReasoningConfiguration, isCacheEnabled: Bool, dimension: Int, embeddingModel: String,
        clock: any ReasoningClock, reporting: Reporting
    ) {
        self.configuration = configuration
        self.isCacheEnabled = isCacheEnabled
        self.clock = clock
        digestKey = configuration.digestKey ?? .random()
        sessionID = configuration.sessionID ?? String(UInt64.random(in: 0...UInt64.max), radix: 16)
        totals = ReasoningTotals(reporting: reporting)
        projection = TasteProjection(dimension: dimension)
        model = StableHash.hash(embeddingModel)
    }

    /// The connected bank. Without one this is a single load.
    var connection: BankConnection? {
        isConnected.load(ordering: .acquiring) ? held.withLock { $0.connection } : nil
    }

    /// All queues that episodes may be in, those of banks that are not connected any more too.
    var queues: [EpisodeQueue] {
        held.withLock { held in held.formerQueues.compactMap(\.queue) + (held.connection.map { [$0.queue] } ?? []) }
    }

    /// Waits until no queue holds an episode; says whether that was so before the deadline.
    func flush(deadline: Duration) async throws -> Bool {
        let clock = ContinuousClock()
        let end = clock.now + deadline
        var isDone = true
        for queue in queues {
            let isFlushed = try await queue.flush(deadline: max(.zero, end - clock.now))
            isDone = isDone && isFlushed
        }
        return isDone
    }

    /// The parameters that a start gives to adapters of this shape, shared by those that use it; `nil` for one that does not
    /// fit or is not what its name says, which is counted.
    func warmStart(_ start: Initialization, _ shape: AdapterShape) -> WarmStart? {
        if let known = starts.withLock({ $0[start.id] }) { return known }
        guard start.isIntact else {
            totals.failed(
                "warm start",
                ReasoningError(.malformedAnswer, "warm start", "a prior whose content is not what its name says"))
            return nil
        }
        do throws(LoRAError) {
            let made = try WarmStart(start.prior, shape: shape)
            starts.withLock { starts in
                // A bank makes new starts as it consolidates; the adapters hold on to the old ones that they need.
                if starts.count >= Self.mostStarts { starts.removeAll() }
                starts[start.id] = made
            }
            return made
        } catch {
            totals.failed("warm start", error)
            return nil
        }
    }

    /// The starts that are kept for those to come.
    var startCount: Int { starts.withLock { $0.count } }

    /// Lets go of the starts that are kept for those to come.
    func forgetStarts() { starts.withLock { $0.removeAll() } }

    /// Puts another bank, or none, in the place of the present one, which is returned.
    func swap(_ bank: (any ReasoningBank)?) -> BankConnection? {
        let next = bank.map {
            BankConnection(
                bank: $0, configuration: configuration, isCacheEnabled: isCacheEnabled, sessionID: sessionID,
                clock: clock, executor: executor, totals: totals)
        }
        return held.withLock { held in
            let old = held.connection
            held.formerQueues.removeAll { $0.queue == nil }
            if let old { held.formerQueues.append(FormerQueue(queue: old.queue)) }
            held.connection = next
            isConnected.store(next != nil, ordering: .releasing)
            return old
        }
    }
}
