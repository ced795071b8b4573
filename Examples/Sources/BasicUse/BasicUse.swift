import Attune

/// Two users search for the same word and mean different things by it. Each gets an adapter of their own; what one of
/// them teaches it never reaches the other.
@main
struct BasicUse {
    // Embeddings that a model would give, of length 1. The three axes: cars, animals, computers.
    static let titles = ["sports car test", "big cats of Brazil", "operating systems of 2002", "car rental"]
    static let documents: [[Float]] = [[0.96, 0.28, 0], [0.28, 0.96, 0], [0, 0.28, 0.96], [0.8, 0, 0.6]]
    static let jaguar: [Float] = [0.64, 0.6, 0.48]

    static func main() async throws {
        // The dimension is your model's. The default rank of 8 would exceed this dimension of 3.
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: 3, rank: 2, embeddingModel: "example", seed: 1))
        let catalogue = try ItemCatalogue(vectors: Matrix(rows: documents))

        // Ada opens the car test three times in a row, Ben the big cats.
        for _ in 0..<3 {
            for (user, opened) in [("ada", 0), ("ben", 1)] {
                let feedback = Feedback(embedding: jaguar, signal: .like(opened, in: catalogue))
                let report = try await engine.updateAdapter(for: user, with: [feedback])
                precondition(report.lossAfter < report.lossBefore, "a step on one like lowers its loss")
            }
        }
        for user in ["ada", "ben", "cleo"] { try await show(user, engine) }

        // Feedback that makes no sense is refused whole: an error says why, and the adapter keeps every byte.
        let before = try await engine.adapter(for: "ada")?.stateHash
        do {
            let misshapen = Feedback(embedding: [1, 0], signal: .like(1, in: catalogue))
            try await engine.updateAdapter(for: "ada", with: [misshapen])
        } catch let error as EngineError where error.code == .refusedFeedback {
            print("Refused: \(error)")
        }
        print("Ada's adapter is unchanged: \(try await engine.adapter(for: "ada")?.stateHash == before)")
    }

    /// Personalizes the query and prints the documents in the order of their similarity to it.
    static func show(_ user: String, _ engine: PersonalizationEngine) async throws {
        let query = try await engine.personalize(jaguar, for: user)
        let ranked = documents.indices.sorted {
            dot(query.embedding, documents[$0]) > dot(query.embedding, documents[$1])
        }
        // A user of whom nothing is known has no adapter: the embedding comes back as it was given, and says so.
        let state = query.isPersonalized ? "version \(query.version)" : "no adapter yet"
        print("\(user) (\(state)): \(ranked.map { titles[$0] }.joined(separator: ", "))")
    }

    static func dot(_ x: [Float], _ y: [Float]) -> Float { zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } }
}
