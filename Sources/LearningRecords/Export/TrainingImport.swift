internal import Reasoning
internal import TensorCore

extension TrainingDataStore {
    /// Reads rows that ``exportForTraining(_:to:from:until:filter:format:isSpreadsheetSafe:at:progress:)`` wrote, and keeps them.
    ///
    /// The whole file is read first: where a row of it is wrong nothing is kept. Rows with identifiers are merged with what is there, as what
    /// is told again is, so a file of them may be read again, and one that was interrupted goes on; a row without one is kept anew
    /// each time.
    ///
    /// What the store adds itself, such as when a row was written, is not taken over.
    ///
    /// - Parameters:
    ///   - kind: The kind of rows.
    ///   - path: The file.
    ///   - format: `jsonLines` or `csv`.
    ///   - isSpreadsheetSafe: Whether a CSV was written so.
    /// - Returns: How many rows were read.
    /// - Throws: ``TrainingFormatError`` with line and column; ``RecordError``: `invalid` for a row that cannot be kept or a format that is not
    ///   read, `files` for the file; what the store throws.
    @discardableResult
    public func importTraining(
        _ kind: TrainingKind, from path: String, format: TrainingFormat = .jsonLines, isSpreadsheetSafe: Bool = false,
        progress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws -> Int {
        let reader = try TrainingReader(kind, path, format, isSpreadsheetSafe)
        try reader.check()
        var now = SystemClock().now
        var count = 0
        var sessions: [String: Timestamp] = [:]
        // A closure that keeps would have to wait.
        var batches = try reader.batches()
        while let batch = try batches.next() {
            now = SystemClock().now
            let items = try batch.map { try TrainingItem($0, kind, now) }
            if kind == .modelCalls { try await begin(items.compactMap(\.span), &sessions) }
            let refused =
                kind == .workflows
                ? try await merge(items.compactMap(\.workflow)) : try await merge(items.compactMap(\.span))
            if let first = refused.first { throw first.error }
            count += batch.count
            progress(count)
        }
        for (session, latest) in sessions { _ = try await end(session, dropped: 0, at: latest) }
        return count
    }

    /// Makes recordings of the sessions of calls where there are none; remembers those that were made, with their latest call's end.
    private func begin(_ spans: [SpanRecord], _ sessions: inout [String: Timestamp]) async throws {
        for span in spans {
            guard let session = span.recording else { continue }
            let end = Timestamp(microseconds: span.startedAt.microseconds + (span.duration ?? 0))
            if let latest = sessions[session] {
                sessions[session] = max(latest, end)
                continue
            }
            do {
                try await begin(RecordingRecord(id: session, scope: .everything, startedAt: span.startedAt))
                sessions[session] = end
            } catch let error as RecordError where error.code == .duplicate {}
        }
    }
}

extension TrainingKind {
    /// Refuses a file that ``TrainingDataStore/importTraining(_:from:format:isSpreadsheetSafe:progress:)`` would refuse, without a store.
    package func checkImport(from path: String, format: TrainingFormat, isSpreadsheetSafe: Bool) throws {
        try TrainingReader(self, path, format, isSpreadsheetSafe).check()
    }
}

/// A row as what a store keeps.
private struct TrainingItem {
    var span: SpanRecord?
    var workflow: AgentWorkflow?

    func check() throws(RecordError) {
        if let error = span?.refusal("import") ?? workflow?.refusal("import") { throw error }
    }

