extension SkillMaker {
    /// Makes what a user had a part in again without them; it was withdrawn before.
    ///
    /// - Parameters:
    ///   - skills: Ascending by identifier, with all their members.
    ///   - populations: With all their trials.
    package func makeAgain(
        without user: UserDigest, skills: [SkillRecord], populations: [(kind: AdapterKind, record: PopulationRecord)],
        in store: any SkillStore, _ report: inout ForgettingReport
    ) async throws {
        for (kind, record) in populations {
            let made = try await population(
                record.trials.filter { $0.user != user }, kind: kind, policy: record.policy)
            if !made.trials.isEmpty { try await store.put(made, for: kind, nil) }
            report.populationRederived = report.populationRederived || made.initialization != nil
        }
        for record in skills {
            let members = record.members.filter { $0.user != user }
            guard GroupEvidence(members).refusal(by: record.policy) == nil else {
                report.retired.append(record.skill.id)
                continue
            }
            let made = try await skill(
                record.skill.id, kind: record.skill.kind, members: members,
                population: try await store.population(of: record.skill.kind), policy: record.policy)
            try await store.put(made, nil)
            report.rederived.append(record.skill.id)
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
