import Reasoning
import TensorCore

/// A clock that moves when a test says so.
final class ManualClock: ReasoningClock {
    private let moment: Lock<Timestamp>

    init(_ now: Timestamp = Timestamp(microseconds: 1_700_000_000_000_000)) { moment = Lock(now) }

    var now: Timestamp { moment.withLock { $0 } }
    var uptime: Double { Double(now.microseconds) / 1e6 }

    func advance(days: Double) { moment.withLock { $0.microseconds += Int64(days * 86_400 * 1e6) } }
}
