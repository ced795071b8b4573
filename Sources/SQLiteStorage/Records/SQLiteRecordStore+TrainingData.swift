internal import CSQLite
public import LearningRecords
public import Reasoning

/// What agents did, in the same file.
extension SQLiteRecordStore: TrainingDataStore {
    /// Keeps spans under the identifiers that the application gave them, in one transaction.
    public func merge(_ spans: [SpanRecord]) async throws -> [RefusedSpan] {
        if spans.isEmpty { return [] }
        let (project, known, clock) = (storage.projectRef, known, clock)
        let stored = try await storage.writing("merge records", durability) { connection in
            var writer = SpanWriter(connection, project: project, known: known, at: clock.now, isMerging: true)
            return (refused: try writer.merge(spans), made: writer.made)
        } then: { stored in
            known.keep(stored.made)
        }
        return stored.refused
    }

    /// Keeps workflows, in one transaction.
    public func merge(_ workflows: [AgentWorkflow]) async throws -> [RefusedSpan] {
        let (project, now) = (storage.projectRef, clock.now)
        return try await keeping(workflows, "merge workflows") { connection, workflow in
            if let error = workflow.refusal("store workflow") { throw error }
            try connection.merge(workflow, project, now)
        }
    }

    /// Keeps scores, in one transaction.
    public func store(_ scores: [Score]) async throws -> [RefusedSpan] {
        let (project, now) = (storage.projectRef, clock.now)
        return try await keeping(scores, "store scores") { connection, score in
            if let error = score.refusal("store scores") { throw error }
            try connection.insert(score, project, now)
        }
    }

    private func keeping<Item: Sendable>(
        _ items: [Item], _ operation: String, _ keep: @escaping @Sendable (Connection, Item) throws -> Void
    ) async throws -> [RefusedSpan] {
        if items.isEmpty { return [] }
        return try await storage.writing(operation, durability) { connection in
            var refused: [RefusedSpan] = []
            for (place, item) in items.enumerated() {
                do { try keep(connection, item) } catch let error as RecordError {
                    refused.append(RefusedSpan(place: place, error: error))
                }
            }
            return refused
        }
    }

    /// Scores of a span, in the order in which they were stored.
    public func scores(of span: RecordID) async throws -> [Score] {
        let project = storage.projectRef
        return try await asking("scores", []) { try $0.scores(of: span, project) }
    }

    /// The span that has an identifier of the application's; `nil` where there is none.
    public func span(_ kind: SpanKind, externalID: String) async throws -> SpanRecord? {
        let project = storage.projectRef
        return try await asking("span", nil) { connection in
            try connection.spanRef(kind, externalID, project).map { try connection.span($0) }
        }
    }

    /// A workflow by the application's identifier; `nil` where there is none.
    public func workflow(_ id: String) async throws -> AgentWorkflow? {
        let project = storage.projectRef
        return try await asking("workflow", nil) { try $0.workflow(id, project)?.workflow }
    }

    /// Keeps what a span's input or output was embedded as.
    public func keep(embedding: [Float], _ role: ContentRole, of span: RecordID) async throws {
        guard (1...65_536).contains(embedding.count), embedding.allSatisfy(\.isFinite) else {
            throw RecordError(
                .invalid, "keep embedding", "an embedding is 1...65536 finite numbers; these are \(embedding.count)")
        }
        guard role != .payload else {
            throw RecordError(.invalid, "keep embedding", "an embedding is of an input or an output")
        }
        let project = storage.projectRef
        try await storage.writing("keep embedding", durability) { try $0.keep(embedding, role, of: span, project) }
    }

    /// What a span's input or output was embedded as; `nil` where nothing is kept.
    public func embedding(_ role: ContentRole, of span: RecordID) async throws -> [Float]? {
        let project = storage.projectRef
        return try await asking("embedding", nil) { try $0.embedding(role, of: span, project) }
    }

    /// Messages of a topic after a position, in order.
    public func messages(
        _ topic: TrainingTopic, after position: Int64, limit: Int
    ) async throws -> [OutboxMessage] {
        guard (1...SpanQuery.mostSpans).contains(limit) else {
            throw RecordError(.invalid, "messages", "the limit \(limit) is not in 1...\(SpanQuery.mostSpans)")
        }
        let project = storage.projectRef
        return try await asking("messages", []) {
            try $0.messages(topic, after: position, limit: limit, project)
        }
    }

    /// How far a consumer has come in a topic.
    public func position(of consumer: String, in topic: TrainingTopic) async throws -> Int64 {
        let project = storage.projectRef
        return try await asking("position", 0) {
            try $0.integer(
                "SELECT position FROM consumers WHERE project = ? AND name = ? AND topic = ?",
                [.integer(project), .string(consumer), .string(topic.rawValue)]) ?? 0
        }
    }

    /// Remembers how far a consumer has come; never less than before.
    public func advance(_ consumer: String, in topic: TrainingTopic, to position: Int64) async throws {
        guard !consumer.isEmpty, SpanRecord.fitting(consumer) == consumer else {
            throw RecordError(
                .invalid, "advance", "a consumer's name has 1...\(SpanRecord.longestName) bytes, none of them 0")
        }
        let (project, now) = (storage.projectRef, clock.now)
        try await storage.writing("advance", durability) { connection in
            try connection.run(
                """
                INSERT INTO consumers (project, name, topic, position, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (project, name, topic) DO UPDATE SET position = ?4, updated_at = ?5 WHERE position < ?4
                """,
                [
                    .integer(project), .string(consumer), .string(topic.rawValue), .integer(position), .moment(now),
                ])
        }
    }

