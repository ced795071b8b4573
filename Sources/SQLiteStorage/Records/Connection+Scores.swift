internal import LearningRecords
internal import Reasoning

extension Connection {
    /// Keeps a score and tells of it; one whose identifier is there changes nothing.
    func insert(_ score: Score, _ project: Int64, _ now: Timestamp) throws {
        guard let span = try spanRef(score.span, project) else { throw RecordError.unknownSpan("store scores") }
        try run(
            """
            INSERT INTO scores (project, id, span, name, value, comment, source, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (project, id) DO NOTHING
            """,
            [
                .integer(project), .string(score.id.description), .integer(span), .string(score.name.rawValue),
                .real(score.value), .optional(score.comment), .optional(score.source), .moment(score.createdAt),
            ])
        guard changes > 0 else { return }
        try run(
            "INSERT INTO outbox (project, span, topic, payload, attempts, created_at) VALUES (?, ?, ?, ?, 0, ?)",
            [
                .integer(project), .integer(span), .string(TrainingTopic.scores.rawValue),
                .string(String(decoding: score.json, as: UTF8.self)), .moment(now),
            ])
    }

    /// The scores of a span, in the order in which they were stored.
    func scores(of span: RecordID, _ project: Int64) throws(StorageError) -> [Score] {
        try spanRef(span, project).map { ref throws(StorageError) in try scores(of: span, at: ref) } ?? []
    }

    func scores(of span: RecordID, at ref: Int64) throws(StorageError) -> [Score] {
        var scores: [Score] = []
        let path = path
        try run(
            "SELECT id, name, value, comment, source, created_at FROM scores WHERE span = ? ORDER BY ref",
            [.integer(ref)]
        ) { row throws(StorageError) in
            guard let id = RecordID(row.text(0)) else {
                throw StorageError(.damaged, "scores", "a score has no identifier", path: path)
            }
            scores.append(
                Score(
                    Score.Name(rawValue: row.text(1)), row.real(2), of: span, id: id, comment: row.optionalText(3),
                    source: row.optionalText(4), at: row.moment(5)))
        }
        return scores
    }

    /// Keeps what a span's input or output was embedded as, 4 bytes a number, the least byte first.
    func keep(_ embedding: [Float], _ role: ContentRole, of span: RecordID, _ project: Int64) throws {
        guard let ref = try spanRef(span, project) else { throw RecordError.unknownSpan("keep embedding") }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(4 * embedding.count)
        for number in embedding {
            let bits = number.bitPattern
            for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: bits >> shift)) }
        }
        try run(
            "INSERT OR REPLACE INTO span_embeddings (span, role, vector) VALUES (?, ?, ?)",
            [.integer(ref), .string(role.rawValue), .bytes(bytes)])
    }

    /// What it was embedded as; `nil` where nothing is kept.
    func embedding(_ role: ContentRole, of span: RecordID, _ project: Int64) throws(StorageError) -> [Float]? {
        guard let ref = try spanRef(span, project) else { return nil }
        var embedding: [Float]?
        let path = path
        try run(
            "SELECT vector FROM span_embeddings WHERE span = ? AND role = ?", [.integer(ref), .string(role.rawValue)]
        ) { row throws(StorageError) in
            let bytes = row.bytes(0)
            guard bytes.count % 4 == 0 else {
                throw StorageError(.damaged, "embedding", "an embedding is no list of numbers", path: path)
            }
            embedding = stride(from: 0, to: bytes.count, by: 4).map { start in
                Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << (8 * UInt32($1)) })
            }
        }
        return embedding
    }

    /// Messages of a topic after a position, in order.
    func messages(_ topic: TrainingTopic, after position: Int64, limit: Int, _ project: Int64)
        throws(StorageError) -> [OutboxMessage]
    {
        var messages: [OutboxMessage] = []
        try run(
            """
            SELECT sequence, payload, created_at FROM outbox WHERE project = ?1 AND topic = ?2 AND sequence > ?3
            ORDER BY sequence LIMIT ?4
            """, [.integer(project), .string(topic.rawValue), .integer(position), .integer(Int64(limit))]
        ) {
            messages.append(
                OutboxMessage(sequence: $0.integer(0), topic: topic, payload: $0.text(1), committedAt: $0.moment(2)))
        }
        return messages
    }
}
