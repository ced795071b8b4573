internal import LearningRecords
internal import Reasoning

extension Value {
    static func optional(_ text: String?) -> Value { text.map { .string($0) } ?? .null }
    static func optional(_ number: Int64?) -> Value { number.map { .integer($0) } ?? .null }
    static func moment(_ moment: Timestamp?) -> Value { moment.map { .integer($0.microseconds) } ?? .null }
}

extension Row {
    func optionalText(_ column: Int32) -> String? { isNull(column) ? nil : text(column) }
    func optionalInteger(_ column: Int32) -> Int64? { isNull(column) ? nil : integer(column) }
    func moment(_ column: Int32) -> Timestamp { Timestamp(microseconds: integer(column)) }
}

extension Connection {
    func insert(_ recording: RecordingRecord, _ project: Int64, _ now: Timestamp) throws {
        if try recordingRef(recording.id, project) != nil {
            throw RecordError(.duplicate, "begin", "a recording of this identifier is there already")
        }
        var (scope, agent, subject) = ("everything", String?.none, String?.none)
        switch recording.scope {
        case .everything: break
        case .agent(let name): (scope, agent) = ("agent", name)
        case .subject(let name): (scope, subject) = ("subject", name)
        }
        try run(
            """
            INSERT INTO recordings (project, id, scope, agent, subject, description, sample, status, records, successful, failed,
                dropped, started_at, completed_at, created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                .integer(project), .string(recording.id), .string(scope), .optional(agent), .optional(subject),
                .optional(recording.description), .real(recording.sample), .string(recording.state.rawValue),
                .integer(Int64(recording.totals.records)), .integer(Int64(recording.totals.successful)),
                .integer(Int64(recording.totals.failed)), .integer(Int64(recording.dropped)),
                .moment(recording.startedAt), .moment(recording.completedAt), .moment(now), .moment(now),
            ])
    }

    /// The number of a recording; `nil` where there is none.
    func recordingRef(_ id: String, _ project: Int64) throws(StorageError) -> Int64? {
        try integer("SELECT ref FROM recordings WHERE project = ? AND id = ?", [.integer(project), .string(id)])
    }

    /// Counts the calls that are stored of a recording, and ends it.
    ///
    /// - Parameters:
    ///   - dropped: What was dropped; as before for `nil`.
    ///   - moment: When it ended; at its last record's end for `nil`.
    func count(
        _ ref: Int64, _ state: RecordingState, dropped: Int?, at moment: Timestamp?, _ now: Timestamp
    ) throws(StorageError) {
        try run(
            """
            UPDATE recordings SET status = ?2, updated_at = ?5,
                records = (SELECT count(*) FROM spans WHERE series IN (SELECT ref FROM series WHERE recording = ?1)
                    AND kind = 'model_call'),
                successful = (SELECT count(*) FROM spans WHERE series IN (SELECT ref FROM series WHERE recording = ?1) AND status = 'completed'
                    AND kind = 'model_call'),
                failed = (SELECT count(*) FROM spans WHERE series IN (SELECT ref FROM series WHERE recording = ?1) AND status IN ('failed', 'cancelled')
                    AND kind = 'model_call'),
                dropped = coalesce(?3, dropped),
                completed_at = coalesce(?4,
                    (SELECT max(started_at + coalesce(duration, 0)) FROM spans WHERE series IN (SELECT ref FROM series WHERE recording = ?1)), started_at)
            WHERE ref = ?1
            """,
            [
                .integer(ref), .string(state.rawValue), .optional(dropped.map { Int64($0) }), .moment(moment),
                .moment(now),
            ])
    }

    /// The calls that are stored of a recording.
    func totals(of recording: String, _ project: Int64) throws(StorageError) -> RecordingTotals {
        var totals = RecordingTotals()
        try run(
            """
            SELECT count(*), coalesce(sum(spans.status = 'completed'), 0),
                coalesce(sum(spans.status IN ('failed', 'cancelled')), 0)
            FROM recordings JOIN series ON series.recording = recordings.ref JOIN spans ON spans.series = series.ref
            WHERE recordings.project = ? AND recordings.id = ? AND spans.kind = 'model_call'
            """, [.integer(project), .string(recording)]
        ) { row in
            totals = RecordingTotals(
                records: Int(row.integer(0)), successful: Int(row.integer(1)), failed: Int(row.integer(2)))
        }
        return totals
    }

    /// Ends what a dead process has left active; how many that were.
    func interruptRecordings(_ project: Int64, _ now: Timestamp) throws(StorageError) -> Int {
        var refs: [Int64] = []
        try run(
            "SELECT ref FROM recordings WHERE project = ? AND status = 'active' ORDER BY started_at",
            [.integer(project)]
        ) { refs.append($0.integer(0)) }
        for ref in refs { try count(ref, .interrupted, dropped: nil, at: nil, now) }
        return refs.count
    }

    /// Recordings, latest first; one alone where its number is given.
    func recordings(_ project: Int64, limit: Int, only ref: Int64?) throws -> [RecordingRecord] {
        var all: [RecordingRecord] = []
        let path = path
        try run(
            """
            SELECT id, scope, agent, subject, description, sample, status, records, successful, failed, dropped, started_at,
                completed_at
            FROM recordings WHERE project = ?1 AND (?2 IS NULL OR ref = ?2) ORDER BY started_at DESC, id DESC LIMIT ?3
            """, [.integer(project), .optional(ref), .integer(Int64(limit))]
        ) { row throws(StorageError) in
            let scope: RecordingScope
            switch (row.text(1), row.optionalText(2), row.optionalText(3)) {
            case ("everything", _, _): scope = .everything
            case ("agent", let agent?, _): scope = .agent(agent)
            case ("subject", _, let subject?): scope = .subject(subject)
            default: throw StorageError(.damaged, "recordings", "a recording has no scope", path: path)
            }
            guard let state = RecordingState(rawValue: row.text(6)) else {
                throw StorageError(.damaged, "recordings", "a recording has no status", path: path)
            }
            var recording = RecordingRecord(id: row.text(0), scope: scope, startedAt: row.moment(11))
            recording.description = row.optionalText(4)
            recording.sample = row.real(5)
            recording.state = state
            recording.totals = RecordingTotals(
                records: Int(row.integer(7)), successful: Int(row.integer(8)), failed: Int(row.integer(9)))
            recording.dropped = Int(row.integer(10))
            recording.completedAt = row.optionalInteger(12).map { Timestamp(microseconds: $0) }
            all.append(recording)
        }
        return all
    }
}
