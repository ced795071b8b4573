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
    private let isConnected = Atomic<Bool>(false)
    private let held = Lock<BankConnection?>(nil)
    private let starts = Lock<[PriorID: WarmStart]>([:])
    /// The most starts that are kept for those to come.
    private static let mostStarts = 256

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
        isConnected.load(ordering: .acquiring) ? held.withLock { $0 } : nil
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

    /// Lets go of the starts that are kept for those to come.
    func forgetStarts() { starts.withLock { $0.removeAll() } }

    /// Puts another bank, or none, in the place of the present one, which is returned.
    func swap(_ bank: (any ReasoningBank)?) -> BankConnection? {
        let next = bank.map {
            BankConnection(
                bank: $0, configuration: configuration, isCacheEnabled: isCacheEnabled, sessionID: sessionID,
                clock: clock, totals: totals)
        }
        return held.withLock { held in
            let old = held
            held = next
            isConnected.store(next != nil, ordering: .releasing)
            return old
        }
    }
}
