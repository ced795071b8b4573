internal import LoRA
internal import TensorCore

extension InMemoryReasoningBank {
    /// Turns what worked into skills and retires those that no longer do; see ``ConsolidationPolicy``.
    ///
    /// Per kind of adapter: each user's resolved episodes of the window are one trial; users are grouped by the
    /// direction of their latest taste (``ConsolidationReport/refused`` names groups that do not pass, and why). A
    /// group near the centroid of a skill that is there (a cosine of at least 0.75, the nearest pair first)
    /// makes that skill again; others make new ones. A skill is retired when no group matches it any more, or its group
    /// is refused and the upper bound of the gain is below 0; a skill whose group is refused for less stays as it is.
    ///
    /// The same episodes, donors and policy give the same skills, to the byte, in whatever order the episodes were
    /// stored.
    ///
    /// - Throws: ``ReasoningError`` (`invalidPolicy`), `CancellationError`, and what `donors` throws. Nothing was
    ///   changed then.
    /// - Complexity: O(episodes + users) beside the merges; the lock is held for 1,024 episodes at a time. Two
    ///   consolidations take turns.
    public func autoConsolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource
    ) async throws -> ConsolidationReport {
        try policy.validate()
        return try await turns.withTurn {
            try Task.checkCancellation()
            let now = clock.now
            let maker = SkillMaker(
                priors: PriorMaker(donors: donors, maximumDonors: configuration.maximumDonors),
                configuration: configuration, now: now)
            let lookback = Int64(policy.lookbackDays * 86_400 * 1e6)
            let (start, overflow) = now.microseconds.subtractingReportingOverflow(lookback)
            let window = Timestamp(microseconds: overflow ? .min : start)
            var shelf = state.withLock { $0.knowledge }
            let present = state.withLock { Set($0.kinds.keys) }
            var report = ConsolidationReport()
            var users: Set<UserDigest> = []
            for kind in present.union(shelf.populations.keys).union(shelf.list.map(\.kind)).sorted(
                by: AdapterKind.isBefore)
            {
                let trials = try await trials(of: kind, since: window)
                report.episodes += trials.reduce(0) { $0 + $1.sums.episodes }
                users.formUnion(trials.map(\.user))
                try await consolidate(kind, trials, policy, maker, &shelf, &report)
            }
            report.users = users.count
            state.withLock { [shelf] in $0.knowledge = shelf }
            return report
        }
    }

    /// The least cosine between a group's middle and a skill's centroid for the group to be the skill's: half the way
    /// from a stranger's to its own.
    static let skillMatch = 0.75

    /// Each user's trial in the window, ascending by user.
    private func trials(of kind: AdapterKind, since window: Timestamp) async throws -> [UserTrial] {
        var trials: [UserDigest: UserTrial] = [:]
        var last = EpisodeID(0)
        while true {
            let part = state.withLock { [last] in $0.episodes(of: kind, after: last, limit: 1024) }
            guard let end = part.last?.id else { break }
            try Task.checkCancellation()
            for stored in part {
                guard let outcome = stored.episode.outcome, stored.episode.recordedAt >= window else { continue }
                let user = stored.episode.user
                let trial = UserTrial(
                    user: user, criterion: configuration.criterion, margin: configuration.successMargin)
                trials[user, default: trial].count(stored.episode, outcome)
            }
            last = end
            await Task.yield()
        }
        return trials.values.sorted { $0.user < $1.user }
    }

    /// One kind's population, groups and skills.
    private func consolidate(
        _ kind: AdapterKind, _ trials: [UserTrial], _ policy: ConsolidationPolicy, _ maker: SkillMaker,
        _ shelf: inout SkillShelf, _ report: inout ConsolidationReport
    ) async throws {
        let population = try await maker.population(trials, kind: kind, policy: policy)
        shelf.populations[kind] = nil
        if !trials.isEmpty { shelf.put(population, for: kind) }
        report.populationDonors += population.donors.count

        let tasted = trials.filter { $0.taste != nil }
        let groups = try await TasteClustering.groups(
            of: tasted.compactMap(\.taste), seed: policy.seed, leastMembers: policy.minimumUsers
        ).map { group in group.map { tasted[$0] } }
        let matches = Self.matches(
            groups.map { middle(of: $0.compactMap(\.taste)) }, shelf.records(of: kind).map(\.skill))
        var left = Set(shelf.records(of: kind).map(\.skill.id))
        for (i, members) in groups.enumerated() {
            let known = matches[i]
            let evidence = GroupEvidence(members)
            if let refusal = evidence.refusal(by: policy) {
                let isHarmful = evidence.gain.high < 0
                var reason = refusal
                if let known, !isHarmful {
                    left.remove(known)
                    reason += "; skill \(known) stays as it was"
                }
                report.refused.append(
                    RefusedGroup(centroid: middle(of: members.compactMap(\.taste)), evidence: evidence, reason: reason))
                continue
            }
            let record = try await maker.skill(
                known ?? shelf.takeIdentifier(), kind: kind, members: members, population: population,
                policy: policy)
            shelf.put(record)
            if let known {
                left.remove(known)
                report.updated.append(record.skill)
            } else {
                report.created.append(record.skill)
            }
        }
        for record in shelf.records(of: kind) where left.contains(record.skill.id) {
            report.retired.append(record.skill)
            shelf.remove(record.skill.id)
        }
    }

    /// Which skill each group is: pairs of a group and a skill in descending cosine, each taken once.
    private static func matches(_ centroids: [[Float]], _ skills: [Skill]) -> [SkillID?] {
        var pairs: [(cosine: Double, group: Int, skill: SkillID)] = []
        for (i, centroid) in centroids.enumerated() {
            for skill in skills {
                let value = cosine(centroid, skill.centroid)
                if value >= skillMatch { pairs.append((value, i, skill.id)) }
            }
        }
        pairs.sort { ($1.cosine, $0.group, $0.skill) < ($0.cosine, $1.group, $1.skill) }
        var result = [SkillID?](repeating: nil, count: centroids.count)
        var taken: Set<SkillID> = []
        for pair in pairs where result[pair.group] == nil && !taken.contains(pair.skill) {
            result[pair.group] = pair.skill
            taken.insert(pair.skill)
        }
        return result
    }
}

extension AdapterKind {
    /// An order that is the same on every machine.
    static func isBefore(_ left: AdapterKind, _ right: AdapterKind) -> Bool {
        (left.objective.rawValue, left.dimension, left.rank, left.model)
            < (right.objective.rawValue, right.dimension, right.rank, right.model)
    }
}
