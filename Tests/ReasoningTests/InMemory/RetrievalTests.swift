import LoRA
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("Retrieving episodes from memory")
struct RetrievalTests {
    static func context(_ generator: inout PhiloxGenerator) -> AdaptationContext {
        AdaptationContext(
            seen: generator.integer(below: 200), batchSize: generator.integer(below: 8),
            rewardMean: Float(generator.normal()), rewardVariance: generator.uniformFloat(),
            taste: (0..<AdaptationContext.tasteDimension).map { _ in Float(generator.normal()) },
            dispersion: generator.uniformFloat(),
            gradientNoise: generator.uniformFloat(), gradientCosine: Float(generator.normal()),
            drift: 3 * generator.uniformFloat(), idleSeconds: 1e5 * generator.uniformDouble(), dimension: 32, rank: 4)
    }

    /// Episodes of random contexts, ages and outcomes.
    static func episodes(_ count: Int, _ generator: inout PhiloxGenerator) -> [Episode] {
        let builder = EpisodeBuilder()
        return (0..<count).map { i in
            var episode = builder.episode(
                user: "\(generator.integer(below: 12))", version: UInt64(i + 1),
                gain: i % 9 == 0 ? nil : generator.normal(), reward: generator.uniformDouble())
            episode.context = context(&generator)
            episode.recordedAt.microseconds -= Int64(generator.integer(below: 90 * 86_400)) * 1_000_000
            return episode
        }
    }

    /// The score in Float64, from the documentation.
    static func score(_ query: AdaptationContext, _ episode: Episode, now: Timestamp, _ weights: RetrievalWeights)
        -> Double
    {
        let (a, b) = (ContextFeatures.vector(query), ContextFeatures.vector(episode.context))
        let similarity = zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        let age = max(0, now.seconds(since: episode.recordedAt)) / 86_400
        let batch = Double(episode.context.batchSize)
        return weights.similarity * similarity
            + weights.recency * Elementary.exp(-Elementary.log(2) * age / weights.halfLifeDays)
            + weights.confidence * batch / (batch + 4)
    }

    @Test(
        "finds the best by score, exactly, with holes and after many evictions",
        arguments: [UInt64](1...underSanitizer(2, otherwise: 6)))
    func isExact(seed: UInt64) async throws {
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        let weights = RetrievalWeights(recency: 0.3, confidence: 0.2)
        let clock = ManualClock()
        let bank = InMemoryReasoningBank(
            capacity: 260, clock: clock, configuration: ReasoningBankConfiguration(retrieval: weights))
        let all = Self.episodes(700, &generator)
        var held: [(EpisodeID, Episode)] = []
        for (i, episode) in all.enumerated() {
            held.append((try await bank.storePattern(episode), episode))
            if held.count > 260 { held.removeFirst() }
            if i % 60 == 59 {
                let user = episode.user
                _ = try await bank.forget(user, donors: NoDonors())
                held.removeAll { $0.1.user == user }
            }
        }
        #expect(bank.episodeCount == held.count)
        for _ in 0..<12 {
            let query = PatternQuery(
                context: Self.context(&generator), limit: 1 + generator.integer(below: 30),
                minimumReward: 0.5 * generator.uniformDouble(), onlySuccesses: generator.bernoulli(0.3),
                excluding: all[generator.integer(below: 700)].user)
            let expected = held.filter { _, episode in
                guard let outcome = episode.outcome else { return false }
                return outcome.reward >= query.minimumReward && (outcome.success || !query.onlySuccesses)
                    && episode.user != query.excluding
            }.map { ($0.0, Self.score(query.context, $0.1, now: clock.now, weights)) }
                .sorted { $0.1 != $1.1 ? $0.1 > $1.1 : $0.0 < $1.0 }.prefix(query.limit)
            let found = try await bank.retrievePatterns(query)
            #expect(found.map(\.id) == expected.map(\.0), "seed \(seed)")
        }
    }

