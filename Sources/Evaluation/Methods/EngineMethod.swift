import LoRA
import Personalization
import Reasoning
import TensorCore

/// The personalization engine as it ships: its default settings, one like per update, and a bank that has learned from the
/// donors.
struct EngineMethod: RankingMethod {
    /// An engine for each fold of the donors, whose bank has not seen that fold, and at the end one for everybody else.
    private let engines: [PersonalizationEngine]
    private let banks: [EngineBank]
    /// The fold of each donor.
    private let folds: [UserKey: Int]
    private let catalogue: ItemCatalogue
    private let configuration: EngineConfiguration
    var isSeeded: Bool { true }
    var learns: Bool { true }

    /// The popularity weights that are tried on the donors. Each takes a run of its own, because the engine's objective
    /// sees them.
    static let popularityWeights: [Double] = [0.1, 0.2, 0.3, 0.5, 0.8, 1.2]
    /// The one that holds unless another is surely better.
    private static let defaultPopularityWeight = Double("\(ItemCatalogue.defaultPopularityWeight)") ?? 0.3

    /// - Parameter offsets: κ·log(1 + donor likes), shape `[items]`.
    init(vectors: Matrix<Float>, offsets: [Float], rank: Int, seed: UInt64) throws {
        catalogue = try ItemCatalogue(vectors: vectors, offsets: offsets)
        configuration = EngineConfiguration(
            dimension: vectors.columns, rank: rank, seed: seed, reasoning: EngineBank.reasoning)
        engines = [try PersonalizationEngine(configuration: configuration, clock: StandingClock())]
        banks = []
        folds = [:]
    }

    private init(
        _ configuration: EngineConfiguration, catalogue: ItemCatalogue, banks: [EngineBank], folds: [UserKey: Int]
    ) throws {
        self.configuration = configuration
        self.catalogue = catalogue
        self.banks = banks
        self.folds = folds
        engines = try (0..<max(1, banks.count)).map { i in
            let engine = try PersonalizationEngine(configuration: configuration, clock: StandingClock())
            if i < banks.count { engine.connectReasoningBank(banks[i]) }
            return engine
        }
    }

    /// The same with a bank that has learned from all donors.
    private func advised(by tuner: Tuner) async throws -> EngineMethod {
        let bank = try await tuner.progress.run("teaching the bank") { report in
            try await EngineBank.trained(
                on: tuner.data.donors, of: tuner.data, query: tuner.configuration.query, catalogue: catalogue,
                configuration: configuration, progress: report)
        }
        return try EngineMethod(configuration, catalogue: catalogue, banks: [bank], folds: [:])
    }

    /// The same for judging settings on the donors: the bank that a donor gets has learned from the other half of them.
    private func crossFitted(by tuner: Tuner) async throws -> EngineMethod {
        let donors = tuner.data.donors
        let folds = DonorBank.fold(of: donors.map(\.userID), seed: tuner.configuration.seed).map { $0 % 2 }
        var banks: [EngineBank] = []
        for fold in 0..<2 {
            banks.append(
                try await EngineBank.trained(
                    on: zip(donors, folds).filter { $0.1 != fold }.map(\.0), of: tuner.data,
                    query: tuner.configuration.query, catalogue: catalogue, configuration: configuration))
        }
        return try EngineMethod(
            configuration, catalogue: catalogue, banks: banks,
            folds: Dictionary(zip(donors.map { UserKey($0.userID) }, folds), uniquingKeysWith: { first, _ in first }))
    }

    /// The same with an engine that knows nobody.
    func fresh() throws -> any RankingMethod {
        try EngineMethod(configuration, catalogue: catalogue, banks: banks, folds: folds)
    }

    func ranker(for userID: String, seed replicate: Int) -> any Ranker {
        // The engine limits the length of ids; a data set does not.
        let stream = ReplicateStream.name(userID: userID, replicate: replicate)
        return EngineRanker(
            engine: engines[folds[UserKey(userID)] ?? engines.count - 1], catalogue: catalogue,
            user: String(stream, radix: 16))
    }

    /// The popularity weight: the default one, unless another's NDCG@10 on the donors is higher with the lower bound of the
    /// paired 95 % interval above zero; the best of those. The plain best would follow noise: on splits of MovieLens it cost up
    /// to 0.003 AUC among the other users. Judged without a bank first, and where another wins so, with banks that have learned
    /// from other donors, too: a warm start changes which weight is best.
    static func tuned(with tuner: Tuner) async throws -> Tuner.Choice {
        func trial(_ kappa: Double) async throws -> (
            choice: Tuner.Choice, method: EngineMethod, table: EventTable
        ) {
            let method = try EngineMethod(
                vectors: tuner.data.vectors, offsets: tuner.data.popularity.map { Float(kappa) * $0 },
                rank: tuner.configuration.rank, seed: tuner.configuration.seed)
            let table = try await tuner.table(of: method, kappa: kappa, label: "engine, popularity weight \(kappa)")
            return (Tuner.Choice(method: method, kappa: kappa), method, table)
        }
        let standard = try await trial(defaultPopularityWeight)
        var best = (choice: standard.choice, method: standard.method, gain: 0.0)
        for kappa in popularityWeights where kappa != defaultPopularityWeight {
            let other = try await trial(kappa)
            let gain = gain(of: other.table, over: standard.table, seed: tuner.configuration.seed)
            if gain.low > 0, gain.mean > best.gain { best = (other.choice, other.method, gain.mean) }
        }
        if best.choice.kappa != standard.choice.kappa {
            let other = try await advisedTable(best.choice.kappa, best.method)
            let usual = try await advisedTable(standard.choice.kappa, standard.method)
            if gain(of: other, over: usual, seed: tuner.configuration.seed).low <= 0 {
                best = (standard.choice, standard.method, 0)
            }
        }
        return Tuner.Choice(method: try await best.method.advised(by: tuner), kappa: best.choice.kappa)

        func advisedTable(_ kappa: Double, _ method: EngineMethod) async throws -> EventTable {
            try await tuner.table(
                of: try await method.crossFitted(by: tuner), kappa: kappa,
                label: "engine with a bank, popularity weight \(kappa)")
        }
    }

    /// The paired difference of the mean NDCG@10 over all events, users resampled.
    private static func gain(of table: EventTable, over other: EventTable, seed: UInt64) -> Interval {
        let rows = (0..<table.userCount).flatMap { user -> [Double] in
            let events = table.events(of: user)
            return [
                Double(events.count), events.reduce(0.0) { $0 + table.quality[$1].ndcg10 - other.quality[$1].ndcg10 },
            ]
        }
        return ClusterBootstrap(table: rows, users: table.userCount, resamples: 2000, seed: seed).interval { sums in
            sums[sums.startIndex + 1] / max(sums[sums.startIndex], 1)
        }
    }

    private final class EngineRanker: Ranker {
        private let engine: PersonalizationEngine
        private let catalogue: ItemCatalogue
        private let user: String
        private var isCreated = false

        init(engine: PersonalizationEngine, catalogue: ItemCatalogue, user: String) {
            self.engine = engine
            self.catalogue = catalogue
            self.user = user
        }

        func vector(for query: [Float]) async throws -> [Float] {
            // A new user starts from what the bank has for new users.
            if !isCreated { try await engine.createAdapter(for: user) }
            isCreated = true
            return try await engine.personalize(query, for: user).embedding
        }

        func learn(from event: LearningEvent) async throws {
            let feedback = Feedback(
                embedding: event.query, signal: .like(event.positive, in: catalogue, seen: event.seen))
            _ = try await engine.updateAdapter(for: user, with: [feedback])
        }
    }
}
