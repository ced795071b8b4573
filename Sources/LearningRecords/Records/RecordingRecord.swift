public import Reasoning

/// Which calls a recording takes.
public enum RecordingScope: Sendable, Hashable, CustomStringConvertible {
    /// All that no narrower recording takes.
    case everything
    /// Those of an agent, unless a recording of their subject takes them.
    case agent(String)
    /// Those about a subject (``SpanContext/entity``).
    case subject(String)

    /// The scope in words. It names agent or subject: not for logs.
    public var description: String {
        switch self {
        case .everything: "everything"
        case .agent(let agent): "agent \(agent)"
        case .subject(let subject): "subject \(subject)"
        }
    }
}

/// How far a recording has come.
public enum RecordingState: String, Sendable, Hashable, CaseIterable {
    /// It is going on.
    case active
    /// It was switched off.
    case completed
    /// Its process ended before it was switched off.
    case interrupted
}

/// How many calls a recording has taken.
public struct RecordingTotals: Sendable, Hashable {
    /// All that were stored.
    public var records: Int
    /// Of these those that ended well.
    public var successful: Int
    /// Of these those that failed or were cancelled.
    public var failed: Int

    /// None, unless given.
    public init(records: Int = 0, successful: Int = 0, failed: Int = 0) {
        (self.records, self.successful, self.failed) = (records, successful, failed)
    }
}

/// A period in which calls are recorded, as a store keeps it.
public struct RecordingRecord: Sendable, Hashable {
    /// `session_`, the milliseconds since 1970, `_` and eight hexadecimal digits.
    public var id: String
    /// Which calls it takes.
    public var scope: RecordingScope
    /// What it is for.
    public var description: String?
    /// The share of calls that it takes, above 0 and at most 1.
    public var sample: Double
    /// How far it has come.
    public var state: RecordingState
    /// What it has taken.
    public var totals: RecordingTotals
    /// The records that were dropped because no sink took them in time.
    public var dropped: Int
    /// When it began.
    public var startedAt: Timestamp
    /// When it ended; for an interrupted one the time of its last record.
    public var completedAt: Timestamp?

    /// A recording that has just begun.
    public init(id: String, scope: RecordingScope, startedAt: Timestamp) {
        (self.id, self.scope, self.startedAt) = (id, scope, startedAt)
        (description, sample, state, totals, dropped, completedAt) = (nil, 1, .active, RecordingTotals(), 0, nil)
    }

    /// A new identifier.
    static func newID(at moment: Timestamp) -> String {
        let digits = String(UInt32.random(in: 0...UInt32.max), radix: 16)
        return "session_\(moment.microseconds / 1_000)_\(String(repeating: "0", count: 8 - digits.count))\(digits)"
    }
}
