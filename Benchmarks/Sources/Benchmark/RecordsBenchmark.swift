import Attune
import Benchmarking
import Foundation

/// What recording costs a call, and how fast records are stored.
struct RecordsResult: Codable {
    let name: String
    /// Bytes of a call's input and output.
    let bytes: Int
    /// Of one call less the closure alone, in microseconds: the median of its chunks' means.
    var caller: Double?
    /// Records stored in a second, until the last is acknowledged.
    var perSecond: Double?
    /// The records that were stored, and that were dropped or failed.
    var stored: Int?
    var lost: Int?
}

extension Benchmark {
    static func records(_ options: Options) async throws {
        var results = try await callerResults(options)
        for bytes in [512, 4_096] {
            results.append(try await storeResult(bytes, count: options.isQuick ? 20_000 : 100_000, in: options.folder))
        }
        if options.isJSON { return print(String(decoding: try JSONEncoder().encode(results), as: UTF8.self)) }
        for result in results {
            var cells = [
                result.name.padding(toLength: 34, withPad: " ", startingAt: 0), "\(result.bytes) bytes",
            ]
            if let caller = result.caller {
                cells.append("\(caller.formatted(.number.precision(.fractionLength(3)))) µs a call")
            }
            if let rate = result.perSecond {
                cells.append("\(Int(rate))/s, \(result.stored ?? 0) stored, \(result.lost ?? 0) lost")
            }
            print(cells.joined(separator: "\t"))
        }
    }

    /// Half a call's bytes, as words.
    private static func words(_ bytes: Int) -> String {
        let sentence = "The quick brown fox jumps over the lazy dog, and then it sleeps for the rest of the afternoon. "
        return String(String(repeating: sentence, count: bytes / 2 / sentence.utf8.count + 1).prefix(bytes / 2))
    }

    /// The time on the caller's path, in turns with the closure alone; what is recorded is dropped behind it.
    private static func callerResults(_ options: Options) async throws -> [RecordsResult] {
        let (input, answer) = (words(4_096), words(4_096))
        let call = ModelCall("TEXT_LARGE", provider: "acme", model: "m", context: SpanContext(agent: "shop"))
        func body() async -> String { answer }
        var queues = QueueConfiguration()
        queues.capacity = 1_000
        var results: [RecordsResult] = []
        for (name, redaction) in [
            ("switched off", nil), ("on, without redaction", Redaction.none),
            ("on, with the default rules", Redaction.standard),
        ] as [(String, Redaction?)] {
            let store = CheckingStore(call: call, input: .text(input), output: .text(answer))
            let recorder = try ModelCallRecorder(store: store, queues: queues)
            if let redaction {
                var configuration = RecordingConfiguration.minimal
                configuration.redaction = redaction
                try await recorder.enable(.everything, configuration)
            }
            let calls = redaction == nil ? 200_000 : 2_000
            var chunks: [Double] = []
            for _ in 0..<(options.isQuick ? 11 : 41) {
                var total = 0
                let start = ContinuousClock.now
                for _ in 0..<calls { total += await body().utf8.count }
                let between = ContinuousClock.now
                for _ in 0..<calls { total += await recorder.record(call, input: .text(input)) { answer }.utf8.count }
                let end = ContinuousClock.now
                guard total == 2 * calls * answer.utf8.count else { throw WrongResult("an answer was changed") }
                chunks.append(((end - between) - (between - start)) / .microseconds(1) / Double(calls))
                _ = await recorder.flush()
            }
            chunks.sort()
            results.append(RecordsResult(name: name, bytes: 4_096, caller: chunks[chunks.count / 2]))
        }
        return results
    }

    /// Calls of eight tasks into a file, with the default rules off: what is stored in a second. Each run's order is looked at.
    private static func storeResult(_ bytes: Int, count: Int, in folder: URL) async throws -> RecordsResult {
        let passing = try PassingFolder("attune-records", in: folder)
        defer { passing.remove() }
        let storage = try await SQLiteStorage(path: passing.url.appending(path: "records.db").path)
        let store = try await SQLiteRecordStore(storage)
        var queues = QueueConfiguration()
        queues.overflow = .block(upTo: .seconds(60))
        let recorder = try ModelCallRecorder(store: store, queues: queues)
        var configuration = RecordingConfiguration.minimal
        configuration.redaction = .none
        let half = words(bytes)
        let start = ContinuousClock.now
        try await recorder.enable(.everything, configuration)
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    let trace = RecordID(at: SystemClock().now)
                    for number in 0..<count / 8 {
                        let call = ModelCall(
                            "TEXT_LARGE", model: "\(number)", context: SpanContext(agent: "agent \(task)"), trace: trace
                        )
                        _ = await recorder.record(call, input: .text(half)) { half }
                    }
                }
            }
        }
        guard await recorder.flush(within: .seconds(600)) else { throw WrongResult("records were not stored") }
        let time = ContinuousClock.now - start
        let status = try await recorder.disable(.everything)
        for task in 0..<8 {
            var query = SpanQuery()
            (query.agent, query.limit) = ("agent \(task)", SpanQuery.mostSpans)
            var (last, seen) = (-1, 0)
            while true {
                let page = try await store.spans(query)
                if page.isEmpty { break }
                for span in page {
                    let number = span.requestModel.flatMap { Int($0) } ?? -1
                    guard number > last else { throw WrongResult("\(number) after \(last)") }
                    last = number
                }
                seen += page.count
                query.after = page.last?.id
            }
            guard seen == count / 8 else { throw WrongResult("\(seen) of \(count / 8) calls of a task are there") }
        }
        await storage.close()
        return RecordsResult(
            name: "stored by eight tasks", bytes: bytes, perSecond: Double(count) / (time / .seconds(1)),
            stored: status.records, lost: status.dropped + status.sinkFailures)
    }
}

/// A store that keeps nothing, and looks whether each record is that of its call: what the optimizer did to a caller was wrong once.
private struct CheckingStore: RecordStore {
    let place = "nowhere"
    let call: ModelCall
    let input: RecordContent
    let output: RecordContent

    func begin(_ recording: RecordingRecord) async throws {}
    func store(_ spans: [SpanRecord]) async throws -> [RefusedSpan] {
        for span in spans where span.kind == .modelCall {
            precondition(
                span.name == call.modelType && span.provider == call.provider && span.requestModel == call.model
                    && span.context == call.context && span.status == .completed
                    && span.contents == [.input: input, .output: output],
                "a record is not that of its call: \(span)")
        }
        return []
    }
    func end(_ recording: String, dropped: Int, at moment: Timestamp) async throws -> RecordingRecord {
        RecordingRecord(id: recording, scope: .everything, startedAt: moment)
    }
    func recordings(limit: Int) async throws -> [RecordingRecord] { [] }
    func spans(_ query: SpanQuery) async throws -> [SpanRecord] { [] }
    func eraseContents(about subject: String) async throws -> Int { 0 }
}
