import Attune

/// A kind of training data that has a command.
protocol ListedData: Sendable {
    static var kind: TrainingKind { get }
    /// The word for it in sentences.
    static var words: String { get }
    /// The columns that the table for people shows.
    static var shown: [String] { get }
}

enum ListedEvents: ListedData {
    static let kind = TrainingKind.events
    static let words = "events"
    static let shown = ["created_at", "event_type", "severity", "agent_id", "event_id"]
}

enum ListedTasks: ListedData {
    static let kind = TrainingKind.tasks
    static let words = "tasks"
    static let shown = ["created_at", "task_type", "status", "agent_id", "execution_time_ms", "task_id"]
}

enum ListedTools: ListedData {
    static let kind = TrainingKind.tools
    static let words = "executions of tools"
    static let shown = ["created_at", "tool_name", "status", "agent_id", "execution_time_ms", "execution_id"]
}

enum ListedWorkflows: ListedData {
    static let kind = TrainingKind.workflows
    static let words = "workflows"
    static let shown = ["updated_at", "name", "phase", "completed_steps", "total_steps", "workflow_id"]
}

/// `attune data events|tasks|tools|workflows`: rows of a kind.
struct DataListCommand<Listed: ListedData>: Command {
    let file: String
    let rows: DataArguments
    let limit: Int
    let project: String
    let format: OutputFormat

    static var specification: CommandSpecification {
        CommandSpecification(
            name: "data \(Listed.kind.rawValue)",
            abstract: "Show \(Listed.words) of a storage file, in the order in which they were stored.",
            discussion: [
                "The file isn't changed, and may be in use. With --format json all columns are printed, one row a line; without, those "
                    + "that fit beside each other.",
                "Columns: \(Listed.kind.columns.map(\.name).joined(separator: ", ")).",
            ],
            arguments: [.storageFile],
            options: DataArguments.options + [
                .value("limit", "N", .integer(1...1_000_000), default: "20", help: "Show at most so many."), .project,
                .format,
            ],
            examples: [
                .init(
                    line: "attune data \(Listed.kind.rawValue) attune.db --from 2026-11-21 --limit 100",
                    explanation: "Up to 100 since that day.")
            ],
            exitCodes: [.badData, .noInput, .internalError, .cannotCreate, .ioError])
    }

    init(_ arguments: ParsedArguments) throws(UsageError) {
        file = arguments.storageFile
        rows = try DataArguments(arguments, Listed.kind, Self.specification)
        limit = arguments.integer("limit")
        project = arguments.project
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let storage = try await existingProject(project, in: file, access: .reading)
        let store = try await SQLiteRecordStore(storage)
        let query = TrainingQuery(Listed.kind, from: rows.from, until: rows.until, filter: rows.filter, limit: limit)
        let format = format
        let text = try await store.withRows(query) { rows in
            switch format {
            case .json:
                let writer = JSONLinesWriter(columns: rows.columns)
                var bytes: [UInt8] = []
                try rows.forEach { try writer.row($0, into: &bytes) }
                return Self.escaped(String(decoding: bytes, as: UTF8.self))
            case .text:
                let places = Listed.shown.compactMap { name in rows.columns.firstIndex { $0.name == name } }
                var table = TextTable()
                var isEmpty = true
                try rows.forEach { row in
                    if isEmpty { table.add(Listed.shown) }
                    isEmpty = false
                    table.add(places.map { Self.cell(row[$0]) })
                }
                return isEmpty ? "There are no such \(Listed.words).\n" : table.text
            }
        }
        await storage.close()
        console.write(text)
    }

    /// JSON whose texts hold no character that a terminal might obey: such stand in texts alone, where they may be escaped.
    private static func escaped(_ json: String) -> String {
        var result = ""
        for scalar in json.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control where scalar.value >= 0x7F, .format, .lineSeparator, .paragraphSeparator:
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func cell(_ value: TrainingValue) -> String {
        switch value {
        case .null: "-"
        case .integer(let number): "\(number)"
        case .real(let number): "\(number)"
        case .boolean(let flag): flag ? "yes" : "no"
        case .text(let text), .json(let text): printable(text)
        }
    }
}
