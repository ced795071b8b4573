public import Reasoning
internal import TensorCore

/// Records in memory: for tests, and for applications that keep nothing.
public final class InMemoryRecordStore: RecordStore {
    private struct State {
        var recordings: [String: RecordingRecord] = [:]
        var spans: [RecordID: SpanRecord] = [:]
        /// The order in which they were first stored.
        var places: [RecordID: Int] = [:]
        var externalIDs: [String: RecordID] = [:]
        var published: [RecordID] = []
    }
    private let state = Lock<State>(State())

    /// An empty store.
    public init() {}

    /// Nowhere for good.
    public var place: String { "memory" }

    /// The identifiers of what was put into the outbox, in order.
    public var published: [RecordID] { state.withLock { $0.published } }

    /// Keeps a recording that begins.
    public func begin(_ recording: RecordingRecord) async throws {
        let isNew = state.withLock { state in
            guard state.recordings[recording.id] == nil else { return false }
            state.recordings[recording.id] = recording
            return true
        }
        if !isNew { throw RecordError(.duplicate, "begin", "a recording of this identifier is there already") }
    }

    /// Keeps spans.
    public func store(_ spans: [SpanRecord]) async throws -> [RefusedSpan] {
        state.withLock { state in
            var refused: [RefusedSpan] = []
            for (place, span) in spans.enumerated() {
                if let error = Self.keep(span, &state) { refused.append(RefusedSpan(place: place, error: error)) }
            }
            return refused
        }
    }

    private static func keep(_ span: SpanRecord, _ state: inout State) -> RecordError? {
        if let error = span.refusal("store") { return error }
        if let recording = span.recording, state.recordings[recording] == nil { return .unknownRecording("store") }
        let held = state.spans[span.id]
        let external = span.externalID.map { "\(span.kind.rawValue) \($0)" }
        if let external, let owner = state.externalIDs[external], owner != span.id {
            return .duplicateExternalID("store")
        }
        if held?.status.isFinal == true { return nil }
        if let external { state.externalIDs[external] = span.id }
        if let external = held?.externalID, external != span.externalID {
            state.externalIDs["\(span.kind.rawValue) \(external)"] = nil
        }
        var kept = span
        kept.contents = (held?.contents ?? [:]).merging(
            span.contents.mapValues { RecordContent(stored: $0.stored) }, uniquingKeysWith: { $1 })
        // That it is in the outbox too is no fact about it.
        kept.isPublished = false
        state.spans[span.id] = kept
        if held == nil { state.places[span.id] = state.places.count }
        if span.isPublished { state.published.append(span.id) }
        return nil
    }

    /// Ends a recording.
    public func end(_ recording: String, dropped: Int, at moment: Timestamp) async throws -> RecordingRecord {
        let ended = state.withLock { state -> RecordingRecord? in
            guard var record = state.recordings[recording] else { return nil }
            let spans = state.spans.values.filter { $0.recording == recording }
            record.totals = RecordingTotals(
                records: spans.count, successful: spans.count { $0.status == .completed },
                failed: spans.count { $0.status == .failed || $0.status == .cancelled })
            (record.state, record.dropped, record.completedAt) = (.completed, dropped, moment)
            state.recordings[recording] = record
            return record
        }
        guard let ended else { throw RecordError.unknownRecording("end") }
        return ended
    }

    /// The recordings, latest first.
    public func recordings(limit: Int) async throws -> [RecordingRecord] {
        let all = state.withLock { Array($0.recordings.values) }
        return Array(all.sorted { ($0.startedAt, $0.id) > ($1.startedAt, $1.id) }.prefix(max(0, limit)))
    }

    /// Spans in the order in which they were first stored.
    public func spans(_ query: SpanQuery) async throws -> [SpanRecord] {
        try query.check()
        let found = try state.withLock { state in
            var after = -1
            if let id = query.after {
                guard let place = state.places[id] else {
                    throw RecordError(.invalid, "spans", "the span after which is asked is not there")
                }
                after = place
            }
            return state.spans.values.compactMap { span -> (place: Int, span: SpanRecord)? in
                guard let place = state.places[span.id], place > after, query.matches(span) else { return nil }
                return (place, span)
            }
        }
        return found.sorted { $0.place < $1.place }.prefix(query.limit).map(\.span)
    }

    /// Deletes all contents about a subject.
    public func eraseContents(about subject: String) async throws -> Int {
        let subject = SpanRecord.fitting(subject)
        return state.withLock { state in
            var deleted = 0
            for (id, span) in state.spans where span.context.entity == subject {
                deleted += span.contents.count
                state.spans[id]?.contents = [:]
                state.spans[id]?.context = SpanContext(agent: span.context.agent)
                state.spans[id]?.attributes = nil
                state.spans[id]?.failure?.message = ""
                state.published.removeAll { $0 == id }
            }
            for (id, recording) in state.recordings where recording.scope == .subject(subject) {
                state.recordings[id]?.scope = .subject("")
            }
            return deleted
        }
    }
}

extension RecordError {
    package static func unknownRecording(_ operation: String) -> RecordError {
        RecordError(.unknownRecording, operation, "there is no recording of this identifier")
    }

    package static func unknownSpan(_ operation: String) -> RecordError {
        RecordError(.unknownSpan, operation, "there is no span of this identifier")
    }

    package static func duplicateExternalID(_ operation: String) -> RecordError {
        RecordError(.duplicate, operation, "another span of the kind has this external identifier")
    }
}

extension SpanQuery {
    /// The most spans that are given at once.
    public static let mostSpans = 10_000

    package func check() throws(RecordError) {
        guard (1...Self.mostSpans).contains(limit) else {
            throw RecordError(.invalid, "spans", "the limit \(limit) is not in 1...\(Self.mostSpans)")
        }
    }

    func matches(_ span: SpanRecord) -> Bool {
        func holds<T: Equatable>(_ wanted: T?, _ value: T?) -> Bool { wanted == nil || wanted == value }
        return holds(recording, span.recording) && holds(trace, span.trace) && holds(kind, span.kind)
            && holds(agent, span.context.agent) && holds(status, span.status)
            && from.map { span.startedAt >= $0 } ?? true && until.map { span.startedAt < $0 } ?? true
    }
}
