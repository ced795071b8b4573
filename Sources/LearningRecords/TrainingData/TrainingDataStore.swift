public import Reasoning

/// Keeps what agents did, beside what models did, and tells of it.
///
/// Every call may be made from many tasks at once. What a call has acknowledged the next one sees, and its message is in the outbox: both
/// were committed together. `TrainingDataStoreContract` checks what is promised here.
public protocol TrainingDataStore: RecordStore {
    /// Keeps spans under the identifiers that the application gave them; told of again, they become what both say
    /// (``AgentTask`` and others tell how). A recording that is not there is kept as the name of a session, as an attribute.
    ///
    /// A span that changes something is in the outbox from then on, one that changes nothing is not.
    ///
    /// - Returns: What was refused (`invalid`); the others stand.
    /// - Throws: What the store throws; nothing was kept then.
    func merge(_ spans: [SpanRecord]) async throws -> [RefusedSpan]

    /// Keeps workflows likewise.
    func merge(_ workflows: [AgentWorkflow]) async throws -> [RefusedSpan]

    /// Keeps scores; one whose identifier is there changes nothing.
    ///
    /// - Returns: What was refused: `invalid`; `unknownSpan` for a score of a span that is not there.
    func store(_ scores: [Score]) async throws -> [RefusedSpan]

    /// Scores of a span, in the order in which they were stored.
    func scores(of span: RecordID) async throws -> [Score]

    /// A span by its identifier; `nil` where there is none.
    func span(_ id: RecordID) async throws -> SpanRecord?

    /// The span that has an identifier of the application's; `nil` where there is none.
    func span(_ kind: SpanKind, externalID: String) async throws -> SpanRecord?

    /// A workflow by the application's identifier; `nil` where there is none.
    func workflow(_ id: String) async throws -> AgentWorkflow?

    /// Keeps what a span's input or output was embedded as, in the place of what was kept before; deleted when its subject is erased.
    ///
    /// - Throws: ``RecordError``: `unknownSpan`; `invalid` for none or too many numbers, for what is no number, and for a payload's.
    func keep(embedding: [Float], _ role: ContentRole, of span: RecordID) async throws

    /// What a span's input or output was embedded as; `nil` where nothing is kept.
    func embedding(_ role: ContentRole, of span: RecordID) async throws -> [Float]?

    /// Messages of a topic after a position, in order, 1...10,000.
    func messages(_ topic: TrainingTopic, after position: Int64, limit: Int) async throws -> [OutboxMessage]

    /// How far a consumer has come in a topic: 0 before its first acknowledgement.
    func position(of consumer: String, in topic: TrainingTopic) async throws -> Int64

    /// Remembers how far a consumer has come; never less than before.
    func advance(_ consumer: String, in topic: TrainingTopic, to position: Int64) async throws

    /// Remembers whether a subject agrees to a use of what is kept about them.
    func setConsent(_ isGranted: Bool, of subject: String, to purpose: ConsentPurpose) async throws

    /// Since when a subject agrees; `nil` for those who do not, or were not asked. Who agrees again agrees since the first time.
    func consent(of subject: String, to purpose: ConsentPurpose) async throws -> Timestamp?

    /// Gives rows of a kind to `body`, as they all were at one moment, in the order in which they were first stored.
    ///
    /// - Throws: ``RecordError`` (`invalid`) for a filter that does not fit the kind; what the store or `body` throws.
    func withRows<Result: Sendable>(
        _ query: TrainingQuery, _ body: @escaping @Sendable (TrainingRows) throws -> Result
    ) async throws -> Result

    /// Gives `body`, for each input that calls of a query have in common, the input, the output that was scored best and the one that was scored
    /// worst, where one was scored better than the other (``Score/reward``, the mean of a call's scores).
    func withPreferences<Result: Sendable>(
        _ query: TrainingQuery, _ body: @escaping @Sendable (TrainingRows) throws -> Result
    ) async throws -> Result

    /// The version of the tables that rows come from, for manifests.
    var schemaVersion: Int { get }

    /// Erases a subject: all contents, scores' comments, embeddings, messages, workflows' states and consents about them are deleted, and what
    /// may name them is taken out.
    func erase(_ subject: String) async throws -> RecordErasure

