internal import LoRA

/// A skill with what it was made of, from which it can be made again without one of its users.
package struct SkillRecord: Sendable, Hashable {
    package var skill: Skill
    /// Its users' trials, ascending by user.
    package var members: [UserTrial]
    /// The donors of the population's start that half of its own start is of, ascending.
    package var populationDonors: [UserDigest]
    /// What it had to show, and has to show without one of its users.
    package var policy: ConsolidationPolicy

    /// Whether the user's episodes or adapter are part of it.
    package func involves(_ user: UserDigest) -> Bool {
        members.containsAscending(user, by: \.user) || populationDonors.containsAscending(user, by: \.self)
    }
}

/// A start for users whose taste is like that of some donors.
package struct LocalStart: Sendable, Hashable {
    /// The middle of the donors' tastes.
    package var centroid: [Float]
    /// Those whose adapters were merged, ascending.
    package var donors: [UserDigest]
    package var initialization: Initialization
}

/// The starts of the whole population of one kind, with what they were made of.
package struct PopulationRecord: Sendable, Hashable {
    /// All users' trials, ascending by user.
    package var trials: [UserTrial]
    /// Those whose adapters were merged, ascending.
    package var donors: [UserDigest] = []
    /// For users of whom nothing is known; `nil` when there were too few donors or episodes for the policy, or what users gain
    /// is not surely above 0.
    package var initialization: Initialization?
    package var local: [LocalStart] = []
    /// What it had to show, and has to show without one of its users.
    package var policy: ConsolidationPolicy

    package init(trials: [UserTrial], policy: ConsolidationPolicy) {
        self.trials = trials
        self.policy = policy
    }

    /// The users who gained.
    var candidates: [UserTrial] { trials.filter(\.isSuccess) }
}

/// The donors of a start that was given out. Arrays and no set: skills share the population's, which may have very many.
private struct IssuedStart {
    let id: PriorID
    /// Ascending.
    let donors: [UserDigest]
    /// Those of the population's start that is half of it, ascending.
    var populationDonors: [UserDigest] = []

    func contains(_ user: UserDigest) -> Bool {
        donors.containsAscending(user, by: \.self) || populationDonors.containsAscending(user, by: \.self)
    }
}