    init(_ row: [TrainingValue], _ kind: TrainingKind, _ now: Timestamp) throws(RecordError) {
        let values = RowValues(row, kind)
        let id = RecordID(at: now)
        switch kind {
        case .events:
            span = AgentEvent(
                try values.needed("event_type"), id: values.text("event_id"), agent: values.text("agent_id"),
                workflow: values.text("workflow_id"), session: values.text("session_id"),
                source: values.text("source"), payload: values.content("payload"),
                severity: try values.word("severity") ?? .info, subject: values.text("entity_id"),
                happenedAt: try values.moment("created_at")
            ).span(id, at: now)
        case .tasks:
            span = AgentTask(
                try values.needed("task_type"), id: values.text("task_id"), agent: values.text("agent_id"),
                instance: values.text("instance_id"),
                priority: values.text("priority").flatMap { $0 == "normal" ? nil : $0 },
                status: try values.word("status") ?? .pending, input: values.content("input_data"),
                output: values.content("output_data"), error: values.text("error"),
                retryCount: values.integer("retry_count", unless: 0),
                maxRetries: values.integer("max_retries", unless: 3),
                timeoutSeconds: values.integer("timeout_seconds", unless: 300), executionTime: try values.duration,
                session: values.text("session_id"), subject: values.text("entity_id"),
                startedAt: try values.began, completedAt: try values.ended
            ).span(id, at: now)
        case .tools:
            span = ToolExecution(
                try values.needed("tool_name"), id: values.text("execution_id"), category: values.text("tool_category"),
                agent: values.text("agent_id"), task: values.text("task_id"),
                status: try values.word("status") ?? .completed, input: values.content("input_params"),
                output: values.content("output_result"), error: values.text("error"),
                executionTime: try values.duration,
                session: values.text("session_id"), subject: values.text("entity_id"),
                startedAt: try values.moment("created_at")
            ).span(id, at: now)
        case .messages:
            span = ConversationMessage(
                try values.needed("role"), values.content("content") ?? .text(""), id: values.text("id"),
                agent: values.text("agent_id"), session: values.text("session_id"), room: values.text("room_id"),
                subject: values.text("user_id"), metadata: values.text("metadata"),
                saidAt: try values.moment("created_at")
            ).span(id, at: now)
        case .modelCalls: span = try Self.call(values, now)
        case .workflows:
            workflow = AgentWorkflow(
                id: try values.needed("workflow_id"), name: try values.needed("name"),
                summary: values.text("description"), type: values.text("workflow_type"), phase: values.text("phase"),
                status: try values.word("status") ?? .running, currentStep: values.text("current_step"),
                totalSteps: values.integer("total_steps"),
                completedSteps: values.integer("completed_steps"), state: values.content("state_data"),
                results: values.content("step_results"), agents: values.list("assigned_agents"),
                error: values.text("error"), metadata: values.text("metadata"), tags: values.list("tags"),
                subject: values.text("entity_id"))
        }
        span?.isPublished = true
    }

    private static func call(_ values: RowValues, _ now: Timestamp) throws(RecordError) -> SpanRecord {
        let moment = try values.moment("created_at") ?? now
        guard let id = RecordID(try values.needed("id")) else {
            throw RecordError(.invalid, "import", "the identifier of a call is no UUID")
        }
        var span = SpanRecord(
            id: id, trace: id, kind: .modelCall, name: try values.needed("model_type"), startedAt: moment)
        span.recording = values.text("session_id")
        span.provider = values.text("provider")
        (span.contents[.input], span.contents[.output]) = (values.content("input_params"), values.content("output"))
        span.status = values.flag("success") == false ? .failed : .completed
        span.severity = span.status == .failed ? .error : .info
        span.failure = values.text("error_message").map { SpanRecord.Failure(type: "imported", message: $0) }
        span.duration = AgentTask.microseconds(try values.duration, nil, nil)
        span.context = SpanContext(
            agent: values.text("agent_id"), room: values.text("room_id"), entity: values.text("entity_id"),
            message: values.text("message_id"))
        return span
    }
}

/// A row's values by their columns' names.
private struct RowValues {
    private let row: [TrainingValue]
    private let places: [String: Int]

    init(_ row: [TrainingValue], _ kind: TrainingKind) {
        self.row = row
        places = TrainingColumn.places(kind.columns)
    }

    private func value(_ name: String) -> TrainingValue { places[name].map { row[$0] } ?? .null }

    func text(_ name: String) -> String? {
        switch value(name) {
        case .text(let text), .json(let text): text
        default: nil
        }
    }

    func needed(_ name: String) throws(RecordError) -> String {
        guard let text = text(name), !text.isEmpty else {
            throw RecordError(.invalid, "import", "a row has no value for '\(name)', which it needs")
        }
        return text
    }

    func integer(_ name: String) -> Int64? {
        if case .integer(let number) = value(name) { return number }
        return nil
    }

    /// A number; `nil` for what a row says where nobody said anything.
    func integer(_ name: String, unless initial: Int64) -> Int64? {
        integer(name).flatMap { $0 == initial ? nil : $0 }
    }

    func flag(_ name: String) -> Bool? {
        if case .boolean(let flag) = value(name) { return flag }
        return nil
    }

    func content(_ name: String) -> RecordContent? { text(name).map { RecordContent(stored: $0) } }
    func list(_ name: String) -> [String]? { text(name).flatMap { AgentWorkflow.texts($0) } }

    func moment(_ name: String) throws(RecordError) -> Timestamp? {
        guard let text = text(name) else { return nil }
        guard let moment = Timestamp(utc: text) else {
            throw RecordError(.invalid, "import", "the value for '\(name)' is no moment")
        }
        return moment
    }

