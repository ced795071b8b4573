public import Reasoning

/// Something that happened to an agent.
public struct AgentEvent: Sendable, Hashable {
    /// The application's identifier, unique among the project's events; the store's own unless given.
    public var id: String?
    /// What kind of event it is, such as `deployed`.
    public var type: String
    /// Whose it is.
    public var agent: String?
    /// The workflow that it happened in.
    public var workflow: String?
    /// The session that it happened in; that of a recording where there is one of this identifier.
    public var session: String?
    /// Who tells of it.
    public var source: String?
    /// What it is about.
    public var payload: RecordContent?
    /// How much it matters.
    public var severity: Severity
    /// Whom it is about: the subject whose contents an erasure deletes.
    public var subject: String?
    /// When it happened; when it was stored unless given.
    public var happenedAt: Timestamp?

    /// An event; of severity `info` unless given.
    public init(
        _ type: String, id: String? = nil, agent: String? = nil, workflow: String? = nil, session: String? = nil,
        source: String? = nil, payload: RecordContent? = nil, severity: Severity = .info, subject: String? = nil,
        happenedAt: Timestamp? = nil
    ) {
        (self.id, self.type, self.agent, self.workflow, self.session) = (id, type, agent, workflow, session)
        (self.source, self.payload, self.severity, self.subject) = (source, payload, severity, subject)
        self.happenedAt = happenedAt
    }

    func span(_ id: RecordID, at now: Timestamp) -> SpanRecord {
        var span = SpanRecord(id: id, trace: id, kind: .event, name: type, startedAt: happenedAt ?? now)
        (span.externalID, span.status, span.severity) = (self.id, .completed, severity)
        span.isStartAssumed = happenedAt == nil
        (span.recording, span.context) = (session, SpanContext(agent: agent, entity: subject))
        span.contents[.payload] = payload
        var members = AttributeMembers()
        members.add("workflow_id", workflow)
        members.add("source", source)
        span.attributes = members.text
        return span
    }
}

/// Something that was said in a conversation.
public struct ConversationMessage: Sendable, Hashable {
    /// The application's identifier, unique among the project's messages; the store's own unless given.
    public var id: String?
    /// Who said it: `user`, `assistant`, `system`, `tool`.
    public var role: String
    /// What was said.
    public var content: RecordContent
    /// The agent that takes part.
    public var agent: String?
    /// The session.
    public var session: String?
    /// The room, channel or thread.
    public var room: String?
    /// The person that takes part: the subject whose contents an erasure deletes.
    public var subject: String?
    /// Further facts: a JSON object.
    public var metadata: String?
    /// When it was said; when it was stored unless given.
    public var saidAt: Timestamp?

    /// A message.
    public init(
        _ role: String, _ content: RecordContent, id: String? = nil, agent: String? = nil, session: String? = nil,
        room: String? = nil, subject: String? = nil, metadata: String? = nil, saidAt: Timestamp? = nil
    ) {
        (self.id, self.role, self.content, self.agent, self.session) = (id, role, content, agent, session)
        (self.room, self.subject, self.metadata, self.saidAt) = (room, subject, metadata, saidAt)
    }

    func span(_ id: RecordID, at now: Timestamp) -> SpanRecord {
        var span = SpanRecord(id: id, trace: id, kind: .message, name: role, startedAt: saidAt ?? now)
        (span.externalID, span.status, span.recording) = (self.id, .completed, session)
        span.isStartAssumed = saidAt == nil
        span.context = SpanContext(agent: agent, room: room, entity: subject)
        span.contents[.payload] = content
        span.attributes = metadata
        return span
    }
}
