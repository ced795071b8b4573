import Telemetry
import TensorCore

/// Keeps every log line.
final class RecordingLog: LogSink {
    struct Line: Sendable {
        var level: LogLevel
        var message: String
        var metadata: [String: String]
        var text: String { "\(message) \(metadata)" }
    }
    let level: LogLevel
    private let kept = Lock<[Line]>([])

    init(level: LogLevel = .trace) { self.level = level }

    var lines: [Line] { kept.withLock { $0 } }

    func log(level: LogLevel, message: String, metadata: [String: String], source: String) {
        kept.withLock { $0.append(Line(level: level, message: message, metadata: metadata)) }
    }
}

/// Adds up counters and keeps what timers measured.
final class RecordingMetrics: MetricsSink {
    private let counters = Lock<[String: Int]>([:])
    private let timers = Lock<[String: [Int64]]>([:])

    func increment(counter label: String, by amount: Int) { counters.withLock { $0[label, default: 0] += amount } }
    func record(timer label: String, nanoseconds: Int64) {
        timers.withLock { $0[label, default: []].append(nanoseconds) }
    }

    subscript(label: String) -> Int { counters.withLock { $0[label] ?? 0 } }
    func measurements(_ label: String) -> [Int64] { timers.withLock { $0[label] ?? [] } }
}
