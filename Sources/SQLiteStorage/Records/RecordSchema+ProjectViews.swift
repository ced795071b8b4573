internal import LearningRecords

/// The fourth version of the tables: views that tell projects apart, and the end of a task whose beginning is not known.
///
/// A file may hold several projects, and whoever asks in SQL sees them all: without a column for it the counts of a day were those of
/// all of them. Workflows are counted by day too.
extension RecordSchema {
    static var projectViews: String {
        func project(_ ref: String) -> String {
            "(SELECT CAST(projects.name AS TEXT) FROM projects WHERE projects.ref = \(ref)) AS project"
        }
        let views = TrainingKind.allCases.map(\.view) + ["training_sessions", "training_daily"]
        return views.map { "DROP VIEW \($0);\n" }.joined()
            + TrainingKind.allCases.map { kind in
                let ref = kind == .workflows ? "workflows.project" : "spans.project"
                return "CREATE VIEW \(kind.view) AS SELECT \(kind.selected()), \(project(ref)) FROM \(kind.source);\n"
            }.joined()
                + """
                CREATE VIEW training_sessions AS
                    SELECT id, agent AS agent_id, id AS session_id, status, description, records AS total_records,
                        successful AS successful_records, failed AS failed_records, \(utc("started_at")) AS started_at,
                        \(utc("completed_at")) AS completed_at, \(utc("created_at")) AS created_at,
                        \(utc("updated_at")) AS updated_at, \(project("recordings.project"))
                    FROM recordings;
                CREATE VIEW training_daily AS
                    WITH timed AS (
                        SELECT spans.project AS its_project, strftime('%Y-%m-%d', spans.started_at / 1000000, 'unixepoch') AS day, spans.kind,
                            series.agent AS agent_id, coalesce(spans.response_model, spans.request_model, series.name) AS model,
                            spans.status, spans.duration
                        FROM spans JOIN series ON series.ref = spans.series
                        UNION ALL
                        SELECT workflows.project, strftime('%Y-%m-%d', workflows.created_at / 1000000, 'unixepoch'), 'workflow', NULL,
                            coalesce(workflows.type, workflows.name), workflows.status, NULL
                        FROM workflows),
                    ranked AS (
                        SELECT its_project, day, kind, agent_id, model, status, duration,
                            CASE WHEN duration IS NULL THEN NULL ELSE row_number() OVER (
                                PARTITION BY its_project, day, kind, agent_id, model, duration IS NULL ORDER BY duration) END AS place,
                            count(duration) OVER (PARTITION BY its_project, day, kind, agent_id, model) AS measured
                        FROM timed)
                    SELECT day, kind, agent_id, model, count(*) AS records,
                        sum(status IN ('failed', 'cancelled')) AS failures,
                        min(CASE WHEN place >= 0.5 * measured THEN duration END) / 1000.0 AS p50_ms,
                        min(CASE WHEN place >= 0.95 * measured THEN duration END) / 1000.0 AS p95_ms,
                        \(project("its_project"))
                    FROM ranked GROUP BY its_project, day, kind, agent_id, model;
                """
    }
}
