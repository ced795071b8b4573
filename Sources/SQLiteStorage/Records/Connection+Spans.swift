internal import LearningRecords
internal import Reasoning

extension Connection {
    /// Keeps a span with its trace and contents.
    ///
    /// - Throws: ``RecordError`` for one that is refused, of which nothing but its trace was written; ``StorageError``.
    func store(_ span: SpanRecord, _ project: Int64, _ known: KnownRecords, _ now: Timestamp) throws {
        var recording: Int64?
        if let id = span.recording {
            guard let ref = try known.recording(id) ?? recordingRef(id, project) else {
                throw RecordError.unknownRecording("store")
            }
            known.keep(ref, recording: id)
            recording = ref
        }
        let id = span.id.description
        if let external = span.externalID {
            var owner: String?
            try run(
                "SELECT id FROM spans WHERE project = ? AND kind = ? AND external_id = ?",
                [.integer(project), .string(span.kind.rawValue), .string(external)]
            ) { owner = $0.text(0) }
            if let owner, owner != id { throw RecordError.duplicateExternalID("store") }
        }
        let trace = try traceRef(span, recording, project, known, now)
        var ref: Int64?
        try run(
            """
            INSERT INTO spans (project, id, trace, recording, parent, kind, name, status, severity, error_type, error_message,
                started_at, duration, first_chunk, provider, request_model, response_model, input_tokens, output_tokens, cost, tool,
                external_id, agent, room, entity, message, attributes, created_at, updated_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
                ?25, ?26, ?27, ?28, ?28)
            ON CONFLICT (project, id) DO UPDATE SET trace = ?3, recording = ?4, parent = ?5, kind = ?6, name = ?7, status = ?8,
                severity = ?9, error_type = ?10, error_message = ?11, started_at = ?12, duration = ?13, first_chunk = ?14,
                provider = ?15, request_model = ?16, response_model = ?17, input_tokens = ?18, output_tokens = ?19, cost = ?20,
                tool = ?21, external_id = ?22, agent = ?23, room = ?24, entity = ?25, message = ?26, attributes = ?27,
                updated_at = ?28
            WHERE status NOT IN ('completed', 'failed', 'cancelled')
            RETURNING ref
            """,
            [
                .integer(project), .string(id), .integer(trace), .optional(recording),
                .optional(span.parent?.description), .string(span.kind.rawValue), .string(span.name),
                .string(span.status.rawValue), .string(span.severity.rawValue), .optional(span.failure?.type),
                .optional(span.failure?.message), .moment(span.startedAt), .optional(span.duration),
                .optional(span.timeToFirstChunk), .optional(span.provider), .optional(span.requestModel),
                .optional(span.responseModel), .optional(span.inputTokens), .optional(span.outputTokens),
                span.cost.map { .real($0) } ?? .null, .optional(span.tool), .optional(span.externalID),
                .optional(span.context.agent), .optional(span.context.room), .optional(span.context.entity),
                .optional(span.context.message), .optional(span.attributes), .moment(now),
            ]
        ) { ref = $0.integer(0) }
        // One that is there with a final status stays as it is.
        guard let ref else { return }
        for role in ContentRole.allCases {
            guard let content = span.contents[role] else { continue }
            try run(
                "INSERT OR REPLACE INTO span_contents (span, role, subject, body) VALUES (?, ?, ?, ?)",
                [
                    .integer(ref), .string(role.rawValue), .optional(span.context.entity), .string(content.stored),
                ])
        }
        guard span.isPublished else { return }
        try run(
            "INSERT INTO outbox (project, topic, payload, attempts, created_at) VALUES (?, ?, ?, 0, ?)",
            [
                .integer(project), .string("training-data.\(span.kind.topic)"), .string(span.messageText), .moment(now),
            ])
    }

