public import LoRA

/// Names a skill within its bank.
public struct SkillID: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Rises with every skill made.
    public let value: UInt64

    /// An identifier.
    public init(_ value: UInt64) { self.value = value }

    /// All identifiers are below it, so that counting on never overflows.
    package static let limit: UInt64 = 1 << 62

    /// The number.
    public var description: String { "\(value)" }

    /// Whether `left` was made before `right`.
    public static func < (left: SkillID, right: SkillID) -> Bool { left.value < right.value }
}

/// What a group of users' episodes showed.
public struct GroupEvidence: Sendable, Hashable {
    /// The distinct users.
    public var users: Int
    /// The resolved episodes in the window.
    public var uses: Int
    /// The share of the users' trials that succeeded: one trial a user, a success when their mean gain is above 0.
    public var successRate: Double
    /// The lower bound of its 95 % interval after Wilson (1927, *Probable inference*, eq. 4).
    public var wilsonLow: Double
    /// The mean over users of their mean held-out gain, with its 95 % interval (Student's t). By default the gain of the
    /// adapter as a whole (``AdaptationOutcome/benefit``), not of single updates.
    public var gain: ConfidenceInterval

    /// Evidence.
    public init(users: Int, uses: Int, successRate: Double, wilsonLow: Double, gain: ConfidenceInterval) {
        self.users = users
        self.uses = uses
        self.successRate = successRate
        self.wilsonLow = wilsonLow
        self.gain = gain
    }
}

/// A consolidated pattern: users alike in taste, what worked for them, and a start for the next one like them.
public struct Skill: Sendable, Hashable {
    /// Its identifier.
    public var id: SkillID
    /// The kind of adapters that it serves.
    public var kind: AdapterKind
    /// The middle of its users' tastes, of length 1, `[64]`.
    public var centroid: [Float]
    /// Half the shrunk product merge of its donors' adapters, half the population's start, blended as products; `nil` when
    /// fewer donors than the policy's `minimumUsers` have an adapter, since a merge of a few shows much of each.
    public var initialization: Initialization?
    /// Those of its users whose adapters were merged, ascending. The donors of the population's start are not listed.
    public var donors: [UserDigest]
    /// The learning rate, before the schedule, under which its users gained most.
    public var learningRate: Float
    /// What it rests on.
    public var evidence: GroupEvidence
    /// When it was last made or confirmed.
    public var updatedAt: Timestamp

    /// A skill.
    public init(
        id: SkillID, kind: AdapterKind, centroid: [Float], initialization: Initialization?, donors: [UserDigest],
        learningRate: Float, evidence: GroupEvidence, updatedAt: Timestamp
    ) {
        self.id = id
        self.kind = kind
        self.centroid = centroid
        self.initialization = initialization
        self.donors = donors
        self.learningRate = learningRate
        self.evidence = evidence
        self.updatedAt = updatedAt
    }
}

/// Which adapters may learn from each other: those of one embedding model, shape and objective.
public struct AdapterKind: Sendable, Hashable {
    /// The objective.
    public var objective: ObjectiveKind
    /// The dimension.
    public var dimension: Int
    /// The rank.
    public var rank: Int
    /// A stable hash of the embedding model's name.
    public var model: UInt64

    /// The kind of a context's adapter.
    public init(_ context: AdaptationContext) {
        objective = context.objective
        dimension = context.dimension
        rank = context.rank
        model = context.model
    }
}
