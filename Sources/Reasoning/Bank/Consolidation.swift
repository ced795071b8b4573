public import LoRA

/// What a group of episodes must show to become a skill, and to stay one.
public struct ConsolidationPolicy: Sendable, Hashable {
    /// What decides on promotion, beside the rates below.
    public enum Gate: String, Sendable, Hashable {
        /// The lower bound of the mean held-out gain is above 0.
        case gain
        /// The lower bound of the success rate (Wilson) is at least ``ConsolidationPolicy/minimumSuccessRate``; at 0.85 that
        /// asks 22 successes of 22.
        case wilson
    }

    /// The least share of users' trials that succeeded.
    public var minimumSuccessRate: Double
    /// The fewest resolved episodes of a group. Tells from ``minimumUsers`` on only: each user has one at least.
    public var minimumUses: Int
    /// How many days back episodes count.
    public var lookbackDays: Double
    /// The fewest distinct users.
    public var minimumUsers: Int
    /// What decides beside these.
    public var gate: Gate
    /// The seed of the clustering.
    public var seed: UInt64

    /// A policy.
    public init(
        minimumSuccessRate: Double = 0.85, minimumUses: Int = 5, lookbackDays: Double = 30, minimumUsers: Int = 5,
        gate: Gate = .gain, seed: UInt64 = 0
    ) {
        self.minimumSuccessRate = minimumSuccessRate
        self.minimumUses = minimumUses
        self.lookbackDays = lookbackDays
        self.minimumUsers = minimumUsers
        self.gate = gate
        self.seed = seed
    }

    /// Checks every setting.
    ///
    /// - Throws: ``ReasoningError`` (`invalidPolicy`) naming the setting and its range.
    public func validate() throws(ReasoningError) {
        func refuse(_ message: String) -> ReasoningError { ReasoningError(.invalidPolicy, "autoConsolidate", message) }
        guard minimumSuccessRate >= 0, minimumSuccessRate <= 1 else {
            throw refuse("the success rate \(minimumSuccessRate) is not in 0...1")
        }
        guard minimumUses >= 1 else { throw refuse("\(minimumUses) uses are fewer than 1") }
        guard minimumUsers >= 2 else { throw refuse("\(minimumUsers) users are fewer than 2") }
        guard lookbackDays > 0, lookbackDays <= 36_500 else {
            throw refuse("\(lookbackDays) days are not above 0 and at most 36500")
        }
    }
}

/// A group that became no skill, and why.
public struct RefusedGroup: Sendable, Hashable {
    /// The middle of its users' tastes, `[64]`.
    public var centroid: [Float]
    /// What it showed.
    public var evidence: GroupEvidence
    /// Why it was refused, in words.
    public var reason: String

    /// A refusal.
    public init(centroid: [Float], evidence: GroupEvidence, reason: String) {
        self.centroid = centroid
        self.evidence = evidence
        self.reason = reason
    }
}

/// What a consolidation did.
public struct ConsolidationReport: Sendable, Hashable {
    /// The skills made.
    public var created: [Skill] = []
    /// The skills that were there and were made again.
    public var updated: [Skill] = []
    /// The skills that were given up, because the upper bound of their gain fell below 0 or no group matches them any more.
    public var retired: [Skill] = []
    /// The groups refused.
    public var refused: [RefusedGroup] = []
    /// The resolved episodes in the window.
    public var episodes = 0
    /// Their distinct users.
    public var users = 0
    /// The donors whose adapters went into the start of the whole population; 0 when there is none.
    public var populationDonors = 0

    /// An empty report.
    public init() {}
}

/// A start that was made again without a user who was forgotten.
public struct SuccessorStart: Sendable, Hashable {
    /// What adapters start from.
    public var prior: AdapterPrior
    /// Those whose adapters are in it, ascending: none of them is to start from it.
    public var donors: [UserDigest]

    /// A start and its donors.
    public init(prior: AdapterPrior, donors: [UserDigest]) {
        self.prior = prior
        self.donors = donors
    }
}

/// What forgetting a user removed.
public struct ForgettingReport: Sendable, Hashable {
    /// The episodes removed.
    public var episodes = 0
    /// The skills that were made again without the user.
    public var rederived: [SkillID] = []
    /// The skills that were given up, because too few users are left.
    public var retired: [SkillID] = []
    /// Whether the start of the whole population was made again.
    public var populationRederived = false
    /// The starts that the user had given to and that users may have started from: theirs are stale.
    public var stalePriors: [PriorID] = []
    /// What was made again in the place of starts that the user had given to, by the starts' identifiers: users who started from
    /// one of those can be made again from it. Starts that had been replaced before have none.
    public var successors: [PriorID: SuccessorStart] = [:]

    /// An empty report.
    public init() {}
}
