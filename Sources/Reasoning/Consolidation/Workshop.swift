internal import LoRA

/// Where what is made of trials goes.
package protocol SkillStore: Sendable {
    /// The population of a kind, as it was put there last.
    func population(of kind: AdapterKind) async throws -> PopulationRecord?
    /// Puts a kind's population there, none without trials. All of it or nothing, the plan included.
    func put(_ record: PopulationRecord, for kind: AdapterKind, _ plan: KindPlan?) async throws
    /// Puts a skill there, in place of the one with its identifier. All of it or nothing, the plan included.
    func put(_ record: SkillRecord, _ plan: KindPlan?) async throws
}

/// What a consolidation needs of a bank: where trials come from, and where skills go.
///
/// What one that was interrupted has done is known by its plans: a bank that outlives the process keeps them, and the next
/// consolidation goes on. One that doesn't has none.
package protocol Workshop: SkillStore {
    /// The kinds that have episodes, skills or a population's start.
    func kinds() async throws -> [AdapterKind]
    /// Each user's trial since a moment, ascending by user.
    func trials(of kind: AdapterKind, since window: Timestamp) async throws -> [UserTrial]
    /// The skills of a kind, ascending by identifier.
    func skills(of kind: AdapterKind) async throws -> [Skill]

    /// What an interrupted consolidation had planned for a kind.
    func plan(for kind: AdapterKind) async throws -> KindPlan?
    /// Keeps a plan, and takes identifiers for its new skills, in order.
    func begin(_ plan: KindPlan, for kind: AdapterKind) async throws -> KindPlan

    /// Takes skills away. All of them or none, the plan included.
    func retire(_ skills: [SkillID], of kind: AdapterKind, _ plan: KindPlan) async throws
    /// Says how far it has come.
    func report(_ progress: ConsolidationProgress)
}

/// What a consolidation is going to do with one kind's groups, and what of it is done.
package struct KindPlan: Sendable, Hashable {
    /// What becomes of a group.
    package enum Fate: Sendable, Hashable {
        /// It is refused; the skill that it would have been stays as it was.
        case refused(SkillID?)
        /// It is made a skill, under an identifier that is taken when the plan is kept.
        case new(SkillID?)
        /// A skill that is there is made again of it.
        case again(SkillID)
    }

    /// In the order of the groups.
    package var fates: [Fate]
    /// The skills that no group confirms.
    package var retired: [SkillID]
    package var isPopulationDone = false
    /// How many groups are done.
    package var groupsDone = 0
    package var isRetiringDone = false

    package init(fates: [Fate], retired: [SkillID]) {
        self.fates = fates
        self.retired = retired
    }

    /// The plan with identifiers for its new skills, in order.
    package func naming(_ next: () -> SkillID) -> KindPlan {
        var named = self
        named.fates = fates.map { if case .new = $0 { .new(next()) } else { $0 } }
        return named
    }
}

/// How far a consolidation has come.
public struct ConsolidationProgress: Sendable, Hashable {
    /// What is being done.
    public enum Stage: String, Sendable, Hashable {
        /// Episodes are read.
        case reading
        /// Starts of a population are merged.
        case merging
        /// Skills are made.
        case skills
    }

    /// What is being done.
    public var stage: Stage
    /// How much of it is done: episodes read, or starts or skills made.
    public var done: Int
    /// How much there is; `nil` where nobody knows.
    public var total: Int?

    /// How far it has come.
    public init(stage: Stage, done: Int, total: Int?) {
        self.stage = stage
        self.done = done
        self.total = total
    }
}