    /// The number of a span's run, which is made where there is none.
    private func traceRef(
        _ span: SpanRecord, _ recording: Int64?, _ project: Int64, _ known: KnownRecords, _ now: Timestamp
    ) throws(StorageError) -> Int64 {
        if let ref = known.trace(span.trace) { return ref }
        let id = Value.string(span.trace.description)
        var ref: Int64?
        try run(
            """
            INSERT INTO traces (project, id, recording, agent, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
            ON CONFLICT (project, id) DO UPDATE SET updated_at = ?5 RETURNING ref
            """, [.integer(project), id, .optional(recording), .optional(span.context.agent), .moment(now)]
        ) { ref = $0.integer(0) }
        guard let ref else { throw StorageError(.damaged, "store", "a run has no number", path: path) }
        known.keep(ref, trace: span.trace)
        return ref
    }

    /// Deletes all contents about a subject.
    func eraseContents(about subject: String, _ project: Int64, _ now: Timestamp) throws(StorageError) -> Int {
        try run(
            """
            DELETE FROM span_contents WHERE span IN (SELECT ref FROM spans WHERE project = ? AND entity = ?)
            """, [.integer(project), .string(subject)])
        let deleted = changes
        try run(
            """
            UPDATE spans SET entity = NULL, error_message = CASE WHEN error_message IS NULL THEN NULL ELSE '' END, updated_at = ?3
            WHERE project = ?1 AND entity = ?2
            """, [.integer(project), .string(subject), .moment(now)])
        return deleted
    }
}

extension SpanKind {
    /// The end of the topic of its messages.
    fileprivate var topic: String {
        switch self {
        case .modelCall: "model_calls"
        case .tool: "tool_executions"
        case .task: "agent_tasks"
        case .event: "agent_events"
        case .retrieval: "retrievals"
        case .embedding: "embeddings"
        }
    }
}

// MARK: - Reading

extension Connection {
    /// Spans in the order of their identifiers.
    func spans(_ query: SpanQuery, _ project: Int64) throws -> [SpanRecord] {
        var (recording, trace) = (Int64?.none, Int64?.none)
        if let id = query.recording {
            recording = try recordingRef(id, project)
            if recording == nil { return [] }
        }
        if let id = query.trace {
            trace = try integer(
                "SELECT ref FROM traces WHERE project = ? AND id = ?", [.integer(project), .string(id.description)])
            if trace == nil { return [] }
        }
        let values: [Value] = [
            .integer(project), .string(query.after?.description ?? ""), .optional(recording), .optional(trace),
            .optional(query.kind?.rawValue), .optional(query.agent), .optional(query.status?.rawValue),
            .integer(query.from?.microseconds ?? .min), .integer(query.until?.microseconds ?? .max),
            .integer(Int64(query.limit)),
        ]
        var refs: [Int64] = []
        try run(Self.statement(for: query), values) { refs.append($0.integer(0)) }
        return try refs.map { try span($0) }
    }

