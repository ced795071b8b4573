#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// A moment: microseconds since 1970-01-01 00:00 UTC.
public struct Timestamp: Sendable, Hashable, Comparable {
    /// Microseconds since 1970.
    public var microseconds: Int64

    /// A moment.
    public init(microseconds: Int64) { self.microseconds = microseconds }

    /// The seconds from `earlier` to this moment; negative when it comes after.
    public func seconds(since earlier: Timestamp) -> Double {
        Double(microseconds) / 1e6 - Double(earlier.microseconds) / 1e6
    }

    /// Whether `left` comes before `right`.
    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.microseconds < right.microseconds }
}

/// What the bank and its cache tell the time by. Given from outside, so that tests and replays need not wait.
public protocol ReasoningClock: Sendable {
    /// The date: what episodes are stamped with.
    var now: Timestamp { get }
    /// Seconds that never run backwards: what entries of the cache age by.
    var uptime: Double { get }
}

/// The machine's clocks.
public struct SystemClock: ReasoningClock {
    /// The machine's clocks.
    public init() {}

    /// The date.
    public var now: Timestamp {
        let time = Self.read(CLOCK_REALTIME)
        return Timestamp(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
    }

    /// The seconds since the machine was started.
    public var uptime: Double {
        let time = Self.read(CLOCK_MONOTONIC)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        let status = unsafe clock_gettime(clock, &time)
        precondition(status == 0, "clock_gettime failed")
        return time
    }
}
