internal import CHnsw
internal import TensorCore

/// What a graph could not do.
struct GraphError: Error, Hashable, CustomStringConvertible {
    enum Code: Hashable {
        /// A number is out of range; nothing was changed.
        case invalid
        /// There is no memory.
        case noMemory
        /// The graph is full or the identifier is taken; nothing was changed.
        case refused
        /// It failed halfway and is of no more use.
        case broken
    }
    let code: Code
    let message: String

    fileprivate init(_ status: attune_graph_status, _ failure: attune_graph_failure) {
        code =
            switch status {
            case ATTUNE_GRAPH_INVALID: .invalid
            case ATTUNE_GRAPH_NO_MEMORY: .noMemory
            case ATTUNE_GRAPH_REFUSED: .refused
            default: .broken
            }
        message = unsafe withUnsafeBytes(of: failure.text) { bytes in
            unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    var description: String { message }
}

/// Vectors in which those most like another are found without looking at all: hierarchical navigable small worlds
/// (Malkov & Yashunin 2018, arXiv:1603.09320), by hnswlib. `CHnsw/include/CHnsw.h` states what it does.
///
/// `@unchecked Sendable`: searches may go on at the same time; whoever adds owns the only reference, and sees to it that
/// nobody searches meanwhile.
@safe
final class NeighborGraph: @unchecked Sendable {
    /// What a search found, in descending similarity.
    struct Neighbors {
        var ids: [UInt64]
        /// The inner products with the query.
        var similarities: [Float]
        var count: Int
    }

    private let graph: OpaquePointer
    private let dimension: Int

    /// An empty graph.
    ///
    /// - Parameters:
    ///   - dimension: The length of the vectors.
    ///   - capacity: The most vectors; some 50 bytes are taken for each at once, the rest as they come.
    ///   - links: M, section 4.1 of the paper.
    ///   - construction: efConstruction, likewise.
    ///   - seed: Draws the levels of the vectors.
    /// - Throws: ``GraphError`` (`invalid`, `noMemory`).
    init(dimension: Int, capacity: Int, links: Int, construction: Int, seed: UInt64) throws(GraphError) {
        var failure = attune_graph_failure()
        let settings = attune_graph_settings(
            dimension: max(0, dimension), links: max(0, links), construction: max(0, construction),
            seed: seed)
        guard let made = unsafe attune_graph_create(settings, max(0, capacity), &failure) else {
            let isInvalid = unsafe withUnsafeBytes(of: failure.text) { unsafe $0.starts(with: "a setting".utf8) }
            throw GraphError(isInvalid ? ATTUNE_GRAPH_INVALID : ATTUNE_GRAPH_NO_MEMORY, failure)
        }
        unsafe graph = made
        self.dimension = dimension
    }

    deinit { unsafe attune_graph_free(graph) }

    /// The vectors in it.
    var count: Int { unsafe attune_graph_count(graph) }

    /// Adds a vector under an identifier that is not there; O(log n), some 50 µs.
    ///
    /// - Parameter vector: `[dimension]`; traps at another length.
    /// - Throws: ``GraphError``: `invalid` for a vector that is not finite, `refused` for an identifier that is there and
    ///   where the graph is full, `noMemory` and `broken` for what ends its use.
    func add(_ id: EpisodeID, _ vector: FloatBuffer) throws(GraphError) {
        precondition(vector.count == dimension, "NeighborGraph: \(vector.count) elements instead of \(dimension)")
        var failure = attune_graph_failure()
        let status = unsafe attune_graph_add(graph, vector.base, id.value, &failure)
        guard status == ATTUNE_GRAPH_OK else { throw GraphError(status, failure) }
    }

    /// About the `limit` vectors most like another, among as many candidates (ef, section 4.2 of the paper).
    ///
    /// - Parameter vector: `[dimension]`; traps at another length.
    /// - Throws: ``GraphError``: `invalid` for a limit below 1 and a vector that is not finite, `noMemory`, `broken`.
    func search(_ vector: [Float], limit: Int) throws(GraphError) -> Neighbors {
        precondition(vector.count == dimension, "NeighborGraph: \(vector.count) elements instead of \(dimension)")
        let room = max(0, limit)
        var found = Neighbors(
            ids: [UInt64](repeating: 0, count: room), similarities: [Float](repeating: 0, count: room), count: 0)
        var failure = attune_graph_failure()
        // An empty array's address is not to be relied on, and no more than its count is written.
        if room == 0 { found.ids = [0] }
        if room == 0 { found.similarities = [0] }
        let status = unsafe attune_graph_search(
            graph, vector, room, &found.ids, &found.similarities, &found.count, &failure)
        guard status == ATTUNE_GRAPH_OK else { throw GraphError(status, failure) }
        return found
    }
}
