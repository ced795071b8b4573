public import Reasoning

/// A span that a store did not take, and why; it took the others.
public struct RefusedSpan: Sendable {
    /// Its place among those that were given.
    public var place: Int
    /// Why.
    public var error: RecordError

    /// A refusal.
    public init(place: Int, error: RecordError) { (self.place, self.error) = (place, error) }
}

/// Which spans are asked for; all of a project unless something is named.
public struct SpanQuery: Sendable, Hashable {
    /// Those of a recording.
    public var recording: String?
    /// Those of a run.
    public var trace: RecordID?
    /// Those of a kind.
    public var kind: SpanKind?
    /// Those of an agent.
    public var agent: String?
    /// Those of a status.
    public var status: SpanStatus?
    /// Those that began at this moment or later.
    public var from: Timestamp?
    /// Those that began before this moment.
    public var until: Timestamp?
    /// Those that were stored after one that is there.
    public var after: RecordID?
    /// The most that are given, 1...10,000.
    public var limit: Int

    /// The first hundred of all.
    public init() {
        (recording, trace, kind, agent, status, from, until, after, limit) = (
            nil, nil, nil, nil, nil, nil, nil, nil, 100
        )
    }
}

/// Keeps recordings and spans. Every call may be made from many tasks at once; what a call has acknowledged the next one sees.
///
/// `RecordStoreContract` checks what is promised here.
public protocol RecordStore: Sendable {
    /// Where records are kept, for people: a path, or an address without secrets.
    var place: String { get }

    /// Keeps a recording that begins.
    ///
    /// - Throws: ``RecordError`` (`duplicate`) for an identifier that is there; what the store throws.
    func begin(_ recording: RecordingRecord) async throws

    /// Keeps spans with their traces and contents, in their order; those that are refused are told, the others stand.
    ///
    /// A span whose identifier is there replaces it, unless the one that is there has a final status: then the new one is
    /// dropped in silence, so that the same batch may be given twice. Contents of roles that the new one does not have stay.
    ///
    /// - Returns: What was refused: `unknownRecording`, `duplicate` for an external identifier of another span of the kind,
    ///   `invalid`.
    /// - Throws: What the store throws; nothing was kept then.
    func store(_ spans: [SpanRecord]) async throws -> [RefusedSpan]

    /// Ends a recording: its totals are counted from what is stored.
    ///
    /// - Returns: The recording as it now is.
    /// - Throws: ``RecordError`` (`unknownRecording`); what the store throws.
    func end(_ recording: String, dropped: Int, at moment: Timestamp) async throws -> RecordingRecord

    /// The recordings, latest first.
    func recordings(limit: Int) async throws -> [RecordingRecord]

    /// Spans in the order in which they were first stored, so that who goes through them page by page misses none that comes later.
    ///
    /// - Throws: ``RecordError`` (`invalid`) for a limit out of range, and for an ``SpanQuery/after`` that is not there.
    func spans(_ query: SpanQuery) async throws -> [SpanRecord]

    /// Deletes all contents about a subject (``SpanContext/entity``) with what follows from them, and takes out what may name it: the
    /// spans' entity, room, message, attributes and words of failures, and the subject of recordings, which becomes empty. What kind
    /// of step it was, when, by which agent, with which external identifier and how it ended stays.
    ///
    /// - Returns: How many contents were deleted.
    func eraseContents(about subject: String) async throws -> Int
}

/// Why something could not be recorded, or a recording not be switched.
public struct RecordError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case alreadyRecording, notRecording, unknownRecording, unknownSpan, duplicate, invalid, files
        }
        private let kind: Kind

        /// Calls of this scope are recorded already.
        public static let alreadyRecording = Code(kind: .alreadyRecording)
        /// Nothing of this scope is recorded.
        public static let notRecording = Code(kind: .notRecording)
        /// There is no recording of that identifier.
        public static let unknownRecording = Code(kind: .unknownRecording)
        /// There is no span of that identifier.
        public static let unknownSpan = Code(kind: .unknownSpan)
        /// An identifier is there already.
        public static let duplicate = Code(kind: .duplicate)
        /// A value is out of its range.
        public static let invalid = Code(kind: .invalid)
        /// A folder or file of records could not be made or read.
        public static let files = Code(kind: .files)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The operation that failed.
    public let operation: String
    /// What failed and what to do. It holds nothing of a record's contents.
    public let message: String

    /// An error.
    public init(_ code: Code, _ operation: String, _ message: String) {
        (self.code, self.operation, self.message) = (code, operation, message)
    }

    /// Operation and message.
    public var description: String { "\(operation): \(message)" }
}
