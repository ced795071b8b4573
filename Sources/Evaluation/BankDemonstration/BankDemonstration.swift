internal import Personalization
internal import LoRA
internal import Reasoning
internal import TensorCore

/// Shows on the synthetic population what a bank does for new users: half of the users live first and teach an in-memory bank,
/// which is consolidated once; then the other half live with it and without it.
///
/// A life is the user's likes in order of time: each is ranked among all items not liked yet, and only then learned. New users
/// go one after the other, and the bank keeps learning from them; it makes no new skills meanwhile. But for the measured
/// times, the same seed gives the same result.
public struct BankDemonstration: Sendable {
    /// The number of users, those who teach included; 60...20,000.
    public let users: Int
    /// The seed of the population and of the engine.
    public let seed: UInt64

    /// A demonstration.
    ///
    /// - Throws: ``DataError`` (`invalidConfiguration`) for a number of users outside 60...20,000.
    public init(users: Int = 400, seed: UInt64 = 1) throws(DataError) {
        guard (60...20_000).contains(users) else {
            throw DataError(.invalidConfiguration, "\(users) users are not in 60...20000")
        }
        self.users = users
        self.seed = seed
    }

    /// Runs it.
    ///
    /// - Parameter progress: Told how far it is; one call at a time.
    /// - Throws: What the engine and the bank throw; `CancellationError`.
    public func run(
        progress: @escaping @Sendable (EvaluationProgress) -> Void = { _ in }
    ) async throws -> BankDemonstrationResult {
        var settings = SyntheticPopulation.Configuration()
        settings.users = users
        settings.seed = seed
        let data = try EvaluationData(SyntheticPopulation(settings))
        let weight = ItemCatalogue.defaultPopularityWeight
        let catalogue = try ItemCatalogue(vectors: data.vectors, offsets: data.popularity.map { weight * $0 })
        let configuration = EngineConfiguration(
            dimension: data.dimension, embeddingModel: "synthetic", seed: seed, reasoning: EngineBank.reasoning)
        let counter = ProgressCounter(stages: 3, handler: progress)
        let taught = try await counter.run("teaching the bank") { report in
            try await EngineBank.trained(
                on: data.donors, of: data, query: .last, catalogue: catalogue, configuration: configuration,
                progress: report)
        }
        let plain = try PersonalizationEngine(configuration: configuration, clock: StandingClock())
        let advised = try PersonalizationEngine(configuration: configuration, clock: StandingClock())
        advised.connectReasoningBank(taught.bank)
        let held = taught.bank.statistics
        var lives: [NewUserLife] = []
        try await counter.run("new users, with and without the bank", weight: 2) { report in
            for (place, user) in data.users.enumerated() {
                try Task.checkCancellation()
                lives.append(try await NewUserLife(user, catalogue: catalogue, plain: plain, advised: advised))
                // What the next one is told must not depend on who was faster.
                guard try await advised.flushReasoningBank(deadline: .seconds(600)) else {
                    throw ReasoningError(
                        .timedOut, "demonstration", "the bank did not take its episodes in ten minutes")
                }
                report(Double(place + 1) / Double(data.users.count))
            }
        }
        return BankDemonstrationResult(
            self, data: data, held: held, report: taught.report, lives: lives,
            statistics: advised.reasoningBankStatistics())
    }
}

/// One new user's likes, lived with and without the bank.
struct NewUserLife {
    /// For each like but the first: the AUC of its ranking without an adapter, without the bank, and with it.
    private(set) var auc: [(none: Double, plain: Double, advised: Double)] = []
    /// How long the updates took, in seconds.
    private(set) var seconds: [(plain: Double, advised: Double)] = []

    init(
        _ user: LikeSequence, catalogue: ItemCatalogue, plain: PersonalizationEngine, advised: PersonalizationEngine
    ) async throws {
        let events = user.items.count - 1
        var scores = CatalogueScores(vectors: catalogue.vectors, rows: 3 * events)
        try await plain.createAdapter(for: user.userID)
        try await advised.createAdapter(for: user.userID)
        for step in 0..<events {
            let seen = Array(user.items[0...step])
            let query = catalogue.vectors.row(user.items[step])
            scores.setVector(query, row: 3 * step)
            scores.setVector(try await plain.personalize(query, for: user.userID).embedding, row: 3 * step + 1)
            scores.setVector(try await advised.personalize(query, for: user.userID).embedding, row: 3 * step + 2)
            let like = Feedback(embedding: query, signal: .like(user.items[step + 1], in: catalogue, seen: seen))
            seconds.append(
                (
                    try await Self.time { try await plain.updateAdapter(for: user.userID, with: [like]) },
                    try await Self.time { try await advised.updateAdapter(for: user.userID, with: [like]) }
                ))
        }
        try scores.compute(rows: 3 * events)
        let offsets = catalogue.offsets.array
        for step in 0..<events {
            func auc(_ row: Int) -> Double {
                scores.quality(
                    row: 3 * step + row, offsets: offsets, target: user.items[step + 1],
                    seen: user.items[0...step], candidates: catalogue.count - step - 1
                ).auc
            }
            self.auc.append((auc(0), auc(1), auc(2)))
        }
    }

    private static func time(_ body: () async throws -> UpdateReport) async throws -> Double {
        let start = ContinuousClock.now
        _ = try await body()
        return (ContinuousClock.now - start) / .seconds(1)
    }
}
