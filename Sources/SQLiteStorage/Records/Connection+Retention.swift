internal import LearningRecords
internal import Reasoning

/// A row of spans or workflows that a policy deletes, as it was when it was looked at.
struct DueRecord {
    /// Its table and row.
    enum Row { case span(Int64), workflow(Int64) }

    let row: Row
    let updatedAt: Int64
    /// The number of a span's last score.
    var lastScore: Int64?
    let bytes: Int64
    fileprivate var isWorkflow: Bool { if case .workflow = row { true } else { false } }
}

extension RetentionReport {
    /// What is deleted, without messages.
    init(_ due: [DueRecord]) {
        self.init(
            spans: due.count { !$0.isWorkflow }, workflows: due.count { $0.isWorkflow },
            bytes: due.reduce(0) { $0 + $1.bytes })
    }

    mutating func add(_ other: RetentionReport) {
        spans += other.spans
        workflows += other.workflows
        bytes += other.bytes
        messages += other.messages
    }
}

/// Gathers what a policy deletes, the oldest first.
private struct DueGathering {
    /// What began before this is deleted, in microseconds since 1970; nothing for its age where there is none.
    let oldest: Int64?
    let most: Int64?
    /// The bytes of what has not been deleted.
    var left: Int64
    var due: [DueRecord] = []

    mutating func look(at record: DueRecord, startedAt: Int64) {
        let isOld = oldest.map { startedAt < $0 } ?? false
        guard isOld || most.map({ left > $0 }) ?? false else { return }
        due.append(record)
        left -= record.bytes
    }
}

extension Connection {
    /// What a policy deletes of what has ended, the first stored first, with the bytes of its contents.
    func due(_ policy: RecordRetention, _ project: Int64, _ now: Timestamp) throws(StorageError) -> [DueRecord] {
        var gathering = DueGathering(
            oldest: policy.age.map { now.microseconds.subtractingReportingOverflow($0.microseconds) }
                .flatMap { $0.overflow ? nil : $0.partialValue },
            most: policy.bytes, left: policy.bytes == nil ? 0 : try contentBytes(project))
        var workflows: [(record: DueRecord, startedAt: Int64)] = []
        try run(
            """
            SELECT trace, updated_at, coalesce(length(CAST(state AS BLOB)), 0) + coalesce(length(CAST(results AS BLOB)), 0), created_at
            FROM workflows
            WHERE project = ? AND status IN ('completed', 'failed', 'cancelled') ORDER BY created_at DESC, trace DESC
            """, [.integer(project)]
        ) {
            let record = DueRecord(row: .workflow($0.integer(0)), updatedAt: $0.integer(1), bytes: $0.integer(2))
            workflows.append((record, $0.integer(3)))
        }
        try run(
            """
            SELECT ref, updated_at, coalesce(length(CAST(input AS BLOB)), 0) + coalesce(length(CAST(output AS BLOB)), 0)
                + coalesce(length(CAST(payload AS BLOB)), 0), started_at, created_at,
                (SELECT max(ref) FROM scores WHERE scores.span = spans.ref)
            FROM spans LEFT JOIN record_contents ON span = ref
            WHERE +project = ? AND status IN ('completed', 'failed', 'cancelled') ORDER BY ref
            """, [.integer(project)]
        ) { row in
            while let next = workflows.last, next.startedAt <= row.integer(4) {
                gathering.look(at: next.record, startedAt: next.startedAt)
                workflows.removeLast()
            }
            gathering.look(
                at: DueRecord(
                    row: .span(row.integer(0)), updatedAt: row.integer(1), lastScore: row.optionalInteger(5),
                    bytes: row.integer(2)),
                startedAt: row.integer(3))
        }
        for next in workflows.reversed() { gathering.look(at: next.record, startedAt: next.startedAt) }
        return gathering.due
    }

    /// The bytes of all contents of a project.
    private func contentBytes(_ project: Int64) throws(StorageError) -> Int64 {
        let spans = try integer(
            """
            SELECT sum(coalesce(length(CAST(input AS BLOB)), 0) + coalesce(length(CAST(output AS BLOB)), 0)
                + coalesce(length(CAST(payload AS BLOB)), 0))
            FROM spans JOIN record_contents ON span = ref WHERE project = ?
            """, [.integer(project)])
        let workflows = try integer(
            """
            SELECT sum(coalesce(length(CAST(state AS BLOB)), 0) + coalesce(length(CAST(results AS BLOB)), 0))
            FROM workflows WHERE project = ?
            """, [.integer(project)])
        return (spans ?? 0) + (workflows ?? 0)
    }

    /// What is archived of a record: a JSON object.
    func archived(_ record: DueRecord) throws -> String {
        let json: [UInt8]
        switch record.row {
        case .span(let ref):
            let span = try span(ref)
            json = span.json(with: try scores(of: span.id, at: ref))
        case .workflow(let ref):
            let (workflow, createdAt, updatedAt) = try workflow(at: ref)
            json = workflow.json(createdAt: createdAt, updatedAt: updatedAt)
        }
        return String(decoding: json, as: UTF8.self)
    }

