import Attune
import Benchmarking
import Foundation

/// How fast training data is told, and what an export takes.
struct TrainingDataResult: Codable {
    let kind: String
    let rows: Int
    /// Tellings a second by eight tasks: each row is told twice, out of order and mostly by two of them.
    var toldPerSecond: Double?
    /// The same when all is told once more, in another order, and nothing changes.
    var toldAgainPerSecond: Double?
    /// Rows a second of an export.
    var exportedPerSecond: Double?
    /// The most memory of the process until its end.
    var peakBytes: Int?
}

extension Benchmark {
    static func trainingData(_ options: Options) async throws {
        let passing = try PassingFolder("attune-training-data", in: options.folder)
        defer { passing.remove() }
        let storage = try await SQLiteStorage(path: passing.url.appending(path: "data.db").path)
        let store = try await SQLiteRecordStore(storage)
        let data = TrainingData(store, redaction: .none)
        var results: [TrainingDataResult] = []
        let count = options.isQuick ? 8_000 : 100_000
        for kind in [TrainingKind.events, .tasks, .tools, .workflows] {
            var result = TrainingDataResult(kind: kind.rawValue, rows: count)
            result.toldPerSecond = try await told(kind, count, data, stride: 123_457)
            let messages = try await self.messages(kind, store)
            result.toldAgainPerSecond = try await told(kind, count, data, stride: 76_543)
            guard try await self.messages(kind, store) == messages, messages >= count else {
                throw WrongResult("\(messages) messages of \(kind) before all was told again, and others after")
            }
            let rows = try await self.rows(TrainingQuery(kind), store)
            // An event has no status.
            let ended = TrainingQuery(
                kind, filter: kind == .events ? nil : .compare("status", .equal, .text("completed")))
            let finished = try await self.rows(ended, store)
            guard rows == count, finished == count else {
                throw WrongResult("\(rows) \(kind) of \(count), \(finished) of them as they were told last")
            }
            results.append(result)
        }
        let many = options.isQuick ? 20_000 : 1_000_000
        var number = count
        while number < many {
            _ = try await data.storeAgentEvents((number..<min(number + 1_000, many)).map { event($0) })
            number += 1_000
        }
        let path = passing.url.appending(path: "events.jsonl").path
        for format in [TrainingFormat.jsonLines, .csv] {
            let start = ContinuousClock.now
            let manifest = try await store.exportForTraining(.events, to: path, format: format)
            let time = (ContinuousClock.now - start) / .seconds(1)
            guard manifest.rows == many else { throw WrongResult("\(manifest.rows) rows of \(many)") }
            let peak = try processMemory("VmHWM")
            guard peak < 256_000_000 else { throw WrongResult("an export took \(peak) bytes of memory") }
            var result = TrainingDataResult(kind: "events as \(format.rawValue)", rows: many)
            (result.exportedPerSecond, result.peakBytes) = (Double(many) / time, peak)
            results.append(result)
        }
        await storage.close()
        if options.isJSON { return print(String(decoding: try JSONEncoder().encode(results), as: UTF8.self)) }
        for result in results {
            let cells = [
                result.kind.padding(toLength: 18, withPad: " ", startingAt: 0), "\(result.rows) rows",
                result.toldPerSecond.map { "\(Int($0))/s told" },
                result.toldAgainPerSecond.map { "\(Int($0))/s told again" },
                result.exportedPerSecond.map { "\(Int($0))/s exported" },
                result.peakBytes.map { "\($0 / 1_000_000) MB at most" },
            ]
            print(cells.compactMap(\.self).joined(separator: "\t"))
        }
    }

    private static func event(_ number: Int) -> AgentEvent {
        AgentEvent(
            "deployed", id: "event \(number)", agent: "agent \(number % 8)", source: "cron",
            payload: .json("{\"number\":\(number),\"words\":\"The quick brown fox jumps over the lazy dog.\"}"))
    }

    /// Tells each of `count` rows twice, as running and as completed, in an order without order: eight tasks each tell an eighth of
    /// that, in batches of 100.
    ///
    /// - Parameter stride: How far two tellings that follow each other are apart: has no divisor in common with twice the count.
    /// - Returns: Tellings a second.
    private static func told(_ kind: TrainingKind, _ count: Int, _ data: TrainingData, stride step: Int) async throws
        -> Double
    {
        let tellings = 2 * count
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for first in stride(from: task * (tellings / 8), to: (task + 1) * (tellings / 8), by: 100) {
                        let refused = try await tell(
                            kind,
                            (first..<first + 100).map { place in
                                let telling = place * step % tellings
                                return (telling / 2, telling % 2 == 0 ? .running : .completed)
                            }, data)
                        if let first = refused.first { throw first.error }
                    }
                }
            }
            try await group.waitForAll()
        }
        return Double(tellings) / ((ContinuousClock.now - start) / .seconds(1))
    }

    private static func tell(
        _ kind: TrainingKind, _ tellings: [(number: Int, status: SpanStatus)], _ data: TrainingData
    ) async throws -> [RefusedSpan] {
        switch kind {
        case .tasks:
            try await data.storeAgentTasks(
                tellings.map { AgentTask("crawl", id: "task \($0.number)", agent: "agent", status: $0.status) })
        case .tools:
            try await data.storeToolExecutions(
                tellings.map {
                    ToolExecution(
                        "search", id: "run \($0.number)", status: $0.status, input: .json("{\"q\":\($0.number)}"))
                })
        case .workflows:
            try await data.storeWorkflows(
                tellings.map {
                    AgentWorkflow(id: "flow \($0.number)", name: "build", phase: "plan", status: $0.status)
                })
        default: try await data.storeAgentEvents(tellings.map { event($0.number) })
        }
    }

    private static func messages(_ kind: TrainingKind, _ store: SQLiteRecordStore) async throws -> Int {
        let topic: TrainingTopic =
            switch kind {
            case .tasks: .agentTasks
            case .tools: .toolExecutions
            case .workflows: .workflows
            default: .agentEvents
            }
        var (count, position) = (0, Int64(0))
        while true {
            let page = try await store.messages(topic, after: position, limit: 10_000)
            guard let last = page.last else { return count }
            count += page.count
            position = last.sequence
        }
    }

    private static func rows(_ query: TrainingQuery, _ store: SQLiteRecordStore) async throws -> Int {
        try await store.withRows(query) { rows in
            var count = 0
            try rows.forEach { _ in count += 1 }
            return count
        }
    }
}
