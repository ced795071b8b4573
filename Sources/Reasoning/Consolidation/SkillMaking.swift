internal import LoRA

/// Makes skills and populations' starts from trials and adapters; the same ones for consolidating and for forgetting.
package struct SkillMaker: Sendable {
    private let priors: PriorMaker
    private let configuration: ReasoningBankConfiguration
    let now: Timestamp

    /// - Parameter now: The end of a consolidation's window, and what skills are dated by.
    package init(donors: any DonorSource, configuration: ReasoningBankConfiguration, now: Timestamp) {
        priors = PriorMaker(donors: donors, maximumDonors: configuration.maximumDonors)
        self.configuration = configuration
        self.now = now
    }

    /// The starts of a population: one for those of whom nothing is known, and local ones around some of the donors, each of
    /// those nearest to it in taste. None where the mean gain over all users is not surely above 0.
    ///
    /// - Parameters:
    ///   - trials: Ascending by user.
    ///   - progress: Told how many starts are made, that of everybody included, and how many there will be.
    func population(
        _ trials: [UserTrial], kind: AdapterKind, policy: ConsolidationPolicy,
        progress: (_ starts: Int, _ of: Int) -> Void = { _, _ in }
    ) async throws -> PopulationRecord {
        var record = PopulationRecord(trials: trials, policy: policy)
        let donors = record.candidates
        let evidence = GroupEvidence(trials)
        guard evidence.gain.low > 0, evidence.uses >= policy.minimumUses,
            let made = try await priors.merge(
                donors.map(\.user), kind: kind, minimum: policy.minimumUsers,
                shrinkage: .factor(configuration.startStrength))
        else { return record }
        record.donors = made.donors
        record.initialization = Initialization(id: PriorID(of: made.prior), prior: made.prior)
        record.local = try await localStarts(
            donors, kind: kind, minimumUsers: policy.minimumUsers, progress: progress)
        return record
    }

    /// Starts around donors that lie far from each other: the first donor, then always the one whose taste is least like those
    /// chosen (Gonzalez 1985, *Clustering to minimize the maximum intercluster distance*, §2).
    private func localStarts(
        _ donors: [UserTrial], kind: AdapterKind, minimumUsers: Int, progress: (Int, Int) -> Void
    ) async throws -> [LocalStart] {
        let tasted = donors.compactMap { trial in trial.taste.map { (user: trial.user, taste: $0) } }
        let count = max(minimumUsers, min(configuration.neighbors, tasted.count / 10))
        // Of fewer the local starts would be much the same as the population's.
        guard tasted.count >= 10 * minimumUsers, configuration.localStarts > 0 else { return [] }
        var anchors = [0]
        var nearness = tasted.map { cosine($0.taste, tasted[0].taste) }
        while anchors.count < min(configuration.localStarts, tasted.count / 2) {
            let next = nearness.indices.min { (nearness[$0], $0) < (nearness[$1], $1) } ?? 0
            anchors.append(next)
            for i in nearness.indices { nearness[i] = max(nearness[i], cosine(tasted[i].taste, tasted[next].taste)) }
        }
        var starts: [LocalStart] = []
        for (number, anchor) in anchors.enumerated() {
            try Task.checkCancellation()
            progress(number + 1, anchors.count + 1)
            let middleOfAnchor = tasted[anchor].taste
            let ranked = tasted.map { (user: $0.user, taste: $0.taste, cosine: cosine($0.taste, middleOfAnchor)) }
                .sorted { ($1.cosine, $0.user) < ($0.cosine, $1.user) }
                .prefix(count)
            guard
                let made = try await priors.merge(
                    ranked.map(\.user), kind: kind, minimum: minimumUsers,
                    shrinkage: .factor(configuration.startStrength))
            else { continue }
            starts.append(
                LocalStart(
                    centroid: middle(of: ranked.map(\.taste)), donors: made.donors,
                    initialization: Initialization(id: PriorID(of: made.prior), prior: made.prior)))
        }
        return starts
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
                let sum = configuration.criterion == .benefit ? arm.benefit : arm.gain
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
