import Dispatch
import Foundation
import LearningRecords
import Reasoning
import StorageTesting
import TestSupport
import Testing

@testable import SQLiteStorage

@Suite("Training data in a file")
struct TrainingDataTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func moment(_ text: String) throws -> Timestamp { try #require(Timestamp(utc: text)) }

    @Test("it keeps every promise of a store of training data")
    func contract() async throws {
        let violations = try await TrainingDataStoreContract { try await SQLiteRecordStore(folder.storage()) }
            .violations()
        #expect(violations == [])
    }

    @Test("what eight tasks tell out of order and twice is there once, each message too")
    func manyTasks() async throws {
        let count = underSanitizer(200, otherwise: 2_000)
        let store = try await SQLiteRecordStore(folder.storage())
        let data = TrainingData(store, redaction: .none)
        let began = try moment("2026-11-28")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    var random = SystemRandomNumberGenerator()
                    // Each is told by two of the tasks, in halves that overlap, and later states may come first.
                    for start in stride(from: 0, to: count, by: 100) {
                        let numbers = (start..<start + 100).filter { ($0 + task) % 4 != 0 }.shuffled(using: &random)
                        try await data.storeAgentEvents(
                            numbers.map { AgentEvent("e", id: "\($0)", payload: .text("\($0)")) })
                        let status: SpanStatus = task % 2 == 0 ? .completed : .running
                        try await data.storeAgentTasks(
                            numbers.map {
                                AgentTask(
                                    "t", id: "\($0)", status: status,
                                    input: status == .running ? .text("in \($0)") : nil,
                                    output: status == .completed ? .text("out \($0)") : nil, startedAt: began)
                            })
                        try await data.storeToolExecutions(numbers.map { ToolExecution("search", id: "\($0)") })
                        try await data.storeWorkflows(
                            numbers.map {
                                AgentWorkflow(id: "\($0)", name: "w", status: status, completedSteps: Int64(task))
                            })
                    }
                }
            }
            try await group.waitForAll()
        }
        for kind in [TrainingKind.events, .tasks, .tools, .workflows] {
            let seen = try await store.withRows(TrainingQuery(kind)) { rows in
                var seen: [String: Int] = [:]
                try rows.forEach { row in if case .text(let id) = row[0] { seen[id, default: 0] += 1 } }
                return seen
            }
            #expect(seen.count == count && seen.values.allSatisfy { $0 == 1 }, "\(kind)")
        }
        for number in stride(from: 0, to: count, by: 97) {
            let task = try #require(try await store.span(.task, externalID: "\(number)"))
            #expect(task.status == .completed)
            #expect(task.contents == [.input: .text("in \(number)"), .output: .text("out \(number)")])
            #expect(try #require(try await store.workflow("\(number)")).status == .completed)
        }
        // An event is told of once; a task as often as it changed: at most begun, ended, and what was missing.
        #expect(try await messages(store, .agentEvents).count == count)
        let told = try await messages(store, .agentTasks)
        #expect((count...2 * count).contains(told.count) && told == told.sorted())
    }

    private func messages(_ store: SQLiteRecordStore, _ topic: TrainingTopic) async throws -> [Int64] {
        var (all, position) = ([Int64](), Int64(0))
        while true {
            let page = try await store.messages(topic, after: position, limit: 1_000)
            guard let last = page.last else { return all }
            all += page.map(\.sequence)
            position = last.sequence
        }
    }

    @Test("what is told again without a time changes no time, however late or early it comes")
    func assumedTimes() async throws {
        let store = try await SQLiteRecordStore(folder.storage())
        func told(at second: Int64) -> TrainingData {
            TrainingData(store, clock: StillClock(now: Timestamp(microseconds: second * 1_000_000)))
        }
        let said = Timestamp(microseconds: 40_000_000)
        for second in [100, 99, 101] as [Int64] {
            let data = told(at: second)
            try await data.storeAgentEvent(AgentEvent("e", id: "x"))
            try await data.storeMessage(ConversationMessage("user", .text("hi"), id: "x"))
            try await data.storeToolExecution(ToolExecution("t", id: "x"))
            try await data.storeAgentTask(AgentTask("t", id: "x", status: .running))
        }
        for topic in [TrainingTopic.agentEvents, .messages, .toolExecutions, .agentTasks] {
            #expect(try await messages(store, topic).count == 1, "\(topic)")
        }
        #expect(try await store.span(.event, externalID: "x")?.startedAt.microseconds == 100_000_000)
        // One that follows from how long it took is nobody's guess.
        try await told(at: 103).storeToolExecution(ToolExecution("t", id: "x", executionTime: .seconds(5)))
        #expect(try await store.span(.tool, externalID: "x")?.startedAt.microseconds == 98_000_000)
        // A time that somebody says counts, where it is earlier; and a task that ends began when it was told to run.
        try await told(at: 120).storeAgentEvent(AgentEvent("e", id: "x", happenedAt: said))
        #expect(try await store.span(.event, externalID: "x")?.startedAt == said)
        try await told(at: 130).storeAgentTask(AgentTask("t", id: "x", status: .completed))
        #expect(try await store.span(.task, externalID: "x")?.startedAt.microseconds == 100_000_000)
    }

    @Test("what is scored while it is archived stays, and what is told is what went")
    func scoredMeanwhile() async throws {
        let store = try await SQLiteRecordStore(folder.storage())
        let data = TrainingData(store, redaction: .none)
        for id in ["a", "b"] { try await data.storeAgentEvent(AgentEvent("e", id: id, payload: .text("12345678"))) }
        let scored = try #require(try await store.span(.event, externalID: "a"))
        let report = try await store.retain(RecordRetention(bytes: 0), isDryRun: false) { _ in
            let isStored = DispatchSemaphore(value: 0)
            Task.detached {
                let refused = try await store.store([Score(.thumbs, 1, of: scored.id, at: SystemClock().now)])
                #expect(refused.isEmpty)
                isStored.signal()
            }
            #expect(isStored.wait(timeout: .now() + 600) == .success)
        }
        #expect(report == RetentionReport(spans: 1, bytes: 10, messages: 1))
        #expect(try await store.span(.event, externalID: "a") == scored)
        #expect(try await store.scores(of: scored.id).count == 1)
        #expect(try await store.span(.event, externalID: "b") == nil)
        // The next time it goes with its score.
        #expect(try await store.retain(RecordRetention(bytes: 0), archivingTo: nil).messages == 2)
        #expect(try await store.scores(of: scored.id).isEmpty)
    }

    @Test("a stream gives each message to two consumers, also what comes later, and goes on after a new start")
    func streams() async throws {
        let path = folder.newPath()
        var storage = try await SQLiteStorage(path: path)
        var store = try await SQLiteRecordStore(storage)
        let data = TrainingData(store, redaction: .none)
        try await data.storeAgentEvents((0..<300).map { AgentEvent("e", id: "\($0)") })
        // One that hangs holds up nobody.
        let hanging = Task { [store] in
            for try await _ in store.stream(.agentEvents, consumer: "hangs") {
                try await Task.sleep(for: .seconds(3_600))
            }
        }
        let following = Task { [store] in
            var seen = 0
            let stream = store.stream(.agentEvents, consumer: "follows")
            for try await message in stream {
                seen += 1
                if seen % 50 == 0 { try await stream.acknowledge(message) }
                if seen == 420 { break }
            }
            return seen
        }
        for number in 300..<420 { try await data.storeAgentEvent(AgentEvent("e", id: "\(number)")) }
        #expect(try await following.value == 420)
        hanging.cancel()
        _ = await hanging.result
        await storage.close()
        // What was not acknowledged comes again; what was, does not.
        storage = try await SQLiteStorage(path: path)
        store = try await SQLiteRecordStore(storage)
        let all = try await messages(store, .agentEvents)
        var again: [Int64] = []
        for try await message in store.stream(.agentEvents, consumer: "follows") {
            again.append(message.sequence)
            if again.count == 20 { break }
        }
        #expect(again == Array(all[400...]))
        #expect(try await store.position(of: "hangs", in: .agentEvents) == 0)
    }

    @Test("the report's questions are answered by the views")
    func reportQueries() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let data = TrainingData(try await SQLiteRecordStore(storage), redaction: .none)
        let now = SystemClock().now
        func ago(_ days: Int64) -> Timestamp { Timestamp(microseconds: now.microseconds - days * 86_400_000_000) }
        for days in [1, 6, 8, 30] as [Int64] {
            try await data.storeAgentEvent(AgentEvent("deployed", id: "\(days)", agent: "scout", happenedAt: ago(days)))
        }
        try await data.storeAgentTask(
            AgentTask("crawl", id: "bad", status: .failed, error: "no route", startedAt: ago(1)))
        try await data.storeAgentTask(AgentTask("crawl", id: "good", status: .completed, startedAt: ago(1)))
        for (id, tool) in [("1", "search"), ("2", "search"), ("3", "write")] {
            try await data.storeToolExecution(ToolExecution(tool, id: id, executionTime: .milliseconds(12)))
        }
        try await data.storeMessage(
            ConversationMessage(
                "user", .text("hello"), id: "m", agent: "scout", room: "r", subject: "ada", saidAt: ago(0)))
        await storage.close()
        #expect(
            try ask(
                path,
                "SELECT event_id FROM training_events WHERE created_at >= datetime('now', '-7 days') ORDER BY event_id")
                == [["1"], ["6"]])
        #expect(
            try ask(path, "SELECT task_id, error FROM training_tasks WHERE status = 'failed' ORDER BY created_at DESC")
                == [["bad", "no route"]])
        #expect(
            try ask(
                path,
                """
                SELECT execution_id, execution_time_ms FROM training_tool_executions
                WHERE tool_name = 'search' AND created_at >= date('now', '-1 day') ORDER BY execution_id
                """) == [["1", "12.0"], ["2", "12.0"]])
        #expect(
            try ask(path, "SELECT id, agent_id, room_id, user_id, role, content FROM agent_playground_messages")
                == [["m", "scout", "r", "ada", "user", "\"hello\""]])
        #expect(
            try ask(
                path, "SELECT kind, model, records, failures, p50_ms, p95_ms FROM training_daily WHERE kind = 'tool'"
            )
            .sorted { $0[1] ?? "" < $1[1] ?? "" } == [
                ["tool", "search", "2", "0", "12.0", "12.0"], ["tool", "write", "1", "0", "12.0", "12.0"],
            ])
    }

    @Test("percentiles by day are the nearest ranks")
    func percentiles() async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        let store = try await SQLiteRecordStore(storage)
        let start = try moment("2026-11-28T00:00")
        var spans: [SpanRecord] = []
        for number in 1...200 {
            let moment = Timestamp(microseconds: start.microseconds + Int64(number))
            var span = SpanRecord(
                id: RecordID(at: moment), trace: RecordID(at: start), kind: .modelCall, name: "TEXT", startedAt: moment)
            (span.status, span.duration) = (
                number % 20 == 0 ? .failed : .completed, Int64((number * 37) % 200 + 1) * 1_000
            )
            span.requestModel = "m"
            spans.append(span)
        }
        #expect(try await store.store(spans).isEmpty)
        await storage.close()
        #expect(
            try ask(path, "SELECT day, model, records, failures, p50_ms, p95_ms FROM training_daily")
                == [["2026-11-28", "m", "200", "10", "100.0", "190.0"]])
    }

    @Test("dates and moments are read in UTC")
    func moments() throws {
        #expect(Timestamp(utc: "2026-11-28")?.text == "2026-11-28T00:00:00.000000Z")
        #expect(Timestamp(utc: "2026-11-28", isEnd: true)?.text == "2026-11-29T00:00:00.000000Z")
        #expect(Timestamp(utc: "2024-02-29 23:59:59.5Z", isEnd: true)?.text == "2024-02-29T23:59:59.500000Z")
        for text in ["1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z", "9999-12-31T12:34:56.789012Z"] {
            #expect(Timestamp(utc: text)?.text == text)
        }
        for text in [
            "", "2026", "2026-13-01", "2026-02-29", "2026-11-28T24:00", "2026-11-28T05", "2026-11-28x", "-026-11-28",
        ] {
            #expect(Timestamp(utc: text) == nil, "\(text)")
        }
    }

    @Test(
        "an index serves questions to the views of training data",
        arguments: [
            ("agent_playground_messages", "agent_id = 'a'", "series_by_agent"),
            ("agent_playground_messages", "1", "spans_by_kind"),
        ])
    func plans(view: String, condition: String, index: String) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        _ = try await SQLiteRecordStore(storage)
        await storage.close()
        let plan = try ask(path, "EXPLAIN QUERY PLAN SELECT * FROM \(view) WHERE \(condition)")
        #expect(plan.contains { $0[3]?.contains(" \(index)") == true }, "\(plan)")
    }

    @Test("rows are found in the order of storing without being sorted", arguments: TrainingKind.allCases)
    func rowPlans(kind: TrainingKind) async throws {
        let path = folder.newPath()
        let storage = try await SQLiteStorage(path: path)
        _ = try await SQLiteRecordStore(storage)
        await storage.close()
        let statement = try TrainingStatement(TrainingQuery(kind, from: Timestamp(microseconds: 5), limit: 3), 1)
        // No value is needed to plan.
        let plan = try ask(path, "EXPLAIN QUERY PLAN \(statement.sql)").compactMap { $0[3] }
        #expect(!plan.contains { $0.contains("TEMP B-TREE") }, "\(plan)")
    }
}