    /// Deletes the oldest of what has ended, as a policy says.
    ///
    /// - Parameters:
    ///   - archive: Called before anything is deleted, with what will be: a JSON object of each span, with its scores, and of each
    ///     workflow. Where it throws, nothing was deleted.
    ///   - isDryRun: Whether it is only told what would be deleted.
    func retain(
        _ policy: RecordRetention, isDryRun: Bool, archive: (@Sendable (TrainingRows) throws -> Void)?
    ) async throws -> RetentionReport
}

extension TrainingDataStore {
    /// Whether a subject agrees; `false` for those who were not asked.
    public func hasConsent(of subject: String, to purpose: ConsentPurpose) async throws -> Bool {
        try await consent(of: subject, to: purpose) != nil
    }
}

/// What messages in the outbox are about.
public enum TrainingTopic: String, Sendable, Hashable, CaseIterable {
    /// Calls of models that a recording publishes.
    case modelCalls = "training-data.model_calls"
    /// Events.
    case agentEvents = "training-data.agent_events"
    /// Tasks, each time something changes.
    case agentTasks = "training-data.agent_tasks"
    /// Executions of tools, each time something changes.
    case toolExecutions = "training-data.tool_executions"
    /// Workflows, each time something changes.
    case workflows = "training-data.workflows"
    /// What was said.
    case messages = "training-data.messages"
    /// Searches.
    case retrievals = "training-data.retrievals"
    /// Embeddings that were made.
    case embeddings = "training-data.embeddings"
    /// Scores.
    case scores = "training-data.scores"

    /// The topic of a kind of step.
    public init(_ kind: SpanKind) {
        self =
            switch kind {
            case .modelCall: .modelCalls
            case .tool: .toolExecutions
            case .task: .agentTasks
            case .event: .agentEvents
            case .message: .messages
            case .retrieval: .retrievals
            case .embedding: .embeddings
            }
    }
}

/// What was committed, as those who follow a topic are told.
public struct OutboxMessage: Sendable, Hashable {
    /// Its place among all messages of the project: it rises, with gaps, and is the same however often the message is delivered.
    public var sequence: Int64
    /// The topic.
    public var topic: TrainingTopic
    /// A JSON object, as a record's file holds it.
    public var payload: String
    /// When it was committed.
    public var committedAt: Timestamp

    /// A message.
    public init(sequence: Int64, topic: TrainingTopic, payload: String, committedAt: Timestamp) {
        (self.sequence, self.topic, self.payload, self.committedAt) = (sequence, topic, payload, committedAt)
    }
}

/// What somebody may agree to.
public enum ConsentPurpose: String, Sendable, Hashable, CaseIterable {
    /// That scores of what was made for them teach an adapter of their own.
    case personalLearning = "personal_learning"
}

/// What an erasure removed from a store of records.
public struct RecordErasure: Sendable, Hashable {
    /// Spans that were about the subject; they stay, without what may name it.
    public var spans = 0
    /// Contents that were deleted.
    public var contents = 0
    /// Messages of the outbox that were deleted.
    public var messages = 0
    /// Scores whose comment and source were deleted.
    public var scores = 0
    /// Embeddings that were deleted.
    public var embeddings = 0
    /// Workflows that were about the subject; they stay, without state, results and what may name it.
    public var workflows = 0
    /// Recordings of the subject, whose subject was taken out.
    public var recordings = 0

    /// Nothing.
    public init() {}
}

/// How long records are kept.
public struct RecordRetention: Sendable, Hashable {
    /// Spans and workflows that ended, and began longer ago than this, are deleted; of a workflow it counts when it was first told.
    public var age: Duration?
    /// The oldest that ended are deleted until the contents of the rest have no more bytes than this: inputs, outputs and payloads of
    /// spans, states and results of workflows.
    public var bytes: Int64?

    /// For ever, unless given.
    public init(age: Duration? = nil, bytes: Int64? = nil) { (self.age, self.bytes) = (age, bytes) }
}

/// What a policy has deleted, or would delete.
public struct RetentionReport: Sendable, Hashable {
    /// Spans.
    public var spans: Int
    /// Workflows.
    public var workflows: Int
    /// The bytes of their contents.
    public var bytes: Int64
    /// Messages of the outbox.
    public var messages: Int

    /// Nothing, unless given.
    public init(spans: Int = 0, workflows: Int = 0, bytes: Int64 = 0, messages: Int = 0) {
        (self.spans, self.workflows, self.bytes, self.messages) = (spans, workflows, bytes, messages)
    }
}
