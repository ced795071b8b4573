/// The views of the second version of the tables, for those who ask in SQL.
///
/// A call's or an event's `created_at` is when it began, as in files.
///
/// Most spans are calls of models, and there are more of each kind than of a name or an agent: SQLite is told so, lest it takes the
/// index of kinds where another finds fewer.
extension RecordSchema {
    static let views = """
        CREATE VIEW training_data AS
            SELECT spans.id, spans.agent AS agent_id, recordings.id AS session_id, spans.name AS model_type, spans.provider,
                contents.input AS input_params, contents.output AS output,
                CASE spans.status WHEN 'completed' THEN 1 ELSE 0 END AS success, spans.error_message,
                spans.duration / 1000.0 AS execution_time_ms, spans.room AS room_id, spans.entity AS entity_id,
                spans.message AS message_id, \(utc("spans.started_at")) AS created_at,
                \(utc("spans.updated_at")) AS updated_at
            FROM spans LEFT JOIN recordings ON recordings.ref = spans.recording
                LEFT JOIN record_contents AS contents ON contents.span = spans.ref
            WHERE likelihood(spans.kind = 'model_call', 0.9);
        CREATE VIEW training_sessions AS
            SELECT id, agent AS agent_id, id AS session_id, status, description, records AS total_records,
                successful AS successful_records, failed AS failed_records, \(utc("started_at")) AS started_at,
                \(utc("completed_at")) AS completed_at, \(utc("created_at")) AS created_at,
                \(utc("updated_at")) AS updated_at
            FROM recordings;
        CREATE VIEW training_events AS
            SELECT coalesce(spans.external_id, spans.id) AS event_id, spans.name AS event_type, spans.agent AS agent_id,
                coalesce(json_extract(spans.attributes, '$.workflow_id'), traces.id) AS workflow_id,
                coalesce(recordings.id, json_extract(spans.attributes, '$.session_id'),
                    json_extract(spans.attributes, '$.recording')) AS session_id,
                json_extract(spans.attributes, '$.source') AS source,
                coalesce(contents.payload, spans.attributes) AS payload, spans.severity,
                \(utc("spans.started_at")) AS created_at
            FROM spans JOIN traces ON traces.ref = spans.trace LEFT JOIN recordings ON recordings.ref = spans.recording
                LEFT JOIN record_contents AS contents ON contents.span = spans.ref
            WHERE likelihood(spans.kind = 'event', 0.2);
        CREATE VIEW training_tasks AS
            SELECT coalesce(spans.external_id, spans.id) AS task_id, spans.agent AS agent_id,
                json_extract(spans.attributes, '$.instance_id') AS instance_id, spans.name AS task_type,
                coalesce(json_extract(spans.attributes, '$.priority'), 'normal') AS priority, spans.status,
                contents.input AS input_data, contents.output AS output_data, spans.error_message AS error,
                coalesce(json_extract(spans.attributes, '$.retry_count'), 0) AS retry_count,
                coalesce(json_extract(spans.attributes, '$.max_retries'), 3) AS max_retries,
                coalesce(json_extract(spans.attributes, '$.timeout_seconds'), 300) AS timeout_seconds,
                spans.duration / 1000.0 AS execution_time_ms, \(utc("spans.created_at")) AS created_at,
                \(utc("spans.started_at")) AS started_at, \(utc("(spans.started_at + spans.duration)")) AS completed_at
            FROM spans LEFT JOIN record_contents AS contents ON contents.span = spans.ref
            WHERE likelihood(spans.kind = 'task', 0.2);
        CREATE VIEW training_tool_executions AS
            SELECT coalesce(spans.external_id, spans.id) AS execution_id, spans.agent AS agent_id,
                json_extract(spans.attributes, '$.task_id') AS task_id, spans.tool AS tool_name,
                json_extract(spans.attributes, '$.tool_category') AS tool_category, contents.input AS input_params,
                contents.output AS output_result, spans.status, spans.error_message AS error,
                spans.duration / 1000.0 AS execution_time_ms, \(utc("spans.created_at")) AS created_at,
                \(utc("(spans.started_at + spans.duration)")) AS completed_at
            FROM spans LEFT JOIN record_contents AS contents ON contents.span = spans.ref
            WHERE likelihood(spans.kind = 'tool', 0.2);
        CREATE VIEW training_workflows AS
            SELECT id AS workflow_id, name, description, type AS workflow_type, phase,
                json_extract(attributes, '$.current_step') AS current_step,
                json_extract(attributes, '$.total_steps') AS total_steps,
                json_extract(attributes, '$.completed_steps') AS completed_steps,
                json_extract(attributes, '$.state_data') AS state_data,
                json_extract(attributes, '$.step_results') AS step_results,
                json_extract(attributes, '$.assigned_agents') AS assigned_agents,
                json_extract(attributes, '$.error') AS error, json_extract(attributes, '$.metadata') AS metadata,
                json_extract(attributes, '$.tags') AS tags, \(utc("created_at")) AS created_at,
                \(utc("updated_at")) AS updated_at
            FROM traces WHERE name IS NOT NULL;
        """

    /// A moment as a text that compares with SQLite's own dates, with microseconds.
    static func utc(_ microseconds: String) -> String {
        "strftime('%Y-%m-%d %H:%M:%S', \(microseconds) / 1000000, 'unixepoch') || printf('.%06d', \(microseconds) % 1000000)"
    }
}
