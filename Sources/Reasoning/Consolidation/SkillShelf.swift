internal import LoRA

/// A skill with what it was made of, from which it can be made again without one of its users.
struct SkillRecord: Sendable, Hashable {
    var skill: Skill
    /// Its users' trials, ascending by user.
    var members: [UserTrial]
    /// The donors of the population's start that half of its own start is of, ascending.
    var populationDonors: [UserDigest]
    /// What it had to show, and has to show without one of its users.
    var policy: ConsolidationPolicy

    /// Whether the user's episodes or adapter are part of it.
    func involves(_ user: UserDigest) -> Bool {
        members.containsAscending(user, by: \.user) || populationDonors.containsAscending(user, by: \.self)
    }
}

/// A start for users whose taste is like that of some donors.
struct LocalStart: Sendable, Hashable {
    /// The middle of the donors' tastes.
    var centroid: [Float]
    /// Those whose adapters were merged, ascending.
    var donors: [UserDigest]
    var initialization: Initialization
}

/// The starts of the whole population of one kind, with what they were made of.
struct PopulationRecord: Sendable, Hashable {
    /// All users' trials, ascending by user.
    var trials: [UserTrial]
    /// Those whose adapters were merged, ascending.
    var donors: [UserDigest] = []
    /// For users of whom nothing is known; `nil` when there were too few donors or episodes for the policy, or what users gain
    /// is not surely above 0.
    var initialization: Initialization?
    var local: [LocalStart] = []
    /// What it had to show, and has to show without one of its users.
    var policy: ConsolidationPolicy

    init(trials: [UserTrial], policy: ConsolidationPolicy) {
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
struct SkillShelf: Sendable {
    private(set) var skills: [SkillID: SkillRecord] = [:]
    var populations: [AdapterKind: PopulationRecord] = [:]
    /// The donors of every start ever given out, newest last, so that a start can be called stale long after it was
    /// replaced.
    private var issued: [IssuedStart] = []
    private var nextSkill: UInt64 = 1

    /// The most starts whose donors are remembered.
    static let mostIssued = 1024

    /// The skills, ascending by identifier.
    var list: [Skill] { skills.values.map(\.skill).sorted { $0.id < $1.id } }

    /// The records of a kind, ascending by identifier.
    func records(of kind: AdapterKind) -> [SkillRecord] {
        skills.values.filter { $0.skill.kind == kind }.sorted { $0.skill.id < $1.skill.id }
    }

    /// The identifier of the next skill.
    mutating func takeIdentifier() -> SkillID {
        defer { nextSkill += 1 }
        return SkillID(nextSkill)
    }

    /// Puts a skill there, in place of the one with its identifier.
    mutating func put(_ record: SkillRecord) {
        skills[record.skill.id] = record
        guard let start = record.skill.initialization else { return }
        remember(IssuedStart(id: start.id, donors: record.skill.donors, populationDonors: record.populationDonors))
    }

    /// Puts the start of a population there.
    mutating func put(_ record: PopulationRecord, for kind: AdapterKind) {
        populations[kind] = record
        if let start = record.initialization { remember(IssuedStart(id: start.id, donors: record.donors)) }
        for start in record.local { remember(IssuedStart(id: start.initialization.id, donors: start.donors)) }
    }

    mutating func remove(_ id: SkillID) { skills[id] = nil }

    private mutating func remember(_ start: IssuedStart) {
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
    func initialization(
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
