/// The query a ranking starts from.
public enum QueryKind: String, Sendable, Hashable, CaseIterable {
    /// The embedding of the user's last like.
    case last
    /// The exponential average of the user's likes so far (β = 0.9, starting from zero), divided by its length.
    case profile
}

/// A way to turn a query into the vector y by which items are ranked (y·e + κ·popularity), perhaps learning per user.
protocol RankingMethod: Sendable {
    /// Whether seeds make a difference; if not, one run serves them all.
    var isSeeded: Bool { get }
    /// The query that the method insists on; nil for the evaluation's own.
    var query: QueryKind? { get }
    /// Whether rankers learn from events.
    var learns: Bool { get }
    /// How many negatives an event of learning needs.
    var negativeCount: Int { get }

    /// The memory that a user's state takes, numbers of an optimizer and of protection included; `nil` where it grows with what
    /// the user liked.
    var bytesPerAdapter: Int? { get }

    /// The method without what it may remember of users: what a pass over users starts from.
    func fresh() throws -> any RankingMethod

    /// A user's state before the first like.
    func ranker(for userID: String, seed: Int) throws -> any Ranker
}

extension RankingMethod {
    var isSeeded: Bool { false }
    var query: QueryKind? { nil }
    var learns: Bool { negativeCount > 0 }
    var negativeCount: Int { 0 }
    var bytesPerAdapter: Int? { 0 }

    func fresh() throws -> any RankingMethod { self }
}

/// One user's state under one method; used by one task at a time.
protocol Ranker: AnyObject {
    /// A like has become known and can serve as a query from now on. Called once for each item of the sequence, before
    /// ``vector(for:)``.
    func observe(item: Int) throws
    /// The vector y for a query, shape `[dimension]`.
    func vector(for query: [Float]) async throws -> [Float]
    /// Learns from what came after the query. Never called for a user's last event, whose lesson nobody would see.
    func learn(from event: LearningEvent) async throws
}

extension Ranker {
    func observe(item: Int) throws {}
    func learn(from event: LearningEvent) async throws {}
}

/// What a user's next like teaches.
struct LearningEvent: Sendable {
    /// The query that was ranked, shape `[dimension]`.
    let query: [Float]
    /// The item that came next.
    let positive: Int
    /// Items drawn uniformly from the candidates other than the positive, with replacement.
    let negatives: [Int]
    /// The user's likes up to the query, in order of time; never candidates.
    let seen: [Int]
}
