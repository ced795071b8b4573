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
    /// What queries are multiplied by, and the scale divided by: the query's share in what is ranked by.
    private let share: Float
    /// The share of the bank's starts that is used.
    private let strength: Double
    /// After how many updates, again and again, an adapter under protection is anchored.
    private let anchorsEvery: Int
    var isSeeded: Bool { true }
    var learns: Bool { true }

    var bytesPerAdapter: Int? {
        let parameters = 2 * configuration.rank * configuration.dimension
        let all = parameters + (configuration.hasBias ? configuration.dimension : 0)
        let protection = configuration.update.elasticWeightConsolidation == nil ? 0 : 3
        let aside = configuration.update.driftForking == nil ? 0 : 1
        let copies = 1 + configuration.update.optimizer.stateCountPerParameter + protection + aside
        return copies * all * MemoryLayout<Float>.stride
    }

    /// The popularity weights that are tried on the donors. Each takes a run of its own, because the engine's objective
    /// sees them.
    static let popularityWeights: [Double] = [0.1, 0.2, 0.3, 0.5, 0.8, 1.2]
    /// The one that holds unless another is surely better.
    static let defaultPopularityWeight = Double("\(ItemCatalogue.defaultPopularityWeight)") ?? 0.3

    /// - Parameter offsets: κ·log(1 + donor likes), shape `[items]`.
    init(vectors: Matrix<Float>, offsets: [Float], rank: Int, seed: UInt64) throws {
        try self.init(
            EngineConfiguration(dimension: vectors.columns, rank: rank, seed: seed, reasoning: EngineBank.reasoning),
            catalogue: ItemCatalogue(vectors: vectors, offsets: offsets))
    }

    /// - Parameters:
    ///   - share: What queries are multiplied by. With an alpha that was divided by it the engine gives
    ///     y = share·x + (alpha / rank)·B·A·x + b, and learns A and B as that map's own.
    ///   - strength: The share of the bank's starts that is used.
    init(
        _ configuration: EngineConfiguration, catalogue: ItemCatalogue, banks: [EngineBank] = [],
        folds: [UserKey: Int] = [:], share: Float = 1, strength: Double = 1, anchorsEvery: Int = 10
    ) throws {
        self.configuration = configuration
        self.catalogue = catalogue
        self.banks = banks
        self.folds = folds
        self.share = share
        self.strength = strength
        self.anchorsEvery = anchorsEvery
        engines = try (0..<max(1, banks.count)).map { i in
            let engine = try PersonalizationEngine(configuration: configuration, clock: StandingClock())
            if i < banks.count { engine.connectReasoningBank(banks[i]) }
            return engine
        }
    }

    private func with(_ banks: [EngineBank], folds: [UserKey: Int]) throws -> EngineMethod {
        try EngineMethod(
            configuration, catalogue: catalogue, banks: banks, folds: folds, share: share, strength: strength,
            anchorsEvery: anchorsEvery)
    }

    private func bank(
        of donors: [LikeSequence], _ tuner: Tuner, progress: (Double) -> Void = { _ in }
    ) async throws -> EngineBank {
        try await EngineBank.trained(
            on: donors, of: tuner.data, query: tuner.configuration.query, catalogue: catalogue,
            configuration: configuration, share: share, strength: strength, progress: progress)
    }

    /// The same with a bank that has learned from all donors.
    func advised(by tuner: Tuner) async throws -> EngineMethod {
        let bank = try await tuner.progress.run("teaching the bank") { report -> EngineBank in
            try await self.bank(of: tuner.data.donors, tuner, progress: report)
        }
        return try with([bank], folds: [:])
    }

    /// The same for judging settings on the donors: the bank that a donor gets has learned from the other half of them.
    func crossFitted(by tuner: Tuner) async throws -> EngineMethod {
        let donors = tuner.data.donors
        let folds = DonorBank.fold(of: donors.map(\.userID), seed: tuner.configuration.seed).map { $0 % 2 }
        var banks: [EngineBank] = []
        for fold in 0..<2 {
            banks.append(try await bank(of: zip(donors, folds).filter { $0.1 != fold }.map(\.0), tuner))
        }
        let byUser = Dictionary(
            zip(donors.map { UserKey($0.userID) }, folds), uniquingKeysWith: { first, _ in first })
        return try with(banks, folds: byUser)
    }

    /// The same with an engine that knows nobody.
    func fresh() throws -> any RankingMethod {
        try with(banks, folds: folds)
    }

    func ranker(for userID: String, seed replicate: Int) -> any Ranker {
        // The engine limits the length of ids; a data set does not.
        let stream = ReplicateStream.name(userID: userID, replicate: replicate)
        return EngineRanker(
            engine: engines[folds[UserKey(userID)] ?? engines.count - 1], catalogue: catalogue,
            user: String(stream, radix: 16), share: share,
            anchorsEvery: configuration.update.elasticWeightConsolidation == nil ? nil : anchorsEvery)
    }

    /// The popularity weight: the default one, unless another's NDCG@10 on the donors is higher with the lower bound of the
    /// paired 95 % interval above zero; the best of those. The plain best would follow noise: on splits of MovieLens it cost up
    /// to 0.003 AUC among the other users. Judged without a bank first, and where another wins so, with banks that have learned
    /// from other donors, too: a warm start changes which weight is best.
    static func tuned(with tuner: Tuner) async throws -> Tuner.Choice {
        func method(_ kappa: Double) throws -> EngineMethod {
            try EngineMethod(
                vectors: tuner.data.vectors, offsets: tuner.data.popularity.map { Float(kappa) * $0 },
                rank: tuner.configuration.rank, seed: tuner.configuration.seed)
        }
        func trial(_ kappa: Double) async throws -> (choice: Tuner.Choice, scores: DonorScores) {
            let trial = Trial("engine")
            let scores = try await tuner.scores(trial, kappa: kappa) { try method(kappa) }
            let choice = Tuner.Choice(trial: trial, kappa: kappa) { try await method(kappa).advised(by: tuner) }
            return (choice, scores)
        }
        func advised(_ kappa: Double) async throws -> DonorScores {
            try await tuner.scores(Trial("engine", [("bank", "crossfitted")]), kappa: kappa) {
                try await method(kappa).crossFitted(by: tuner)
            }
        }
        let events = tuner.data.donors.map { $0.items.count - 1 }
        func gain(of scores: DonorScores, over other: DonorScores) -> Interval {
            Self.gain(of: scores, over: other, events: events, seed: tuner.configuration.seed)
        }
        let standard = try await trial(defaultPopularityWeight)
        var best = (choice: standard.choice, gain: 0.0)
        for kappa in popularityWeights where kappa != defaultPopularityWeight {
            let other = try await trial(kappa)
            let gain = gain(of: other.scores, over: standard.scores)
            if gain.low > 0, gain.mean > best.gain { best = (other.choice, gain.mean) }
        }
        if best.choice.kappa != defaultPopularityWeight {
            let other = try await advised(best.choice.kappa)
            let usual = try await advised(defaultPopularityWeight)
            if gain(of: other, over: usual).low <= 0 { best.choice = standard.choice }
        }
        return best.choice
    }

    /// The paired difference of the mean NDCG@10 over all events, users resampled.
    private static func gain(of scores: DonorScores, over other: DonorScores, events: [Int], seed: UInt64) -> Interval {
        let rows = events.indices.flatMap { [Double(events[$0]), scores.ndcg10[$0] - other.ndcg10[$0]] }
        return ClusterBootstrap(table: rows, users: events.count, resamples: 2000, seed: seed).interval { sums in
            sums[sums.startIndex + 1] / max(sums[sums.startIndex], 1)
        }
    }

    private final class EngineRanker: Ranker {
        private let engine: PersonalizationEngine
        private let catalogue: ItemCatalogue
        private let user: String
        private let share: Float
        private let anchorsEvery: Int?
        private var updates = 0
        private var isCreated = false

        init(
            engine: PersonalizationEngine, catalogue: ItemCatalogue, user: String, share: Float, anchorsEvery: Int?
        ) {
            self.share = share
            self.anchorsEvery = anchorsEvery
            self.engine = engine
            self.catalogue = catalogue
            self.user = user
        }

        func vector(for query: [Float]) async throws -> [Float] {
            // A new user starts from what the bank has for new users.
            if !isCreated { try await engine.createAdapter(for: user) }
            isCreated = true
            return try await engine.personalize(query.scaled(by: share), for: user).embedding
        }

        func learn(from event: LearningEvent) async throws {
            let feedback = Feedback(
                embedding: event.query.scaled(by: share), signal: .like(event.positive, in: catalogue, seen: event.seen)
            )
            _ = try await engine.updateAdapter(for: user, with: [feedback])
            updates += 1
            if let anchorsEvery, updates % anchorsEvery == 0 { try await engine.consolidateAdapter(for: user) }
        }
    }
}
