internal import LoRA
internal import TensorCore

/// Turns trials into skills and starts; the same for every bank.
package struct Consolidator: Sendable {
    private let workshop: any Workshop
    private let maker: SkillMaker

    package init(_ workshop: any Workshop, _ maker: SkillMaker) {
        self.workshop = workshop
        self.maker = maker
    }

    /// The least cosine between a group's middle and a skill's centroid for the group to be the skill's: half the way
    /// from a stranger's to its own.
    static let skillMatch = 0.75

    /// Makes populations and skills, kind after kind.
    ///
    /// - Throws: `CancellationError`; what the workshop and the donors throw.
    package func consolidate(_ policy: ConsolidationPolicy) async throws -> ConsolidationReport {
        let lookback = Int64(policy.lookbackDays * 86_400 * 1e6)
        let (start, overflow) = maker.now.microseconds.subtractingReportingOverflow(lookback)
        let window = Timestamp(microseconds: overflow ? .min : start)
        var report = ConsolidationReport()
        var users: Set<UserDigest> = []
        for kind in try await workshop.kinds().sorted(by: AdapterKind.isBefore) {
            try Task.checkCancellation()
            let trials = try await workshop.trials(of: kind, since: window)
            report.episodes += trials.reduce(0) { $0 + $1.sums.episodes }
            users.formUnion(trials.map(\.user))
            try await consolidate(kind, trials, policy, &report)
        }
        report.users = users.count
        return report
    }

    /// One kind's population, groups and skills.
    private func consolidate(
        _ kind: AdapterKind, _ trials: [UserTrial], _ policy: ConsolidationPolicy, _ report: inout ConsolidationReport
    ) async throws {
        let tasted = trials.filter { $0.taste != nil }
        let groups = try await TasteClustering.groups(
            of: tasted.compactMap(\.taste), seed: policy.seed, leastMembers: policy.minimumUsers
        ).map { group in group.map { tasted[$0] } }
        let evidence = groups.map { GroupEvidence($0) }
        var plan: KindPlan
        if let kept = try await workshop.plan(for: kind), kept.fates.count == groups.count {
            plan = kept
        } else {
            plan = try await workshop.begin(
                self.plan(groups, evidence, try await workshop.skills(of: kind), policy), for: kind)
        }

        let population: PopulationRecord
        if plan.isPopulationDone {
            population =
                try await workshop.population(of: kind) ?? PopulationRecord(trials: trials, policy: policy)
        } else {
            population = try await maker.population(trials, kind: kind, policy: policy) {
                workshop.report(ConsolidationProgress(stage: .merging, done: $0, total: $1))
            }
            plan.isPopulationDone = true
            try await workshop.put(population, for: kind, plan)
        }
        report.populationDonors += population.donors.count

        let known = try await workshop.skills(of: kind)
        for (i, members) in groups.enumerated() {
            try Task.checkCancellation()
            workshop.report(ConsolidationProgress(stage: .skills, done: i, total: groups.count))
            let skill: SkillID
            var isNew = false
            switch plan.fates[i] {
            case .refused(let kept):
                report.refused.append(
                    RefusedGroup(
                        centroid: middle(of: members.compactMap(\.taste)), evidence: evidence[i],
                        reason: (evidence[i].refusal(by: policy) ?? "")
                            + (kept.map { "; skill \($0) stays as it was" } ?? "")))
                continue
            case .new(let id):
                guard let id else { preconditionFailure("a plan that was kept names its skills") }
                (skill, isNew) = (id, true)
            case .again(let id): skill = id
            }
            var made = i < plan.groupsDone ? known.first { $0.id == skill } : nil
            if made == nil {
                let record = try await maker.skill(
                    skill, kind: kind, members: members, population: population, policy: policy)
                plan.groupsDone = max(plan.groupsDone, i + 1)
                try await workshop.put(record, plan)
                made = record.skill
            }
            guard let made else { continue }
            if isNew { report.created.append(made) } else { report.updated.append(made) }
        }
        report.retired += known.filter { plan.retired.contains($0.id) }
        if !plan.isRetiringDone {
            plan.isRetiringDone = true
            try await workshop.retire(plan.retired, of: kind, plan)
        }
    }

    /// What becomes of each group, and of each skill that is there.
    private func plan(
        _ groups: [[UserTrial]], _ evidence: [GroupEvidence], _ skills: [Skill], _ policy: ConsolidationPolicy
    ) -> KindPlan {
        let matches = Self.matches(groups.map { middle(of: $0.compactMap(\.taste)) }, skills)
        var left = Set(skills.map(\.id))
        var fates: [KindPlan.Fate] = []
        for (match, evidence) in zip(matches, evidence) {
            if evidence.refusal(by: policy) != nil {
                // A skill that does harm goes with its group.
                let kept = evidence.gain.high < 0 ? nil : match
                if let kept { left.remove(kept) }
                fates.append(.refused(kept))
            } else if let match {
                left.remove(match)
                fates.append(.again(match))
            } else {
                fates.append(.new(nil))
            }
        }
        return KindPlan(fates: fates, retired: skills.map(\.id).filter { left.contains($0) })
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
    package static func isBefore(_ left: AdapterKind, _ right: AdapterKind) -> Bool {
        (left.objective.rawValue, left.dimension, left.rank, left.model)
            < (right.objective.rawValue, right.dimension, right.rank, right.model)
    }
}
