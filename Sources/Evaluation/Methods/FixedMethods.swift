/// Ranks by the query itself: methods `none` and, with the profile query, `profile`.
struct IdentityMethod: RankingMethod {
    var query: QueryKind?

    func ranker(for userID: String, seed: Int) -> any Ranker { IdentityRanker() }

    private final class IdentityRanker: Ranker {
        func vector(for query: [Float]) -> [Float] { query }
    }
}

/// Ranks by popularity alone: y = 0, so that κ·log(1 + donor likes) decides for every κ > 0.
struct PopularityMethod: RankingMethod {
    func ranker(for userID: String, seed: Int) -> any Ranker { ZeroRanker() }

    private final class ZeroRanker: Ranker {
        func vector(for query: [Float]) -> [Float] { [Float](repeating: 0, count: query.count) }
    }
}
