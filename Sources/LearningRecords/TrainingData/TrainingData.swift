public import Reasoning

/// Tells a store what agents did.
///
/// ```swift
/// let data = TrainingData(records)
/// let task = try await data.storeAgentTask(AgentTask("crawl", id: "task-7", agent: "scout"))
/// try await data.storeToolExecution(ToolExecution("search", task: task, input: .json(parameters)))
/// ```
///
/// Contents and words of errors are redacted before they leave the call, as those of recorded calls are. What is told of again under its
/// identifier becomes what both say, in whatever order they came: a `running` that is late changes nothing of a `completed`.
public struct TrainingData: Sendable {
    /// Where it is kept.
    public let store: any TrainingDataStore
    private let redaction: Redaction
    private let clock: any ReasoningClock

    /// What agents did, in a store.
    ///
    /// - Parameter redaction: What is taken out of contents; where that fails, contents are dropped and the rest is kept.
    public init(
        _ store: any TrainingDataStore, redaction: Redaction = .standard, clock: any ReasoningClock = SystemClock()
    ) {
        (self.store, self.redaction, self.clock) = (store, redaction, clock)
    }

    /// Keeps an event.
    ///
    /// - Returns: Its identifier: the one that was given, or the store's own.
    /// - Throws: ``RecordError`` (`invalid`); what the store throws. Nothing was kept then.
    @discardableResult
    public func storeAgentEvent(_ event: AgentEvent) async throws -> String {
        try await keepOne { event.span($0, at: $1) }
    }

    /// Keeps a task, or what is new of it.
    @discardableResult
    public func storeAgentTask(_ task: AgentTask) async throws -> String {
        try await keepOne { task.span($0, at: $1) }
    }

    /// Keeps an execution of a tool, or what is new of it.
    @discardableResult
    public func storeToolExecution(_ execution: ToolExecution) async throws -> String {
        try await keepOne { execution.span($0, at: $1) }
    }

    /// Keeps a message of a conversation.
    @discardableResult
    public func storeMessage(_ message: ConversationMessage) async throws -> String {
        try await keepOne { message.span($0, at: $1) }
    }

    /// Keeps a workflow, or what is new of it.
    @discardableResult
    public func storeWorkflow(_ workflow: AgentWorkflow) async throws -> String {
        if let refused = try await storeWorkflows([workflow]).first { throw refused.error }
        return workflow.id
    }

    /// Keeps many events in one transaction.
    ///
    /// - Returns: What was refused, with its place; the others stand.
    @discardableResult
    public func storeAgentEvents(_ events: [AgentEvent]) async throws -> [RefusedSpan] {
        try await keepAll(events) { $0.span($1, at: $2) }
    }

    /// Keeps many tasks in one transaction.
    @discardableResult
    public func storeAgentTasks(_ tasks: [AgentTask]) async throws -> [RefusedSpan] {
        try await keepAll(tasks) { $0.span($1, at: $2) }
    }

    /// Keeps many executions of tools in one transaction.
    @discardableResult
    public func storeToolExecutions(_ executions: [ToolExecution]) async throws -> [RefusedSpan] {
        try await keepAll(executions) { $0.span($1, at: $2) }
    }

    /// Keeps many messages in one transaction.
    @discardableResult
    public func storeMessages(_ messages: [ConversationMessage]) async throws -> [RefusedSpan] {
        try await keepAll(messages) { $0.span($1, at: $2) }
    }

    /// Keeps many workflows in one transaction.
    @discardableResult
    public func storeWorkflows(_ workflows: [AgentWorkflow]) async throws -> [RefusedSpan] {
        try await store.merge(
            workflows.map { workflow in
                var workflow = workflow
                do {
                    workflow.state = try workflow.state.map { try redaction.content($0) }
                    workflow.results = try workflow.results.map { try redaction.content($0) }
                    workflow.error = try workflow.error.map { try redaction.text($0) }
                    workflow.metadata = try workflow.metadata.map { try redacted(attributes: $0) }
                } catch {
                    (workflow.state, workflow.results, workflow.error, workflow.metadata) = (nil, nil, nil, nil)
                }
                return workflow
            })
    }

    private func keepOne(_ span: (RecordID, Timestamp) -> SpanRecord) async throws -> String {
        let made = redacted(span(RecordID(at: clock.now), clock.now))
        if let refused = try await store.merge([made]).first { throw refused.error }
        return made.externalID ?? made.id.description
    }

    private func keepAll<Item>(
        _ items: [Item], _ span: (Item, RecordID, Timestamp) -> SpanRecord
    ) async throws -> [RefusedSpan] {
        let now = clock.now
        return try await store.merge(items.map { redacted(span($0, RecordID(at: now), now)) })
    }

    /// A step without what is taken out of it.
    private func redacted(_ span: SpanRecord) -> SpanRecord {
        var span = span
        span.isPublished = true
        do {
            span.contents = try span.contents.mapValues { try redaction.content($0) }
            if let failure = span.failure { span.failure?.message = try redaction.text(failure.message) }
            // What the application says of a message; the other kinds' members are names.
            if span.kind == .message { span.attributes = try span.attributes.map { try redacted(attributes: $0) } }
        } catch {
            span.contents = [:]
            span.failure?.message = ""
            if span.kind == .message { span.attributes = nil }
        }
        return span
    }

    /// Attributes that are no JSON are left to the store, which refuses them.
    private func redacted(attributes: String) throws(RedactionError) -> String {
        switch try redaction.content(.json(attributes)) {
        case .text(let text), .json(let text): text
        }
    }
}
