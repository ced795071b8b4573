/// A range of an index's identifiers, and the graph of its resolved episodes.
struct IndexedRange: Sendable {
    /// How a graph may be asked, by its check.
    struct Service: Sendable, Hashable {
        /// The candidates with which a look-up began in the check.
        var effort: Int
        /// The vectors in the graph then.
        var vectors: Int
        /// The share of true answers that it gave with them.
        var recall: Double

        /// The candidates with which a look-up begins among more vectors: where they lie closer, as many more score as
        /// much. Without that recall fell from 0.97 to 0.944 from 65,536 vectors to 100,000.
        func effort(among vectors: Int) -> Int { vectors <= self.vectors ? effort : effort * vectors / self.vectors }
    }

    /// The range is `first..<end`.
    let first: EpisodeID
    var end: EpisodeID
    /// `nil` when it was refused: the range is looked at row by row.
    var graph: NeighborGraph?
    /// The rows in the graph that are no longer in the index.
    var removed = 0
    /// `nil` before the graph has passed a check.
    var service: Service?
    var check: GraphCheck?
    /// What the last row could not be added for.
    var failure: GraphError?
    /// The graph is checked when it holds so many vectors.
    var checkAt: Int

    init(first: EpisodeID, graph: NeighborGraph, checkAt: Int) {
        self.first = first
        end = first
        self.graph = graph
        self.checkAt = checkAt
    }

    /// The rows of the graph that are in the index.
    var live: Int { (graph?.count ?? 0) - removed }

    /// Whether more than half of what the graph holds is gone: searches find it all the same, and pass it over.
    var isWorn: Bool { graph != nil && live < removed }

    /// Gives the graph up.
    mutating func refuse() { (graph, service, check, removed) = (nil, nil, nil, 0) }
}

/// Which rows of an index graphs hold, and what is to be done next.
struct IndexedRanges: Sendable {
    /// Ascending, without overlap; between them there may be rows that are in none.
    var ranges: [IndexedRange] = []
    /// The successor of a worn range's graph, until it has taken in as much and passed its check.
    var renewal: IndexedRange?
    /// The rows after the last range.
    var waiting = 0
    /// The rows that must wait before a new range begins: more after a graph was refused.
    var rowsToBegin = 0
    /// A graph was refused, and is tried again when there are more rows.
    var wasRefused = false
    /// What a graph could not do when it was made or checked, the last time that one failed.
    var failure: GraphError?
    var hasWorn = false
    /// Work was begun and is not done.
    var isBusy = false

    /// What is from here on is in no range.
    var end: EpisodeID { ranges.last?.end ?? EpisodeID(0) }

    /// Counts a resolved episode that goes.
    mutating func noteRemoval(of id: EpisodeID) {
        if let i = ranges.firstIndex(where: { id < $0.end }), id >= ranges[i].first, ranges[i].graph != nil {
            ranges[i].removed += 1
            hasWorn = hasWorn || ranges[i].isWorn
        }
        if let first = renewal?.first, let end = renewal?.end, id >= first, id < end { renewal?.removed += 1 }
    }

    /// Whether the last range takes more rows.
    func isOpen(_ plan: GraphPlan) -> Bool { ranges.last?.graph.map { $0.count < plan.mostRows } ?? false }
}
