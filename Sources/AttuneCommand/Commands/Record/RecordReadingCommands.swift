import Attune

/// `attune record status`: what is recorded now, and what there is.
struct RecordStatusCommand: Command {
    let file: String
    let project: String
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "record status",
        abstract: "Show what is being recorded into a storage file, and what it holds.",
        discussion: [
            "Lists the recordings that are active, with the calls that are stored so far, and counts the others. The file isn't "
                + "changed, and may be in use: an application switches recording on and off itself. A recording whose process has "
                + "died stays active here until the file is opened for writing."
        ],
        arguments: [.storageFile], options: [.project, .format],
        examples: [.init(line: "attune record status attune.db", explanation: "What is recorded now.")],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let store = try await SQLiteRecordStore(storage)
        let all = try await store.recordings(limit: .max)
        var active = all.filter { $0.state == .active }
        for place in active.indices { active[place].totals = try await store.totals(of: active[place].id) }
        await storage.close()
        let counts = RecordingState.allCases.map { state in (state, all.count { $0.state == state }) }
        let stored =
            all.filter { $0.state != .active }.reduce(0) { $0 + $1.totals.records }
            + active.reduce(0) { $0 + $1.totals.records }
        switch format {
        case .json:
            console.write(
                JSONText.object(
                    counts.map { ($0.rawValue, .integer($1)) } + [
                        ("records", .integer(stored)), ("recordings", .array(active.map(\.json))),
                    ]
                ).text + "\n")
        case .text:
            if active.isEmpty {
                console.write("Nothing is being recorded.\n")
            } else {
                var table = TextTable()
                table.add(RecordingRecord.heading)
                for recording in active { table.add(recording.cells) }
                console.write(table.text)
            }
            let words = counts.dropFirst().map { "\($1) \($0.rawValue)" }.joined(separator: ", ")
            console.write("\n\(all.count) recordings, of which \(words); \(stored) records.\n")
        }
    }
}

/// `attune record sessions`: the recordings of a file.
struct RecordSessionsCommand: Command {
    let file: String
    let project: String
    let limit: Int
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "record sessions",
        abstract: "List the recordings of a storage file, latest first.",
        discussion: [
            "A recording is a period in which model calls were recorded. One that was interrupted is of a process that died: its "
                + "counts are of what is stored. The file isn't changed, and may be in use."
        ],
        arguments: [.storageFile],
        options: [
            .value("limit", "N", .integer(1...1_000_000), default: "20", help: "List at most so many."), .project,
            .format,
        ],
        examples: [.init(line: "attune record sessions attune.db", explanation: "The latest 20.")],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        project = arguments.project
        limit = arguments.integer("limit")
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let store = try await SQLiteRecordStore(storage)
        var all = try await store.recordings(limit: limit)
        for place in all.indices where all[place].state == .active {
            all[place].totals = try await store.totals(of: all[place].id)
        }
        await storage.close()
        switch format {
        case .json: console.write(JSONText.object([("recordings", .array(all.map(\.json)))]).text + "\n")
        case .text:
            if all.isEmpty { return console.write("Nothing was recorded.\n") }
            var table = TextTable()
            table.add(RecordingRecord.heading)
            for recording in all { table.add(recording.cells) }
            console.write(table.text)
        }
    }
}

/// `attune record show`: one recording's records, or one record whole.
struct RecordShowCommand: Command {
    let id: String
    let file: String
    let project: String
    let limit: Int
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "record show",
        abstract: "Show the records of a recording, or one record with its contents.",
        discussion: [
            "ID is a session, as 'attune record sessions' lists them, or a record's identifier. A record is printed as a JSON object, "
                + "as it stands in a record's file. The file isn't changed, and may be in use."
        ],
        arguments: [
            PositionalSpecification(name: "ID", help: "A session's or a record's identifier."), .storageFile,
        ],
        options: [
            .value(
                "limit", "N", .integer(1...10_000), default: "20", help: "List at most so many records of a session."),
            .project, .format,
        ],
        examples: [
            .init(
                line: "attune record show session_1795757469123_5f0a9c31 attune.db",
                explanation: "The first 20 records of a session.")
        ],
        exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        id = arguments.positional("ID") ?? ""
        file = arguments.storageFile
        project = arguments.project
        limit = arguments.integer("limit")
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let store = try await SQLiteRecordStore(storage)
        if let record = RecordID(id) {
            let span = try await store.span(record)
            await storage.close()
            guard let span else { throw CommandFailure(.badData, "There is no record \(quoted(id)) in this file.") }
            return console.write(String(decoding: span.json, as: UTF8.self) + "\n")
        }
        var query = SpanQuery()
        (query.recording, query.limit) = (id, limit)
        let isThere = try await store.recordings(limit: .max).contains { $0.id == id }
        let spans = try await store.spans(query)
        await storage.close()
        guard isThere else {
            throw CommandFailure(
                .badData, "There is no recording \(quoted(id)) in this file: 'attune record sessions' lists them.")
        }
        switch format {
        case .json:
            console.write("{\"records\":[")
            for (place, span) in spans.enumerated() {
                console.write((place == 0 ? "" : ",") + String(decoding: span.json, as: UTF8.self))
            }
            console.write("]}\n")
        case .text:
            if spans.isEmpty { return console.write("Nothing was recorded.\n") }
            var table = TextTable()
            table.add(["record", "kind", "name", "status", "ms", "began"])
            for span in spans {
                table.add([
                    "\(span.id)", span.kind.rawValue, printable(span.name), span.status.rawValue,
                    span.duration.map { "\(Double($0) / 1_000)" } ?? "-", span.startedAt.text,
                ])
            }
            console.write(table.text)
        }
    }
}

extension RecordingRecord {
    static let heading = ["session", "scope", "status", "records", "successful", "failed", "dropped", "began"]

    var cells: [String] {
        [
            id, printable("\(scope)"), state.rawValue, "\(totals.records)", "\(totals.successful)", "\(totals.failed)",
            "\(dropped)", startedAt.text,
        ]
    }

    var json: JSONText {
        .object([
            ("session_id", .string(id)), ("scope", .string("\(scope)")), ("status", .string(state.rawValue)),
            ("description", description.map { .string($0) } ?? .null), ("sample", .number(sample)),
            ("records", .integer(totals.records)), ("successful", .integer(totals.successful)),
            ("failed", .integer(totals.failed)), ("dropped", .integer(dropped)),
            ("started_at", .string(startedAt.text)), ("completed_at", completedAt.map { .string($0.text) } ?? .null),
        ])
    }
}