    /// When a task began, or else was told of.
    var began: Timestamp? {
        get throws(RecordError) {
            guard let started = try moment("started_at") else { return try moment("created_at") }
            // Of a task whose beginning nobody knows, both are the end.
            let (ended, took) = (try self.ended, try duration)
            return took == nil && started == ended ? nil : started
        }
    }

    /// When a task ended.
    var ended: Timestamp? { get throws(RecordError) { try moment("completed_at") } }

    func word<Word: RawRepresentable<String>>(_ name: String) throws(RecordError) -> Word? {
        guard let text = text(name) else { return nil }
        guard let word = Word(rawValue: text) else {
            throw RecordError(.invalid, "import", "the value for '\(name)' is none that is known")
        }
        return word
    }

    /// What took so many milliseconds; to the microsecond, as it was kept.
    var duration: Duration? {
        get throws(RecordError) {
            guard case .real(let milliseconds) = value("execution_time_ms") else { return nil }
            guard (0..<1e15).contains(milliseconds) else {
                throw RecordError(.invalid, "import", "the value for 'execution_time_ms' is not in 0..<1e15")
            }
            return .microseconds(Int64((milliseconds * 1_000).rounded()))
        }
    }
}

/// A file's rows, some hundred at a time.
private struct TrainingReader {
    private let kind: TrainingKind
    private let source: ByteSource
    private let format: TrainingFormat
    private let isSpreadsheetSafe: Bool

    init(
        _ kind: TrainingKind, _ path: String, _ format: TrainingFormat, _ isSpreadsheetSafe: Bool
    ) throws(RecordError) {
        guard format == .csv || format == .jsonLines else {
            throw RecordError(.invalid, "import", "only jsonl and csv are read, and not \(format.rawValue)")
        }
        do throws(TensorFileError) { source = try ByteSource(path: path) } catch {
            throw RecordError(.files, "import", "the file cannot be read: \(error)")
        }
        (self.kind, self.format, self.isSpreadsheetSafe) = (kind, format, isSpreadsheetSafe)
    }

    /// Refuses a file that is wrong anywhere.
    func check() throws {
        let now = SystemClock().now
        var (batches, count) = (try batches(), 0)
        while let batch = try batches.next() {
            for row in batch {
                count += 1
                do throws(RecordError) { try TrainingItem(row, kind, now).check() } catch {
                    throw RecordError(error.code, "import", "row \(count): \(error.message)")
                }
            }
        }
    }

    func batches() throws -> Batches {
        format == .csv
            ? Batches(
                source,
                csv: CSVReader(
                    columns: kind.columns, isSpreadsheetSafe: isSpreadsheetSafe,
                    maximumFieldBytes: SpanRecord.largestContent))
            : Batches(source, lines: JSONLinesReader(columns: kind.columns))
    }

    struct Batches {
        private let source: ByteSource
        // One of the two, each changed in its place: a copy would be one of all that waits.
        private var csv: CSVReader?
        private var lines: JSONLinesReader?
        private var place = 0
        private var hasEnded = false
        private static let (chunk, most, mostBytes) = (1 << 18, 500, 16 << 20)

        init(_ source: ByteSource, csv: CSVReader? = nil, lines: JSONLinesReader? = nil) {
            (self.source, self.csv, self.lines) = (source, csv, lines)
        }

        mutating func next() throws -> [[TrainingValue]]? {
            var rows: [[TrainingValue]] = []
            var bytes = 0
            while rows.count < Self.most, bytes < Self.mostBytes {
                if let row = try row() {
                    rows.append(row)
                    bytes += row.reduce(0) { $0 + $1.byteCount }
                } else if place < source.count {
                    let end = min(source.count, place + Self.chunk)
                    do throws(TensorFileError) { feed(try source.bytes(place..<end)) } catch {
                        throw RecordError(.files, "import", "the file cannot be read: \(error)")
                    }
                    place = end
                } else if !hasEnded {
                    hasEnded = true
                    finish()
                } else {
                    break
                }
            }
            return rows.isEmpty ? nil : rows
        }

        private mutating func row() throws -> [TrainingValue]? {
            csv == nil ? try lines?.next() : try csv?.next()
        }

        private mutating func feed(_ bytes: [UInt8]) {
            csv?.feed(bytes)
            lines?.feed(bytes)
        }

        private mutating func finish() {
            csv?.finish()
            lines?.finish()
        }
    }
}

extension TrainingValue {
    /// The bytes of its text.
    fileprivate var byteCount: Int {
        switch self {
        case .text(let text), .json(let text): text.utf8.count
        case .null, .integer, .real, .boolean: 8
        }
    }
}
