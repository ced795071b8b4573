/// How much a log line matters; the levels and their order are those of swift-log.
public enum LogLevel: Int, Sendable, Comparable, CaseIterable {
    /// For tracing one call.
    case trace
    /// For finding a fault.
    case debug
    /// Worth knowing.
    case info
    /// Unusual, yet no fault.
    case notice
    /// A fault that was dealt with.
    case warning
    /// A fault that somebody has to deal with.
    case error
    /// Nothing works any more.
    case critical

    /// Whether `left` matters less than `right`.
    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
}

/// Where log lines go: the shape of swift-log's `LogHandler`, so that a handler of a few lines forwards to a `Logger`.
///
/// Called from any thread, also while the engine works for others: it should return at once and must not call the engine.
public protocol LogSink: Sendable {
    /// The least level that is wanted; lines below it are not even made.
    var level: LogLevel { get }

    /// Takes one line.
    ///
    /// - Parameters:
    ///   - level: How much it matters.
    ///   - message: What happened; holds no user's data.
    ///   - metadata: Facts beside it. Users appear as hashes only.
    ///   - source: The module that speaks.
    func log(level: LogLevel, message: String, metadata: [String: String], source: String)
}

/// Where measurements go: the shape of swift-metrics' factory, so that a sink of a few lines forwards to it.
///
/// Called from any thread and on the path of every update: it should return at once and must not call the engine.
public protocol MetricsSink: Sendable {
    /// Adds to a counter.
    func increment(counter label: String, by amount: Int)
    /// Records how long something took, in nanoseconds.
    func record(timer label: String, nanoseconds: Int64)
}

/// What a component reports to; both off by default.
public struct Reporting: Sendable {
    /// Where log lines go, if anywhere.
    public var logs: (any LogSink)?
    /// Where measurements go, if anywhere.
    public var metrics: (any MetricsSink)?

    /// Reports nowhere unless sinks are given.
    public init(logs: (any LogSink)? = nil, metrics: (any MetricsSink)? = nil) {
        self.logs = logs
        self.metrics = metrics
    }

    /// Makes and sends a log line, if it is wanted.
    package func log(
        _ level: LogLevel, _ message: @autoclosure () -> String, _ metadata: @autoclosure () -> [String: String] = [:],
        source: String
    ) {
        guard let logs, level >= logs.level else { return }
        logs.log(level: level, message: message(), metadata: metadata(), source: source)
    }

    /// Adds to a counter; without a sink not even the label is made.
    package func count(_ label: @autoclosure () -> String, by amount: Int = 1) {
        metrics?.increment(counter: label(), by: amount)
    }
}
