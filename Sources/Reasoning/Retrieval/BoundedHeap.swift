/// The highest `limit` matches seen, the lowest of them on top.
struct BoundedHeap: Sendable {
    let limit: Int
    private var matches: [EpisodeIndex.Match] = []

    init(limit: Int) { self.limit = limit }

    /// Whether `left` comes before `right` in an answer.
    private static func precedes(_ left: EpisodeIndex.Match, _ right: EpisodeIndex.Match) -> Bool {
        left.score != right.score ? left.score > right.score : left.id < right.id
    }

    /// Whether a row with this score, or less, certainly stays out, whatever its identifier.
    func excludes(_ score: Double) -> Bool { matches.count >= limit && score < matches[0].score }

    mutating func insert(_ match: EpisodeIndex.Match) {
        if matches.count < limit {
            matches.append(match)
            var child = matches.count - 1
            while child > 0, Self.precedes(matches[(child - 1) / 2], matches[child]) {
                matches.swapAt(child, (child - 1) / 2)
                child = (child - 1) / 2
            }
        } else if Self.precedes(match, matches[0]) {
            matches[0] = match
            var parent = 0
            while true {
                var last = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < matches.count {
                    if Self.precedes(matches[last], matches[child]) { last = child }
                }
                guard last != parent else { return }
                matches.swapAt(parent, last)
                parent = last
            }
        }
    }

    /// In the order of an answer.
    func sorted() -> [EpisodeIndex.Match] { matches.sorted(by: Self.precedes) }
}
