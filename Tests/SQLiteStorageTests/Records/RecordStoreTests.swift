import CSQLite
import Foundation
import LearningRecords
import Personalization
import Reasoning
import StorageTesting
import TestSupport
import Testing

@testable import SQLiteStorage

@Suite("Records in a file")
struct RecordStoreTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func span(_ number: Int64, in recording: String? = nil, _ kind: SpanKind = .modelCall) -> SpanRecord {
        let moment = Timestamp(microseconds: 1_795_757_469_123_456 + number * 1_000_000)
        var span = SpanRecord(
            id: RecordID(at: moment), trace: RecordID(at: moment), kind: kind, name: "TEXT_LARGE", startedAt: moment)
        (span.status, span.duration, span.recording) = (.completed, 1_500, recording)
        return span
    }

    private func columns(_ path: String, _ view: String) throws -> String {
        try ask(path, "SELECT group_concat(name, ', ') FROM pragma_table_info('\(view)')")[0][0] ?? ""
    }

    @Test("they keep every promise of a store")
    func contract() async throws {
        let violations = try await RecordStoreContract { try await SQLiteRecordStore(folder.storage()) }.violations()
        #expect(violations == [])
    }

    @Test("tables come into being on first use, and a file without them is one as before")
    func firstUse() async throws {
        let path = folder.newPath()
        try await SQLiteStorage(path: path).close()
        #expect(try ask(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'spans'")[0][0] == "0")
        let reader = try await SQLiteStorage(path: path, access: .reading)
        let nothing = try await SQLiteRecordStore(reader)
        #expect(try await nothing.recordings(limit: 10).isEmpty)
        #expect(try await nothing.spans(SpanQuery()).isEmpty)
        let storage = try await SQLiteStorage(path: path)
        let records = try await SQLiteRecordStore(storage)
        _ = try await records.store([span(1)])
        #expect(try await nothing.spans(SpanQuery()).count == 1)
        await #expect(throws: StorageError.self) { _ = try await nothing.store([span(2)]) }
        await #expect(throws: StorageError.self) { _ = try await SQLiteRecordStore(storage) }
        await reader.close()
        await storage.close()
        // Opened again by either: the tables are known.
        for access in [SQLiteStorage.Access.writing, .reading] {
            let storage = try await SQLiteStorage(path: path, access: access)
            #expect(try await SQLiteRecordStore(storage).spans(SpanQuery()).map(\.id).count == 1)
            await storage.close()
        }
        changeWithChecksums(path, "DROP VIEW training_data")
        await #expect(throws: StorageError.self) { try await SQLiteStorage(path: path) }
    }

    @Test("the views have the names and columns that existing queries use")
    func views() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let records = try await SQLiteRecordStore(storage)
        try await records.begin(
            RecordingRecord(id: "session_1_a", scope: .agent("shop"), startedAt: Timestamp(microseconds: 1_000_000)))
        var call = span(1, in: "session_1_a")
        call.context = SpanContext(agent: "shop", room: "r", entity: "ada", message: "m")
        call.contents = [.input: .json("{\"prompt\":\"hi\"}"), .output: .text("ho")]
        call.provider = "acme"
        var failed = span(2, in: "session_1_a")
        (failed.status, failed.failure) = (.failed, .init(type: "E", message: "no"))
        var task = span(3, .task)
        (task.name, task.externalID) = ("crawl", "task-1")
        task.attributes = "{\"priority\":\"high\",\"retry_count\":2}"
        var tool = span(4, .tool)
        tool.tool = "search"
        var event = span(5, .event)
        (event.name, event.attributes) = ("started", "{\"source\":\"cron\"}")
        event.contents = [.payload: .json("{\"a\":1}")]
        let refused = try await records.store([call, failed, task, tool, event])
        #expect(refused.isEmpty)
        _ = try await records.end("session_1_a", dropped: 0, at: Timestamp(microseconds: 2_000_001))
        await storage.close()

        #expect(
            try columns(path, "training_data")
                == "id, agent_id, session_id, model_type, provider, input_params, output, success, error_message, "
                + "execution_time_ms, room_id, entity_id, message_id, created_at, updated_at, project")
        #expect(
            try columns(path, "training_sessions")
                == "id, agent_id, session_id, status, description, total_records, successful_records, failed_records, "
                + "started_at, completed_at, created_at, updated_at, project")
        #expect(
            try columns(path, "training_events")
                == "event_id, event_type, agent_id, workflow_id, session_id, source, payload, severity, created_at, project"
        )
        #expect(
            try columns(path, "training_tasks")
                == "task_id, agent_id, instance_id, task_type, priority, status, input_data, output_data, error, "
                + "retry_count, max_retries, timeout_seconds, execution_time_ms, created_at, started_at, completed_at, project"
        )
        #expect(
            try columns(path, "training_tool_executions")
                == "execution_id, agent_id, task_id, tool_name, tool_category, input_params, output_result, status, error, "
                + "execution_time_ms, created_at, completed_at, project")
        #expect(
            try columns(path, "training_workflows")
                == "workflow_id, name, description, workflow_type, phase, current_step, total_steps, completed_steps, "
                + "state_data, step_results, assigned_agents, error, metadata, tags, created_at, updated_at, project")
        #expect(
            try ask(
                path,
                "SELECT agent_id, session_id, model_type, provider, input_params, output, success, execution_time_ms, room_id, "
                    + "entity_id, message_id FROM training_data WHERE agent_id = 'shop'")
                == [
                    [
                        "shop", "session_1_a", "TEXT_LARGE", "acme", "{\"prompt\":\"hi\"}", "\"ho\"", "1", "1.5", "r",
                        "ada",
                        "m",
                    ]
                ])
        #expect(
            try ask(path, "SELECT id, error_message FROM training_data WHERE success = 0")
                == [[failed.id.description, "no"]])
        #expect(
            try ask(
                path,
                "SELECT agent_id, status, total_records, successful_records, failed_records, started_at, completed_at FROM "
                    + "training_sessions")
                == [
                    [
                        "shop", "completed", "2", "1", "1", "1970-01-01 00:00:01.000000", "1970-01-01 00:00:02.000001",
                    ]
                ])
        #expect(
            try ask(
                path,
                "SELECT task_id, task_type, priority, status, retry_count, max_retries, timeout_seconds, "
                    + "started_at, completed_at FROM training_tasks")
                == [
                    [
                        "task-1", "crawl", "high", "completed", "2", "3", "300", "2026-11-27 05:31:12.123456",
                        "2026-11-27 05:31:12.124956",
                    ]
                ])
        #expect(try ask(path, "SELECT tool_name, status FROM training_tool_executions") == [["search", "completed"]])
        #expect(
            try ask(path, "SELECT event_type, source, payload, severity FROM training_events")
                == [["started", "cron", "{\"a\":1}", "info"]])
        // Texts that compare with SQLite's own dates: when it began, and when it was written.
        #expect(
            try ask(path, "SELECT created_at, updated_at > datetime('now', '-1 hour') FROM training_data LIMIT 1")
                == [["2026-11-27 05:31:10.123456", "1"]])
    }

    @Test(
        "an index serves each question",
        arguments: [
            ("trace = 1", "spans_by_trace"), ("severity = 'error'", "spans_by_severity"),
            ("status = 'failed'", "spans_by_status"), ("series = 1", "spans_by_series"),
            ("started_at >= 1", "spans_by_time"),
            ("kind = 'event'", "spans_by_kind"), ("entity = 'ada'", "spans_by_entity"),
            ("kind = 'task' AND external_id = 'x' AND project = 1", "spans_by_external_id"),
            ("project = 1 AND id = 'x'", "sqlite_autoindex_spans_1"),
        ])
    func plans(condition: String, index: String) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        _ = try await SQLiteRecordStore(storage)
        await storage.close()
        let plan = try ask(path, "EXPLAIN QUERY PLAN SELECT * FROM spans WHERE \(condition)")
        #expect(plan.contains { $0[3]?.contains("INDEX \(index) ") == true }, "\(plan)")
    }

    @Test(
        "an index serves questions to the views",
        arguments: [
            ("training_data", "agent_id = 'a'", "series_by_agent"),
            ("training_data", "model_type = 'A'", "series_by_name"),
            ("training_events", "event_type = 'a'", "series_by_name"), ("training_tasks", "1", "spans_by_kind"),
            ("training_data", "session_id = 's'", "series_by_recording"),
            ("training_sessions", "session_id = 's'", "recordings_by_name"),
            ("training_sessions", "status = 'active'", "recordings_by_status"),
            ("training_events", "severity = 'error'", "spans_by_severity"),
            ("training_tasks", "status = 'failed'", "spans_by_status"),
            ("training_tool_executions", "tool_name = 'a'", "series_by_tool"),
            ("training_workflows", "phase = 'a'", "workflows_by_phase"),
        ])
    func viewPlans(view: String, condition: String, index: String) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        _ = try await SQLiteRecordStore(storage)
        await storage.close()
        let plan = try ask(path, "EXPLAIN QUERY PLAN SELECT * FROM \(view) WHERE \(condition)")
        #expect(plan.contains { $0[3]?.contains("INDEX \(index) ") == true }, "\(plan)")
    }

    @Test("the store's own questions use an index and sort nothing")
    func ownPlans() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        _ = try await SQLiteRecordStore(storage)
        await storage.close()
        var (byTrace, byRecording, byAgent, byStatus) = (SpanQuery(), SpanQuery(), SpanQuery(), SpanQuery())
        (byTrace.trace, byRecording.recording, byAgent.agent, byStatus.status) = (span(1).id, "s", "a", .failed)
        let expected: [(StaticString, String)] = [
            (Connection.seriesStatement(for: byRecording), "series_by_recording"),
            (Connection.seriesStatement(for: byAgent), "series_by_agent"),
            (Connection.statement(for: byRecording), "spans_by_series"),
            (Connection.statement(for: byAgent), "spans_by_series"),
            (Connection.statement(for: byStatus), "spans_by_status"),
            (Connection.statement(for: byTrace), "spans_by_trace"),
        ]
        for (statement, index) in expected {
            let plan = try ask(path, "EXPLAIN QUERY PLAN \(statement)").compactMap { $0[3] }
            #expect(plan.contains { $0.contains("USING INDEX \(index) ") }, "\(plan)")
            #expect(!plan.contains { $0.contains("TEMP B-TREE") }, "\(plan)")
        }
        let plan = try ask(path, "EXPLAIN QUERY PLAN \(Connection.statement(for: SpanQuery()))").compactMap { $0[3] }
        #expect(plan == ["SEARCH spans USING INTEGER PRIMARY KEY (rowid>?)"], "\(plan)")
    }

    @Test("what a dead process has left active is interrupted, with totals from what is stored")
    func interrupted() async throws {
        let path = folder.newPath()
        for round in 0..<2 {
            let storage = try await SQLiteStorage(path: path)
            let records = try await SQLiteRecordStore(storage)
            let before = try await records.recordings(limit: 10)
            #expect(
                before.allSatisfy {
                    $0.state == .interrupted && $0.totals == RecordingTotals(records: 2, successful: 1, failed: 1)
                })
            #expect(before.count == round)
            if let last = before.first {
                #expect(last.completedAt == Timestamp(microseconds: span(2).startedAt.microseconds + 1_500))
            }
            try await records.begin(
                RecordingRecord(id: "session_\(round)", scope: .everything, startedAt: span(0).startedAt))
            var failed = span(2, in: "session_\(round)")
            failed.status = .failed
            #expect(try await records.store([span(1, in: "session_\(round)"), failed]).isEmpty)
            // Not ended.
            await storage.close()
        }
    }

    @Test("deleted contents are nowhere in the file when it is erased")
    func erasure() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let records = try await SQLiteRecordStore(storage)
        var mine = span(1)
        mine.context.entity = "ada-lovelace"
        mine.contents = [.input: .text("the-secret-of-ada")]
        var other = span(2)
        other.contents = [.input: .text("the-words-of-bob")]
        _ = try await records.store([mine, other])
        #expect(try await records.eraseContents(about: "ada-lovelace") == 1)
        try await storage.erase()
        await storage.close()
        let bytes = try ["", "-wal"].reduce(into: Data()) { all, suffix in
            if FileManager.default.fileExists(atPath: path + suffix) {
                all += try Data(contentsOf: URL(filePath: path + suffix))
            }
        }
        #expect(bytes.range(of: Data("the-words-of-bob".utf8)) != nil)
        #expect(bytes.range(of: Data("the-secret-of-ada".utf8)) == nil)
        #expect(bytes.range(of: Data("ada-lovelace".utf8)) == nil)
    }

    @Test("a file of the first version is brought up to date, with all it holds")
    func migration() async throws {
        let path = folder.newPath()
        let old = try await SQLiteStorage(path: path)
        try await old.writer.run("make", path) { connection in
            try connection.transaction {
                try connection.execute(RecordSchema.migrations[0])
                try connection.run(
                    "INSERT INTO properties (name, value) VALUES ('records schema', ?)", [.text("1")])
                try connection.execute(
                    """
                    INSERT INTO recordings VALUES (1, 1, 's', 'everything', NULL, NULL, NULL, 1, 'active', 0, 0, 0, 0, 5, NULL, 5, 5);
                    INSERT INTO traces VALUES (7, 1, '019b0000-0000-7000-8000-000000000000', 1, NULL, NULL, NULL, NULL, 'a', NULL, 5, 5);
                    INSERT INTO spans VALUES (3, 1, '019b0000-0000-7000-8000-000000000001', 7, 1, NULL, 'model_call', 'A', 'completed',
                        'info', NULL, NULL, 5, 6, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'a', NULL, 'ada', NULL, NULL, 5, 5);
                    INSERT INTO spans VALUES (4, 1, '019b0000-0000-7000-8000-000000000002', 7, 1, NULL, 'event', 'B', 'failed',
                        'error', 'E', 'no', 5, 6, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'a', NULL, NULL, NULL, NULL, 5, 5);
                    INSERT INTO span_contents VALUES (3, 'input', 'ada', '"in"'), (3, 'output', 'ada', '{"out":1}'),
                        (4, 'payload', NULL, '"p"');
                    INSERT INTO outbox VALUES (9, 1, 'training-data.model_calls',
                        '{"id":"019b0000-0000-7000-8000-000000000001"}', 0, 5);
                    """)
            }
        }
        await old.close()
        let reader = try await SQLiteStorage(path: path, access: .reading)
        await #expect(throws: StorageError.self) { _ = try await SQLiteRecordStore(reader).spans(SpanQuery()) }
        await reader.close()
        let storage = try await SQLiteStorage(path: path)
        let records = try await SQLiteRecordStore(storage)
        let spans = try await records.spans(SpanQuery())
        #expect(spans.map(\.name) == ["A", "B"] && spans.map(\.status) == [.completed, .failed])
        #expect(spans[0].contents == [.input: .text("in"), .output: .json("{\"out\":1}")])
        #expect(spans[1].contents == [.payload: .text("p")] && spans[1].failure == .init(type: "E", message: "no"))
        #expect(
            try await records.recordings(limit: 2).map(\.totals) == [
                RecordingTotals(records: 1, successful: 1, failed: 0)
            ])
        #expect(try ask(path, "SELECT sequence, span, attempts FROM outbox") == [["9", "3", "0"]])
        #expect(try ask(path, "SELECT input_params, output FROM training_data") == [["\"in\"", "{\"out\":1}"]])
        #expect(try ask(path, "PRAGMA foreign_key_check") == [])
        _ = try await records.eraseContents(about: "ada")
        #expect(try ask(path, "SELECT count(*) FROM outbox") == [["0"]])
        await storage.close()
        // The definitions are those of a new file.
        let again = try await SQLiteStorage(path: path)
        await again.close()
    }

    @Test("projects of one file never see each other's records")
    func projects() async throws {
        let path = folder.newPath()
        for project in ["one", "two"] {
            let storage = try await SQLiteStorage(path: path, project: project)
            let records = try await SQLiteRecordStore(storage)
            #expect(try await records.spans(SpanQuery()).isEmpty)
            #expect(try await records.recordings(limit: 10).isEmpty)
            var call = span(1)
            call.externalID = "x"
            call.context.entity = "ada"
            call.contents = [.input: .text("a")]
            try await records.begin(RecordingRecord(id: "s", scope: .everything, startedAt: call.startedAt))
            #expect(try await records.store([call]).isEmpty)
            await storage.close()
        }
        let storage = try await SQLiteStorage(path: path, project: "one")
        #expect(try await SQLiteRecordStore(storage).eraseContents(about: "ada") == 1)
        await storage.close()
        let other = try await SQLiteStorage(path: path, project: "two")
        #expect(try await SQLiteRecordStore(other).spans(SpanQuery()).first?.contents.count == 1)
        await other.close()
        // Who asks in SQL sees both, and can tell them apart.
        for (project, input) in [("one", nil), ("two", "\"a\"")] as [(String, String?)] {
            #expect(
                try ask(path, "SELECT input_params FROM training_data WHERE project = '\(project)'") == [[input]])
            #expect(
                try ask(path, "SELECT kind, records FROM training_daily WHERE project = '\(project)'")
                    == [["model_call", "1"]])
            #expect(try ask(path, "SELECT id FROM training_sessions WHERE project = '\(project)'") == [["s"]])
        }
    }

    @Test("20,000 calls of eight tasks: nothing is lost, and each run is in order")
    func manyCalls() async throws {
        let storage = try await folder.storage()
        let records = try await SQLiteRecordStore(storage)
        var queues = QueueConfiguration()
        queues.overflow = .block(upTo: .seconds(60))
        let recorder = try ModelCallRecorder(store: records, queues: queues)
        let id = try await recorder.enable(.everything).id
        let each = underSanitizer(500, otherwise: 2_500)
        try await withThrowingTaskGroup(of: RecordID.self) { group in
            for task in 0..<8 {
                group.addTask {
                    let trace = RecordID(at: SystemClock().now)
                    for number in 0..<each {
                        let call = ModelCall(
                            "A", context: SpanContext(agent: "agent \(task)"), trace: trace,
                            externalID: "\(task) \(number)")
                        _ = await recorder.record(call, input: .text("in \(number)")) { "out \(number)" }
                    }
                    return trace
                }
            }
            try await group.waitForAll()
        }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.total == 8 * each && status.records == 8 * each && status.dropped == 0, "\(status)")
        #expect(try await records.recordings(limit: 1).first?.totals.records == 8 * each)
        let rows = try ask(
            storage.path,
            """
            SELECT count(*), count(DISTINCT external_id), sum(number < before) FROM (
                SELECT external_id, CAST(substr(external_id, 3) AS INTEGER) AS number,
                    lag(CAST(substr(external_id, 3) AS INTEGER)) OVER (PARTITION BY trace ORDER BY ref) AS before
                FROM spans WHERE kind = 'model_call')
            """)
        #expect(rows == [["\(8 * each)", "\(8 * each)", "0"]], "\(id)")
        await storage.close()
    }

    @Test(
        "a full disk: calls go on, what is lost is counted, and it goes on when there is room",
        .enabled(if: SmallDisk.isPossible))
    func fullDisk() async throws {
        let disk = try SmallDisk(megabytes: 4, at: folder.path + "/disk")
        let storage = try await SQLiteStorage(path: disk.path + "/a.db")
        let recorder = try ModelCallRecorder(store: try await SQLiteRecordStore(storage))
        let files = RecordFiles(folder: disk.path + "/files")
        try await recorder.enable(.everything, .enhanced(files))
        func call(_ count: Int) async throws {
            for number in 0..<count {
                let text = await recorder.record(ModelCall("A"), input: .text(String(repeating: "x", count: 2_000))) {
                    "\(number)"
                }
                #expect(text == "\(number)")
            }
        }
        try await call(20)
        #expect(await recorder.flush(within: .seconds(600)))
        let before = try #require(recorder.status())
        #expect(before.records == 20 && before.sinkFailures == 0)
        let filler = disk.path + "/filler"
        try disk.fill(filler)
        try await call(400)
        #expect(await recorder.flush(within: .seconds(600)))
        let full = try #require(recorder.status())
        #expect(full.total == 420 && full.sinkFailures > 0)
        try FileManager.default.removeItem(atPath: filler)
        try await call(20)
        #expect(await recorder.flush(within: .seconds(600)))
        #expect(try #require(recorder.status()).records >= full.records + 20)
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.total == 440 && status.successful == 440)
        // None is lost without being counted.
        #expect(status.records <= 440 && status.records + status.dropped + status.sinkFailures >= 440, "\(status)")
        #expect(try await recorder.store.recordings(limit: 1).first?.totals.records == status.records)
        await storage.close()
    }
}
