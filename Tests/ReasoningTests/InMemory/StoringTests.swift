import LoRA
import StorageTesting
import TensorCore
import Testing

@testable import Reasoning

@Suite("Storing episodes in memory")
struct StoringTests {
    let builder = EpisodeBuilder()

    @Test("refuses each number and text out of range, naming it")
    func refuses() async throws {
        let bank = InMemoryReasoningBank()
        let changes: [(String, (inout Episode) -> Void)] = [
            ("version", { $0.version = 0 }), ("latency", { $0.latency = -1 }),
            ("taste", { $0.context.taste.append(1) }), ("taste", { $0.context.taste[2] = .nan }),
            ("mean reward", { $0.context.rewardMean = .infinity }), ("idle time", { $0.context.idleSeconds = -1 }),
            ("seen", { $0.context.seen = -1 }), ("likes", { $0.context.tasteLikes = -1 }),
            ("batch", { $0.context.batchSize = -1 }),
            ("dimension", { $0.context.dimension = 0 }), ("rank", { $0.context.rank = 0 }),
            ("learning rate", { $0.action.learningRate = -0.1 }), ("clipping", { $0.action.clipThreshold = .nan }),
            ("propensity", { $0.action.propensity = 0 }), ("propensity", { $0.action.propensity = 1.1 }),
            ("loss before", { $0.lossBefore = .nan }), ("loss after", { $0.lossAfter = -.infinity }),
            ("gain", { $0.outcome?.gain = .nan }), ("benefit", { $0.outcome?.benefit = .infinity }),
            ("reward", { $0.outcome?.reward = 1.5 }),
            ("critique", { $0.critique = String(repeating: "é", count: Episode.longestText / 2 + 1) }),
            ("session", { $0.sessionID = String(repeating: "x", count: Episode.longestText + 1) }),
        ]
        for (name, change) in changes {
            var episode = builder.episode(user: "ada")
            change(&episode)
            let error = await refusal {
                _ = try await bank.storePattern(episode)
            }
            #expect(error?.code == .invalidEpisode && error?.message.contains(name) == true, "\(name)")
        }
        #expect(bank.episodeCount == 0)
        var longest = builder.episode(user: "ada")
        longest.critique = String(repeating: "x", count: Episode.longestText)
        _ = try await bank.storePattern(longest)
        #expect(bank.episodeCount == 1)
    }

    /// Its memory stays where it is: a copy of everything at each store would be at another place each time.
    @Test("a full bank stores in place")
    func storesInPlaceWhenFull() {
        var state = BankState(capacity: 400)
        var places: Set<Int> = []
        for version in 1...1200 {
            _ = state.store(builder.episode(user: "\(version % 7)", version: UInt64(version)))
            guard version > 600, let kind = state.kinds.keys.first else { continue }
            let place = unsafe state.kinds[kind]?.index.ids.withUnsafeBytes { Int(bitPattern: $0.baseAddress) }
            if let place { places.insert(place) }
        }
        #expect(state.count == 400 && state.evicted == 800)
        // Holes are closed now and then, into new memory.
        #expect(places.count < 20, "\(places.count) places in 600 stores")
    }

    @Test("evicts the oldest of all kinds, and counts them")
    func evicts() async throws {
        let bank = InMemoryReasoningBank(capacity: 10)
        var wide = builder
        wide.dimension = 64
        for i in 1...25 {
            let id = try await bank.storePattern(
                (i % 3 == 0 ? wide : builder).episode(user: "\(i % 4)", version: UInt64(i)))
            #expect(id == EpisodeID(UInt64(i)))
            #expect(bank.episodeCount == min(i, 10))
        }
        #expect(bank.statistics.evicted == 15 && bank.statistics.kinds == 2 && bank.statistics.users == 4)
        let held = (0..<4).flatMap { bank.episodes(of: builder.key.digest(of: "\($0)")) }
        #expect(held.map(\.id.value).sorted() == Array(16...25))
        // What is held is known; what went is new.
        #expect(try await bank.storePattern(builder.episode(user: "3", version: 23)) == EpisodeID(23))
        #expect(try await bank.storePattern(builder.episode(user: "1", version: 1)) == EpisodeID(26))
    }

    @Test("leaves nothing of what was evicted in any advice")
    func evictsFromSums() async throws {
        let (small, fresh) = (InMemoryReasoningBank(capacity: 30), InMemoryReasoningBank())
        var generator = PhiloxGenerator(seed: 3, purpose: .simulation)
        for i in 1...200 {
            let episode = builder.episode(
                user: "\(generator.integer(below: 20))", version: UInt64(i), learningRate: [0, 0.1, 0.3, 1][i % 4],
                gain: i % 7 == 0 ? nil : generator.normal(), benefit: generator.normal())
            _ = try await small.storePattern(episode)
            if i > 170 { _ = try await fresh.storePattern(episode) }
        }
        #expect(Snapshot(small) == Snapshot(fresh))
        #expect(small.statistics.resolved == fresh.statistics.resolved)
    }

    @Test("gives read access to a user's episodes")
    func givesEpisodes() async throws {
        let bank = InMemoryReasoningBank()
        let episodes = [builder.episode(user: "ada", version: 2), builder.episode(user: "ada", version: 1, gain: nil)]
        for episode in episodes { _ = try await bank.storePattern(episode) }
        _ = try await bank.storePattern(builder.episode(user: "bob"))
        let found = bank.episodes(of: builder.key.digest(of: "ada"))
        #expect(found.map(\.episode) == episodes && found.map(\.id) == [EpisodeID(1), EpisodeID(2)])
        #expect(bank.episodes(of: builder.key.digest(of: "eve")).isEmpty)
        #expect(bank.statistics.episodes == 3 && bank.statistics.resolved == 2)
    }

    @Test("refuses settings out of range")
    func refusesSettings() throws {
        let settings = [
            ReasoningBankConfiguration(pseudoObservations: 0), ReasoningBankConfiguration(pseudoObservations: .nan),
            ReasoningBankConfiguration(explorationFloor: 0.21), ReasoningBankConfiguration(explorationFloor: -0.1),
            ReasoningBankConfiguration(rates: 0...1), ReasoningBankConfiguration(rates: 1...Float.infinity),
            ReasoningBankConfiguration(skillNearness: 2), ReasoningBankConfiguration(maximumDonors: 1),
            ReasoningBankConfiguration(maximumDonors: 1_000_001),
            ReasoningBankConfiguration(retrieval: RetrievalWeights(similarity: .nan)),
            ReasoningBankConfiguration(retrieval: RetrievalWeights(recency: -1)),
            ReasoningBankConfiguration(retrieval: RetrievalWeights(halfLifeDays: 0)),
        ]
        for setting in settings {
            let error = #expect(throws: ReasoningError.self) { try setting.validate() }
            #expect(error?.code == .invalidConfiguration)
        }
        #expect(ReasoningBankConfiguration().maximumDonors == 100_000)
        try ReasoningBankConfiguration().validate()
    }

    @Test("traps at a capacity below 1 and at settings out of range")
    func traps() async {
        await #expect(processExitsWith: .failure) { _ = InMemoryReasoningBank(capacity: 0) }
        await #expect(processExitsWith: .failure) {
            _ = InMemoryReasoningBank(configuration: ReasoningBankConfiguration(explorationFloor: 1))
        }
    }
}
