/// One user's query, like by like.
struct RunningQuery: Sendable {
    /// The decay of the profile query.
    static let profileDecay: Float = 0.9

    private let kind: QueryKind
    private var average: [Float]

    init(_ kind: QueryKind, dimension: Int) {
        self.kind = kind
        average = kind == .profile ? [Float](repeating: 0, count: dimension) : []
    }

    /// The query once a further like is known.
    ///
    /// - Parameter like: The liked item's embedding, shape `[dimension]`.
    mutating func next(like: [Float]) -> [Float] {
        switch kind {
        case .last: return like
        case .profile:
            let keep = Self.profileDecay
            var squares: Float = 0
            for j in like.indices {
                average[j] = keep * average[j] + (1 - keep) * like[j]
                squares += average[j] * average[j]
            }
            let norm = max(squares.squareRoot(), 1e-12)
            return average.map { $0 / norm }
        }
    }

    /// The query of a user's event at a step, when the likes up to it are known: with queries, the one of the like to come, unless
    /// the profile is asked for.
    mutating func next(of user: LikeSequence, at step: Int, in data: EvaluationData) -> [Float] {
        let query = next(like: data.vectors.rowValues(user.items[step]))
        guard kind == .last, let queries = data.queryVectors else { return query }
        return queries.rowValues(user.queries[step + 1])
    }
}
