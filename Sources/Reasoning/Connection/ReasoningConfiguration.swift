/// How an engine works with a bank.
public struct ReasoningConfiguration: Sendable, Hashable {
    /// How long an update waits for the bank before it goes on without hints.
    public var deadline: Duration
    /// How long the background waits for the bank to store an episode before it gives that one up, and a caller for the answer to
    /// a question that no update waits for.
    public var storeDeadline: Duration
    /// The most answers that the cache holds; the least recently used goes first.
    public var cacheCapacity: Int
    /// The most bytes that the cached answers may take, as ``ReasoningStatistics/cacheBytes`` counts them: a start counts for
    /// every answer that names it.
    public var cacheByteCapacity: Int
    /// How many seconds an answer is good for.
    public var cacheTimeToLive: Double
    /// The most episodes that wait to be stored; a full queue drops the oldest and counts it.
    public var queueCapacity: Int
    /// The patterns that are retrieved with each advice.
    public var retrievalLimit: Int
    /// The least reward of retrieved patterns, 0...1.
    public var minimumReward: Double
    /// The gain above which an episode is a success (``AdaptationOutcome/success``). Groups of users are judged by what the bank is
    /// configured for: ``ReasoningBankConfiguration/criterion`` and ``ReasoningBankConfiguration/successMargin``.
    public var successMargin: Double
    /// After which updates a new adapter is made again from the start that the bank then advises, knowing the user's taste
    /// better, and learns its feedback so far again; ascending, empty for never. Until the last of them a new user's batches, of
    /// at most 16 feedbacks each, stay in memory.
    public var restartsAfter: [Int]
    /// The secret under which the bank knows users; a new random one for each engine unless given. Give your own to a bank that
    /// outlives the engine, so that it knows its users again. ``PersonalizationEngine`` never shows it: `nil` in its
    /// configuration.
    public var digestKey: DigestKey?
    /// Names the engine's session in its episodes; sixteen random digits unless given. At most 256 bytes.
    public var sessionID: String?

    /// The settings; every default is stated here.
    public init(
        deadline: Duration = .milliseconds(50), storeDeadline: Duration = .seconds(5), cacheCapacity: Int = 1024,
        cacheByteCapacity: Int = 1 << 28, cacheTimeToLive: Double = 300, queueCapacity: Int = 4096,
        retrievalLimit: Int = 5,
        minimumReward: Double = 0.7, successMargin: Double = 0, restartsAfter: [Int] = [2, 4, 8],
        digestKey: DigestKey? = nil,
        sessionID: String? = nil
    ) {
        self.deadline = deadline
        self.storeDeadline = storeDeadline
        self.cacheCapacity = cacheCapacity
        self.cacheByteCapacity = cacheByteCapacity
        self.cacheTimeToLive = cacheTimeToLive
        self.queueCapacity = queueCapacity
        self.retrievalLimit = retrievalLimit
        self.minimumReward = minimumReward
        self.successMargin = successMargin
        self.restartsAfter = restartsAfter
        self.digestKey = digestKey
        self.sessionID = sessionID
    }

    /// Checks every setting.
    ///
    /// - Throws: ``ReasoningError`` (`invalidConfiguration`) naming the setting and its range.
    public func validate() throws(ReasoningError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(ReasoningError) {
            if !holds { throw ReasoningError(.invalidConfiguration, "configuration", message()) }
        }
        try check(
            deadline > .zero && deadline <= .seconds(60), "the deadline \(deadline) is not above 0 and at most 60 s")
        try check(
            storeDeadline > .zero && storeDeadline <= .seconds(3600),
            "the store deadline \(storeDeadline) is not above 0 and at most an hour")
        try check(
            (1...10_000_000).contains(cacheCapacity), "the cache capacity \(cacheCapacity) is not in 1...10000000")
        try check(
            (1...(1 << 40)).contains(cacheByteCapacity),
            "the cache's byte capacity \(cacheByteCapacity) is not in 1...2^40")
        try check(
            cacheTimeToLive > 0 && cacheTimeToLive <= 1e9,
            "the time to live \(cacheTimeToLive) is not above 0 and at most 1e9 seconds")
        try check(
            (1...10_000_000).contains(queueCapacity), "the queue capacity \(queueCapacity) is not in 1...10000000")
        try check((1...1000).contains(retrievalLimit), "the retrieval limit \(retrievalLimit) is not in 1...1000")
        try check(minimumReward >= 0 && minimumReward <= 1, "the reward \(minimumReward) is not in 0...1")
        try check(
            successMargin > -1e6 && successMargin < 1e6, "the success margin \(successMargin) is not within ±1e6")
        try check(
            restartsAfter.allSatisfy { (1...64).contains($0) }
                && zip(restartsAfter, restartsAfter.dropFirst()).allSatisfy(<),
            "restarts after \(restartsAfter) updates are not ascending within 1...64")
        if let sessionID {
            try check(
                !sessionID.isEmpty && sessionID.utf8.count <= 256, "the session id is empty or longer than 256 bytes")
        }
    }
}

/// What an engine's work with its banks has come to. Counts are of the engine's life, over all banks that were connected.
public struct ReasoningStatistics: Sendable, Hashable {
    /// Whether a bank is connected.
    public var isEnabled = false
    /// The engine's session.
    public var sessionID = ""
    /// Whether answers are cached.
    public var isCacheEnabled = false
    /// The answers in the cache.
    public var cacheEntries = 0
    /// About how many bytes they take.
    public var cacheBytes = 0
    /// Look-ups that the cache answered.
    public var cacheHits = 0
    /// Look-ups that it did not.
    public var cacheMisses = 0
    /// Answers that made room for newer ones.
    public var cacheEvictions = 0
    /// Answers that had grown too old.
    public var cacheExpirations = 0
    /// The questions that look-ups have asked: one for the strategy, and one for patterns where that had nothing to say.
    public var queries = 0
    /// Updates that hints changed.
    public var hinted = 0
    /// Parts of hints that were not followed: out of bounds, negated, unknown, or about a setting that is off.
    public var hintsIgnored = 0
    /// Adapters that started from a prior.
    public var warmStarts = 0
    /// Adapters made again, knowing their user's taste.
    public var restarts = 0
    /// Episodes that wait to be stored.
    public var queueDepth = 0
    /// Episodes stored.
    public var stored = 0
    /// Episodes dropped because the queue was full.
    public var dropped = 0
    /// Calls to a bank that threw or gave what cannot be.
    public var failed = 0
    /// Calls to a bank that did not come back in time.
    public var timedOut = 0
    /// Look-ups that were not made, because the bank had failed repeatedly or too many calls were out.
    public var skipped = 0

    /// Hits / (hits + misses); 0 before the first look-up.
    public var cacheHitRate: Double {
        cacheHits + cacheMisses > 0 ? Double(cacheHits) / Double(cacheHits + cacheMisses) : 0
    }

    /// Nothing yet.
    public init() {}
}
