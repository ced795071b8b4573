import Attune

/// A search box over a small library. Two readers type the same word and mean different things by it; their clicks teach
/// the query where to look. Judged by documents that arrive afterwards, which nobody can have clicked.
@main
struct RetrievalQuery {
    static func main() async throws {
        let library = try Library()
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: Library.dimension, embeddingModel: "example", seed: 1))

        for (user, meant) in [("ines", "snakes"), ("tom", "programming")] {
            let before = try await library.meanPlace(of: meant, for: user, engine)
            for _ in 0..<5 {
                // What a search page does: personalize, show the ten best, take the clicks.
                let query = try await engine.personalize(library.python, for: user)
                let shown = library.search(query.embedding, in: library.documents).prefix(10)
                let clicked = shown.filter { library.topic(of: $0) == meant }
                let skipped = shown.filter { library.topic(of: $0) != meant }
                // A click was a choice among what was shown, and says nothing of the rest. What goes with it is the
                // embedding that the model gave, not the personalized one.
                let feedback = clicked.map { document in
                    Feedback(
                        embedding: library.python,
                        signal: .ranking(
                            .catalogued(document, library.catalogue),
                            among: skipped.map { .catalogued($0, library.catalogue) }))
                }
                // A page without a click, or with nothing skipped, teaches nothing.
                if skipped.isEmpty { continue }
                try await engine.updateAdapter(for: user, with: feedback)
            }
            let after = try await library.meanPlace(of: meant, for: user, engine)
            print("\(user) means \(meant) by \"python\".")
            print("  Mean place of new documents on that, of \(library.arrivals.count): \(before), then \(after)")
        }
    }
}

/// Documents on five topics, with made-up embeddings: a topic's centre plus noise, of length 1.
struct Library {
    static let dimension = 24
    static let topics = ["snakes", "programming", "cooking", "travel", "music"]
    /// What can be found from the beginning, and what arrives later.
    let documents = 0..<60
    let arrivals = 60..<90
    let catalogue: ItemCatalogue
    /// The embedding of "python": between two topics.
    let python: [Float]

    init() throws {
        // Random numbers that are the same on every machine.
        var random = PhiloxGenerator(seed: 2)
        func unit(_ x: [Float]) -> [Float] {
            let norm = x.reduce(0) { $0 + $1 * $1 }.squareRoot()
            return x.map { $0 / norm }
        }
        func noise() -> [Float] { unit((0..<Self.dimension).map { _ in Float(random.normal()) }) }
        let centres = Self.topics.map { _ in noise() }
        let vectors = (0..<90).map { i in unit(zip(centres[i % 5], noise()).map { $0 + $1 }) }
        catalogue = try ItemCatalogue(vectors: Matrix(rows: vectors))
        python = unit(zip(zip(centres[0], centres[1]), noise()).map { $0.0 + $0.1 + $1 })
    }

    func topic(of document: Int) -> String { Self.topics[document % 5] }

    /// Some documents, the most similar first.
    func search(_ query: [Float], in range: Range<Int>) -> [Int] {
        let scores = range.map { zip(catalogue.vectors.row($0), query).reduce(0) { $0 + $1.0 * $1.1 } }
        return range.sorted { scores[$0 - range.lowerBound] > scores[$1 - range.lowerBound] }
    }

    /// The mean place, from 1, of a topic's new documents among all new ones.
    func meanPlace(of topic: String, for user: String, _ engine: PersonalizationEngine) async throws -> Double {
        let results = search(try await engine.personalize(python, for: user).embedding, in: arrivals)
        let places = results.indices.filter { self.topic(of: results[$0]) == topic }
        return (Double(places.reduce(0) { $0 + $1 + 1 }) / Double(places.count) * 10).rounded() / 10
    }
}
