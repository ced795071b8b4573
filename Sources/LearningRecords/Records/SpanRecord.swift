public import Reasoning

/// What kind of step a span is.
public enum SpanKind: String, Sendable, Hashable, CaseIterable {
    /// A call of a model.
    case modelCall = "model_call"
    /// A tool that was run.
    case tool
    /// A piece of work that was given to somebody.
    case task
    /// Something that happened, at one moment.
    case event
    /// Something that somebody said in a conversation.
    case message
    /// A search.
    case retrieval
    /// An embedding that was made.
    case embedding
}

/// How far a span has come.
public enum SpanStatus: String, Sendable, Hashable, CaseIterable {
    /// It waits.
    case pending
    /// It has begun.
    case running
    /// It ended well.
    case completed
    /// It ended with an error.
    case failed
    /// It was stopped before its end.
    case cancelled

    /// Whether nothing more is to come.
    public var isFinal: Bool { self == .completed || self == .failed || self == .cancelled }
}

/// How much a span matters.
public enum Severity: String, Sendable, Hashable, CaseIterable, Comparable {
    /// For finding a fault.
    case debug
    /// Worth knowing.
    case info
    /// A fault that was dealt with.
    case warning
    /// A fault that somebody has to deal with.
    case error
    /// Nothing works any more.
    case critical

    /// Whether `left` matters less than `right`.
    public static func < (left: Severity, right: Severity) -> Bool { left.place < right.place }

    private var place: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// Who and where a span belongs to, as the application names them.
public struct SpanContext: Sendable, Hashable {
    /// The agent.
    public var agent: String?
    /// The room, channel or thread.
    public var room: String?
    /// Whom it is about: the subject whose contents an erasure deletes.
    public var entity: String?
    /// The message.
    public var message: String?

    /// All are left open unless given.
    public init(agent: String? = nil, room: String? = nil, entity: String? = nil, message: String? = nil) {
        (self.agent, self.room, self.entity, self.message) = (agent, room, entity, message)
    }
}

/// One step of a run, with what went in and what came out.
public struct SpanRecord: Sendable, Hashable {
    /// What failed.
    public struct Failure: Sendable, Hashable {
        /// The type of the error, without anything of its content.
        public var type: String
        /// What it says; redacted like contents.
        public var message: String

        /// An error's type and words.
        public init(type: String, message: String) { (self.type, self.message) = (type, message) }
    }

    /// Its own identifier.
    public var id: RecordID
    /// The run that it is a step of.
    public var trace: RecordID
    /// The step that it is a part of; that may be stored later, since it ends later.
    public var parent: RecordID?
    /// The identifier of the recording that it was taken in.
    public var recording: String?
    /// What kind of step it is.
    public var kind: SpanKind
    /// What it is called; a model call's is the model's type, such as `TEXT_LARGE`.
    public var name: String
    /// How far it has come.
    public var status: SpanStatus
    /// How much it matters.
    public var severity: Severity
    /// What failed, where something did.
    public var failure: Failure?
    /// When it began.
    public var startedAt: Timestamp
    /// How long it took, in microseconds; unknown before its end.
    public var duration: Int64?
    /// The time until the first piece of a stream, in microseconds.
    public var timeToFirstChunk: Int64?
    /// Who serves the model, such as `openai`.
    public var provider: String?
    /// The model that was asked for.
    public var requestModel: String?
    /// The model that answered.
    public var responseModel: String?
    /// Tokens that went in.
    public var inputTokens: Int64?
    /// Tokens that came out.
    public var outputTokens: Int64?
    /// What it cost, in the unit that the application keeps.
    public var cost: Double?
    /// The tool's name.
    public var tool: String?
    /// The application's own identifier, unique among the spans of a kind in a project.
    public var externalID: String?
    /// Who and where it belongs to.
    public var context: SpanContext
    /// Further facts: a JSON object.
    public var attributes: String?
    /// What went in and came out, at most one of each role.
    public var contents: [ContentRole: RecordContent]
    /// Whether it is put into the store's outbox too.
    public var isPublished: Bool
    /// When it ended, where it is told of without its time: that follows when it is known when it began. Not kept.
    var endedAt: Timestamp?
    /// Whether nobody has said when it began, and it is when it was told of. Not kept.
    var isStartAssumed = false

    /// A step that has begun, and of which nothing else is known.
    public init(id: RecordID, trace: RecordID, kind: SpanKind, name: String, startedAt: Timestamp) {
        (self.id, self.trace, self.kind, self.name, self.startedAt) = (id, trace, kind, name, startedAt)
        (parent, recording, failure, duration, timeToFirstChunk) = (nil, nil, nil, nil, nil)
        (provider, requestModel, responseModel, inputTokens, outputTokens, cost) = (nil, nil, nil, nil, nil, nil)
        (tool, externalID, attributes, endedAt) = (nil, nil, nil, nil)
        status = .running
        severity = .info
        context = SpanContext()
        contents = [:]
        isPublished = false
    }
}
