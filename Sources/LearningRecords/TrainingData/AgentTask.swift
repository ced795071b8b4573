public import Reasoning

/// A piece of work that an agent was given. Told as often as something changes: what is known already stays.
public struct AgentTask: Sendable, Hashable {
    /// The application's identifier, unique among the project's tasks; the store's own unless given.
    public var id: String?
    /// What kind of task it is.
    public var type: String
    /// Who does it.
    public var agent: String?
    /// Which running instance of the agent does it.
    public var instance: String?
    /// How urgent it is; `normal` where nobody said.
    public var priority: String?
    /// How far it has come.
    public var status: SpanStatus
    /// What it was given.
    public var input: RecordContent?
    /// What came of it.
    public var output: RecordContent?
    /// What went wrong.
    public var error: String?
    /// How often it was tried again; 0 where nobody said.
    public var retryCount: Int64?
    /// How often it may be tried again; 3 where nobody said.
    public var maxRetries: Int64?
    /// After how many seconds it is given up; 300 where nobody said.
    public var timeoutSeconds: Int64?
    /// How long it took.
    public var executionTime: Duration?
    /// The session; that of a recording where there is one of this identifier.
    public var session: String?
    /// Whom it is about: the subject whose contents an erasure deletes.
    public var subject: String?
    /// When it began; when it was told of unless given.
    public var startedAt: Timestamp?
    /// When it ended; tells the ``executionTime`` where that is not given and ``startedAt`` is.
    public var completedAt: Timestamp?

    /// A task that waits, unless a status is given.
    public init(
        _ type: String, id: String? = nil, agent: String? = nil, instance: String? = nil, priority: String? = nil,
        status: SpanStatus = .pending, input: RecordContent? = nil, output: RecordContent? = nil,
        error: String? = nil, retryCount: Int64? = nil, maxRetries: Int64? = nil, timeoutSeconds: Int64? = nil,
        executionTime: Duration? = nil, session: String? = nil, subject: String? = nil, startedAt: Timestamp? = nil,
        completedAt: Timestamp? = nil
    ) {
        (self.id, self.type, self.agent, self.instance, self.priority) = (id, type, agent, instance, priority)
        (self.status, self.input, self.output, self.error) = (status, input, output, error)
        (self.retryCount, self.maxRetries, self.timeoutSeconds) = (retryCount, maxRetries, timeoutSeconds)
        (self.executionTime, self.session, self.subject) = (executionTime, session, subject)
        (self.startedAt, self.completedAt) = (startedAt, completedAt)
    }

    func span(_ id: RecordID, at now: Timestamp) -> SpanRecord {
        var span = SpanRecord(id: id, trace: id, kind: .task, name: type, startedAt: began(now))
        (span.externalID, span.status, span.recording) = (self.id, status, session)
        span.isStartAssumed = startedAt == nil && completedAt == nil
        span.endedAt = completedAt
        span.severity = status == .failed ? .error : .info
        span.context = SpanContext(agent: agent, entity: subject)
        (span.contents[.input], span.contents[.output]) = (input, output)
        span.failure = error.map { SpanRecord.Failure(type: "task", message: $0) }
        span.duration = Self.microseconds(executionTime, startedAt, completedAt)
        var members = AttributeMembers()
        members.add("instance_id", instance)
        members.add("priority", priority)
        members.add("retry_count", retryCount)
        members.add("max_retries", maxRetries)
        members.add("timeout_seconds", timeoutSeconds)
        // Until it is known how long it took.
        if span.duration == nil { members.add(SpanRecord.endName, completedAt?.microseconds) }
        span.attributes = members.text
        return span
    }

    /// When it began; what has ended and does not say so, as long before its end as it took.
    private func began(_ now: Timestamp) -> Timestamp {
        if let startedAt { return startedAt }
        let end = completedAt ?? now
        guard status.isFinal, let time = Self.microseconds(executionTime, nil, nil), time >= 0 else { return end }
        return Timestamp(microseconds: end.microseconds &- time)
    }

    /// The time that something took; unknown unless it or both ends are given.
    static func microseconds(_ time: Duration?, _ start: Timestamp?, _ end: Timestamp?) -> Int64? {
        if let time {
            let (seconds, attoseconds) = time.components
            let (whole, isLarge) = seconds.multipliedReportingOverflow(by: 1_000_000)
            return isLarge ? nil : whole.addingReportingOverflow(attoseconds / 1_000_000_000_000).partialValue
        }
        guard let start, let end else { return nil }
        let (passed, isLarge) = end.microseconds.subtractingReportingOverflow(start.microseconds)
        return isLarge || passed < 0 ? nil : passed
    }
}

/// A tool that an agent ran.
public struct ToolExecution: Sendable, Hashable {
    /// The application's identifier, unique among the project's executions; the store's own unless given.
    public var id: String?
    /// The tool's name.
    public var tool: String
    /// What kind of tool it is.
    public var category: String?
    /// Who ran it.
    public var agent: String?
    /// The task that it was run for.
    public var task: String?
    /// How far it has come.
    public var status: SpanStatus
    /// Its parameters.
    public var input: RecordContent?
    /// What it gave.
    public var output: RecordContent?
    /// What went wrong.
    public var error: String?
    /// How long it took.
    public var executionTime: Duration?
    /// The session; that of a recording where there is one of this identifier.
    public var session: String?
    /// Whom it is about: the subject whose contents an erasure deletes.
    public var subject: String?
    /// When it began; when it was told of unless given.
    public var startedAt: Timestamp?

    /// An execution that ended well, unless a status is given.
    public init(
        _ tool: String, id: String? = nil, category: String? = nil, agent: String? = nil, task: String? = nil,
        status: SpanStatus = .completed, input: RecordContent? = nil, output: RecordContent? = nil,
        error: String? = nil, executionTime: Duration? = nil, session: String? = nil, subject: String? = nil,
        startedAt: Timestamp? = nil
    ) {
        (self.id, self.tool, self.category, self.agent, self.task) = (id, tool, category, agent, task)
        (self.status, self.input, self.output, self.error) = (status, input, output, error)
        (self.executionTime, self.session, self.subject) = (executionTime, session, subject)
        self.startedAt = startedAt
    }

    private var took: Int64? { AgentTask.microseconds(executionTime, nil, nil) }

    /// When it began; what has ended and does not say so, as long ago as it took.
    private func began(_ now: Timestamp) -> Timestamp {
        if let startedAt { return startedAt }
        guard status.isFinal, let took, took >= 0 else { return now }
        return Timestamp(microseconds: now.microseconds &- took)
    }

    func span(_ id: RecordID, at now: Timestamp) -> SpanRecord {
        var span = SpanRecord(id: id, trace: id, kind: .tool, name: tool, startedAt: began(now))
        (span.externalID, span.status, span.recording, span.tool) = (self.id, status, session, tool)
        span.isStartAssumed = startedAt == nil
        span.severity = status == .failed ? .error : .info
        span.context = SpanContext(agent: agent, entity: subject)
        (span.contents[.input], span.contents[.output]) = (input, output)
        span.failure = error.map { SpanRecord.Failure(type: "tool", message: $0) }
        span.duration = took
        var members = AttributeMembers()
        members.add("task_id", task)
        members.add("tool_category", category)
        span.attributes = members.text
        return span
    }
}