    /// Remembers whether a subject agrees to a use of what is kept about them.
    public func setConsent(_ isGranted: Bool, of subject: String, to purpose: ConsentPurpose) async throws {
        let (project, now) = (storage.projectRef, clock.now)
        let subject = SpanRecord.fitting(subject)
        try await storage.writing("consent", durability) { connection in
            try connection.run(
                """
                INSERT INTO consents (project, subject, purpose, is_granted, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
                ON CONFLICT (project, subject, purpose) DO UPDATE SET is_granted = ?4, updated_at = ?5 WHERE is_granted != ?4
                """,
                [
                    .integer(project), .string(subject), .string(purpose.rawValue), .integer(isGranted ? 1 : 0),
                    .moment(now),
                ])
        }
    }

    /// Since when a subject agrees.
    public func consent(of subject: String, to purpose: ConsentPurpose) async throws -> Timestamp? {
        let project = storage.projectRef
        let subject = SpanRecord.fitting(subject)
        return try await asking("consent", nil) {
            try $0.integer(
                "SELECT updated_at FROM consents WHERE project = ? AND subject = ? AND purpose = ? AND is_granted = 1",
                [.integer(project), .string(subject), .string(purpose.rawValue)]
            ).map { Timestamp(microseconds: $0) }
        }
    }

    /// Gives rows to `body` as they all were at one moment, on a connection of their own: others read and write meanwhile.
    public func withRows<Result: Sendable>(
        _ query: TrainingQuery, _ body: @escaping @Sendable (TrainingRows) throws -> Result
    ) async throws -> Result {
        try await withRows(try TrainingStatement(query, storage.projectRef), query.kind.columns, body)
    }

    /// Gives inputs with their best and worst outputs.
    public func withPreferences<Result: Sendable>(
        _ query: TrainingQuery, _ body: @escaping @Sendable (TrainingRows) throws -> Result
    ) async throws -> Result {
        let columns = ["prompt", "chosen", "rejected"].map { TrainingColumn(name: $0, type: .json) }
        return try await withRows(
            try TrainingStatement(preferences: query, storage.projectRef), columns, body)
    }

    private func withRows<Result: Sendable>(
        _ statement: TrainingStatement, _ columns: [TrainingColumn],
        _ body: @escaping @Sendable (TrainingRows) throws -> Result
    ) async throws -> Result {
        try await snapshot("rows") { connection in
            let isReadable = try RecordSchema.isReadable(connection)
            return try body(
                TrainingRows(columns) { row in
                    if isReadable { try connection.rows(statement, columns, row) }
                })
        }
    }

    /// The version of the tables.
    public var schemaVersion: Int { RecordSchema.migrations.count }

    /// Erases a subject.
    public func erase(_ subject: String) async throws -> RecordErasure {
        let (project, now) = (storage.projectRef, clock.now)
        let subject = SpanRecord.fitting(subject)
        return try await storage.writing("erase records", durability) { try $0.erase(subject, project, now) }
    }

    /// Deletes the oldest of what has ended, 500 at a time.
    public func retain(
        _ policy: RecordRetention, isDryRun: Bool, archive: (@Sendable (TrainingRows) throws -> Void)?
    ) async throws -> RetentionReport {
        try storage.refuseReading("retain records")
        let (project, now, known) = (storage.projectRef, clock.now, known)
        let (due, messages) = try await snapshot("retain records") { connection in
            guard try RecordSchema.isReadable(connection) else { return (due: [] as [DueRecord], messages: 0) }
            let due = try connection.due(policy, project, now)
            if let archive, !isDryRun, !due.isEmpty {
                try archive(
                    TrainingRows([TrainingColumn(name: "record", type: .json)]) { row in
                        for record in due { try row([.json(try connection.archived(record))]) }
                    })
            }
            let messages = isDryRun ? try connection.countMessages(of: due, orOlderThan: policy.age, project, now) : 0
            return (due: due, messages: messages)
        }
        var report = RetentionReport(due)
        report.messages = messages
        if isDryRun { return report }
        report = RetentionReport()
        var start = 0
        while start < due.count {
            let some = due[start..<min(due.count, start + 500)]
            let deleted = try await storage.writing("retain records", durability) { connection in
                try connection.delete(some)
            } then: { _ in
                known.forget()
            }
            report.add(RetentionReport(deleted.records))
            report.messages += deleted.messages
            start += some.count
        }
        if let age = policy.age {
            report.messages += try await storage.writing("retain records", durability) {
                try $0.deleteMessages(olderThan: age, project, now)
            }
        }
        return report
    }

    /// Runs `body` on a connection of its own, in one transaction that reads.
    private func snapshot<Result: Sendable>(
        _ operation: String, _ body: @escaping @Sendable (Connection) throws -> Result
    ) async throws -> Result {
        let path = storage.path
        let isImmutable = storage.access == .reading && isUnchangeable(path)
        return try await Worker.opening("attune.storage.\(operation)") {
            let connection = try Connection(path: path, flags: SQLITE_OPEN_READONLY, isImmutable: isImmutable)
            defer { connection.close() }
            // What is sorted may be larger than memory.
            try connection.execute(
                "PRAGMA query_only = ON; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = FILE"
            )
            return try connection.reading { try body($0) }
        }
    }

    /// Asks on a connection that reads; `none` where there are no tables yet.
    private func asking<Answer: Sendable>(
        _ operation: String, _ none: Answer, _ ask: @escaping @Sendable (Connection) throws -> Answer
    ) async throws -> Answer {
        try await storage.reading(operation) { connection in
            guard try RecordSchema.isReadable(connection) else { return none }
            return try ask(connection)
        }
    }
}
