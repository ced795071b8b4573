public import Reasoning

/// What a recording has done so far.
public struct RecordingStatus: Sendable, Hashable {
    /// Whether it is going on.
    public var isEnabled: Bool
    /// The recording's identifier.
    public var id: String
    /// Which calls it takes.
    public var scope: RecordingScope
    /// When it began.
    public var startedAt: Timestamp
    /// How long it has gone on, or went on.
    public var duration: Duration
    /// The calls that were taken.
    public var total: Int
    /// Of these those that ended well.
    public var successful: Int
    /// Of these those that failed or were cancelled.
    public var failed: Int
    /// The time within which half of the calls ended, in microseconds, to within 3 %.
    public var medianLatency: Double?
    /// The time within which 95 % of the calls ended.
    public var latency95: Double?
    /// The time within which 99 % of the calls ended.
    public var latency99: Double?
    /// The records that are stored as rows.
    public var records: Int
    /// The records that were dropped because the store did not keep up.
    public var dropped: Int
    /// The records that the store refused or could not take, and what of the recording itself could not be stored or made.
    public var sinkFailures: Int
    /// The records that have no file: their folder did not keep up, or they could not be written.
    public var fileFailures: Int
    /// The records whose contents were dropped because they could not be redacted.
    public var redactionFailures: Int
    /// The records of all recordings that waited still, for the store or for files, when it was switched off and the time was up.
    public var unflushed: Int
    /// The folder with its files, if it writes any.
    public var folder: String?

    /// The share of calls that ended well; `nil` without calls.
    public var successRate: Double? { total > 0 ? Double(successful) / Double(total) : nil }
}
