/// A question for episodes that were like a context.
public struct PatternQuery: Sendable, Hashable {
    /// What they are to be like. Only episodes of its objective, dimension, rank and model match.
    public var context: AdaptationContext
    /// The most that are wanted.
    public var limit: Int
    /// The least reward, 0...1.
    public var minimumReward: Double
    /// Whether only episodes that succeeded are wanted.
    public var onlySuccesses: Bool
    /// Whether only episodes that failed are wanted. Both is an error.
    public var onlyFailures: Bool
    /// A user whose episodes are left out, whatever else: nobody is advised by their own past.
    public var excluding: UserDigest?
    /// The weight of likeness against variety, in 0...1: 1 takes the most alike; below, each next pattern is chosen by
    /// `λ·similarity − (1 − λ)·highest similarity to those already chosen` (maximal marginal relevance; Carbonell & Goldstein
    /// 1998, *The use of MMR*, §2).
    public var relevance: Double

    /// A query.
    public init(
        context: AdaptationContext, limit: Int = 5, minimumReward: Double = 0.7, onlySuccesses: Bool = false,
        onlyFailures: Bool = false, excluding: UserDigest? = nil, relevance: Double = 1
    ) {
        self.context = context
        self.limit = limit
        self.minimumReward = minimumReward
        self.onlySuccesses = onlySuccesses
        self.onlyFailures = onlyFailures
        self.excluding = excluding
        self.relevance = relevance
    }

    /// Checks the query.
    ///
    /// - Throws: ``ReasoningError`` (`invalidQuery`) naming what contradicts itself or is out of range.
    public func validate() throws(ReasoningError) {
        if onlySuccesses, onlyFailures {
            throw ReasoningError(.invalidQuery, "retrievePatterns", "only successes and only failures leave nothing")
        }
        guard (1...10_000).contains(limit) else {
            throw ReasoningError(.invalidQuery, "retrievePatterns", "the limit \(limit) is not in 1...10000")
        }
        guard minimumReward >= 0, minimumReward <= 1 else {
            throw ReasoningError(.invalidQuery, "retrievePatterns", "the reward \(minimumReward) is not in 0...1")
        }
        guard relevance >= 0, relevance <= 1 else {
            throw ReasoningError(.invalidQuery, "retrievePatterns", "the relevance \(relevance) is not in 0...1")
        }
    }
}

/// An episode that answers a query.
public struct RetrievedPattern: Sendable, Hashable {
    /// Its identifier.
    public var id: EpisodeID
    /// Whose it was.
    public var user: UserDigest
    /// The situation in words.
    public var input: String
    /// What was done, in words.
    public var output: String
    /// The rank of its gain, 0...1.
    public var reward: Double
    /// Whether it succeeded.
    public var success: Bool
    /// How alike the contexts are, −1...1.
    public var similarity: Double
    /// Its age in seconds.
    public var age: Double
    /// The loss of its batch after the update.
    public var loss: Double
    /// What was done.
    public var action: AdaptationAction
    /// The rank of its adapter.
    public var rank: Int

    /// A pattern.
    public init(
        id: EpisodeID, user: UserDigest, input: String = "", output: String = "", reward: Double, success: Bool,
        similarity: Double, age: Double = 0, loss: Double, action: AdaptationAction, rank: Int
    ) {
        self.id = id
        self.user = user
        self.input = input
        self.output = output
        self.reward = reward
        self.success = success
        self.similarity = similarity
        self.age = age
        self.loss = loss
        self.action = action
        self.rank = rank
    }
}
