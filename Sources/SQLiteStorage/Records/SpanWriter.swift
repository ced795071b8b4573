internal import LearningRecords
internal import Reasoning

/// Keeps spans with their runs and contents, in one transaction of the connection that writes.
///
/// New ones go in by statements of many rows; from one on that is there already, a statement's rows are kept one by one.
struct SpanWriter {
    struct Row {
        let place: Int
        let span: SpanRecord
        let trace: Int64
        let series: Int64
    }

    let connection: Connection
    let project: Int64
    let known: KnownRecords
    let now: Timestamp
    private var rows: [Row] = []
    private var batch = RowBatch()
    var refused: [RefusedSpan] = []
    /// Whether a span that is told of again is merged with what is there, and not put in its place.
    let isMerging: Bool
    /// Runs and series that others know of when the transaction stands.
    private(set) var made = KnownRecords.Refs()

    init(
        _ connection: Connection, project: Int64, known: KnownRecords, at now: Timestamp, isMerging: Bool = false
    ) {
        (self.connection, self.project, self.known, self.now) = (connection, project, known, now)
        self.isMerging = isMerging
    }

    /// Keeps spans in their order.
    ///
    /// - Returns: Those that were refused, of which nothing but their run was written.
    mutating func store(_ spans: [SpanRecord]) throws -> [RefusedSpan] {
        for (place, span) in spans.enumerated() {
            if let error = span.refusal("store") {
                refused.append(RefusedSpan(place: place, error: error))
                continue
            }
            guard let series = try seriesRef(Series(span)) else {
                refused.append(RefusedSpan(place: place, error: .unknownRecording("store")))
                continue
            }
            try append(Row(place: place, span: span, trace: try traceRef(span), series: series))
        }
        return try finish()
    }

    mutating func append(_ row: Row) throws {
        rows.append(row)
        if rows.count == Connection.rowsOfStatement { try keepRows() }
    }

    mutating func finish() throws -> [RefusedSpan] {
        try keepRows()
        return refused.sorted { $0.place < $1.place }
    }

    mutating func keepRows() throws {
        if rows.isEmpty { return }
        defer { rows.removeAll(keepingCapacity: true) }
        let last = try connection.integer("SELECT max(ref) FROM spans") ?? 0
        guard last < .max - Int64(rows.count) else {
            throw StorageError(.damaged, "store records", "the numbers of its rows are used up", path: connection.path)
        }
        batch.removeAll()
        for (offset, row) in rows.enumerated() { add(row, last + 1 + Int64(offset)) }
        let done = try connection.insert(batch, Self.spans)
        batch.removeAll()
        for (offset, row) in rows[..<done].enumerated() where !row.span.contents.isEmpty {
            batch.add(last + 1 + Int64(offset))
            for role in Self.roles {
                guard let content = row.span.contents[role] else {
                    batch.add(nil as String?)
                    continue
                }
                batch.add { content.writeStored(to: &$0) }
            }
        }
        try insertAll(Self.contents)
        for (offset, row) in rows[..<done].enumerated() where row.span.isPublished {
            addMessage(row.span, last + 1 + Int64(offset))
        }
        try insertAll(Self.outbox)
        for row in rows[done...] {
            do { try keep(row) } catch let error as RecordError {
                refused.append(RefusedSpan(place: row.place, error: error))
            }
        }
    }

    /// What may contradict nothing.
    private mutating func insertAll(_ insert: BatchInsert) throws(StorageError) {
        guard try connection.insert(batch, insert) * insert.columns == batch.cells.count else {
            throw StorageError(
                .damaged, "store records", "there are contents of a span that is not there: verify the file",
                path: connection.path)
        }
        batch.removeAll()
    }

    private static let spans = BatchInsert(
        into: """
            spans (ref, project, id, trace, series, parent, kind, status, severity, error_type, error_message, started_at, duration,
                first_chunk, request_model, response_model, input_tokens, output_tokens, cost, external_id, room, entity, message,
                attributes, created_at, updated_at)
            """, columns: 26)
    private static let contents = BatchInsert(into: "record_contents (span, input, output, payload)", columns: 4)
    private static let outbox = BatchInsert(
        into: "outbox (project, span, topic, payload, attempts, created_at)", columns: 6)
    private static let roles: [ContentRole] = [.input, .output, .payload]

    /// The columns of a span's row.
    private mutating func add(_ row: Row, _ ref: Int64) {
        let span = row.span
        batch.add(ref)
        batch.add(project)
        batch.add { span.id.write(to: &$0) }
        batch.add(row.trace)
        batch.add(row.series)
        if let parent = span.parent { batch.add { parent.write(to: &$0) } } else { batch.add(nil as String?) }
        batch.add(span.kind.rawValue)
        batch.add(span.status.rawValue)
        batch.add(span.severity.rawValue)
        batch.add(span.failure?.type)
        batch.add(span.failure?.message)
        batch.add(span.startedAt.microseconds)
        batch.add(span.duration)
        batch.add(span.timeToFirstChunk)
        batch.add(span.requestModel)
        batch.add(span.responseModel)
        batch.add(span.inputTokens)
        batch.add(span.outputTokens)
        batch.add(span.cost)
        batch.add(span.externalID)
        batch.add(span.context.room)
        batch.add(span.context.entity)
        batch.add(span.context.message)
        batch.add(span.attributes)
        batch.add(now.microseconds)
        batch.add(now.microseconds)
    }

