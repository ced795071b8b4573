internal import LearningRecords
internal import Reasoning

extension Connection {
    /// Spans in the order in which they were first stored.
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
        var after: Int64 = 0
        if let id = query.after {
            guard let ref = try spanRef(id, project) else {
                throw RecordError(.invalid, "spans", "the span after which is asked is not there")
            }
            after = ref
        }
        let values: [Value] = [
            .integer(project), .integer(after), .optional(trace), .optional(query.kind?.rawValue),
            .optional(query.status?.rawValue), .integer(query.from?.microseconds ?? .min),
            .integer(query.until?.microseconds ?? .max), .integer(Int64(query.limit)),
        ]
        var refs: [Int64] = []
        guard trace == nil, recording != nil || query.agent != nil else {
            let narrowed = trace == nil ? [] : [Value.optional(recording), .optional(query.agent)]
            try run(Self.statement(for: query), values + narrowed) { refs.append($0.integer(0)) }
            return try refs.map { try span($0) }
        }
        var series: [Int64] = []
        try run(
            Self.seriesStatement(for: query), [.integer(project), .optional(recording), .optional(query.agent)]
        ) { series.append($0.integer(0)) }
        // The first of all are among the first of each, and none is after the last that counts so far.
        var end = Int64.max
        for number in series {
            try run(Self.statement(for: query), values + [.integer(number), .integer(end)]) {
                refs.append($0.integer(0))
            }
            guard refs.count >= query.limit else { continue }
            refs.sort()
            refs.removeSubrange(query.limit...)
            end = refs.last ?? end
        }
        return try refs.sorted().map { try span($0) }
    }

    /// The number of a span; `nil` where there is none.
    func spanRef(_ id: RecordID, _ project: Int64) throws(StorageError) -> Int64? {
        try integer(
            "SELECT ref FROM spans WHERE project = ? AND id = ?", [.integer(project), .string(id.description)])
    }

    /// The series of a recording, an agent, or both.
    static func seriesStatement(for query: SpanQuery) -> StaticString {
        if query.recording != nil {
            "SELECT ref FROM series WHERE recording = ?2 AND +project = ?1 AND (?3 IS NULL OR +agent = ?3)"
        } else {
            "SELECT ref FROM series WHERE agent = ?3 AND +project = ?1 AND ?2 IS NULL"
        }
    }

    /// One statement for each index, since a condition that may be absent keeps SQLite from using one. Rows of an index that are equal
    /// in its columns come in the order of their numbers, which is that of storing. The `+` keeps SQLite
    /// from indexes that would have to be sorted.
    static func statement(for query: SpanQuery) -> StaticString {
        if query.trace != nil {
            """
            SELECT ref FROM spans WHERE trace = ?3 AND ref > ?2 AND +project = ?1
                AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR status = ?5)
                AND +started_at >= ?6 AND +started_at < ?7 AND EXISTS (SELECT 1 FROM series
                    WHERE ref = spans.series AND (?9 IS NULL OR recording = ?9) AND (?10 IS NULL OR agent = ?10))
            ORDER BY ref LIMIT ?8
            """
        } else if query.recording != nil || query.agent != nil {
            """
            SELECT ref FROM spans WHERE series = ?9 AND ref > ?2 AND ref < ?10 AND +project = ?1
                AND (?3 IS NULL OR +trace = ?3) AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR status = ?5)
                AND +started_at >= ?6 AND +started_at < ?7 ORDER BY ref LIMIT ?8
            """
        } else if let status = query.status, status != .completed {
            // The condition of the index again: a parameter alone does not tell SQLite that it serves.
            """
            SELECT ref FROM spans WHERE status = ?5 AND +project = ?1
                AND (status = 'failed' OR status = 'cancelled' OR status = 'running' OR status = 'pending') AND ref > ?2
                AND (?3 IS NULL OR trace = ?3) AND (?4 IS NULL OR kind = ?4)
                AND +started_at >= ?6 AND +started_at < ?7 ORDER BY ref LIMIT ?8
            """
        } else {
            """
            SELECT ref FROM spans WHERE ref > ?2 AND +project = ?1 AND (?3 IS NULL OR trace = ?3)
                AND (?4 IS NULL OR kind = ?4) AND (?5 IS NULL OR status = ?5)
                AND +started_at >= ?6 AND +started_at < ?7 ORDER BY ref LIMIT ?8
            """
        }
    }

    func span(_ ref: Int64) throws -> SpanRecord {
        var found: SpanRecord?
        let path = path
        func damaged(_ what: String) -> StorageError { StorageError(.damaged, "spans", what, path: path) }
        try run(
            """
            SELECT spans.id, traces.id, recordings.id, parent, kind, series.name, spans.status, severity, error_type, error_message,
                spans.started_at, duration, first_chunk, provider, request_model, response_model, input_tokens, output_tokens, cost,
                tool, external_id, series.agent, room, entity, message, spans.attributes, input, output, payload
            FROM spans JOIN traces ON traces.ref = trace JOIN series ON series.ref = spans.series
                LEFT JOIN recordings ON recordings.ref = series.recording
                LEFT JOIN record_contents AS contents ON contents.span = spans.ref
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
            for (column, role) in [(26, ContentRole.input), (27, .output), (28, .payload)] as [(Int32, ContentRole)] {
                span.contents[role] = row.optionalText(column).map { RecordContent(stored: $0) }
            }
            found = span
        }
        guard let span = found else { throw damaged("a span is gone") }
        return span
    }
}
