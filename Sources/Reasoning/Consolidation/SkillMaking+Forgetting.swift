extension SkillMaker {
    /// Makes what a user had a part in again without them; it was withdrawn before.
    ///
    /// - Parameters:
    ///   - skills: Ascending by identifier, with all their members.
    ///   - populations: With all their trials.
    ///   - report: Names what is stale.
    package func makeAgain(
        without user: UserDigest, skills: [SkillRecord], populations: [(kind: AdapterKind, record: PopulationRecord)],
        in store: any SkillStore, _ report: inout ForgettingReport
    ) async throws {
        for (kind, record) in populations {
            let made = try await population(
                record.trials.filter { $0.user != user }, kind: kind, policy: record.policy)
            if !made.trials.isEmpty { try await store.put(made, for: kind, nil) }
            report.successors.merge(record.successors(in: made)) { first, _ in first }
            report.populationRederived = report.populationRederived || made.initialization != nil
        }
        for record in skills {
            let members = record.members.filter { $0.user != user }
            let population = try await store.population(of: record.skill.kind)
            let old = record.skill.initialization?.id
            if let old { report.successors[old] = population?.start }
            guard GroupEvidence(members).refusal(by: record.policy) == nil else {
                report.retired.append(record.skill.id)
                continue
            }
            let made = try await skill(
                record.skill.id, kind: record.skill.kind, members: members,
                population: population, policy: record.policy)
            try await store.put(made, nil)
            if let old, let start = made.start { report.successors[old] = start }
            report.rederived.append(record.skill.id)
        }
        // What the user's adapter was not in is made again as it was.
        let stale = Set(report.stalePriors)
        report.successors = report.successors.filter { stale.contains($0.key) }
    }
}

extension PopulationRecord {
    /// The start for users of whom nothing is known.
    fileprivate var start: SuccessorStart? {
        initialization.map { SuccessorStart(prior: $0.prior, donors: donors) }
    }

    /// What stands in the place of each start in the same population, made again without one of its users: of a local one the
    /// local start whose middle is the nearest, where there are any.
    fileprivate func successors(in made: PopulationRecord) -> [PriorID: SuccessorStart] {
        var all: [PriorID: SuccessorStart] = [:]
        if let initialization { all[initialization.id] = made.start }
        for start in local {
            let nearest = made.local.max {
                (cosine($0.centroid, start.centroid), $1.initialization.id.value)
                    < (cosine($1.centroid, start.centroid), $0.initialization.id.value)
            }
            all[start.initialization.id] =
                nearest.map { SuccessorStart(prior: $0.initialization.prior, donors: $0.donors) } ?? made.start
        }
        return all
    }
}

extension SkillRecord {
    fileprivate var start: SuccessorStart? {
        skill.initialization.map {
            SuccessorStart(prior: $0.prior, donors: Set(skill.donors).union(populationDonors).sorted())
        }
    }
}

extension SkillShelf {
    /// Takes away every skill and population in which a user has a part, and returns them: skills ascending by
    /// identifier, populations in the order of their kinds.
    package mutating func withdraw(
        _ user: UserDigest
    ) -> (skills: [SkillRecord], populations: [(kind: AdapterKind, record: PopulationRecord)]) {
        let affected = list.map(\.id).compactMap { skills[$0] }.filter { $0.involves(user) }
        for record in affected { remove(record.skill.id) }
        let given = populations.filter { $0.value.trials.containsAscending(user, by: \.user) }
        for kind in given.keys { populations[kind] = nil }
        return (affected, given.sorted { AdapterKind.isBefore($0.key, $1.key) }.map { ($0.key, $0.value) })
    }
}
