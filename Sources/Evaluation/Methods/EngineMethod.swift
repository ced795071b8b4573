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
    static let popularityWeights: [Double] = [0.1, 0.2, 0.3, 0.5, 0.8, 1.2]
    /// The one that holds unless another is surely better.
    private static let defaultPopularityWeight = Double("\(ItemCatalogue.defaultPopularityWeight)") ?? 0.3

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

    /// The popularity weight: the default one, unless another's NDCG@10 on the donors is higher with the lower bound of the
    /// paired 95 % interval above zero; the best of those. The plain best would follow noise: on splits of MovieLens it cost up
    /// to 0.003 AUC among the other users.
    static func tuned(with tuner: Tuner) async throws -> Tuner.Choice {
        func trial(_ kappa: Double) async throws -> (choice: Tuner.Choice, table: EventTable) {
            let method = try EngineMethod(
                vectors: tuner.data.vectors, offsets: tuner.data.popularity.map { Float(kappa) * $0 },
                rank: tuner.configuration.rank, seed: tuner.configuration.seed)
            let table = try await tuner.table(of: method, kappa: kappa, label: "engine, popularity weight \(kappa)")
            return (Tuner.Choice(method: method, kappa: kappa), table)
        }
        let standard = try await trial(defaultPopularityWeight)
        var best = (choice: standard.choice, gain: 0.0)
        for kappa in popularityWeights where kappa != defaultPopularityWeight {
            let other = try await trial(kappa)
            let gain = gain(of: other.table, over: standard.table, seed: tuner.configuration.seed)
            if gain.low > 0, gain.mean > best.gain { best = (other.choice, gain.mean) }
        }
        return best.choice
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
