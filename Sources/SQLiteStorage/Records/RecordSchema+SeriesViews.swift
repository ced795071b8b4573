internal import LearningRecords

/// The rows of each kind as those who ask in SQL see them: the views since the third version of the tables, and what is exported.
///
/// A call's or an event's `created_at` is when it began, as in files.
///
/// Most spans are calls of models, and there are more of each kind than of a name or an agent: SQLite is told so, lest it takes the
/// index of kinds where another finds fewer.
extension TrainingKind {
    /// The view's name.
    var view: String {
        switch self {
        case .modelCalls: "training_data"
        case .events: "training_events"
        case .tasks: "training_tasks"
        case .tools: "training_tool_executions"
        case .workflows: "training_workflows"
        case .messages: "agent_playground_messages"
        }
    }

    /// What is selected, in the order of ``columns``.
    ///
    /// - Parameter showsKeptEnds: Whether a task of which only the end is known shows it, as since the fourth version.
    func selected(showsKeptEnds: Bool = true) -> String {
        switch self {
        case .modelCalls:
            """
            spans.id, series.agent AS agent_id, recordings.id AS session_id, series.name AS model_type, series.provider,
                contents.input AS input_params, contents.output AS output,
                CASE spans.status WHEN 'completed' THEN 1 ELSE 0 END AS success, spans.error_message,
                spans.duration / 1000.0 AS execution_time_ms, spans.room AS room_id, spans.entity AS entity_id,
                spans.message AS message_id, \(utc("spans.started_at")) AS created_at,
                \(utc("spans.updated_at")) AS updated_at
            """
        case .events:
            """
            coalesce(spans.external_id, spans.id) AS event_id, series.name AS event_type, series.agent AS agent_id,
                coalesce(json_extract(spans.attributes, '$.workflow_id'), workflows.external_id) AS workflow_id,
                coalesce(recordings.id, json_extract(spans.attributes, '$.session_id'),
                    json_extract(spans.attributes, '$.recording')) AS session_id,
                json_extract(spans.attributes, '$.source') AS source,
                coalesce(contents.payload,
                    CASE WHEN json_type(spans.attributes, '$.recording') IS NOT NULL THEN spans.attributes END) AS payload, spans.severity,
                \(utc("spans.started_at")) AS created_at
            """
        case .tasks:
            """
            coalesce(spans.external_id, spans.id) AS task_id, series.agent AS agent_id,
                json_extract(spans.attributes, '$.instance_id') AS instance_id, series.name AS task_type,
                coalesce(json_extract(spans.attributes, '$.priority'), 'normal') AS priority, spans.status,
                contents.input AS input_data, contents.output AS output_data, spans.error_message AS error,
                coalesce(json_extract(spans.attributes, '$.retry_count'), 0) AS retry_count,
                coalesce(json_extract(spans.attributes, '$.max_retries'), 3) AS max_retries,
                coalesce(json_extract(spans.attributes, '$.timeout_seconds'), 300) AS timeout_seconds,
                spans.duration / 1000.0 AS execution_time_ms, \(utc("min(spans.created_at, spans.started_at)")) AS created_at,
                CASE spans.status WHEN 'pending' THEN NULL ELSE \(utc("spans.started_at")) END AS started_at,
                \(utc(showsKeptEnds ? Self.end : "(spans.started_at + spans.duration)")) AS completed_at
            """
        case .tools:
            """
            coalesce(spans.external_id, spans.id) AS execution_id, series.agent AS agent_id,
                json_extract(spans.attributes, '$.task_id') AS task_id, series.tool AS tool_name,
                json_extract(spans.attributes, '$.tool_category') AS tool_category, contents.input AS input_params,
                contents.output AS output_result, spans.status, spans.error_message AS error,
                spans.duration / 1000.0 AS execution_time_ms, \(utc("spans.started_at")) AS created_at,
                \(utc("(spans.started_at + spans.duration)")) AS completed_at
            """
        case .workflows:
            """
            workflows.external_id AS workflow_id, workflows.name, workflows.description, workflows.type AS workflow_type,
                workflows.phase, workflows.current_step, workflows.total_steps, workflows.completed_steps,
                workflows.state AS state_data, workflows.results AS step_results, workflows.agents AS assigned_agents,
                workflows.error, workflows.metadata, workflows.tags, \(utc("workflows.created_at")) AS created_at,
                \(utc("workflows.updated_at")) AS updated_at
            """
        case .messages:
            """
            coalesce(spans.external_id, spans.id) AS id, series.agent AS agent_id,
                coalesce(recordings.id, json_extract(spans.attributes, '$.session_id')) AS session_id, spans.room AS room_id,
                spans.entity AS user_id, series.name AS role, contents.payload AS content, spans.attributes AS metadata,
                \(utc("spans.started_at")) AS created_at
            """
        }
    }

