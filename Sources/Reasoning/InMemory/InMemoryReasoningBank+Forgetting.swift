internal import TensorCore

extension InMemoryReasoningBank {
    /// Removes a user: their episodes at once, then their part in skills and starts.
    ///
    /// Every skill whose users they were among, and every start that their adapter went into, is withdrawn before
    /// donors are asked, and made again from the others: their trials as they were, and their adapters as they are now.
    /// Where too few users are left, or what they show no longer passes the policy, it stays withdrawn.
    ///
    /// A consolidation that runs is waited for, since it may have read the user's episodes.
    ///
    /// - Returns: What was removed; ``ForgettingReport/stalePriors`` names all starts ever given out (of the last
    ///   1,024) to which the user gave, replaced ones too.
    /// - Throws: `CancellationError`, and what `donors` throws. Nothing of the user is left even then: what could not
    ///   be made again stays withdrawn until the next consolidation.
    public func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        var report = ForgettingReport()
        report.episodes = state.withLock { $0.removeEpisodes(of: user) }
        return try await turns.withTurn { [report] in
            var report = report
            let (affected, populations) = state.withLock { state in
                // What came in between.
                report.episodes += state.removeEpisodes(of: user)
                return state.knowledge.withdraw(user)
            }
            report.stalePriors = state.withLock { $0.knowledge.takeStale(user) }
            let maker = SkillMaker(
                priors: PriorMaker(donors: donors, maximumDonors: configuration.maximumDonors),
                configuration: configuration, now: clock.now)
            for (kind, record) in populations {
                let made = try await maker.population(
                    record.trials.filter { $0.user != user }, kind: kind, policy: record.policy)
                if !made.trials.isEmpty { state.withLock { $0.knowledge.put(made, for: kind) } }
                report.populationRederived = report.populationRederived || made.initialization != nil
            }
            for record in affected {
                let members = record.members.filter { $0.user != user }
                guard GroupEvidence(members).refusal(by: record.policy) == nil else {
                    report.retired.append(record.skill.id)
                    continue
                }
                let population = state.withLock { $0.knowledge.populations[record.skill.kind] }
                let made = try await maker.skill(
                    record.skill.id, kind: record.skill.kind, members: members, population: population,
                    policy: record.policy)
                state.withLock { $0.knowledge.put(made) }
                report.rederived.append(record.skill.id)
            }
            return report
        }
    }
}

extension SkillShelf {
    /// Takes away every skill and population in which a user has a part, and returns them: skills ascending by
    /// identifier, populations in the order of their kinds.
    mutating func withdraw(
        _ user: UserDigest
    ) -> (skills: [SkillRecord], populations: [(AdapterKind, PopulationRecord)]) {
        let affected = list.map(\.id).compactMap { skills[$0] }.filter { $0.involves(user) }
        for record in affected { remove(record.skill.id) }
        let given = populations.filter { $0.value.trials.containsAscending(user, by: \.user) }
        for kind in given.keys { populations[kind] = nil }
        return (affected, given.sorted { AdapterKind.isBefore($0.key, $1.key) }.map { ($0.key, $0.value) })
    }
}
