import Reasoning
import TensorCore

@testable import Reasoning

/// All that a bank holds, apart from the identifiers of its episodes and its counters.
struct Snapshot: Equatable {
    struct Kind: Equatable {
        var sums: [UserDigest: UserSums]
        var resolved: Int
        var gain: UserMoments
        var arms: [Int: ArmMoments]
    }
    var episodes: [Episode]
    var kinds: [AdapterKind: Kind]
    var users: Int
    var count: Int
    var skills: [Skill]
    var records: [SkillRecord]
    var populations: [AdapterKind: PopulationRecord]
    var donorsByPrior: [PriorID: Set<UserDigest>]

    init(_ bank: InMemoryReasoningBank) {
        let state = bank.state.withLock { $0 }
        episodes = state.episodes.values
            .sorted { ($0.user, $0.version) < ($1.user, $1.version) }
        kinds = state.kinds.mapValues { Kind(sums: $0.sums, resolved: $0.resolved, gain: $0.gain, arms: $0.arms) }
        users = state.users
        count = state.count
        skills = state.knowledge.list
        records = skills.map(\.kind).flatMap { state.knowledge.records(of: $0) }
        populations = state.knowledge.populations
        donorsByPrior = state.knowledge.donorsByPrior
    }
}
