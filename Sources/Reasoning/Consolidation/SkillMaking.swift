/// Makes skills and populations' starts from trials and adapters; the same ones for consolidating and for forgetting.
struct SkillMaker: Sendable {
    let priors: PriorMaker
    let configuration: ReasoningBankConfiguration
    let now: Timestamp

    /// The start of a population.
    func population(
        candidates: [UserDigest], kind: AdapterKind, minimumUsers: Int
    ) async throws -> PopulationRecord {
        var record = PopulationRecord(candidates: candidates, minimumUsers: minimumUsers)
        if let made = try await priors.merge(candidates, kind: kind, minimum: minimumUsers) {
            record.donors = made.donors
            record.initialization = Initialization(id: PriorID(of: made.prior), prior: made.prior)
        }
        return record
    }

    /// A skill of users' trials.
    ///
    /// Its start is half the merge of those members who gained, the nearest to the middle first where there are too
    /// many, and half the population's start.
    ///
    /// - Parameters:
    ///   - id: Its identifier.
    ///   - members: Ascending by user, each with a taste.
    ///   - population: The start of the population of its kind.
    func skill(
        _ id: SkillID, kind: AdapterKind, members: [UserTrial], population: PopulationRecord?,
        policy: ConsolidationPolicy
    ) async throws -> SkillRecord {
        let centroid = middle(of: members.compactMap(\.taste))
        let candidates = members.filter(\.isSuccess)
            .map { (user: $0.user, cosine: $0.taste.map { cosine($0, centroid) } ?? -1) }
            .sorted { ($1.cosine, $0.user) < ($0.cosine, $1.user) }
        var record = SkillRecord(
            skill: Skill(
                id: id, kind: kind, centroid: centroid, initialization: nil, donors: [],
                learningRate: learningRate(of: members), evidence: GroupEvidence(members), updatedAt: now),
            members: members, populationDonors: [], policy: policy)
        let merged = try await priors.merge(candidates.map(\.user), kind: kind, minimum: policy.minimumUsers)
        guard let own = merged else { return record }
        var prior = own.prior
        if let population, let start = population.initialization {
            prior = try await PriorMaker.blended(start.prior, own.prior, rank: kind.rank)
            record.populationDonors = population.donors
        }
        record.skill.donors = own.donors
        record.skill.initialization = Initialization(id: PriorID(of: prior), prior: prior, skill: id)
        return record
    }

    /// The rate with the highest mean outcome over users, each mean drawn to that of all by k users of average outcome;
    /// of equals the lowest. 0 where no episode names a rate.
    private func learningRate(of members: [UserTrial]) -> Float {
        var arms: [Int: UserMoments] = [:]
        for member in members {
            for (index, arm) in member.sums.arms {
                let sum = configuration.rateCriterion == .benefit ? arm.benefit : arm.gain
                arms[index, default: UserMoments()].add(OutcomeUnits.mean(sum, arm.episodes))
            }
        }
        let users = arms.values.reduce(0) { $0 + $1.users }
        guard users > 0 else { return 0 }
        // In the order of the rates: a dictionary's changes from run to run, and with it the last bits of a sum.
        let ordered = arms.sorted { $0.key < $1.key }
        let overall = ordered.reduce(0.0) { $0 + Double($1.value.users) * $1.value.mean } / Double(users)
        let k = configuration.pseudoObservations
        var best: (index: Int, mean: Double)?
        for (index, moments) in ordered {
            let n = Double(moments.users)
            let mean = (n * moments.mean + k * overall) / (n + k)
            if mean > best?.mean ?? -.infinity { best = (index, mean) }
        }
        return best.map { RateGrid.rate($0.index) } ?? 0
    }
}