    private mutating func addMessage(_ span: SpanRecord, _ ref: Int64) {
        batch.add(project)
        batch.add(ref)
        batch.add(TrainingTopic(span.kind).rawValue)
        batch.add { $0 += span.json }
        batch.add(0 as Int64)
        batch.add(now.microseconds)
    }

    /// The number of a span's run, which is made where there is none.
    mutating func traceRef(_ span: SpanRecord) throws(StorageError) -> Int64 {
        if let ref = known.trace(span.trace) ?? made.traces[span.trace] { return ref }
        let id = Value.string(span.trace.description)
        try connection.run(
            """
            INSERT OR IGNORE INTO traces (project, id, recording, agent, created_at, updated_at)
            VALUES (?1, ?2, (SELECT ref FROM recordings WHERE project = ?1 AND id = ?3), ?4, ?5, ?5)
            """,
            [.integer(project), id, .optional(span.recording), .optional(span.context.agent), .moment(now)])
        var ref: Int64? = connection.lastInsertedRow
        if connection.changes == 0 {
            ref = try connection.integer(
                "SELECT ref FROM traces WHERE project = ? AND id = ?", [.integer(project), id])
        }
        guard let ref else { throw StorageError(.damaged, "store", "a run has no number", path: connection.path) }
        made.traces[span.trace] = ref
        return ref
    }

    /// The number of a series, which is made where there is none; `nil` for one of a recording that is not there.
    mutating func seriesRef(_ series: Series) throws(StorageError) -> Int64? {
        if let ref = known.series(series) ?? made.series[series] { return ref }
        var recording: Int64?
        if let id = series.recording {
            recording = try connection.recordingRef(id, project)
            if recording == nil { return nil }
        }
        let values: [Value] = [
            .integer(project), .optional(recording), .string(series.name), .optional(series.agent),
            .optional(series.provider), .optional(series.tool),
        ]
        var ref = try connection.integer(
            """
            SELECT ref FROM series
            WHERE project = ?1 AND recording IS ?2 AND name = ?3 AND agent IS ?4 AND provider IS ?5 AND tool IS ?6
            """, values)
        if ref == nil {
            try connection.run(
                "INSERT INTO series (project, recording, name, agent, provider, tool) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                values)
            ref = connection.lastInsertedRow
        }
        made.series[series] = ref
        return ref
    }

    /// Keeps a span that may be there already: one with a final status stays as it is, contents that the new one does not have stay.
    private mutating func keep(_ row: Row) throws {
        let span = row.span
        if isMerging, let held = try heldRef(span) { return try merge(row, held) }
        let id = Value.string(span.id.description)
        if let external = span.externalID {
            let owner = try connection.integer(
                "SELECT ref FROM spans WHERE project = ? AND kind = ? AND external_id = ? AND id <> ?",
                [.integer(project), .string(span.kind.rawValue), .string(external), id])
            if owner != nil { throw RecordError.duplicateExternalID("store") }
        }
        var (held, status) = (Int64?.none, SpanStatus?.none)
        try connection.run(
            "SELECT ref, status FROM spans WHERE project = ? AND id = ?", [.integer(project), id]
        ) { (held, status) = ($0.integer(0), SpanStatus(rawValue: $0.text(1))) }
        let ref: Int64
        if let held {
            if status?.isFinal == true { return }
            try update(row, held)
            ref = held
        } else {
            ref = (try connection.integer("SELECT max(ref) FROM spans") ?? 0) + 1
            add(row, ref)
            try insertAll(Self.spans)
        }
        try finish(span, ref)
    }

    /// Keeps the contents of a span that was kept alone, and tells of it.
    mutating func finish(_ span: SpanRecord, _ ref: Int64) throws {
        if !span.contents.isEmpty {
            let stored = Self.roles.map { Value.optional(span.contents[$0]?.stored) }
            try connection.run(
                """
                INSERT INTO record_contents (span, input, output, payload) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (span) DO UPDATE
                SET input = coalesce(?2, input), output = coalesce(?3, output), payload = coalesce(?4, payload)
                """, [.integer(ref)] + stored)
        }
        guard span.isPublished else { return }
        batch.removeAll()
        addMessage(span, ref)
        try insertAll(Self.outbox)
    }

    func update(_ row: Row, _ ref: Int64) throws(StorageError) {
        let span = row.span
        try connection.run(
            """
            UPDATE spans SET trace = ?2, series = ?3, parent = ?4, kind = ?5, status = ?6, severity = ?7, error_type = ?8,
                error_message = ?9, started_at = ?10, duration = ?11, first_chunk = ?12, request_model = ?13, response_model = ?14,
                input_tokens = ?15, output_tokens = ?16, cost = ?17, external_id = ?18, room = ?19, entity = ?20, message = ?21,
                attributes = ?22, updated_at = ?23
            WHERE ref = ?1
            """,
            [
                .integer(ref), .integer(row.trace), .integer(row.series), .optional(span.parent?.description),
                .string(span.kind.rawValue), .string(span.status.rawValue), .string(span.severity.rawValue),
                .optional(span.failure?.type), .optional(span.failure?.message), .moment(span.startedAt),
                .optional(span.duration), .optional(span.timeToFirstChunk), .optional(span.requestModel),
                .optional(span.responseModel), .optional(span.inputTokens), .optional(span.outputTokens),
                span.cost.map { .real($0) } ?? .null, .optional(span.externalID), .optional(span.context.room),
                .optional(span.context.entity), .optional(span.context.message), .optional(span.attributes),
                .moment(now),
            ])
    }
}
