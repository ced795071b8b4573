/// The third version of the tables.
///
/// What many spans have in common stands once, as a series: a span's row is shorter, and one index serves the questions for a recording,
/// a name, an agent or a tool. The conditions of kind, status and severity are told one by one, the frequent first: SQLite takes a list
/// for a table that it makes, and looks each row up in it, which took a third of a row's time. Workflows have a table of their own.
/// Scores are about spans; who consumes messages has a place in each topic; what a subject agreed to stands apart from all of it.
extension RecordSchema {
    static let series = """
        DROP VIEW training_data;
        DROP VIEW training_sessions;
        DROP VIEW training_events;
        DROP VIEW training_tasks;
        DROP VIEW training_tool_executions;
        DROP VIEW training_workflows;
        CREATE TABLE traces_before AS SELECT * FROM traces;
        CREATE TABLE spans_before AS SELECT * FROM spans;
        CREATE TABLE record_contents_before AS SELECT * FROM record_contents;
        CREATE TABLE outbox_before AS SELECT * FROM outbox;
        DROP TABLE outbox;
        DROP TABLE record_contents;
        DROP TABLE spans;
        DROP TABLE traces;
        CREATE TABLE traces (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects (ref), id TEXT NOT NULL,
            recording INTEGER REFERENCES recordings (ref), agent TEXT, created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL, UNIQUE (project, id)) STRICT;
        INSERT INTO traces SELECT ref, project, id, recording, agent, created_at, updated_at FROM traces_before ORDER BY ref;
        DROP TABLE traces_before;
        CREATE TABLE series (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects (ref),
            recording INTEGER REFERENCES recordings (ref), name TEXT NOT NULL, agent TEXT, provider TEXT, tool TEXT) STRICT;
        CREATE INDEX series_by_recording ON series (recording) WHERE recording IS NOT NULL;
        CREATE INDEX series_by_name ON series (name, agent, recording, provider, tool);
        CREATE INDEX series_by_agent ON series (agent) WHERE agent IS NOT NULL;
        CREATE INDEX series_by_tool ON series (tool) WHERE tool IS NOT NULL;
        INSERT INTO series (project, recording, name, agent, provider, tool)
            SELECT DISTINCT project, recording, name, agent, provider, tool FROM spans_before;
        CREATE TABLE spans (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL, id TEXT NOT NULL,
            trace INTEGER NOT NULL REFERENCES traces (ref), series INTEGER NOT NULL REFERENCES series (ref), parent TEXT,
            kind TEXT NOT NULL CHECK (kind = 'model_call' OR kind = 'event' OR kind = 'task' OR kind = 'tool'
                OR kind = 'message' OR kind = 'retrieval' OR kind = 'embedding'),
            status TEXT NOT NULL CHECK (status = 'completed' OR status = 'failed' OR status = 'running' OR status = 'pending'
                OR status = 'cancelled'),
            severity TEXT NOT NULL CHECK (severity = 'info' OR severity = 'error' OR severity = 'warning'
                OR severity = 'critical' OR severity = 'debug'),
            error_type TEXT, error_message TEXT, started_at INTEGER NOT NULL, duration INTEGER, first_chunk INTEGER,
            request_model TEXT, response_model TEXT, input_tokens INTEGER, output_tokens INTEGER, cost REAL,
            external_id TEXT, room TEXT, entity TEXT, message TEXT, attributes TEXT, created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL, UNIQUE (project, id)) STRICT;
        INSERT INTO spans
            SELECT before.ref, before.project, id, trace, series.ref, parent, kind, status, severity, error_type, error_message,
                started_at, duration, first_chunk, request_model, response_model, input_tokens, output_tokens, cost, external_id,
                room, entity, message, attributes, created_at, updated_at
            FROM spans_before AS before JOIN series ON series.project = before.project AND series.name = before.name
                AND series.agent IS before.agent AND series.recording IS before.recording
                AND series.provider IS before.provider AND series.tool IS before.tool
            ORDER BY before.ref;
        DROP TABLE spans_before;
        CREATE TABLE record_contents (
            span INTEGER PRIMARY KEY REFERENCES spans (ref) ON DELETE CASCADE, input TEXT, output TEXT, payload TEXT) STRICT;
        INSERT INTO record_contents SELECT * FROM record_contents_before ORDER BY span;
        DROP TABLE record_contents_before;
        CREATE TABLE workflows (
            trace INTEGER PRIMARY KEY REFERENCES traces (ref) ON DELETE CASCADE, project INTEGER NOT NULL,
            external_id TEXT NOT NULL, name TEXT NOT NULL, description TEXT, type TEXT, phase TEXT,
            status TEXT NOT NULL CHECK (status = 'completed' OR status = 'failed' OR status = 'running' OR status = 'pending'
                OR status = 'cancelled'),
            current_step TEXT, total_steps INTEGER, completed_steps INTEGER, state TEXT, results TEXT, agents TEXT,
            error TEXT, metadata TEXT, tags TEXT, entity TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            UNIQUE (project, external_id)) STRICT;
        CREATE TABLE outbox (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects (ref),
            span INTEGER REFERENCES spans (ref) ON DELETE CASCADE,
            workflow INTEGER REFERENCES workflows (trace) ON DELETE CASCADE,
            topic TEXT NOT NULL, payload TEXT NOT NULL, attempts INTEGER NOT NULL, created_at INTEGER NOT NULL) STRICT;
        INSERT INTO outbox (sequence, project, span, topic, payload, attempts, created_at)
            SELECT sequence, project, span, topic, payload, attempts, created_at FROM outbox_before ORDER BY sequence;
        DROP TABLE outbox_before;
        CREATE TABLE consumers (
            project INTEGER NOT NULL REFERENCES projects (ref), name TEXT NOT NULL, topic TEXT NOT NULL,
            position INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (project, name, topic)) STRICT, WITHOUT ROWID;
        CREATE TABLE scores (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL, id TEXT NOT NULL,
            span INTEGER NOT NULL REFERENCES spans (ref) ON DELETE CASCADE,
            name TEXT NOT NULL, value REAL NOT NULL, comment TEXT, source TEXT, created_at INTEGER NOT NULL,
            UNIQUE (project, id)) STRICT;
        CREATE TABLE span_embeddings (
            span INTEGER NOT NULL REFERENCES spans (ref) ON DELETE CASCADE,
            role TEXT NOT NULL CHECK (role = 'input' OR role = 'output'), vector BLOB NOT NULL,
            PRIMARY KEY (span, role)) STRICT;
        CREATE TABLE consents (
            project INTEGER NOT NULL REFERENCES projects (ref), subject TEXT NOT NULL, purpose TEXT NOT NULL,
            is_granted INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (project, subject, purpose)) STRICT, WITHOUT ROWID;
        CREATE INDEX outbox_by_span ON outbox (span) WHERE span IS NOT NULL;
        CREATE INDEX outbox_by_workflow ON outbox (workflow) WHERE workflow IS NOT NULL;
        CREATE INDEX outbox_by_topic ON outbox (project, topic);
        CREATE UNIQUE INDEX spans_by_external_id ON spans (project, kind, external_id) WHERE external_id IS NOT NULL;
        CREATE INDEX spans_by_series ON spans (series);
        CREATE INDEX spans_by_trace ON spans (trace);
        CREATE INDEX spans_by_entity ON spans (entity) WHERE entity IS NOT NULL;
        CREATE INDEX spans_by_kind ON spans (kind)
            WHERE kind = 'tool' OR kind = 'task' OR kind = 'event' OR kind = 'message' OR kind = 'retrieval'
                OR kind = 'embedding';
        CREATE INDEX spans_by_time ON spans (started_at);
        CREATE INDEX spans_by_status ON spans (status)
            WHERE status = 'failed' OR status = 'cancelled' OR status = 'running' OR status = 'pending';
        CREATE INDEX spans_by_severity ON spans (severity)
            WHERE severity = 'error' OR severity = 'critical' OR severity = 'warning' OR severity = 'debug';
        CREATE INDEX scores_by_span ON scores (span);
        CREATE INDEX workflows_by_phase ON workflows (phase) WHERE phase IS NOT NULL;
        CREATE INDEX workflows_by_entity ON workflows (entity) WHERE entity IS NOT NULL;

        """
}
