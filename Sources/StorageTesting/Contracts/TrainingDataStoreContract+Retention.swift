internal import LearningRecords
internal import Reasoning
internal import TensorCore

extension TrainingRun {
    func checkRetention() async throws {
        let store = try await makeStore()
        let data = data(store)
        let old = Timestamp(microseconds: SystemClock().now.microseconds - 10 * 86_400_000_000)
        for number in 0..<6 {
            _ = try await data.storeAgentEvent(
                AgentEvent(
                    "e", id: "\(number)", payload: .text(String(repeating: "x", count: 98)),
                    happenedAt: number < 3 ? old : nil))
        }
        _ = try await data.storeAgentTask(AgentTask("t", id: "waits", startedAt: old))
        let policy = RecordRetention(age: .seconds(5 * 86_400))
        let planned = try await store.retain(policy, isDryRun: true, archive: nil)
        journal.expect("a dry run tells", planned.spans, is: 3)
        journal.expect("and the bytes", planned.bytes, is: 300)
        journal.expect("and the messages", planned.messages, is: 3)
        journal.expect("and deletes nothing", try await rows(store, TrainingQuery(.events)).count, is: 6)
        do {
            _ = try await store.retain(policy, isDryRun: false) { _ in throw CancellationError() }
            journal.expect("an archive that fails deletes nothing", false, "an error", saw: "none")
        } catch is CancellationError {
            journal.expect(
                "an archive that fails deletes nothing", try await rows(store, TrainingQuery(.events)).count, is: 6)
        }
        let archive = Archive()
        if let first = try await store.span(.event, externalID: "1") {
            _ = try await store.store([Score(.thumbs, 1, of: first.id, comment: "why", at: old)])
        }
        let done = try await store.retain(policy, isDryRun: false) { rows in try rows.forEach { archive.add($0) } }
        journal.expect("what is deleted was archived before", archive.lines.count, is: 3)
        journal.expect(
            "with its scores", archive.lines.map { $0.contains("\"comment\":\"why\"") }, is: [false, true, false])
        journal.expect("what was planned is deleted", done.spans, is: 3)
        journal.expect("with its messages", done.messages, is: 4)
        journal.expect(
            "the younger ones stay", try await rows(store, TrainingQuery(.events)).map { $0[0] },
            is: [.text("3"), .text("4"), .text("5")])
        journal.expect("what waits stays", try await rows(store, TrainingQuery(.tasks)).count, is: 1)
        _ = try await store.retain(RecordRetention(bytes: 250), isDryRun: false, archive: nil)
        journal.expect(
            "the oldest go until the bytes fit", try await rows(store, TrainingQuery(.events)).map { $0[0] },
            is: [.text("4"), .text("5")])
        try await checkRetentionOfWorkflows(data, store)
        _ = try await data.storeAgentEvent(AgentEvent("e", id: "after"))
        journal.expect("and more can be stored", try await rows(store, TrainingQuery(.events)).count, is: 1)
    }

    /// Beside events of 98 characters that are kept in 100 bytes each, of which two are there.
    private func checkRetentionOfWorkflows(_ data: TrainingData, _ store: any TrainingDataStore) async throws {
        for (id, status) in [("ended", SpanStatus.completed), ("runs", .running)] {
            try await data.storeWorkflow(
                AgentWorkflow(id: id, name: "w", status: status, state: .text(String(repeating: "y", count: 98))))
        }
        _ = try await data.storeAgentEvent(
            AgentEvent("e", id: "after them", payload: .text(String(repeating: "x", count: 98))))
        let archive = Archive()
        let report = try await store.retain(RecordRetention(bytes: 200), isDryRun: false) { rows in
            try rows.forEach { archive.add($0) }
        }
        journal.expect(
            "the oldest of both go first", try await rows(store, TrainingQuery(.events)).map { $0[0] },
            is: [.text("after them")])
        journal.expect("a workflow that ended goes", try await store.workflow("ended"), is: nil)
        journal.expect("one that runs stays", try await store.workflow("runs")?.status, is: .running)
        journal.expect("spans and workflows are told apart", [report.spans, report.workflows], is: [2, 1])
        journal.expect("the bytes are both's", report.bytes, is: 300)
        journal.expect(
            "it was archived", archive.lines.count { $0.contains("\"workflow_id\":\"ended\"") }, is: 1)
        journal.expect(
            "its messages are gone", try await store.messages(.workflows, after: 0, limit: 9).count, is: 1)
        let young = try await store.retain(RecordRetention(age: .seconds(3600)), isDryRun: false, archive: nil)
        journal.expect("what is young stays", young.workflows, is: 0)
        try await data.storeWorkflow(AgentWorkflow(id: "runs", name: "w", status: .failed))
        let old = try await store.retain(RecordRetention(age: .seconds(-3600)), isDryRun: false, archive: nil)
        journal.expect("what is old goes", old.workflows, is: 1)
    }
}

private final class Archive: Sendable {
    private let records = Lock<[String]>([])

    var lines: [String] { records.withLock { $0 } }
    func add(_ row: [TrainingValue]) {
        if case .json(let record)? = row.first { records.withLock { $0.append(record) } }
    }
}