    @Test("puts likeness first, then recency, then the size of the batch")
    func weighs() async throws {
        let clock = ManualClock()
        let bank = InMemoryReasoningBank(clock: clock)
        let builder = EpisodeBuilder()
        func store(_ user: String, taste: Int, days: Double = 0, batch: Int = 1) async throws {
            var episode = builder.episode(
                user: user, taste: (0..<AdaptationContext.tasteDimension).map { $0 == taste ? 1 : 0 })
            episode.recordedAt = Timestamp(microseconds: clock.now.microseconds - Int64(days * 86_400e6))
            episode.context.batchSize = batch
            _ = try await bank.storePattern(episode)
        }
        try await store("other taste, new", taste: 3)
        try await store("same, old", taste: 0, days: 300)
        try await store("same, new", taste: 0)
        let found = try await bank.retrievePatterns(
            PatternQuery(
                context: builder.context(taste: (0..<AdaptationContext.tasteDimension).map { $0 == 0 ? 1 : 0 }),
                limit: 3, minimumReward: 0))
        #expect(found.map(\.user) == ["same, new", "same, old", "other taste, new"].map(builder.key.digest))
        #expect(abs(found[1].age - 300 * 86_400) < 1 && found[0].age == 0)
        try await store("same, new, large batch", taste: 0, batch: 12)
        var context = builder.context(taste: (0..<AdaptationContext.tasteDimension).map { $0 == 0 ? 1 : 0 })
        context.batchSize = 4
        let best = try await bank.retrievePatterns(PatternQuery(context: context, limit: 1, minimumReward: 0))
        #expect(best.map(\.user) == [builder.key.digest(of: "same, new, large batch")])
    }

    @Test("ages nothing below 0 where a clock was set back")
    func agesNothingBelowZero() async throws {
        let clock = ManualClock(Timestamp(microseconds: 0))
        let bank = InMemoryReasoningBank(clock: clock)
        let builder = EpisodeBuilder()
        _ = try await bank.storePattern(builder.episode(user: "ada"))
        let found = try await bank.retrievePatterns(PatternQuery(context: builder.context(), minimumReward: 0))
        #expect(found.map(\.age) == [0])
    }

    @Test("varies as maximal marginal relevance says", arguments: [0.0, 0.3, 0.7, 0.999])
    func varies(relevance: Double) async throws {
        var generator = PhiloxGenerator(seed: 9, purpose: .simulation)
        let weights = RetrievalWeights(recency: 0, confidence: 0)
        let bank = InMemoryReasoningBank(
            clock: ManualClock(), configuration: ReasoningBankConfiguration(retrieval: weights))
        let episodes = Self.episodes(underSanitizer(20, otherwise: 60), &generator)
        var ids: [EpisodeID] = []
        for episode in episodes { ids.append(try await bank.storePattern(episode)) }
        let query = PatternQuery(context: Self.context(&generator), limit: 8, minimumReward: 0, relevance: relevance)
        // The definition, by trying all, in Float64.
        func likeness(_ a: AdaptationContext, _ b: AdaptationContext) -> Double {
            zip(ContextFeatures.vector(a), ContextFeatures.vector(b)).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        }
        var left = episodes.indices.filter { episodes[$0].outcome != nil }
        left.sort { likeness(query.context, episodes[$0].context) > likeness(query.context, episodes[$1].context) }
        var chosen: [Int] = []
        while chosen.count < 8 {
            func value(_ i: Int) -> Double {
                let nearest = chosen.map { likeness(episodes[$0].context, episodes[i].context) }.max() ?? 0
                return relevance * likeness(query.context, episodes[i].context) - (1 - relevance) * nearest
            }
            let best = try #require(left.max { value($0) < value($1) || (value($0) == value($1) && $0 > $1) })
            chosen.append(chosen.isEmpty && relevance == 0 ? left[0] : best)
            left.removeAll { $0 == chosen[chosen.count - 1] }
        }
        #expect(try await bank.retrievePatterns(query).map(\.id) == chosen.map { ids[$0] })
    }

    @Test("refuses a context that is not finite")
    func refusesContexts() async throws {
        let bank = InMemoryReasoningBank()
        var context = EpisodeBuilder().context()
        context.drift = .nan
        let error = await refusal {
            _ = try await bank.retrievePatterns(PatternQuery(context: context))
        }
        #expect(error?.code == .invalidQuery)
    }

    @Test("describes contexts as vectors of length 1 that extreme numbers do not break")
    func features() {
        var extreme = EpisodeBuilder().context(
            taste: (0..<AdaptationContext.tasteDimension).map { $0 == 0 ? 1e30 : 1e-30 })
        extreme.seen = .max
        extreme.idleSeconds = 1e300
        extreme.drift = -.greatestFiniteMagnitude
        extreme.rewardMean = .greatestFiniteMagnitude
        for context in [extreme, EpisodeBuilder().context()] {
            let vector = ContextFeatures.vector(context)
            #expect(vector.count == ContextFeatures.count && vector.allSatisfy(\.isFinite))
            #expect(abs(vector.reduce(0.0) { $0 + Double($1) * Double($1) } - 1) < 1e-6)
        }
        #expect(ContextFeatures.direction([Float](repeating: 0, count: AdaptationContext.tasteDimension)) == nil)
        #expect(ContextFeatures.direction([3, 4] + [Float](repeating: 0, count: 14))?.prefix(2) == [0.6, 0.8])
    }
}
