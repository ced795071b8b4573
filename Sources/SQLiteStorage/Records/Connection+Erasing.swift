internal import LearningRecords
internal import Reasoning

extension Connection {
    /// Deletes what is about a subject, with the messages that hold it, and takes what may name it out of what stays.
    func erase(_ subject: String, _ project: Int64, _ now: Timestamp) throws(StorageError) -> RecordErasure {
        let about: [Value] = [.integer(project), .string(subject)]
        var erased = RecordErasure()
        erased.contents = Int(
            try integer(
                """
                SELECT sum((input IS NOT NULL) + (output IS NOT NULL) + (payload IS NOT NULL)) FROM record_contents
                WHERE span IN (SELECT ref FROM spans WHERE project = ? AND entity = ?)
                """, about) ?? 0)
        try run(
            "DELETE FROM record_contents WHERE span IN (SELECT ref FROM spans WHERE project = ? AND entity = ?)", about)
        try run("DELETE FROM outbox WHERE span IN (SELECT ref FROM spans WHERE project = ? AND entity = ?)", about)
        erased.messages = changes
        try run(
            "DELETE FROM span_embeddings WHERE span IN (SELECT ref FROM spans WHERE project = ? AND entity = ?)", about)
        erased.embeddings = changes
        try run(
            """
            UPDATE scores SET comment = NULL, source = NULL
            WHERE span IN (SELECT ref FROM spans WHERE project = ? AND entity = ?)
            """, about)
        erased.scores = changes
        try run(
            """
            UPDATE spans SET entity = NULL, room = NULL, message = NULL, attributes = NULL,
                error_message = CASE WHEN error_message IS NULL THEN NULL ELSE '' END, updated_at = ?3
            WHERE project = ?1 AND entity = ?2
            """, about + [.moment(now)])
        erased.spans = changes
        try run(
            "DELETE FROM outbox WHERE workflow IN (SELECT trace FROM workflows WHERE project = ? AND entity = ?)", about
        )
        erased.messages += changes
        try run(
            """
            UPDATE workflows SET entity = NULL, description = NULL, state = NULL, results = NULL, metadata = NULL, tags = NULL,
                current_step = NULL, error = CASE WHEN error IS NULL THEN NULL ELSE '' END, updated_at = ?3
            WHERE project = ?1 AND entity = ?2
            """, about + [.moment(now)])
        erased.workflows = changes
        try run(
            "UPDATE recordings SET subject = '', updated_at = ?3 WHERE project = ?1 AND subject = ?2",
            about + [.moment(now)])
        erased.recordings = changes
        try run("DELETE FROM consents WHERE project = ? AND subject = ?", about)
        return erased
    }

    /// What a policy deletes of what has ended, the first stored first, with the bytes of its contents.
    func due(_ policy: RecordRetention, _ project: Int64, _ now: Timestamp) throws(StorageError) -> [DueSpan] {
        var due: [DueSpan] = []
        var left: Int64 = 0
        if policy.bytes != nil {
            left =
                try integer(
                    """
                    SELECT sum(coalesce(length(CAST(input AS BLOB)), 0) + coalesce(length(CAST(output AS BLOB)), 0)
                        + coalesce(length(CAST(payload AS BLOB)), 0))
                    FROM spans JOIN record_contents ON span = ref WHERE project = ?
                    """, [.integer(project)]) ?? 0
        }
        let oldest = policy.age.map { now.microseconds.subtractingReportingOverflow($0.microseconds) }
        try run(
            """
            SELECT ref, started_at, updated_at, coalesce(length(CAST(input AS BLOB)), 0) + coalesce(length(CAST(output AS BLOB)), 0)
                + coalesce(length(CAST(payload AS BLOB)), 0)
            FROM spans LEFT JOIN record_contents ON span = ref
            WHERE +project = ? AND status IN ('completed', 'failed', 'cancelled') ORDER BY ref
            """, [.integer(project)]
        ) { row in
            let isOld = oldest.map { !$0.overflow && row.integer(1) < $0.partialValue } ?? false
            guard isOld || policy.bytes.map({ left > $0 }) ?? false else { return }
            due.append(DueSpan(ref: row.integer(0), updatedAt: row.integer(2), bytes: row.integer(3)))
            left -= row.integer(3)
        }
        return due
    }

    /// Deletes old messages that every consumer of their topic has passed; those of a topic without consumers stay.
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

    /// Deletes spans with all that is about them, and what nothing refers to any more.
    ///
    /// - Returns: How many messages went with them. A span that has changed since it was looked at stays.
    func delete(_ due: ArraySlice<DueSpan>) throws(StorageError) -> Int {
        var messages: Int64 = 0
        for span in due {
            let ref = span.ref
            guard
                try integer(
                    "SELECT 1 FROM spans WHERE ref = ? AND updated_at = ?", [.integer(ref), .integer(span.updatedAt)])
                    != nil
            else { continue }
            messages += try integer("SELECT count(*) FROM outbox WHERE span = ?", [.integer(ref)]) ?? 0
            let trace = try integer("SELECT trace FROM spans WHERE ref = ?", [.integer(ref)])
            let series = try integer("SELECT series FROM spans WHERE ref = ?", [.integer(ref)])
            try run("DELETE FROM spans WHERE ref = ?", [.integer(ref)])
            try run(
                """
                DELETE FROM traces WHERE ref = ?1 AND NOT EXISTS (SELECT 1 FROM spans WHERE trace = ?1)
                    AND NOT EXISTS (SELECT 1 FROM workflows WHERE trace = ?1)
                """, [.optional(trace)])
            try run(
                "DELETE FROM series WHERE ref = ?1 AND NOT EXISTS (SELECT 1 FROM spans WHERE series = ?1)",
                [.optional(series)])
        }
        return Int(messages)
    }
}

/// A span that a policy deletes, as it was when it was looked at.
struct DueSpan {
    let ref: Int64
    let updatedAt: Int64
    let bytes: Int64
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
