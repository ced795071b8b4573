import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@Suite("Advice from memory")
struct AdviceTests {
    let builder = EpisodeBuilder()

    func task(_ rate: Float = 0.25, taste: [Float] = [], excluding user: String? = nil) -> AdaptationTask {
        AdaptationTask(
            context: builder.context(taste: taste), configuredLearningRate: rate,
            excluding: user.map { builder.key.digest(of: $0) })
    }

    @Test("is the mean over users, not over episodes")
    func isOverUsers() async throws {
        let bank = InMemoryReasoningBank()
        for version in 1...9 {
            _ = try await bank.storePattern(builder.episode(user: "ada", version: UInt64(version), gain: 0.9))
        }
        _ = try await bank.storePattern(builder.episode(user: "bob", gain: 0.1))
        _ = try await bank.storePattern(builder.episode(user: "eve", gain: nil))
        let advice = try await bank.learnStrategy(task())
        #expect(abs((advice.gain?.mean ?? 0) - 0.5) < 1e-9)
        #expect(advice.episodes == 10)
        #expect(advice.confidence == 2.0 / 32)
        #expect(advice.evidence == (6...10).map { EpisodeID($0) })
        #expect(advice.hints.learningRate == .value(0.25))
        #expect(advice.initialization == nil)
    }

    @Test("undoes the schedule before it counts a rate")
    func undoesTheSchedule() async throws {
        let bank = InMemoryReasoningBank(clock: ManualClock())
        for i in 0..<30 {
            // Applied 0.125 under a factor of ¼: a rate of 0.5. And users without any rate.
            var episode = builder.episode(user: "\(i)", learningRate: 0.125, gain: 0.3)
            episode.action.scheduleFactor = 0.25
            _ = try await bank.storePattern(episode)
            _ = try await bank.storePattern(builder.episode(user: "config \(i)", gain: 0.1 + 0.001 * Double(i)))
            var idle = builder.episode(user: "idle \(i)", gain: 0.1)
            idle.action.scheduleFactor = 0
            _ = try await bank.storePattern(idle)
        }
        let advice = try await bank.learnStrategy(task())
        #expect(advice.hints.learningRate == .value(0.5))
        #expect(advice.episodes == 90 && advice.confidence == 90.0 / 120)
    }

    @Test("says whether the configured rate stays")
    func says() async throws {
        let bank = InMemoryReasoningBank()
        for i in 0..<20 {
            _ = try await bank.storePattern(
                builder.episode(user: "\(i)", learningRate: 0.25, gain: 0.1 + 0.001 * Double(i)))
            _ = try await bank.storePattern(
                builder.episode(user: "other \(i)", learningRate: 0.5, gain: 0.3 + 0.001 * Double(i)))
        }
        let kept = try await bank.learnStrategy(task(0.5))
        #expect(kept.sentence.contains("configured learning rate 0.5 is the best that is known; it stays"))
        #expect(kept.sentence.contains("40 users, 40 episodes"))
        let changed = try await bank.learnStrategy(task(0.25))
        #expect(changed.sentence.contains("Learning rate 0.5 instead of 0.25"))
        #expect(changed.hints.learningRate == .value(0.5))
    }

    @Test("does not depend on the order of storage, to the bit")
    func isIndependentOfOrder() async throws {
        var generator = PhiloxGenerator(seed: 5, purpose: .simulation)
        var episodes = (0..<120).map { i in
            builder.episode(
                user: "\(i % 31)", version: UInt64(i + 1), learningRate: 0.01 * Float(1 + i % 50),
                gain: generator.normal(), benefit: generator.normal())
        }
        var seen: [StrategyAdvice] = []
        for _ in 0..<3 {
            let bank = InMemoryReasoningBank(clock: ManualClock())
            for episode in episodes { _ = try await bank.storePattern(episode) }
            var advice = try await bank.learnStrategy(task(0.1, excluding: "7"))
            advice.evidence = []
            seen.append(advice)
            generator.shuffle(&episodes)
        }
        #expect(seen[0] == seen[1] && seen[0] == seen[2])
    }

    @Test("leaves out the excluded user to the bit", arguments: [0, 13, 30])
    func excludes(user: Int) async throws {
        var generator = PhiloxGenerator(seed: 6, purpose: .simulation)
        let (bank, without) = (InMemoryReasoningBank(), InMemoryReasoningBank())
        for i in 0..<200 {
            let episode = builder.episode(
                user: "\(i % 31)", version: UInt64(i + 1), learningRate: 0.01 * Float(1 + i % 50),
                gain: generator.normal(), benefit: generator.normal())
            _ = try await bank.storePattern(episode)
            if i % 31 != user { _ = try await without.storePattern(episode) }
        }
        var (advice, expected) = (
            try await bank.learnStrategy(task(0.1, excluding: "\(user)")), try await without.learnStrategy(task(0.1))
        )
        let own = Set(bank.episodes(of: builder.key.digest(of: "\(user)")).map(\.id))
        #expect(own.isDisjoint(with: advice.evidence) && advice.evidence.count == 5)
        (advice.evidence, expected.evidence) = ([], [])
        #expect(advice == expected)
        // Alone in the bank, the excluded user leaves nothing.
        let alone = InMemoryReasoningBank()
        _ = try await alone.storePattern(builder.episode(user: "ada"))
        #expect(try await alone.learnStrategy(task(excluding: "ada")) == .none)
    }

    @Test("is of the task's kind alone")
    func isOfTheKind() async throws {
        let bank = InMemoryReasoningBank()
        _ = try await bank.storePattern(builder.episode(user: "ada"))
        var other = task()
        other.context.rank += 1
        #expect(try await bank.learnStrategy(other) == .none)
    }

    @Test("is refused for numbers out of range")
    func refuses() async throws {
        let bank = InMemoryReasoningBank()
        var badTaste = task()
        badTaste.context.taste = [1]
        for bad in [task(0), task(-1), task(.nan), task(.infinity), badTaste] {
            let error = await refusal { _ = try await bank.learnStrategy(bad) }
            #expect(error?.code == .invalidQuery)
        }
    }
}
