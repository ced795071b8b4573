internal import LearningRecords
internal import TensorCore

/// What many spans have in common: it stands in a row of its own, once, so that a span's row is short and one index serves all of it.
struct Series: Hashable {
    let recording: String?
    let name: String
    let agent: String?
    let provider: String?
    let tool: String?

    init(_ span: SpanRecord) {
        (recording, name, agent) = (span.recording, span.name, span.context.agent)
        (provider, tool) = (span.provider, span.tool)
    }

    /// To the byte: Swift takes texts for equal that only look alike.
    static func == (left: Series, right: Series) -> Bool {
        func same(_ one: String?, _ other: String?) -> Bool {
            guard let one, let other else { return one == nil && other == nil }
            return one == other && one.utf8.elementsEqual(other.utf8)
        }
        return same(left.name, right.name) && same(left.agent, right.agent) && same(left.recording, right.recording)
            && same(left.provider, right.provider) && same(left.tool, right.tool)
    }
}

/// The numbers of traces and series that were looked up, of the connection that writes.
final class KnownRecords: Sendable {
    struct Refs {
        var traces: [RecordID: Int64] = [:]
        var series: [Series: Int64] = [:]
    }

    private let refs = Lock<Refs>(Refs())
    private static let most = 100_000

    func trace(_ id: RecordID) -> Int64? { refs.withLock { $0.traces[id] } }
    func series(_ series: Series) -> Int64? { refs.withLock { $0.series[series] } }

    /// Lets go of all: rows were deleted.
    func forget() { refs.withLock { $0 = Refs() } }

    /// Keeps what a transaction made that stands.
    func keep(_ made: Refs) {
        refs.withLock { refs in
            if refs.traces.count >= Self.most { refs.traces.removeAll() }
            if refs.series.count >= Self.most { refs.series.removeAll() }
            refs.traces.merge(made.traces) { $1 }
            refs.series.merge(made.series) { $1 }
        }
    }
}
