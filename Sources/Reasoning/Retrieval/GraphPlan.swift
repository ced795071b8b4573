/// When and how an ``EpisodeIndex`` answers by graphs. Whoever measured something else for their data passes another plan.
///
/// The constants were measured with `Benchmark retrieval` (docs/performance.md, "Retrieval").
package struct GraphPlan: Sendable {
    /// From so many rows on that no graph has, one is made. Below, looking at all is as fast or nearly.
    package var leastRows = 16_384
    /// The most vectors of one graph; then the next one begins. What is made again after
    /// removals grows with it, the number of graphs that a look-up asks falls.
    package var mostRows = 131_072
    /// M of the graph: links on each level.
    package var links = 12
    /// efConstruction of the graph: candidates among which a new row's links are chosen.
    package var construction = 64
    /// The numbers of candidates (ef) that the check tries, ascending; the first that passes is what look-ups begin with. None:
    /// there are no graphs.
    package var efforts = [32, 64, 128, 256, 512, 1024]
    /// A search costs as much for each candidate as looking at so many rows. Where that is more than looking at all, all are
    /// looked at. A count instead of times, so that answers do not depend on how busy the machine is.
    package var rowsPerCandidate = 128
    /// The least share of the true answers that a graph must give in its check. Above the 0.95 that is promised: a check
    /// is a sample, and the graph grows until the next one.
    package var leastRecall = 0.97
    /// The queries of a check.
    package var queries = 64
    /// The rows that may wait until it is worthwhile to extend a graph; they are looked at one by one.
    package var slack = 1_024
    /// Draws the levels of graphs and the queries of checks.
    package var seed: UInt64 = 0
    /// The weights under which a graph's answers are checked.
    package var weights = RetrievalWeights()

    package init() {}

    /// Every look-up looks at all episodes.
    package static var exact: GraphPlan {
        var plan = GraphPlan()
        plan.efforts = []
        return plan
    }
}

/// What an index's graphs hold, and how good they have shown to be.
package struct GraphStatistics: Sendable, Hashable {
    /// The episodes that are found by graphs in use.
    package var indexed = 0
    /// The graphs in use.
    package var graphs = 0
    /// The ranges of episodes whose graph did not pass its check and is not used.
    package var refused = 0
    /// The most candidates with which a look-up in a graph begins.
    package var effort = 0
    /// The least recall@10 measured among the graphs in use; `nil` where there are none.
    package var recall: Double?
    /// What one could not do, the last time that one failed.
    package var failure: String?

    package init() {}

    package mutating func add(_ other: GraphStatistics) {
        indexed += other.indexed
        graphs += other.graphs
        refused += other.refused
        effort = max(effort, other.effort)
        failure = other.failure ?? failure
        if let theirs = other.recall { recall = min(recall ?? 1, theirs) }
    }
}
