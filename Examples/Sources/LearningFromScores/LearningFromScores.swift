import Attune
import Foundation

/// Record, score, personalize: what an assistant proposed is recorded, a person's thumbs are scores of those records, and their adapter learns
/// from them, so that the same question finds other dishes for them than for everybody else.
@main
struct LearningFromScores {
    static let question = "What shall I cook tonight?"

    static func main() async throws {
        let folder = NSTemporaryDirectory() + "attune-scores-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }

        // Adapters, their journal and all records in one file.
        let storage = try await SQLiteStorage(path: folder + "/attune.db")
        let records = try await SQLiteRecordStore(storage)
        let configuration = EngineConfiguration(
            dimension: Kitchen.dimension, rank: 2, embeddingModel: "kitchen-1", seed: 7,
            update: UpdateConfiguration(dimension: Kitchen.dimension), durability: .buffered)
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        let recorder = try ModelCallRecorder(store: records)
        let bridge = try ScoreBridge(records, engine)
        try await recorder.enable(.everything)

        print("Everybody: \(try await best(3, for: "ada", engine))")

        // What ada thinks of each proposal is a score of its record.
        for evening in 1...5 {
            // Nothing is learned of somebody who has not agreed, nor of what was scored until then.
            if evening == 2 { try await records.setConsent(true, of: "ada", to: .personalLearning) }
            for dish in Kitchen.dishes {
                let id = "evening \(evening), \(dish.name)"
                let call = ModelCall("TEXT_SMALL", context: SpanContext(agent: "chef", entity: "ada"), externalID: id)
                _ = await recorder.record(call, input: .text(question)) { dish.name }
                _ = await recorder.flush()
                guard let span = try await records.span(.modelCall, externalID: id) else { continue }
                try await records.keep(embedding: Kitchen.question, .input, of: span.id)
                try await records.keep(embedding: dish.embedding, .output, of: span.id)
                let score = Score(
                    .thumbs, dish.isVegetarian ? 1 : -1, of: span.id, source: "ada", at: SystemClock().now)
                _ = try await records.store([score])
            }
            let report = try await bridge.run()
            print("Evening \(evening): \(report.learned) scores learned, \(report.withoutConsent) without consent")
        }
        // Told again, nothing is learned twice.
        print("Again: \(try await bridge.run().learned) scores learned")

        print("ada: \(try await best(3, for: "ada", engine))")
        print("bob: \(try await best(3, for: "bob", engine))")

        // The same records are examples for fine-tuning: what was liked is preferred to what was not.
        let manifest = try await records.exportForTraining(
            .modelCalls, to: folder + "/preferences.jsonl", format: .preference)
        print(String(decoding: try Data(contentsOf: URL(filePath: manifest.path)), as: UTF8.self), terminator: "")

        // Whoever leaves takes it all along.
        let erased = try await records.erase("ada")
        try await engine.forget("ada")
        print("Erased: \(erased.contents) contents, \(erased.embeddings) embeddings")
        print("ada: \(try await best(3, for: "ada", engine))")
        await storage.close()
    }

    /// The dishes that a person's question finds first.
    static func best(_ count: Int, for user: String, _ engine: PersonalizationEngine) async throws -> String {
        let question = try await engine.personalize(Kitchen.question, for: user).embedding
        func score(_ dish: Kitchen.Dish) -> Float { zip(question, dish.embedding).reduce(0) { $0 + $1.0 * $1.1 } }
        let ranked = Kitchen.dishes.sorted { (score($0), $1.name) > (score($1), $0.name) }
        return ranked.prefix(count).map(\.name).joined(separator: ", ")
    }
}

/// Dishes, and what a model of embeddings makes of them: filling, vegetarian, quick, and how well it goes with the question.
enum Kitchen {
    struct Dish {
        let name: String
        let embedding: [Float]
        let isVegetarian: Bool

        init(_ name: String, filling: Float, quick: Float, fits: Float, isVegetarian: Bool) {
            (self.name, self.isVegetarian) = (name, isVegetarian)
            embedding = [fits, filling, quick, isVegetarian ? 0.5 : -0.5]
        }
    }

    static let dimension = 4
    /// The question asks for what fits, and is filling rather than quick.
    static let question: [Float] = [0.9, 0.4, 0.1, 0.05]
    static let dishes = [
        Dish("roast beef", filling: 0.9, quick: 0.1, fits: 0.9, isVegetarian: false),
        Dish("burger", filling: 0.7, quick: 0.6, fits: 0.85, isVegetarian: false),
        Dish("meatballs", filling: 0.8, quick: 0.3, fits: 0.8, isVegetarian: false),
        Dish("lentil curry", filling: 0.6, quick: 0.4, fits: 0.7, isVegetarian: true),
        Dish("pumpkin risotto", filling: 0.5, quick: 0.2, fits: 0.65, isVegetarian: true),
        Dish("tomato salad", filling: 0.1, quick: 0.9, fits: 0.4, isVegetarian: true),
    ]
}