    /// One statement for each index, since a condition that may be absent keeps SQLite from using one.
    static func statement(for query: SpanQuery) -> StaticString {
        if query.trace != nil {
            """
            SELECT ref FROM spans WHERE trace = ?4 AND id > ?2 AND project = ?1 AND (?3 IS NULL OR recording = ?3)
                AND (?5 IS NULL OR kind = ?5) AND (?6 IS NULL OR agent = ?6) AND (?7 IS NULL OR status = ?7)
                AND started_at >= ?8 AND started_at < ?9 ORDER BY id LIMIT ?10
            """
        } else if query.recording != nil {
            """
            SELECT ref FROM spans WHERE recording = ?3 AND id > ?2 AND project = ?1 AND (?4 IS NULL OR trace = ?4)
                AND (?5 IS NULL OR kind = ?5) AND (?6 IS NULL OR agent = ?6) AND (?7 IS NULL OR status = ?7)
                AND started_at >= ?8 AND started_at < ?9 ORDER BY id LIMIT ?10
            """
        } else if query.agent != nil {
            """
            SELECT ref FROM spans WHERE project = ?1 AND agent = ?6 AND id > ?2 AND (?3 IS NULL OR recording = ?3)
                AND (?4 IS NULL OR trace = ?4) AND (?5 IS NULL OR kind = ?5) AND (?7 IS NULL OR status = ?7)
                AND started_at >= ?8 AND started_at < ?9 ORDER BY id LIMIT ?10
            """
        } else if query.status != nil {
            """
            SELECT ref FROM spans WHERE project = ?1 AND status = ?7 AND id > ?2 AND (?3 IS NULL OR recording = ?3)
                AND (?4 IS NULL OR trace = ?4) AND (?5 IS NULL OR kind = ?5) AND (?6 IS NULL OR agent = ?6)
                AND started_at >= ?8 AND started_at < ?9 ORDER BY id LIMIT ?10
            """
        } else {
            """
            SELECT ref FROM spans WHERE project = ?1 AND id > ?2 AND (?3 IS NULL OR recording = ?3)
                AND (?4 IS NULL OR trace = ?4) AND (?5 IS NULL OR kind = ?5) AND (?6 IS NULL OR agent = ?6)
                AND (?7 IS NULL OR status = ?7) AND started_at >= ?8 AND started_at < ?9 ORDER BY id LIMIT ?10
            """
        }
    }

    func span(_ ref: Int64) throws -> SpanRecord {
        var found: SpanRecord?
        let path = path
        func damaged(_ what: String) -> StorageError { StorageError(.damaged, "spans", what, path: path) }
        try run(
            """
            SELECT spans.id, traces.id, recordings.id, parent, kind, spans.name, spans.status, severity, error_type, error_message,
                spans.started_at, duration, first_chunk, provider, request_model, response_model, input_tokens, output_tokens, cost,
                tool, external_id, spans.agent, room, entity, message, spans.attributes
            FROM spans JOIN traces ON traces.ref = trace LEFT JOIN recordings ON recordings.ref = spans.recording
            WHERE spans.ref = ?
            """, [.integer(ref)]
        ) { row throws(StorageError) in
            guard let id = RecordID(row.text(0)), let trace = RecordID(row.text(1)),
                let kind = SpanKind(rawValue: row.text(4)), let status = SpanStatus(rawValue: row.text(6)),
                let severity = Severity(rawValue: row.text(7))
            else { throw damaged("a span has no identifier, kind, status or severity") }
            var span = SpanRecord(id: id, trace: trace, kind: kind, name: row.text(5), startedAt: row.moment(10))
            span.recording = row.optionalText(2)
            span.parent = row.optionalText(3).flatMap { RecordID($0) }
            (span.status, span.severity) = (status, severity)
            if let type = row.optionalText(8) {
                span.failure = SpanRecord.Failure(type: type, message: row.optionalText(9) ?? "")
            }
            (span.duration, span.timeToFirstChunk) = (row.optionalInteger(11), row.optionalInteger(12))
            (span.provider, span.requestModel, span.responseModel) = (
                row.optionalText(13), row.optionalText(14), row.optionalText(15)
            )
            (span.inputTokens, span.outputTokens) = (row.optionalInteger(16), row.optionalInteger(17))
            span.cost = row.isNull(18) ? nil : row.real(18)
            (span.tool, span.externalID) = (row.optionalText(19), row.optionalText(20))
            span.context = SpanContext(
                agent: row.optionalText(21), room: row.optionalText(22), entity: row.optionalText(23),
                message: row.optionalText(24))
            span.attributes = row.optionalText(25)
            found = span
        }
        guard var span = found else { throw damaged("a span is gone") }
        try run("SELECT role, body FROM span_contents WHERE span = ?", [.integer(ref)]) { row throws(StorageError) in
            guard let role = ContentRole(rawValue: row.text(0)) else { throw damaged("a content has no role") }
            span.contents[role] = RecordContent(stored: row.text(1))
        }
        return span
    }
}
