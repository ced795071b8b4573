import LearningRecords
import Reasoning
import SQLiteStorage

/// A recording of model calls while its process is killed, and what looks at it afterwards.
struct Capturing {
    let store: SQLiteRecordStore

    init(_ storage: SQLiteStorage) async throws { store = try await SQLiteRecordStore(storage) }

    /// Records one call after another, and acknowledges them when they are flushed.
    func record() async throws {
        var queues = QueueConfiguration()
        queues.batch = 16
        let recorder = try ModelCallRecorder(store: store, queues: queues)
        while true {
            let recording = try await recorder.enable(.everything).id
            say(.recording(recording))
            for number in 1...200 as ClosedRange<UInt64> {
                let call = ModelCall("TEXT_LARGE", externalID: "\(recording) \(number)")
                _ = await recorder.record(call, input: .text("input \(number)")) { "output \(number)" }
                if number % 10 == 0 {
                    guard await recorder.flush() else { fail("records could not be flushed") }
                    say(.recorded(recording, number))
                }
            }
            let status = try await recorder.disable(.everything)
            if status.records != 200 || status.dropped + status.sinkFailures > 0 {
                fail("a recording lost calls: \(status)")
            }
            say(.ended(recording))
        }
    }

    /// Whether everything acknowledged is there, whole and in order, and nothing is active still.
    func check(_ lines: [Line]) async throws -> String {
        var acknowledged: [String: UInt64] = [:]
        var ended: Set<String> = []
        for line in lines {
            switch line {
            case .recording(let id): acknowledged[id] = 0
            case .recorded(let id, let number): acknowledged[id] = number
            case .ended(let id): ended.insert(id)
            default: break
            }
        }
        let recordings = Dictionary(
            uniqueKeysWithValues: try await store.recordings(limit: .max).map { ($0.id, $0) })
        var calls = 0
        for (id, count) in acknowledged {
            guard let recording = recordings[id] else { fail("\(id): a recording is gone") }
            if ended.contains(id), recording.state != .completed { fail("\(id): ended, and is \(recording.state)") }
            if recording.state == .active { fail("\(id): active after its process has died") }
            var query = SpanQuery()
            (query.recording, query.limit) = (id, 1_000)
            let spans = try await store.spans(query)
            for (place, span) in spans.enumerated() {
                let isWhole =
                    span.externalID == "\(id) \(place + 1)"
                    && span.contents == [
                        .input: .text("input \(place + 1)"), .output: .text("output \(place + 1)"),
                    ]
                if !isWhole { fail("\(id): call \(place + 1) is missing or not whole: \(span)") }
            }
            if spans.count < count { fail("\(id): \(count) calls were acknowledged, \(spans.count) are there") }
            if recording.totals != RecordingTotals(records: spans.count, successful: spans.count) {
                fail("\(id): \(spans.count) calls, and \(recording.totals)")
            }
            calls += spans.count
        }
        let interrupted = recordings.values.count { $0.state == .interrupted }
        return "\(acknowledged.count) recordings of \(calls) calls, \(interrupted) interrupted"
    }
}
