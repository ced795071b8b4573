public import Reasoning

/// A kind of rows that training data is asked for by: the columns of its view, and what is lost without: session and subject, and the status of
/// workflows.
public enum TrainingKind: String, Sendable, Hashable, CaseIterable {
    /// Calls of models: the view `training_data`.
    case modelCalls = "calls"
    /// Events: the view `training_events`.
    case events
    /// Tasks: the view `training_tasks`.
    case tasks
    /// Executions of tools: the view `training_tool_executions`.
    case tools
    /// Workflows: the view `training_workflows`.
    case workflows
    /// Messages of conversations: the view `agent_playground_messages`.
    case messages

    /// The columns, in order.
    public var columns: [TrainingColumn] {
        func columns(_ all: [(String, TrainingColumnType)]) -> [TrainingColumn] {
            all.map { TrainingColumn(name: $0.0, type: $0.1) }
        }
        switch self {
        case .modelCalls:
            return columns([
                ("id", .text), ("agent_id", .text), ("session_id", .text), ("model_type", .text), ("provider", .text),
                ("input_params", .json), ("output", .json), ("success", .boolean), ("error_message", .text),
                ("execution_time_ms", .real), ("room_id", .text), ("entity_id", .text), ("message_id", .text),
                ("created_at", .timestamp), ("updated_at", .timestamp),
            ])
        case .events:
            return columns([
                ("event_id", .text), ("event_type", .text), ("agent_id", .text), ("workflow_id", .text),
                ("session_id", .text), ("source", .text), ("payload", .json), ("severity", .text),
                ("created_at", .timestamp), ("entity_id", .text),
            ])
        case .tasks:
            return columns([
                ("task_id", .text), ("agent_id", .text), ("instance_id", .text), ("task_type", .text),
                ("priority", .text), ("status", .text), ("input_data", .json), ("output_data", .json),
                ("error", .text), ("retry_count", .integer), ("max_retries", .integer),
                ("timeout_seconds", .integer), ("execution_time_ms", .real), ("created_at", .timestamp),
                ("started_at", .timestamp), ("completed_at", .timestamp), ("session_id", .text), ("entity_id", .text),
            ])
        case .tools:
            return columns([
                ("execution_id", .text), ("agent_id", .text), ("task_id", .text), ("tool_name", .text),
                ("tool_category", .text), ("input_params", .json), ("output_result", .json), ("status", .text),
                ("error", .text), ("execution_time_ms", .real), ("created_at", .timestamp),
                ("completed_at", .timestamp), ("session_id", .text), ("entity_id", .text),
            ])
        case .workflows:
            return columns([
                ("workflow_id", .text), ("name", .text), ("description", .text), ("workflow_type", .text),
                ("phase", .text), ("current_step", .text), ("total_steps", .integer), ("completed_steps", .integer),
                ("state_data", .json), ("step_results", .json), ("assigned_agents", .json), ("error", .text),
                ("metadata", .json), ("tags", .json), ("created_at", .timestamp), ("updated_at", .timestamp),
                ("status", .text), ("entity_id", .text),
            ])
        case .messages:
            return columns([
                ("id", .text), ("agent_id", .text), ("session_id", .text), ("room_id", .text), ("user_id", .text),
                ("role", .text), ("content", .json), ("metadata", .json), ("created_at", .timestamp),
            ])
        }
    }
}

/// Which rows of a kind are asked for: those that began in a half-open interval of UTC and fit a filter.
public struct TrainingQuery: Sendable, Hashable {
    /// The kind.
    public var kind: TrainingKind
    /// Those that began at this moment or later.
    public var from: Timestamp?
    /// Those that began before this moment.
    public var until: Timestamp?
    /// Those that fit.
    public var filter: RecordFilter?
    /// The most that are given, the first in the order of storing; all where there is no limit.
    public var limit: Int?

    /// All of a kind, unless something is named.
    public init(
        _ kind: TrainingKind, from: Timestamp? = nil, until: Timestamp? = nil, filter: RecordFilter? = nil,
        limit: Int? = nil
    ) {
        (self.kind, self.from, self.until, self.filter, self.limit) = (kind, from, until, filter, limit)
    }
}

/// Rows of one moment, gone through once.
public struct TrainingRows {
    /// What the values of a row are.
    public let columns: [TrainingColumn]
    private let run: ((_ row: [TrainingValue]) throws -> Void) throws -> Void

    /// Rows that `run` gives one after the other.
    public init(
        _ columns: [TrainingColumn], _ run: @escaping ((_ row: [TrainingValue]) throws -> Void) throws -> Void
    ) {
        (self.columns, self.run) = (columns, run)
    }

    /// Gives each row to `body`; one is in memory at a time. Where `body` throws, no more are read.
    public func forEach(_ body: (_ row: [TrainingValue]) throws -> Void) throws { try run(body) }
}
