public import LoRA

/// A personalized embedding, and which state of which user's adapter made it.
public struct PersonalizedEmbedding: Sendable, Hashable {
    /// The embedding, `[dimension]`.
    public var embedding: [Float]
    /// The user it is for.
    public var user: String
    /// The version of the adapter that was applied; 0 when there was none.
    public var version: UInt64
    /// Whether an adapter was applied. If not, the embedding is the one that was given.
    public var isPersonalized: Bool
}

/// One embedding to personalize for one user, in a call for many.
public struct PersonalizationRequest: Sendable, Hashable {
    /// The user.
    public var user: String
    /// The embedding, `[dimension]`.
    public var embedding: [Float]

    /// A request.
    public init(user: String, embedding: [Float]) {
        self.user = user
        self.embedding = embedding
    }
}

/// A batch of feedback from one user, in a call for many.
public struct UserFeedback: Sendable {
    /// The user.
    public var user: String
    /// Their feedback; one update.
    public var feedback: [Feedback]
    /// The application's name for the batch, by which a journal learns it only once.
    public var id: FeedbackID?

    /// A user's batch.
    public init(user: String, feedback: [Feedback], id: FeedbackID? = nil) {
        self.user = user
        self.feedback = feedback
        self.id = id
    }
}

/// What an engine has done since it was made, and what it holds now.
public struct EngineStatistics: Sendable, Hashable {
    /// The adapters in memory.
    public var residentAdapters = 0
    /// Their bytes on the heap, state included.
    public var residentBytes = 0
    /// The adapters with changes that no checkpoint has saved.
    public var unsavedAdapters = 0
    /// The updates of adapters in memory that stand in the journal alone: what a restart would replay for them.
    public var unsavedEntries = 0
    /// The updates applied.
    public var updates = 0
    /// The updates refused or failed; one that was cancelled is neither.
    public var failedUpdates = 0
    /// The embeddings that were answered, personalized or not.
    public var reads = 0
    /// Those of them that were returned as given, because the user had no adapter.
    public var unpersonalizedReads = 0
    /// The adapters made.
    public var created = 0
    /// The adapters loaded from the store.
    public var loaded = 0
    /// The adapters that had to leave memory for others.
    public var evicted = 0

    mutating func count(reads: Int, unpersonalized: Int) {
        self.reads += reads
        unpersonalizedReads += unpersonalized
    }
}
