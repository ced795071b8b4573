import Attune

/// New users start from what earlier users have in common, instead of from nothing.
///
/// The population is made up and has a planted pattern: items belong to topics, and who liked an item of one topic wants
/// one of the next. Donors learn it, their adapters are merged, and new users start from the result.
@main
struct TransferFromPopulation {
    static func main() async throws {
        var settings = SyntheticPopulation.Configuration()
        settings.users = 60
        settings.clusters = 1
        settings.items = 200
        settings.likes = 20...30
        let population = try SyntheticPopulation(settings)
        let shop = Shop(vectors: population.vectors, catalogue: try ItemCatalogue(vectors: population.vectors))
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: settings.dimension, rank: 4, seed: 7))

        // Forty donors learn from all of their likes.
        let donors = (0..<40).map(SyntheticPopulation.userID)
        for (user, id) in donors.enumerated() {
            _ = try await shop.learn(population.likes(of: user), user: id, engine)
        }

        // Their maps are averaged as products. The more the donors disagree, the further the average is drawn to zero.
        let prior = try await engine.mergeAdapters(Dictionary(uniqueKeysWithValues: donors.map { ($0, 1) }))
        print("A prior of rank \(prior.rank) from \(prior.donors) donors.")

        // Twenty users who were not donors live their first likes twice: from the prior, and from a cold start, for which
        // five likes are too few.
        var warm = 0.0
        var cold = 0.0
        var none = 0.0
        let newcomers = 40..<60
        for user in newcomers {
            let likes = Array(population.likes(of: user).prefix(6))
            try await engine.createAdapter(for: "warm \(user)", startingFrom: prior)
            warm += try await shop.learn(likes, user: "warm \(user)", engine) / Double(newcomers.count)
            cold += try await shop.learn(likes, user: "cold \(user)", engine) / Double(newcomers.count)
            none += try shop.meanRank(likes) / Double(newcomers.count)
        }
        print("Mean rank of the next like among \(settings.items) items, over a new user's first five:")
        print("  without an adapter    \(Int(none.rounded()))")
        print("  from a cold start     \(Int(cold.rounded()))")
        print("  from the prior        \(Int(warm.rounded()))")
    }
}

/// Ranks and learns likes, one after the other; the query is always the like before.
struct Shop {
    let vectors: Matrix<Float>
    let catalogue: ItemCatalogue

    /// Ranks each like before learning from it, so that no rank is of something already learned; the mean rank.
    func learn(_ likes: [Int], user: String, _ engine: PersonalizationEngine) async throws -> Double {
        var sum = 0
        for i in 1..<likes.count {
            let query = vectors.row(likes[i - 1])
            sum += rank(of: likes[i], for: try await engine.personalize(query, for: user).embedding, seen: likes[..<i])
            let like = Feedback(
                embedding: query, signal: .like(likes[i], in: catalogue, seen: Array(likes[..<i])))
            try await engine.updateAdapter(for: user, with: [like])
        }
        return Double(sum) / Double(likes.count - 1)
    }

    /// The same with the query as it is.
    func meanRank(_ likes: [Int]) throws -> Double {
        let ranks = (1..<likes.count).map { rank(of: likes[$0], for: vectors.row(likes[$0 - 1]), seen: likes[..<$0]) }
        return Double(ranks.reduce(0, +)) / Double(ranks.count)
    }

    /// The place of an item among those not seen, from 1.
    func rank(of item: Int, for query: [Float], seen: ArraySlice<Int>) -> Int {
        func score(_ i: Int) -> Float { zip(vectors.row(i), query).reduce(0) { $0 + $1.0 * $1.1 } }
        let own = score(item)
        return 1 + (0..<vectors.rows).count { !seen.contains($0) && score($0) > own }
    }
}
