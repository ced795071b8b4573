import LoRA
import Personalization
import TensorCore

/// One way of ranking that is tried on the donors: a method with settings.
struct Trial: Sendable, Hashable {
    /// The method's name, or that of the variant whose candidate it is.
    let owner: String
    /// The settings by name, in the order in which they are shown.
    var settings: [Setting] = []
    /// What the result depends on besides owner and settings; no report shows it.
    var basis = ""
    /// Whether a grid names its settings; otherwise they are those that every evaluation tries.
    var isOfGrid = false

    /// A setting and its value, as they are shown.
    struct Setting: Sendable, Hashable {
        let name: String
        let value: String
    }

    init(_ owner: String, _ settings: [(name: String, value: String)] = [], basis: String = "", ofGrid: Bool = false) {
        self.owner = owner
        self.settings = settings.map { Setting(name: $0.name, value: $0.value) }
        self.basis = basis
        isOfGrid = ofGrid
    }

    /// The trial in words: "cold, rate 3.0".
    var label: String { ([owner] + settings.map { "\($0.name) \($0.value)" }).joined(separator: ", ") }

    /// Names what is computed, whatever the variant that asks for it is called.
    var key: String { basis.isEmpty ? label : basis }
}

/// What a method did for the donors: all that is needed to choose settings by.
struct DonorScores: Sendable, Equatable {
    /// The mean over all events.
    let mean: RankingQuality
    /// The sums of AUC over each donor's events, `[donors]`.
    let auc: [Double]
    /// The sums of NDCG@10, `[donors]`.
    let ndcg10: [Double]

    init(mean: RankingQuality, auc: [Double], ndcg10: [Double]) {
        self.mean = mean
        self.auc = auc
        self.ndcg10 = ndcg10
    }

    init(_ table: EventTable) {
        func sums(_ value: (RankingQuality) -> Double) -> [Double] {
            (0..<table.userCount).map { user in table.events(of: user).reduce(0.0) { $0 + value(table.quality[$1]) } }
        }
        self.init(mean: table.mean, auc: sums(\.auc), ndcg10: sums(\.ndcg10))
    }
}

/// The adapters could not bear a trial's settings: their numbers left the range, for instance.
struct TrialFailure: Error, CustomStringConvertible {
    let description: String

    /// `nil` for an error that says nothing of the settings: a full disk, a cancelled task.
    init?(_ error: any Error) {
        guard error is LoRAError || error is EngineError || error is TrialFailure else { return nil }
        description = "\(error)"
    }

    init(description: String) { self.description = description }
}

/// Every trial of a run, in the order in which they were made. Safe to use from any task.
final class TrialLog: Sendable {
    /// A trial under one popularity weight.
    struct Entry: Sendable {
        let trial: Trial
        let kappa: Double
        let result: Result<DonorScores, TrialFailure>
        /// The time that it took; of several popularity weights tried at once each has its share.
        let duration: Duration
    }

    private let state = Lock<[Entry]>([])

    var entries: [Entry] { state.withLock { $0 } }

    func add(_ entries: [Entry]) { state.withLock { $0 += entries } }
}
