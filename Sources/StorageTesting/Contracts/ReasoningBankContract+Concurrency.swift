internal import Reasoning

extension ReasoningBankContract {
    /// 16 tasks store, ask and retrieve; one consolidates and one forgets meanwhile.
    func checkConcurrency(_ journal: ContractJournal) async throws {
        let builder = builder
        let promise = "all calls may be made from many tasks at once"
        try await journal.check(promise) {
            let bank = try await makeBank()
            let (tasks, each) = (16, 25)
            let ids = try await withThrowingTaskGroup(of: [EpisodeID].self) { group in
                for user in 0..<tasks {
                    group.addTask { try await Self.live(user, each, builder, bank, journal) }
                }
                group.addTask {
                    for _ in 0..<3 { _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: NoDonors()) }
                    return []
                }
                group.addTask {
                    for i in 0..<5 {
                        _ = try await bank.forget(builder.key.digest(of: "nobody \(i)"), donors: NoDonors())
                    }
                    return []
                }
                var all: [EpisodeID] = []
                for try await own in group { all += own }
                return all
            }
            journal.expect("no two episodes have one identifier", Set(ids).count, is: tasks * each)
            let kept = try await bank.retrievePatterns(
                PatternQuery(context: builder.context(), limit: 1000, minimumReward: 0))
            journal.expect("nothing stored gets lost", Set(kept.map(\.id)), is: Set(ids))
            let advice = try await bank.learnStrategy(
                AdaptationTask(context: builder.context(), configuredLearningRate: 0.25))
            journal.expect(
                "every episode counts once", advice.episodes <= ids.count, "at most \(ids.count)",
                saw: "\(advice.episodes)")
            for user in 0..<tasks {
                _ = try await bank.forget(builder.key.digest(of: "user \(user)"), donors: NoDonors())
            }
            let left = try await bank.retrievePatterns(
                PatternQuery(context: builder.context(), limit: 1000, minimumReward: 0))
            journal.expect("forgetting everybody leaves nothing", left.count, is: 0)
        }
        let once = "many tasks storing one episode store it once"
        try await journal.check(once) {
            let bank = try await makeBank()
            let episode = builder.episode(user: "ada")
            let ids = try await withThrowingTaskGroup(of: EpisodeID.self) { group in
                for _ in 0..<16 { group.addTask { try await bank.storePattern(episode) } }
                var ids: Set<EpisodeID> = []
                for try await id in group { ids.insert(id) }
                return ids
            }
            journal.expect(once, ids.count, is: 1)
        }
    }

    /// One user's life: their identifiers rise, and what they stored is found.
    private static func live(
        _ user: Int, _ count: Int, _ builder: EpisodeBuilder, _ bank: any ReasoningBank, _ journal: ContractJournal
    ) async throws -> [EpisodeID] {
        var ids: [EpisodeID] = []
        let digest = builder.key.digest(of: "user \(user)")
        for version in 1...count {
            let episode = builder.episode(user: "user \(user)", version: UInt64(version), taste: taste(user))
            let id = try await bank.storePattern(episode)
            journal.expect(
                "identifiers rise", ids.last.map { $0 < id } ?? true, "more than the user's last one", saw: "\(id)")
            ids.append(id)
            let task = AdaptationTask(context: episode.context, configuredLearningRate: 0.25, excluding: digest)
            let advice = try await bank.learnStrategy(task)
            journal.expect(
                "nothing of the excluded user enters an advice", advice.evidence.allSatisfy { !ids.contains($0) },
                "no episode of the user's", saw: "\(advice.evidence)")
            let found = try await bank.retrievePatterns(
                PatternQuery(context: episode.context, limit: 30, minimumReward: 0))
            journal.expect(
                "what is stored is found at once", found.contains { $0.id == id } || found.count == 30, "episode \(id)",
                saw: "\(found.map(\.id))")
        }
        return ids
    }
}
