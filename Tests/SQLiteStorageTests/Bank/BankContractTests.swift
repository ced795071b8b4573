import LoRA
import Reasoning
import SQLiteStorage
import StorageTesting
import TensorCore
import TestSupport
import Testing

@Suite("A bank in a file", .timeLimit(.minutes(10)))
struct BankContractTests {
    @Test("keeps every promise of a bank")
    func contract() async throws {
        let folder = try TemporaryFolder()
        let violations = try await ReasoningBankContract { try await folder.bank() }.violations()
        #expect(violations == [])
    }

    /// One script for both, and the file is opened anew now and then: what they answer is the same all the way.
    @Test(
        "answers as one in memory does, also after it was opened anew",
        arguments: underSanitizer(1...2, otherwise: 1...6))
    func model(seed: Int) async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let clock = StillClock(now: Timestamp(microseconds: 1_800_000_000_000_000))
        let builder = EpisodeBuilder.dayBefore(clock.now)
        let donors = try PlantedDonors(
            builder,
            [.init(name: "a", taste: 3, users: 12, gain: 0.3), .init(name: "b", taste: 40, users: 9, gain: 0.2)],
            versions: 1...4)
        var generator = PhiloxGenerator(seed: UInt64(seed), purpose: .general)
        var order = donors.episodes
        generator.shuffle(&order)
        let capacity = 70
        let memory = InMemoryReasoningBank(capacity: capacity, clock: clock)
        var bank = try await folder.bank(at: path, capacity: capacity, clock: clock)
        for (i, episode) in order.enumerated() {
            let ids = (try await memory.storePattern(episode), try await bank.storePattern(episode))
            #expect(ids.0 == ids.1, "seed \(seed), episode \(i)")
            if generator.bernoulli(0.06) {
                await bank.storage.close()
                bank = try await folder.bank(at: path, capacity: capacity, clock: clock)
            }
            if generator.bernoulli(0.05) {
                let user = order[generator.integer(below: order.count)].user
                let reports = (
                    try await memory.forget(user, donors: donors), try await bank.forget(user, donors: donors)
                )
                #expect(reports.0.episodes == reports.1.episodes && reports.0.retired == reports.1.retired)
                #expect(reports.0.rederived == reports.1.rederived)
                #expect(reports.0.populationRederived == reports.1.populationRederived)
            }
            if i % 15 == 14 {
                var policy = ConsolidationPolicy()
                policy.seed = UInt64(i)
                let dry = try await bank.consolidate(policy, donors: donors, isDryRun: true)
                let reports = (
                    try await memory.autoConsolidate(policy, donors: donors),
                    try await bank.autoConsolidate(policy, donors: donors)
                )
                #expect(reports.0 == reports.1 && dry == reports.1, "seed \(seed), episode \(i)")
            }
            try await compare(memory, bank, order[generator.integer(below: order.count)], "seed \(seed), episode \(i)")
        }
        #expect(memory.skills.count == 2)
        await bank.storage.close()
    }

    private func compare(
        _ memory: InMemoryReasoningBank, _ bank: SQLiteReasoningBank, _ episode: Episode, _ place: String
    ) async throws {
        #expect(memory.skills == bank.skills, "\(place)")
        #expect(memory.episodeCount == bank.episodeCount, "\(place)")
        let kind = AdapterKind(episode.context)
        #expect(memory.populationInitialization(of: kind) == bank.populationInitialization(of: kind), "\(place)")
        for user in [nil, episode.user] {
            let task = AdaptationTask(context: episode.context, configuredLearningRate: 0.25, excluding: user)
            let advice = (try await memory.learnStrategy(task), try await bank.learnStrategy(task))
            #expect(advice.0 == advice.1, "\(place)")
            for relevance in [1, 0.5] {
                let query = PatternQuery(
                    context: episode.context, limit: 7, minimumReward: 0.5, excluding: user, relevance: relevance)
                let patterns = (try await memory.retrievePatterns(query), try await bank.retrievePatterns(query))
                #expect(patterns.0 == patterns.1, "\(place)")
            }
        }
        #expect(memory.episodes(of: episode.user) == (try await bank.episodes(of: episode.user)), "\(place)")
        var statistics = memory.statistics
        // Counted since it was opened.
        statistics.evicted = 0
        var other = try await bank.statistics()
        other.evicted = 0
        (statistics.exactLookups, other.exactLookups) = (0, 0)
        #expect(statistics == other, "\(place)")
    }

    @Test("stores what many tasks store at once, each episode once")
    func concurrency() async throws {
        let folder = try TemporaryFolder()
        let path = folder.newPath()
        let bank = try await folder.bank(at: path)
        let builder = EpisodeBuilder()
        let ids = try await withThrowingTaskGroup(of: [EpisodeID].self) { group in
            for task in 0..<8 {
                group.addTask {
                    var ids: [EpisodeID] = []
                    for version in 1...50 {
                        // Half of them are stored by another task too.
                        let user = task % 2 == 0 ? "\(task)" : "\(task - 1)"
                        ids.append(
                            try await bank.storePattern(builder.episode(user: user, version: UInt64(version))))
                    }
                    return ids
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(Set(ids).count == 200 && bank.episodeCount == 200)
        await bank.storage.close()
        let again = try await folder.bank(at: path)
        #expect(again.episodeCount == 200)
        await again.storage.close()
    }
}
