import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Forgetting a user reaches everything that the engine and its bank hold of them.
@Suite(.timeLimit(.minutes(10)))
struct BankForgettingTests {
    private let user = "ada"

    @Test func nothingIsLeftOfAUser() async throws {
        let script = try Script()
        let base = InMemoryReasoningBank(clock: ManualClock())
        let bank = ScriptedReasoningBank(base)
        let store = InMemoryAdapterStore()
        let engine = try script.engine(bank, store: store)
        for step in 0..<3 {
            for user in [user, "bob"] { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        try await engine.checkpoint()
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        // Some in the queue, behind one of somebody else that the bank has in hand; one pending.
        bank.script(.store, .hang)
        try await engine.updateAdapter(for: "bob", with: script.batch("bob", 3))
        await eventually { bank.hangingCount == 1 }
        for step in 3..<6 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        #expect(engine.reasoningBankStatistics().queueDepth == 3)
        #expect(engine.reasoningBankStatistics().cacheEntries > 0)

        let result = try await engine.forget(user)
        #expect(result.hadAdapter && result.bank?.episodes == 2 + 3)
        #expect(engine.reasoningBankStatistics().queueDepth == 0)
        #expect(engine.reasoningBankStatistics().cacheEntries == 0)
        #expect(try await store.load(user) == nil)
        #expect(try await engine.users() == ["bob"])
        #expect(try await engine.adapter(for: user) == nil)
        bank.release()
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        #expect(base.episodes(of: digest(user)).isEmpty)
        #expect(base.episodes(of: digest("bob")).map(\.episode.version) == [1, 2, 3, 4])
        // They are new when they come again.
        let report = try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        #expect(report.version == 1)
        #expect(bank.tasks.last?.context.seen == 0)
        let again = try await engine.forget(user)
        #expect(again.hadAdapter && again.bank?.episodes == 0)
        #expect(try await !engine.forget(user).hadAdapter)
    }

    /// The bank was taken out and connected again while it had many episodes before it: none of them comes in afterwards.
    @Test func episodesOnTheirWayThroughAnEarlierConnectionAreReached() async throws {
        let script = try Script()
        let base = InMemoryReasoningBank(clock: ManualClock())
        let bank = ScriptedReasoningBank(base)
        let other = ScriptedReasoningBank()
        let engine = try script.engine(bank)
        bank.always(.store, .delay(.milliseconds(5)))
        for step in 0..<50 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        engine.connectReasoningBank(other)
        engine.disconnectReasoningBank()
        #expect(engine.reasoningBankStatistics().queueDepth > 0)
        engine.connectReasoningBank(bank)
        let result = try await engine.forget(user)
        #expect(result.bank?.episodes == 50)
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        #expect(base.episodeCount == 0 && engine.reasoningBankStatistics().queueDepth == 0)
    }

    /// Without a bank too: what is on its way to one that was disconnected does not arrive.
    @Test func episodesOnTheirWayToADisconnectedBankAreReached() async throws {
        let script = try Script()
        let base = InMemoryReasoningBank(clock: ManualClock())
        let bank = ScriptedReasoningBank(base)
        bank.always(.store, .delay(.milliseconds(5)))
        let engine = try script.engine(bank)
        for step in 0..<50 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        engine.disconnectReasoningBank()
        let result = try await engine.forget(user)
        let arrived = base.episodeCount
        #expect(result.hadAdapter && result.bank == nil && arrived < 50)
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        #expect(base.episodeCount == arrived)
    }

    /// Whatever an update and a forgetting at the same moment do to each other: without an adapter there are no episodes.
    @Test func noUpdateSlipsPastAForgetting() async throws {
        let script = try Script(dimension: 4, rank: 1)
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let engine = try script.engine(bank, update: script.plain)
        for i in 0..<150 {
            let user = "user \(i)"
            for step in 0..<2 { try await engine.updateAdapter(for: user, with: [script.one(.target, user, step)]) }
            async let update = engine.updateAdapter(for: user, with: [script.one(.target, user, 2)])
            async let forgetting = engine.forget(user)
            _ = try await (update, forgetting)
            guard try await engine.adapter(for: user) == nil else { continue }
            _ = try await engine.flushReasoningBank(deadline: .seconds(60))
            let left = bank.episodes(of: digest(user))
            #expect(left.isEmpty, "\(user): \(left.map(\.episode.version))")
        }
    }

    /// A removed adapter's last update goes to the bank without outcome; a forgotten user's goes nowhere.
    @Test func removingIsNotForgetting() async throws {
        let script = try Script()
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let engine = try script.engine(bank)
        for user in ["ada", "bob"] {
            for step in 0..<2 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        try await engine.removeAdapter(for: "ada")
        try await engine.forget("bob")
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        let kept = bank.episodes(of: digest("ada")).map(\.episode)
        #expect(kept.map(\.version) == [1, 2] && kept.map { $0.outcome != nil } == [true, false])
        #expect(bank.episodes(of: digest("bob")).isEmpty)
    }

    /// After a consolidation to which they gave, skills and starts are as if they had never been there.
    @Test func skillsAreThoseOfAPopulationWithoutThem() async throws {
        let script = try Script()
        let policy = ConsolidationPolicy(minimumSuccessRate: 0, minimumUses: 5)
        func consolidated(without name: String?) async throws -> (PersonalizationEngine, InMemoryReasoningBank) {
            let bank = InMemoryReasoningBank(clock: ManualClock())
            // Without advice while they learn: it would rest on the user too.
            let silent = ScriptedReasoningBank(bank)
            silent.answerLearn { _ in .none }
            silent.answerRetrieve { _ in [] }
            let engine = try script.engine(silent)
            let population = LikedPopulation(script, groups: 2, users: 14, steps: 4)
            for (i, user) in population.users.enumerated() where user != name {
                for step in 0..<population.steps {
                    try await engine.updateAdapter(for: user, with: population.feedback(i, step))
                }
            }
            #expect(try await engine.shutdown(deadline: .seconds(60)))
            let report = try await engine.consolidateAdaptationPatterns(policy)
            #expect(report?.created.isEmpty == false)
            silent.answerLearn(nil)
            return (engine, bank)
        }
        let (engine, bank) = try await consolidated(without: nil)
        let donors = Set(bank.skills.flatMap(\.donors))
        let name = try #require((0..<14).map { "liker \($0)" }.first { donors.contains(digest($0)) })
        let (_, other) = try await consolidated(without: name)
        // Someone has started from a skill with their part in it.
        try await engine.createAdapter(for: "new")
        let stale = try #require(try await engine.adapter(for: "new")?.startedFrom)
        #expect(engine.reasoning.startCount == 1)
        let result = try await engine.forget(name)
        #expect(engine.reasoning.startCount == 0)
        #expect(result.hadAdapter && result.bank?.episodes == 4)
        #expect(result.bank?.stalePriors.contains(PriorID(stale)) == true)
        #expect(bank.skills.allSatisfy { !$0.donors.contains(digest(name)) })
        let kind = try #require(bank.skills.first).kind
        #expect(bank.skills.map(\.donors) == other.skills.map(\.donors))
        #expect(bank.skills.map(\.evidence) == other.skills.map(\.evidence))
        #expect(bank.skills.map(\.initialization?.id) == other.skills.map(\.initialization?.id))
        #expect(bank.populationInitialization(of: kind)?.id == other.populationInitialization(of: kind)?.id)
        // Whoever comes now starts from the new ones.
        try await engine.createAdapter(for: "newer")
        #expect(try await engine.adapter(for: "newer")?.startedFrom != stale)
    }

    @Test func aBankThatHangsMakesItFailAndItCanBeRepeated() async throws {
        let script = try Script()
        let base = InMemoryReasoningBank(clock: ManualClock())
        let bank = ScriptedReasoningBank(base)
        let engine = try script.engine(bank, reasoning: .patient(storeDeadline: .milliseconds(50)))
        bank.script(.store, .hang)
        for step in 0..<4 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        await eventually { bank.hangingCount == 1 }
        // Also when the background has given up on that call: it may still store the episode.
        await eventually { engine.reasoningBankStatistics().timedOut >= 1 }
        for _ in 0..<2 {
            do {
                _ = try await engine.forget(user)
                Issue.record("an episode of theirs is in the bank's hands")
            } catch let error as ReasoningError {
                #expect(error.code == .timedOut && error.operation == "forget")
            }
        }
        #expect(try await engine.adapter(for: user) == nil && bank.count(of: .forget) == 0)
        bank.release()
        await eventually { bank.finishedCount(of: .store) == bank.count(of: .store) }
        let result = try await engine.forget(user)
        #expect(!result.hadAdapter && result.bank?.episodes ?? 0 > 0)
        #expect(base.episodeCount == 0)
    }

    @Test func whatTheBankOrTheStoreThrowsIsThrownAndItCanBeRepeated() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank()
        let store = TroubledStore()
        let engine = try script.engine(bank, store: store)
        try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        store.fail(.remove, with: TroubledStore.Fault())
        await #expect(throws: EngineError.self) { try await engine.forget(user) }
        #expect(try await engine.adapter(for: user)?.version == 1 && bank.count(of: .forget) == 0)
        bank.script(.forget, .fail(BankFault()))
        await #expect(throws: BankFault.self) { try await engine.forget(user) }
        #expect(try await engine.adapter(for: user) == nil)
        let result = try await engine.forget(user)
        #expect(!result.hadAdapter && result.bank != nil && bank.count(of: .forget) == 2)
        await #expect(throws: EngineError.self) { try await engine.forget("") }
    }

    /// Another user's data is as it was: the bytes of an engine and the contents of a bank that never saw the user.
    @Test func othersAreAsIfTheUserHadNeverBeenThere() async throws {
        let script = try Script()
        func run(with user: String?) async throws -> (UInt64?, [Episode]) {
            let bank = ScriptedReasoningBank.advising(rate: 0.125)
            let kept = Shared<[Episode]>([])
            bank.answerStore { episode in
                kept.change { $0.append(episode) }
                return EpisodeID(0)
            }
            bank.answerForget { digest in
                kept.change { $0.removeAll { $0.user == digest } }
                return ForgettingReport()
            }
            let engine = try script.engine(bank)
            for step in 0..<5 {
                for name in [user, "bob"].compactMap(\.self) {
                    try await engine.updateAdapter(for: name, with: script.batch(name, step))
                }
            }
            if let user { _ = try await engine.forget(user) }
            #expect(try await engine.shutdown(deadline: .seconds(60)))
            let episodes = kept.value.map { episode in
                var episode = episode
                episode.latency = 0
                // The rank among all recent gains rests on others, by design.
                episode.outcome?.reward = 0
                episode.critique = ""
                return episode
            }
            return (try await engine.adapter(for: "bob")?.stateHash, episodes)
        }
        let (with, without) = (try await run(with: user), try await run(with: nil))
        #expect(with.0 == without.0 && with.1 == without.1 && with.1.count == 5)
    }
}
