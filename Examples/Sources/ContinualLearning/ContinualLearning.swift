import Attune
import Support

/// A taste that changes and comes back: what an adapter learns of the new one, what it forgets of the old one, and what three
/// settings do about it.
@main
struct ContinualLearning {
    /// Everybody wants something else from here on, and what they wanted before from here on.
    static let (change, comeback) = (20, 40)

    static func main() async throws {
        var settings = SyntheticPopulation.Configuration()
        settings.users = 50
        settings.items = 120
        settings.likes = 46...50
        settings.driftStep = change
        settings.returnStep = comeback
        let population = try SyntheticPopulation(settings)
        let catalogue = try ItemCatalogue(vectors: population.vectors)

        var configurations: [(name: String, EngineConfiguration)] = []
        for name in ["as shipped", "protected", "set aside"] {
            var configuration = EngineConfiguration(
                dimension: settings.dimension, rank: 4, embeddingModel: "example", seed: 7)
            switch name {
            case "protected": configuration.update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 1)
            // More easily than by default: here every taste does change.
            case "set aside": configuration.update.driftForking = DriftForking(tolerance: 0.02, threshold: 2)
            default: break
            }
            configurations.append((name, configuration))
        }

        print("Mean place of the next like among 120 items, without an adapter and with one:")
        print("             old taste  new taste  old one back  set aside")
        for (name, configuration) in [("no adapter", nil)] + configurations.map({ ($0.name, Optional($0.1)) }) {
            var (before, during, after) = ([Int](), [Int](), [Int]())
            var forks = 0
            let engine = try configuration.map { try PersonalizationEngine(configuration: $0) }
            for user in 0..<24 {
                let likes = population.likes(of: user)
                for step in 1..<likes.count {
                    let latest = population.vectors.row(likes[step - 1])
                    let query = try await engine?.personalize(latest, for: "\(user)").embedding ?? latest
                    let place = place(of: likes[step], for: query, in: population, seen: likes[..<step])
                    switch step {
                    case (change - 5)..<change: before.append(place)
                    case (comeback - 7)..<comeback: during.append(place)
                    case comeback..<(comeback + 5): after.append(place)
                    default: break
                    }
                    let signal = Feedback.Signal.like(likes[step], in: catalogue, seen: Array(likes[..<step]))
                    try await engine?.updateAdapter(
                        for: "\(user)", with: [Feedback(embedding: latest, signal: signal)])
                    // Protection holds what was anchored: do it now and then.
                    if name == "protected", step % 10 == 0 { try await engine?.consolidateAdapter(for: "\(user)") }
                }
                forks += try await engine?.adapter(for: "\(user)")?.forks ?? 0
            }
            let numbers = [(before, 9), (during, 11), (after, 14)].map { padded("\(mean($0))", to: $1) }.joined()
            print(name + String(repeating: " ", count: 13 - name.count) + numbers + padded("\(forks)", to: 11))
        }
    }

    static func place(
        of item: Int, for query: [Float], in population: SyntheticPopulation, seen: ArraySlice<Int>
    ) -> Int {
        func score(_ item: Int) -> Float {
            zip(population.vectors.row(item), query).reduce(0) { $0 + $1.0 * $1.1 }
        }
        let own = score(item)
        return 1 + (0..<population.vectors.rows).count { !seen.contains($0) && score($0) > own }
    }

    static func padded(_ text: String, to width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