    /// Deletes old messages that every consumer of their topic has passed who ever acknowledged one; those of a topic without such
    /// consumers stay.
    func deleteMessages(olderThan age: Duration, _ project: Int64, _ now: Timestamp) throws(StorageError) -> Int {
        let (cutoff, isBeforeAll) = now.microseconds.subtractingReportingOverflow(age.microseconds)
        if isBeforeAll { return 0 }
        try run(
            """
            DELETE FROM outbox WHERE project = ?1 AND created_at < ?2 AND sequence <=
                (SELECT min(position) FROM consumers WHERE consumers.project = ?1 AND consumers.topic = outbox.topic)
            """, [.integer(project), .integer(cutoff)])
        return changes
    }

    /// How many messages go with records that are due, and with those that are old and passed.
    func countMessages(
        of due: [DueRecord], orOlderThan age: Duration?, _ project: Int64, _ now: Timestamp
    ) throws(StorageError) -> Int {
        var count: Int64 = 0
        var (spans, workflows) = (Set<Int64>(), Set<Int64>())
        for record in due {
            switch record.row {
            case .span(let ref):
                spans.insert(ref)
                count += try integer("SELECT count(*) FROM outbox WHERE span = ?", [.integer(ref)]) ?? 0
            case .workflow(let ref):
                workflows.insert(ref)
                count += try integer("SELECT count(*) FROM outbox WHERE workflow = ?", [.integer(ref)]) ?? 0
            }
        }
        guard let age else { return Int(count) }
        let (cutoff, isBeforeAll) = now.microseconds.subtractingReportingOverflow(age.microseconds)
        if isBeforeAll { return Int(count) }
        try run(
            """
            SELECT span, workflow FROM outbox WHERE project = ?1 AND created_at < ?2 AND sequence <=
                (SELECT min(position) FROM consumers WHERE consumers.project = ?1 AND consumers.topic = outbox.topic)
            """, [.integer(project), .integer(cutoff)]
        ) { row in
            let isDue =
                row.optionalInteger(0).map { spans.contains($0) } ?? row.optionalInteger(1).map {
                    workflows.contains($0)
                }
                ?? false
            if !isDue { count += 1 }
        }
        return Int(count)
    }

    /// Deletes records with all that is about them, and what nothing refers to any more.
    ///
    /// - Returns: The records and how many messages went with them. What has changed since it was looked at, or was scored, stays.
    func delete(_ due: ArraySlice<DueRecord>) throws(StorageError) -> (records: [DueRecord], messages: Int) {
        var records: [DueRecord] = []
        var messages: Int64 = 0
        for record in due {
            let count =
                switch record.row {
                case .span(let ref): try deleteSpan(ref, record)
                case .workflow(let ref): try deleteWorkflow(ref, record)
                }
            guard let count else { continue }
            records.append(record)
            messages += count
        }
        return (records, Int(messages))
    }

    /// - Returns: How many messages went with it; `nil` where it stays.
    private func deleteSpan(_ ref: Int64, _ record: DueRecord) throws(StorageError) -> Int64? {
        let isAsItWas = try integer(
            "SELECT 1 FROM spans WHERE ref = ?1 AND updated_at = ?2 AND (SELECT max(ref) FROM scores WHERE span = ?1) IS ?3",
            [.integer(ref), .integer(record.updatedAt), .optional(record.lastScore)])
        if isAsItWas == nil { return nil }
        let messages = try integer("SELECT count(*) FROM outbox WHERE span = ?", [.integer(ref)]) ?? 0
        let trace = try integer("SELECT trace FROM spans WHERE ref = ?", [.integer(ref)])
        let series = try integer("SELECT series FROM spans WHERE ref = ?", [.integer(ref)])
        try run("DELETE FROM spans WHERE ref = ?", [.integer(ref)])
        try deleteTraceIfEmpty(trace)
        try run(
            "DELETE FROM series WHERE ref = ?1 AND NOT EXISTS (SELECT 1 FROM spans WHERE series = ?1)",
            [.optional(series)])
        return messages
    }

    private func deleteWorkflow(_ ref: Int64, _ record: DueRecord) throws(StorageError) -> Int64? {
        let isAsItWas = try integer(
            "SELECT 1 FROM workflows WHERE trace = ? AND updated_at = ?", [.integer(ref), .integer(record.updatedAt)])
        if isAsItWas == nil { return nil }
        let messages = try integer("SELECT count(*) FROM outbox WHERE workflow = ?", [.integer(ref)]) ?? 0
        try run("DELETE FROM workflows WHERE trace = ?", [.integer(ref)])
        try deleteTraceIfEmpty(ref)
        return messages
    }

    private func deleteTraceIfEmpty(_ trace: Int64?) throws(StorageError) {
        try run(
            """
            DELETE FROM traces WHERE ref = ?1 AND NOT EXISTS (SELECT 1 FROM spans WHERE trace = ?1)
                AND NOT EXISTS (SELECT 1 FROM workflows WHERE trace = ?1)
            """, [.optional(trace)])
    }
}

extension Duration {
    /// As whole microseconds, at most what 64 bits hold.
    fileprivate var microseconds: Int64 {
        let (seconds, attoseconds) = components
        let (whole, isLarge) = seconds.multipliedReportingOverflow(by: 1_000_000)
        return isLarge
            ? (seconds < 0 ? .min : .max) : whole.addingReportingOverflow(attoseconds / 1_000_000_000_000).partialValue
    }
}
