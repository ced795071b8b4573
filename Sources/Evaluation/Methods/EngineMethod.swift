import LoRA
import Personalization
import TensorCore

/// The personalization engine as it ships: its default settings, one like per update.
struct EngineMethod: RankingMethod {
    private let engine: PersonalizationEngine
    private let catalogue: ItemCatalogue
    var isSeeded: Bool { true }
    var learns: Bool { true }

    /// The popularity weights that are tried on the donors. Each takes a run of its own, because the engine's objective
    /// sees them.
    static let popularityWeights: [Double] = [0.1, 0.2, 0.3, 0.5]

    /// - Parameter offsets: κ·log(1 + donor likes), shape `[items]`.
    init(vectors: Matrix<Float>, offsets: [Float], rank: Int, seed: UInt64) throws {
        catalogue = try ItemCatalogue(vectors: vectors, offsets: offsets)
        engine = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: vectors.columns, rank: rank, seed: seed))
    }

    private init(engine: PersonalizationEngine, catalogue: ItemCatalogue) {
        self.engine = engine
        self.catalogue = catalogue
    }

    /// The same with an engine that knows nobody.
    func fresh() throws -> any RankingMethod {
        EngineMethod(
            engine: try PersonalizationEngine(configuration: engine.configuration), catalogue: catalogue)
    }

    func ranker(for userID: String, seed replicate: Int) -> any Ranker {
        // The engine limits the length of ids; a data set does not.
        let stream = ReplicateStream.name(userID: userID, replicate: replicate)
        return EngineRanker(method: self, user: String(stream, radix: 16))
    }

    /// The popularity weight with the best NDCG@10 on the donors.
    static func tuned(with tuner: Tuner) async throws -> Tuner.Choice {
        var best: (choice: Tuner.Choice, ndcg10: Double)?
        for kappa in popularityWeights {
            let method = try EngineMethod(
                vectors: tuner.data.vectors, offsets: tuner.data.popularity.map { Float(kappa) * $0 },
                rank: tuner.configuration.rank, seed: tuner.configuration.seed)
            let table = try await tuner.table(of: method, kappa: kappa, label: "engine, popularity weight \(kappa)")
            let value = table.mean.ndcg10
            if best == nil || value > (best?.ndcg10 ?? 0) { best = (Tuner.Choice(method: method, kappa: kappa), value) }
        }
        guard let best else { throw DataError(.invalidConfiguration, "no settings to try for engine") }
        return best.choice
    }

    private final class EngineRanker: Ranker {
        private let method: EngineMethod
        private let user: String

        init(method: EngineMethod, user: String) {
            self.method = method
            self.user = user
        }

        func vector(for query: [Float]) async throws -> [Float] {
            try await method.engine.personalize(query, for: user).embedding
        }

        func learn(from event: LearningEvent) async throws {
            let feedback = Feedback(
                embedding: event.query, signal: .like(event.positive, in: method.catalogue, seen: event.seen))
            _ = try await method.engine.updateAdapter(for: user, with: [feedback])
        }
    }
}