/// The skills and starts that a bank has made.
package struct SkillShelf: Sendable {
    package private(set) var skills: [SkillID: SkillRecord] = [:]
    package var populations: [AdapterKind: PopulationRecord] = [:]
    /// Whether the donors of starts are remembered here, not elsewhere.
    private let remembersDonors: Bool
    /// The donors of every start ever given out, newest last, so that a start can be called stale long after it was
    /// replaced.
    private var issued: [IssuedStart] = []
    private var nextSkill: UInt64 = 1

    package init(remembersDonors: Bool = true) { self.remembersDonors = remembersDonors }

    /// The next skill's identifier comes after this one.
    package mutating func startIdentifiers(after id: SkillID) { nextSkill = max(nextSkill, id.value + 1) }

    /// The starts that are given out now.
    package var starts: Set<PriorID> {
        var all = Set(skills.values.compactMap(\.skill.initialization?.id))
        for record in populations.values {
            if let start = record.initialization { all.insert(start.id) }
            for start in record.local { all.insert(start.initialization.id) }
        }
        return all
    }

    /// Whether a user has a part in any skill or population.
    package func involves(_ user: UserDigest) -> Bool {
        skills.values.contains { $0.involves(user) }
            || populations.values.contains { $0.trials.containsAscending(user, by: \.user) }
    }

    /// The most starts whose donors are remembered.
    static let mostIssued = 1024

    /// The skills, ascending by identifier.
    package var list: [Skill] { skills.values.map(\.skill).sorted { $0.id < $1.id } }

    /// The records of a kind, ascending by identifier.
    package func records(of kind: AdapterKind) -> [SkillRecord] {
        skills.values.filter { $0.skill.kind == kind }.sorted { $0.skill.id < $1.skill.id }
    }

    /// The identifier of the next skill.
    package mutating func takeIdentifier() -> SkillID {
        defer { nextSkill += 1 }
        return SkillID(nextSkill)
    }

    /// Puts a skill there, in place of the one with its identifier.
    package mutating func put(_ record: SkillRecord) {
        skills[record.skill.id] = record
        guard let start = record.skill.initialization else { return }
        remember(IssuedStart(id: start.id, donors: record.skill.donors, populationDonors: record.populationDonors))
    }

    /// Puts the start of a population there.
    package mutating func put(_ record: PopulationRecord, for kind: AdapterKind) {
        populations[kind] = record
        if let start = record.initialization { remember(IssuedStart(id: start.id, donors: record.donors)) }
        for start in record.local { remember(IssuedStart(id: start.initialization.id, donors: start.donors)) }
    }

    package mutating func remove(_ id: SkillID) { skills[id] = nil }

    private mutating func remember(_ start: IssuedStart) {
        guard remembersDonors else { return }
        issued.removeAll { $0.id == start.id }
        issued.append(start)
        if issued.count > Self.mostIssued { issued.removeFirst(issued.count - Self.mostIssued) }
    }

    /// Forgets the starts to which a user gave, and returns them, ascending.
    mutating func takeStale(_ user: UserDigest) -> [PriorID] {
        let stale = issued.filter { $0.contains(user) }.map(\.id)
        issued.removeAll { $0.contains(user) }
        return stale.sorted { $0.value < $1.value }
    }

    /// The donors of every start that is remembered, by its identifier.
    var donorsByPrior: [PriorID: Set<UserDigest>] {
        Dictionary(uniqueKeysWithValues: issued.map { ($0.id, Set($0.donors).union($0.populationDonors)) })
    }

    /// What a new adapter of a kind may start from, with a sentence: where its user's taste is known the local start nearest to
    /// it, else the skill that is near enough, else the start of the whole population. Where nothing is known of the kind, what
    /// is known of adapters that differ from it in the objective alone.
    ///
    /// - Complexity: O(skills + local starts).
    package func initialization(
        for kind: AdapterKind, taste: [Float], nearness: Double, excluding user: UserDigest?
    ) -> (initialization: Initialization, sentence: String)? {
        let direction = ContextFeatures.direction(taste)
        for kind in [kind] + relatives(of: kind) {
            if let direction {
                if let found = localStart(kind, direction, excluding: user) { return found }
                if let found = skillStart(kind, direction, nearness, excluding: user) { return found }
            }
            if let population = populations[kind], let start = population.initialization,
                user.map({ !population.donors.containsAscending($0, by: \.self) }) ?? true
            {
                return (start, "Start from the population's \(population.donors.count) donors.")
            }
        }
        return nil
    }

    /// The kinds that differ in the objective alone, those with the most donors first.
    private func relatives(of kind: AdapterKind) -> [AdapterKind] {
        populations.filter { other, _ in
            other != kind && (other.dimension, other.rank, other.model) == (kind.dimension, kind.rank, kind.model)
        }
        .sorted {
            ($1.value.donors.count, $0.key.objective.rawValue) < ($0.value.donors.count, $1.key.objective.rawValue)
        }
        .map(\.key)
    }

    private func localStart(_ kind: AdapterKind, _ direction: [Float], excluding user: UserDigest?)
        -> (initialization: Initialization, sentence: String)?
    {
        var best: (start: LocalStart, cosine: Double)?
        for start in populations[kind]?.local ?? [] {
            if let user, start.donors.containsAscending(user, by: \.self) { continue }
            let value = cosine(direction, start.centroid)
            if value > best?.cosine ?? -2 { best = (start, value) }
        }
        return best.map { start, cosine in
            (
                start.initialization,
                "Start from \(start.donors.count) donors of like taste (cosine \(brief(cosine)))."
            )
        }
    }

    private func skillStart(
        _ kind: AdapterKind, _ direction: [Float], _ nearness: Double, excluding user: UserDigest?
    ) -> (initialization: Initialization, sentence: String)? {
        var best: (record: SkillRecord, start: Initialization, cosine: Double)?
        for record in records(of: kind) {
            guard let start = record.skill.initialization, user.map({ !record.involves($0) }) ?? true else { continue }
            let value = cosine(direction, record.skill.centroid)
            if value >= nearness, value > best?.cosine ?? -2 { best = (record, start, value) }
        }
        return best.map { record, start, cosine in
            let (id, donors) = (record.skill.id, record.skill.donors.count)
            return (start, "Start from skill \(id) of \(donors) donors (cosine \(brief(cosine))).")
        }
    }
}

extension Array {
    /// Whether an element's key is in an array that ascends by it; O(log n).
    func containsAscending<Key: Comparable>(_ key: Key, by keyOf: (Element) -> Key) -> Bool {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if keyOf(self[middle]) < key { low = middle + 1 } else { high = middle }
        }
        return low < count && keyOf(self[low]) == key
    }
}
