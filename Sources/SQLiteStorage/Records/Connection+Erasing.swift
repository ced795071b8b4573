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
}
