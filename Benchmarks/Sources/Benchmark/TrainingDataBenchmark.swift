import Attune
import Benchmarking
import Foundation

/// How fast training data is told, and what an export takes.
struct TrainingDataResult: Codable {
    let kind: String
    let rows: Int
    /// Rows a second, told by eight tasks.
    var toldPerSecond: Double?
    /// The same when all is told once more, in another order.
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
            result.toldPerSecond = try await told(kind, count, data, shift: 0)
            result.toldAgainPerSecond = try await told(kind, count, data, shift: 37)
            let rows = try await self.rows(kind, store)
            guard rows == count else { throw WrongResult("\(rows) \(kind) of \(count)") }
            results.append(result)
        }
        let many = options.isQuick ? 20_000 : 1_000_000
        var number = count
        while number < many {
            _ = try await data.storeAgentEvents((number..<min(number + 1_000, many)).map(event))
            number += 1_000
        }
        let path = passing.url.appending(path: "events.jsonl").path
        for format in [TrainingFormat.jsonLines, .csv] {
            let start = ContinuousClock.now
            let manifest = try await store.exportForTraining(.events, to: path, format: format)
            let time = (ContinuousClock.now - start) / .seconds(1)
            guard manifest.rows == many else { throw WrongResult("\(manifest.rows) rows of \(many)") }
            var result = TrainingDataResult(kind: "events as \(format.rawValue)", rows: many)
            (result.exportedPerSecond, result.peakBytes) = (Double(many) / time, try processMemory("VmHWM"))
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

    /// Rows that eight tasks tell in batches of 100, each an eighth; rows a second.
    private static func told(_ kind: TrainingKind, _ count: Int, _ data: TrainingData, shift: Int) async throws
        -> Double
    {
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for first in stride(from: 0, to: count / 8, by: 100) {
                        let numbers = (0..<100).map { task * (count / 8) + first + ($0 * 7 + shift) % 100 }
                        let refused: [RefusedSpan]
                        switch kind {
                        case .tasks:
                            refused = try await data.storeAgentTasks(
                                numbers.map { AgentTask("crawl", id: "task \($0)", agent: "agent", status: .completed) }
                            )
                        case .tools:
                            refused = try await data.storeToolExecutions(
                                numbers.map { ToolExecution("search", id: "run \($0)", input: .json("{\"q\":\($0)}")) })
                        case .workflows:
                            refused = try await data.storeWorkflows(
                                numbers.map { AgentWorkflow(id: "flow \($0)", name: "build", phase: "plan") })
                        default: refused = try await data.storeAgentEvents(numbers.map(event))
                        }
                        if let first = refused.first { throw first.error }
                    }
                }
            }
            try await group.waitForAll()
        }
        return Double(count) / ((ContinuousClock.now - start) / .seconds(1))
    }

    private static func rows(_ kind: TrainingKind, _ store: SQLiteRecordStore) async throws -> Int {
        try await store.withRows(TrainingQuery(kind)) { rows in
            var count = 0
            try rows.forEach { _ in count += 1 }
            return count
        }
    }
}
