/// The tables of recordings, and how they came to be: made when the first store of records of a file is opened. Migrations are only ever
/// appended.
///
/// What is JSON is checked before it is bound: SQLite lets no constraint call its JSON functions where schemas are not trusted, as here.
/// Times are microseconds since 1970 (UTC). Words are text here, not bytes, since the views are for those who ask in SQL.
enum RecordSchema {
    /// What brings a file from the version of its place here to the next. One that was released is never changed.
    static let migrations: [String] = [
        """
        CREATE TABLE recordings (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects (ref), id TEXT NOT NULL,
            scope TEXT NOT NULL CHECK (scope IN ('everything', 'agent', 'subject')), agent TEXT, subject TEXT, description TEXT,
            sample REAL NOT NULL, status TEXT NOT NULL CHECK (status IN ('active', 'completed', 'interrupted')),
            records INTEGER NOT NULL, successful INTEGER NOT NULL, failed INTEGER NOT NULL, dropped INTEGER NOT NULL,
            started_at INTEGER NOT NULL, completed_at INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            UNIQUE (project, id)) STRICT;
        CREATE TABLE traces (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects (ref), id TEXT NOT NULL,
            recording INTEGER REFERENCES recordings (ref), name TEXT, type TEXT, description TEXT, phase TEXT, agent TEXT,
            attributes TEXT, created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL, UNIQUE (project, id)) STRICT;
        CREATE TABLE spans (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects (ref), id TEXT NOT NULL,
            trace INTEGER NOT NULL REFERENCES traces (ref), recording INTEGER REFERENCES recordings (ref), parent TEXT,
            kind TEXT NOT NULL CHECK (kind IN ('model_call', 'tool', 'task', 'event', 'retrieval', 'embedding')),
            name TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
            severity TEXT NOT NULL CHECK (severity IN ('debug', 'info', 'warning', 'error', 'critical')),
            error_type TEXT, error_message TEXT, started_at INTEGER NOT NULL, duration INTEGER, first_chunk INTEGER,
            provider TEXT, request_model TEXT, response_model TEXT, input_tokens INTEGER, output_tokens INTEGER, cost REAL,
            tool TEXT, external_id TEXT, agent TEXT, room TEXT, entity TEXT, message TEXT,
            attributes TEXT, created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL, UNIQUE (project, id)) STRICT;
        CREATE TABLE span_contents (
            span INTEGER NOT NULL REFERENCES spans (ref) ON DELETE CASCADE,
            role TEXT NOT NULL CHECK (role IN ('input', 'output', 'payload')), subject TEXT,
            body TEXT NOT NULL, UNIQUE (span, role)) STRICT;
        CREATE TABLE outbox (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects (ref),
            topic TEXT NOT NULL, payload TEXT NOT NULL, attempts INTEGER NOT NULL,
            created_at INTEGER NOT NULL) STRICT;
        CREATE UNIQUE INDEX spans_by_external_id ON spans (project, kind, external_id) WHERE external_id IS NOT NULL;
        CREATE INDEX spans_by_recording ON spans (recording, id) WHERE recording IS NOT NULL;
        CREATE INDEX spans_by_trace ON spans (trace, id);
        CREATE INDEX spans_by_agent ON spans (project, agent, id) WHERE agent IS NOT NULL;
        CREATE INDEX spans_by_entity ON spans (project, entity) WHERE entity IS NOT NULL;
        CREATE INDEX spans_by_kind ON spans (project, kind, name, id);
        CREATE INDEX spans_by_time ON spans (project, started_at);
        CREATE INDEX spans_by_status ON spans (project, status, id);
        CREATE INDEX spans_by_severity ON spans (project, severity, id);
        CREATE INDEX spans_by_tool ON spans (project, tool, id) WHERE tool IS NOT NULL;
        CREATE INDEX traces_by_phase ON traces (project, phase) WHERE phase IS NOT NULL;
        CREATE INDEX traces_by_recording ON traces (recording) WHERE recording IS NOT NULL;
        CREATE INDEX span_contents_by_subject ON span_contents (subject) WHERE subject IS NOT NULL;
        CREATE INDEX recordings_by_status ON recordings (project, status, started_at);
        CREATE VIEW training_data AS
            SELECT spans.id, spans.agent AS agent_id, recordings.id AS session_id, spans.name AS model_type, spans.provider,
                input.body AS input_params, output.body AS output,
                CASE spans.status WHEN 'completed' THEN 1 ELSE 0 END AS success, spans.error_message,
                spans.duration / 1000.0 AS execution_time_ms, spans.room AS room_id, spans.entity AS entity_id,
                spans.message AS message_id,
                strftime('%Y-%m-%d %H:%M:%S', spans.created_at / 1000000, 'unixepoch')
                    || printf('.%06d', spans.created_at % 1000000) AS created_at,
                strftime('%Y-%m-%d %H:%M:%S', spans.updated_at / 1000000, 'unixepoch')
                    || printf('.%06d', spans.updated_at % 1000000) AS updated_at
            FROM spans LEFT JOIN recordings ON recordings.ref = spans.recording
                LEFT JOIN span_contents AS input ON input.span = spans.ref AND input.role = 'input'
                LEFT JOIN span_contents AS output ON output.span = spans.ref AND output.role = 'output'
            WHERE spans.kind = 'model_call';
        CREATE VIEW training_sessions AS
            SELECT id, agent AS agent_id, id AS session_id, status, description, records AS total_records,
                successful AS successful_records, failed AS failed_records,
                strftime('%Y-%m-%d %H:%M:%S', started_at / 1000000, 'unixepoch')
                    || printf('.%06d', started_at % 1000000) AS started_at,
                strftime('%Y-%m-%d %H:%M:%S', completed_at / 1000000, 'unixepoch')
                    || printf('.%06d', completed_at % 1000000) AS completed_at,
                strftime('%Y-%m-%d %H:%M:%S', created_at / 1000000, 'unixepoch')
                    || printf('.%06d', created_at % 1000000) AS created_at,
                strftime('%Y-%m-%d %H:%M:%S', updated_at / 1000000, 'unixepoch')
                    || printf('.%06d', updated_at % 1000000) AS updated_at
            FROM recordings;
        CREATE VIEW training_events AS
            SELECT coalesce(spans.external_id, spans.id) AS event_id, spans.name AS event_type, spans.agent AS agent_id,
                coalesce(json_extract(spans.attributes, '$.workflow_id'), traces.id) AS workflow_id,
                coalesce(recordings.id, json_extract(spans.attributes, '$.session_id'),
                    json_extract(spans.attributes, '$.recording')) AS session_id,
                json_extract(spans.attributes, '$.source') AS source,
                coalesce(payload.body, spans.attributes) AS payload, spans.severity,
                strftime('%Y-%m-%d %H:%M:%S', spans.created_at / 1000000, 'unixepoch')
                    || printf('.%06d', spans.created_at % 1000000) AS created_at
            FROM spans JOIN traces ON traces.ref = spans.trace LEFT JOIN recordings ON recordings.ref = spans.recording
                LEFT JOIN span_contents AS payload ON payload.span = spans.ref AND payload.role = 'payload'
            WHERE spans.kind = 'event';
        CREATE VIEW training_tasks AS
            SELECT coalesce(spans.external_id, spans.id) AS task_id, spans.agent AS agent_id,
                json_extract(spans.attributes, '$.instance_id') AS instance_id, spans.name AS task_type,
                coalesce(json_extract(spans.attributes, '$.priority'), 'normal') AS priority, spans.status,
                input.body AS input_data, output.body AS output_data, spans.error_message AS error,
                coalesce(json_extract(spans.attributes, '$.retry_count'), 0) AS retry_count,
                coalesce(json_extract(spans.attributes, '$.max_retries'), 3) AS max_retries,
                coalesce(json_extract(spans.attributes, '$.timeout_seconds'), 300) AS timeout_seconds,
                spans.duration / 1000.0 AS execution_time_ms,
                strftime('%Y-%m-%d %H:%M:%S', spans.created_at / 1000000, 'unixepoch')
                    || printf('.%06d', spans.created_at % 1000000) AS created_at,
                strftime('%Y-%m-%d %H:%M:%S', spans.started_at / 1000000, 'unixepoch')
                    || printf('.%06d', spans.started_at % 1000000) AS started_at,
                strftime('%Y-%m-%d %H:%M:%S', (spans.started_at + spans.duration) / 1000000, 'unixepoch')
                    || printf('.%06d', (spans.started_at + spans.duration) % 1000000) AS completed_at
            FROM spans LEFT JOIN span_contents AS input ON input.span = spans.ref AND input.role = 'input'
                LEFT JOIN span_contents AS output ON output.span = spans.ref AND output.role = 'output'
            WHERE spans.kind = 'task';
        CREATE VIEW training_tool_executions AS
            SELECT coalesce(spans.external_id, spans.id) AS execution_id, spans.agent AS agent_id,
                json_extract(spans.attributes, '$.task_id') AS task_id, spans.tool AS tool_name,
                json_extract(spans.attributes, '$.tool_category') AS tool_category, input.body AS input_params,
                output.body AS output_result, spans.status, spans.error_message AS error,
                spans.duration / 1000.0 AS execution_time_ms,
                strftime('%Y-%m-%d %H:%M:%S', spans.created_at / 1000000, 'unixepoch')
                    || printf('.%06d', spans.created_at % 1000000) AS created_at,
                strftime('%Y-%m-%d %H:%M:%S', (spans.started_at + spans.duration) / 1000000, 'unixepoch')
                    || printf('.%06d', (spans.started_at + spans.duration) % 1000000) AS completed_at
            FROM spans LEFT JOIN span_contents AS input ON input.span = spans.ref AND input.role = 'input'
                LEFT JOIN span_contents AS output ON output.span = spans.ref AND output.role = 'output'
            WHERE spans.kind = 'tool';
        CREATE VIEW training_workflows AS
            SELECT id AS workflow_id, name, description, type AS workflow_type, phase,
                json_extract(attributes, '$.current_step') AS current_step,
                json_extract(attributes, '$.total_steps') AS total_steps,
                json_extract(attributes, '$.completed_steps') AS completed_steps,
                json_extract(attributes, '$.state_data') AS state_data,
                json_extract(attributes, '$.step_results') AS step_results,
                json_extract(attributes, '$.assigned_agents') AS assigned_agents,
                json_extract(attributes, '$.error') AS error, json_extract(attributes, '$.metadata') AS metadata,
                json_extract(attributes, '$.tags') AS tags,
                strftime('%Y-%m-%d %H:%M:%S', created_at / 1000000, 'unixepoch')
                    || printf('.%06d', created_at % 1000000) AS created_at,
                strftime('%Y-%m-%d %H:%M:%S', updated_at / 1000000, 'unixepoch')
                    || printf('.%06d', updated_at % 1000000) AS updated_at
            FROM traces WHERE name IS NOT NULL;
        """,
        // A span's contents in one row, so that one index less is written for each; indexes that those who ask the views use too, and that
        // hold what is rare of kind, status and severity alone; messages know their span, so that an erasure finds them (nobody has read any yet).
        """
        DROP VIEW training_data;
        DROP VIEW training_sessions;
        DROP VIEW training_events;
        DROP VIEW training_tasks;
        DROP VIEW training_tool_executions;
        DROP VIEW training_workflows;
        CREATE TABLE record_contents (
            span INTEGER PRIMARY KEY REFERENCES spans (ref) ON DELETE CASCADE, input TEXT, output TEXT, payload TEXT) STRICT;
        INSERT INTO record_contents (span, input, output, payload)
            SELECT span, max(CASE role WHEN 'input' THEN body END), max(CASE role WHEN 'output' THEN body END),
                max(CASE role WHEN 'payload' THEN body END)
            FROM span_contents GROUP BY span;
        DROP TABLE span_contents;
        CREATE TABLE outbox_before (
            sequence INTEGER PRIMARY KEY, project INTEGER NOT NULL, topic TEXT NOT NULL, payload TEXT NOT NULL,
            attempts INTEGER NOT NULL, created_at INTEGER NOT NULL) STRICT;
        INSERT INTO outbox_before SELECT sequence, project, topic, payload, attempts, created_at FROM outbox;
        DROP TABLE outbox;
        CREATE TABLE outbox (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects (ref),
            span INTEGER REFERENCES spans (ref) ON DELETE CASCADE,
            topic TEXT NOT NULL, payload TEXT NOT NULL, attempts INTEGER NOT NULL, created_at INTEGER NOT NULL) STRICT;
        INSERT INTO outbox (sequence, project, span, topic, payload, attempts, created_at)
            SELECT sequence, project, (SELECT ref FROM spans WHERE spans.project = outbox_before.project
                AND spans.id = json_extract(payload, '$.id')), topic, payload, attempts, created_at FROM outbox_before;
        DROP TABLE outbox_before;
        CREATE INDEX outbox_by_span ON outbox (span) WHERE span IS NOT NULL;
        DROP INDEX spans_by_recording;
        DROP INDEX spans_by_trace;
        DROP INDEX spans_by_agent;
        DROP INDEX spans_by_entity;
        DROP INDEX spans_by_kind;
        DROP INDEX spans_by_time;
        DROP INDEX spans_by_status;
        DROP INDEX spans_by_severity;
        DROP INDEX spans_by_tool;
        DROP INDEX traces_by_phase;
        DROP INDEX traces_by_recording;
        CREATE INDEX spans_by_recording ON spans (recording) WHERE recording IS NOT NULL;
        CREATE INDEX spans_by_trace ON spans (trace);
        CREATE INDEX spans_by_agent ON spans (agent) WHERE agent IS NOT NULL;
        CREATE INDEX spans_by_entity ON spans (entity) WHERE entity IS NOT NULL;
        CREATE INDEX spans_by_name ON spans (name);
        CREATE INDEX spans_by_kind ON spans (kind)
            WHERE kind = 'tool' OR kind = 'task' OR kind = 'event' OR kind = 'retrieval' OR kind = 'embedding';
        CREATE INDEX spans_by_time ON spans (started_at);
        CREATE INDEX spans_by_status ON spans (status)
            WHERE status = 'failed' OR status = 'cancelled' OR status = 'running' OR status = 'pending';
        CREATE INDEX spans_by_severity ON spans (severity)
            WHERE severity = 'error' OR severity = 'critical' OR severity = 'warning' OR severity = 'debug';
        CREATE INDEX spans_by_tool ON spans (tool) WHERE tool IS NOT NULL;
        CREATE INDEX traces_by_phase ON traces (phase) WHERE phase IS NOT NULL;
        DROP INDEX recordings_by_status;
        CREATE INDEX recordings_by_status ON recordings (status, started_at);
        CREATE INDEX recordings_by_name ON recordings (id);
        """ + views,
        series + seriesViews,
        projectViews,
    ]

    /// The version of a file's tables; 0 where there are none yet.
    static func version(_ connection: Connection) throws(StorageError) -> Int {
        Int(try connection.integer("SELECT CAST(value AS INTEGER) FROM properties WHERE name = 'records schema'") ?? 0)
    }

    /// Whether there are tables to read.
    ///
    /// - Throws: ``StorageError``: `olderSchema` where whoever only reads cannot.
    static func isReadable(_ connection: Connection) throws(StorageError) -> Bool {
        let version = try version(connection)
        guard version == 0 || version == migrations.count else {
            throw StorageError(
                .olderSchema, "read records",
                "its tables of records have version \(version), and this version of Attune reads \(migrations.count): open the file "
                    + "for writing once, which brings them up to date", path: connection.path)
        }
        return version > 0
    }

    /// Makes the tables, or brings them up to date.
    static func prepare(_ connection: Connection) throws {
        try connection.transaction {
            let version = try version(connection)
            guard version < migrations.count else { return }
            for migration in migrations[version...] { try connection.execute(migration) }
            try connection.run(
                "INSERT OR REPLACE INTO properties (name, value) VALUES ('records schema', ?)",
                [.text("\(migrations.count)")])
        }
    }
}