    private static let end =
        "coalesce(spans.started_at + spans.duration, json_extract(spans.attributes, '$.completed_at'))"

    /// What is exported besides, so that nothing is lost: those columns of ``columns`` that the view has not.
    var exported: String {
        let session = "coalesce(recordings.id, json_extract(spans.attributes, '$.session_id')) AS session_id,"
        return switch self {
        case .modelCalls, .messages: ""
        case .events: "spans.entity AS entity_id,"
        case .tasks, .tools: "\(session) spans.entity AS entity_id,"
        case .workflows: "workflows.status, workflows.entity AS entity_id,"
        }
    }

    /// Where from.
    var source: String {
        let spans = "spans JOIN series ON series.ref = spans.series"
        let recordings = "LEFT JOIN recordings ON recordings.ref = series.recording"
        let contents = "LEFT JOIN record_contents AS contents ON contents.span = spans.ref"
        return switch self {
        case .modelCalls: "\(spans) \(recordings) \(contents) WHERE likelihood(spans.kind = 'model_call', 0.9)"
        case .events:
            "\(spans) LEFT JOIN workflows ON workflows.trace = spans.trace \(recordings) \(contents) WHERE likelihood(spans.kind = 'event', 0.2)"
        case .tasks: "\(spans) \(recordings) \(contents) WHERE likelihood(spans.kind = 'task', 0.2)"
        case .tools: "\(spans) \(recordings) \(contents) WHERE likelihood(spans.kind = 'tool', 0.2)"
        case .workflows: "workflows"
        case .messages: "\(spans) \(recordings) \(contents) WHERE likelihood(spans.kind = 'message', 0.2)"
        }
    }

    /// A row's project, number and moment.
    var keys: String {
        switch self {
        case .workflows:
            "workflows.project AS its_project, workflows.trace AS its_ref, workflows.created_at AS its_moment"
        case .tasks:
            """
            spans.project AS its_project, spans.ref AS its_ref, min(spans.created_at, spans.started_at) AS its_moment
            """
        default: "spans.project AS its_project, spans.ref AS its_ref, spans.started_at AS its_moment"
        }
    }

    private func utc(_ microseconds: String) -> String { RecordSchema.utc(microseconds) }
}

extension RecordSchema {
    static var seriesViews: String {
        TrainingKind.allCases.map {
            "CREATE VIEW \($0.view) AS SELECT \($0.selected(showsKeptEnds: false)) FROM \($0.source);\n"
        }.joined()
            + """
            CREATE VIEW training_sessions AS
                SELECT id, agent AS agent_id, id AS session_id, status, description, records AS total_records,
                    successful AS successful_records, failed AS failed_records, \(utc("started_at")) AS started_at,
                    \(utc("completed_at")) AS completed_at, \(utc("created_at")) AS created_at,
                    \(utc("updated_at")) AS updated_at
                FROM recordings;
            CREATE VIEW training_daily AS
                WITH timed AS (
                    SELECT strftime('%Y-%m-%d', spans.started_at / 1000000, 'unixepoch') AS day, spans.kind, series.agent AS agent_id,
                        coalesce(spans.response_model, spans.request_model, series.name) AS model, spans.status, spans.duration
                    FROM spans JOIN series ON series.ref = spans.series),
                ranked AS (
                    SELECT day, kind, agent_id, model, status, duration,
                        CASE WHEN duration IS NULL THEN NULL ELSE
                            row_number() OVER (PARTITION BY day, kind, agent_id, model, duration IS NULL ORDER BY duration) END AS place,
                        count(duration) OVER (PARTITION BY day, kind, agent_id, model) AS measured
                    FROM timed)
                SELECT day, kind, agent_id, model, count(*) AS records,
                    sum(status IN ('failed', 'cancelled')) AS failures,
                    min(CASE WHEN place >= 0.5 * measured THEN duration END) / 1000.0 AS p50_ms,
                    min(CASE WHEN place >= 0.95 * measured THEN duration END) / 1000.0 AS p95_ms
                FROM ranked GROUP BY day, kind, agent_id, model;
            """
    }
}
