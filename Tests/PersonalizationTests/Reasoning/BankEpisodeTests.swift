import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Episodes: what the next batch showed, when nothing did, and that nobody's id is in them.
@Suite(.timeLimit(.minutes(10)))
struct BankEpisodeTests {
    private let user = "ada.lovelace@example.org"

    /// The loss of a batch under an adapter, against the items that are drawn at a step.
    private func loss(
        _ batch: [Feedback], _ adapter: LoRAAdapter, at step: UInt64, _ update: UpdateConfiguration
    ) throws -> Double {
        var adapter = adapter
        adapter.steps = step
        return try adapter.updated(with: batch, configuration: update).report.lossBefore
    }

    /// The share of the others that score below the chosen one, ties counting half.
    private func share(_ feedback: Feedback, _ y: [Float]) -> Double? {
        guard case .ranking(.vector(let chosen, _), let others) = feedback.signal else { return nil }
        func score(_ item: [Float]) -> Float { zip(item, y).reduce(0) { $0 + $1.0 * $1.1 } }
        var sum = 0.0
        for case .vector(let other, _) in others {
            sum += score(other) < score(chosen) ? 1 : score(other) == score(chosen) ? 0.5 : 0
        }
        return sum / Double(others.count)
    }

    private func expectOutcomes(
        _ script: Script, _ update: UpdateConfiguration, _ batches: [[Feedback]], from start: LoRAAdapter,
        _ bank: ScriptedReasoningBank, reasoning: ReasoningConfiguration = .patient()
    ) async throws {
        let engine = try script.engine(bank, reasoning: reasoning, update: update)
        var adapters = [start]
        for batch in batches {
            try await engine.updateAdapter(for: user, with: batch)
            adapters.append(try #require(try await engine.adapter(for: user)))
            // One at a time, so that the order of the gains is known.
            #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        }
        let episodes = bank.storedEpisodes
        #expect(episodes.map(\.version) == (1..<batches.count).map { UInt64($0) })
        let cold = LoRAAdapter(shape: start.shape, identity: start.identity)
        var gains: [Double] = []
        for (i, episode) in episodes.enumerated() {
            let next = Array(batches[i + 1].prefix(16))
            let step = UInt64(i + 1)
            let without = try loss(next, cold, at: step, update)
            let before = try loss(next, adapters[i], at: step, update)
            let after = try loss(next, adapters[i + 1], at: step, update)
            let outcome = try #require(episode.outcome)
            let gain = (before - after) / max(without, 1e-6)
            #expect(abs(outcome.gain - gain) < 1e-4 * (1 + abs(gain)), "step \(i)")
            if next.count == 1, let base = share(next[0], next[0].embedding) {
                let own = try #require(share(next[0], adapters[i + 1].forward(next[0].embedding)))
                #expect(abs(outcome.benefit - (own - base)) < 1e-9, "step \(i)")
            } else if next.count == 1, case .target = next[0].signal {
                let benefit = (without - after) / max(without, 1e-6)
                #expect(abs(outcome.benefit - benefit) < 1e-4 * (1 + abs(benefit)), "step \(i)")
            }
            let below = gains.reduce(0.0) { $0 + ($1 < outcome.gain ? 1 : $1 == outcome.gain ? 0.5 : 0) }
            #expect(outcome.reward == (gains.isEmpty ? 0.5 : below / Double(gains.count)), "step \(i)")
            #expect(outcome.success == (outcome.gain > reasoning.successMargin))
            gains.append(outcome.gain)
        }
        #expect(Set(gains).count > 1)
    }

    @Test(arguments: ObjectiveKind.allCases)
    func outcomesAreThoseOfTheNextBatch(kind: ObjectiveKind) async throws {
        let script = try Script()
        let batches = (0..<8).map { [script.one(kind, user, $0)] }
        // A rate that is advised, so that what is judged is the step as it was made.
        try await expectOutcomes(
            script, script.plain, batches, from: script.cold(user), .advising(rate: kind == .target ? 10 : 0.5))
    }

    @Test func outcomesOfMixedBatchesWithAStatefulOptimizer() async throws {
        let script = try Script()
        let batches = (0..<8).map { script.batch(user, $0) }
        try await expectOutcomes(script, script.update, batches, from: script.cold(user), .advising(.none))
    }

    @Test func outcomesWithFadingTowardsAWarmStart() async throws {
        let script = try Script()
        var update = script.plain
        update.fading = PerObjective(all: 0.1)
        let prior = try script.prior()
        let batches = (0..<6).map { [script.one(.ranking, user, $0)] }
        let bank = ScriptedReasoningBank.advising(StrategyAdvice(initialization: Initialization(prior: prior)))
        try await expectOutcomes(script, update, batches, from: script.warm(user, prior), bank)
        #expect(bank.storedEpisodes.allSatisfy { $0.action.initialization == PriorID(prior.contentHash) })
    }

    @Test func theMarginDecidesOnSuccess() async throws {
        let script = try Script()
        let batches = (0..<8).map { [script.one(.ranking, user, $0)] }
        for margin in [0.02, -0.02] {
            var reasoning = ReasoningConfiguration.patient()
            reasoning.successMargin = margin
            try await expectOutcomes(
                script, script.plain, batches, from: script.cold(user), .advising(rate: 0.5), reasoning: reasoning)
        }
    }

    @Test func aNextBatchThatIsRefusedShowsNothing() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        var bad = script.one(.ranking, user, 1)
        bad.embedding[0] = .infinity
        await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: user, with: [bad]) }
        try await engine.updateAdapter(for: user, with: [])
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        #expect(bank.count(of: .store) == 0)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)])
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        #expect(bank.storedEpisodes.map(\.version) == [1] && bank.storedEpisodes[0].outcome != nil)
    }

    enum End: CaseIterable { case unload, disconnect, shutdown, swap }

    @Test(arguments: End.allCases)
    func pendingEpisodesAreStoredWithoutOutcome(end: End) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank)
        for step in 0..<2 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        #expect(bank.storedEpisodes.map(\.version) == [1])
        switch end {
        case .unload: #expect(try await engine.unloadAdapter(for: user))
        case .disconnect: engine.disconnectReasoningBank()
        case .shutdown: #expect(try await engine.shutdown(deadline: .seconds(60)))
        case .swap: engine.connectReasoningBank(ScriptedReasoningBank.advising(.none))
        }
        await eventually { bank.finishedCount(of: .store) == 2 }
        let last = try #require(bank.storedEpisodes.last)
        #expect(last.version == 2 && last.outcome == nil && last.critique == "no next batch")
        // Nothing is stored twice.
        switch end {
        case .unload:
            #expect(try await !engine.unloadAdapter(for: user))
            #expect(engine.slotCount == 0)
        case .shutdown: #expect(try await engine.shutdown(deadline: .seconds(60)))
        case .disconnect, .swap: engine.disconnectReasoningBank()
        }
        try await engine.updateAdapter(for: user, with: script.batch(user, 2))
        #expect(try await engine.adapter(for: user)?.stateHash == script.history(user, steps: 3)[3].stateHash)
        #expect(bank.count(of: .store) == 2)
    }

    /// Disconnected while an update waits for the bank: the update's own episode is still stored, and what the engine keeps of the
    /// user is gone.
    @Test func disconnectingWhileAnUpdateWaitsLosesNoEpisode() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.learn, .hang)
        let engine = try script.engine(bank)
        async let report = engine.updateAdapter(for: user, with: script.batch(user, 0))
        await eventually { bank.hangingCount == 1 }
        engine.disconnectReasoningBank()
        bank.release()
        #expect(try await report.version == 1)
        await eventually { bank.finishedCount(of: .store) == 1 }
        #expect(bank.storedEpisodes.map(\.version) == [1] && bank.storedEpisodes[0].outcome == nil)
        for step in 1..<3 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        #expect(try await engine.adapter(for: user)?.stateHash == script.history(user, steps: 3)[3].stateHash)
        #expect(bank.count(of: .store) == 1)
    }

    @Test func episodesSayWhatWasDoneAndNotToWhom() async throws {
        let script = try Script()
        var update = script.plain
        update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 0.5)
        update.schedule = Schedule(.step(size: 1, factor: 0.5))
        let bank = ScriptedReasoningBank.advising(.none)
        let clock = ManualClock()
        let engine = try script.engine(bank, update: update, clock: clock)
        var reports: [UpdateReport] = []
        for step in 0..<3 {
            clock.advance(seconds: 60)
            reports.append(
                try await engine.updateAdapter(
                    for: user, with: [script.one(.ranking, user, step), script.one(.ranking, user, step + 50)]))
        }
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        let episodes = bank.storedEpisodes
        #expect(episodes.count == 3)
        for (i, episode) in episodes.enumerated() {
            #expect(episode.user == digest(user) && episode.version == reports[i].version)
            #expect(episode.sessionID == "session" && engine.sessionID == "session")
            #expect(episode.latency > 0 && episode.latency < 60_000_000_000)
            #expect(episode.task == "ranking" && episode.context.objective == .ranking)
            #expect(episode.lossBefore == reports[i].lossBefore && episode.lossAfter == reports[i].lossAfter)
            #expect(Double(episode.action.learningRate) == reports[i].learningRate)
            #expect(episode.action.scheduleFactor == 1 / Float(1 << i) && episode.action.clipThreshold == 2)
            #expect(episode.action.consolidationStrength == 0.5 && episode.action.propensity == 1)
            #expect(episode.context.seen == 2 * i && episode.context.batchSize == 2)
            #expect(episode.context.idleSeconds == (i == 0 ? 0 : 60))
            #expect(episode.context.dimension == 20 && episode.context.rank == 4)
            #expect(episode.context.model == StableHash.hash("test") && episode.context.initialization == nil)
            #expect(episode.recordedAt.microseconds == 1_700_000_000_000_000 + Int64(i + 1) * 60_000_000)
            #expect(episode.input == "ranking feedback, 2 in the batch, after \(2 * i) seen")
            #expect(episode.output.hasPrefix("rate \(episode.action.learningRate), clip 2.0: loss "))
            #expect(episode.critique.isEmpty == false)
            if let outcome = episode.outcome { #expect(episode.critique.contains("gain \(outcome.gain)")) }
            try episode.validate()
            let text = dumped(episode)
            for part in [
                user, "ada.", "lovelace", "example", String(StableHash.hash(user)),
                "\(AdapterIdentity(seed: 7, user: user).stream)",
            ] {
                #expect(!text.lowercased().contains(part), "\(part)")
            }
        }
        #expect(episodes[2].outcome == nil && episodes[1].outcome != nil)
        // What banks are asked holds no more.
        #expect(!dumped(bank.tasks).contains("lovelace") && !dumped(bank.queries).contains("lovelace"))
    }

    @Test func anotherKeyMakesAnotherDigest() async throws {
        let script = try Script()
        var found: [UserDigest] = []
        for key in [DigestKey(1, 2), DigestKey(1, 3), nil, nil] {
            let bank = ScriptedReasoningBank.advising(.none)
            var reasoning = ReasoningConfiguration.patient()
            reasoning.digestKey = key
            reasoning.sessionID = nil
            let engine = try script.engine(bank, reasoning: reasoning)
            try await engine.updateAdapter(for: user, with: script.batch(user, 0))
            #expect(try await engine.shutdown(deadline: .seconds(60)))
            found += bank.storedEpisodes.map(\.user)
            #expect(try #require(bank.storedEpisodes.first).sessionID == engine.sessionID && !engine.sessionID.isEmpty)
        }
        #expect(found.count == 4 && Set(found).count == 4)
    }

    /// Consolidation sees what is on its way: it waits for the bank to have it, and says so when that takes too long.
    @Test func consolidationWaitsForEpisodesOnTheirWay() async throws {
        let script = try Script()
        let base = InMemoryReasoningBank(clock: ManualClock())
        let bank = ScriptedReasoningBank(base)
        bank.always(.store, .delay(.milliseconds(2)))
        let engine = try script.engine(bank)
        for step in 0..<20 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        #expect(base.episodeCount < 19)
        let report = try #require(try await engine.consolidateAdaptationPatterns())
        #expect(report.episodes == 19 && report.users == 1)
    }

    /// User, version and time name an episode: a bank that has it does not take it again. Of a user whose adapter was removed, or
    /// whose engine has begun again without what was not saved, version 1 is another one.
    @Test func anAdapterThatBeginsAgainHasEpisodesOfItsOwn() async throws {
        let script = try Script()
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let clock = ManualClock()
        for life in 1...3 {
            let engine = try script.engine(bank, clock: clock)
            for step in 0..<6 {
                clock.advance(seconds: 1)
                try await engine.updateAdapter(for: user, with: script.batch(user, step))
                if step == 2, life == 1 { try await engine.removeAdapter(for: user) }
            }
            #expect(try await engine.shutdown(deadline: .seconds(60)))
            #expect(engine.reasoningBankStatistics().stored == 6)
            #expect(bank.episodeCount == 6 * life)
        }
        #expect(
            bank.episodes(of: digest(user)).map(\.episode.version)
                == [1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6])
    }

    @Test func theKeyIsUserVersionAndTime() async throws {
        let script = try Script()
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let store = InMemoryAdapterStore()
        let engine = try script.engine(bank, store: store)
        for step in 0..<3 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        try await engine.checkpoint()
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        #expect(bank.episodes(of: digest(user)).map(\.episode.version) == [1, 2, 3])
        for stored in bank.episodes(of: digest(user)) {
            #expect(try await bank.storePattern(stored.episode) == stored.id)
        }
        #expect(bank.episodeCount == 3)
        // Versions go on after a restart, so no episode takes another's place.
        let second = try script.engine(bank, store: store)
        try await second.updateAdapter(for: user, with: script.batch(user, 3))
        #expect(try await second.shutdown(deadline: .seconds(60)))
        #expect(bank.episodes(of: digest(user)).map(\.episode.version) == [1, 2, 3, 4])
    }

    // MARK: - Leave one user out

    /// Plants an episode that nobody could overlook: it reaches others, and not the user whose it is.
    @Test func nobodyIsAdvisedByTheirOwnPast() async throws {
        let script = try Script()
        func engine(planted: Bool) async throws -> PersonalizationEngine {
            let bank = InMemoryReasoningBank(clock: ManualClock())
            if planted {
                var builder = EpisodeBuilder()
                builder.dimension = script.dimension
                builder.rank = script.rank
                for version in 1...20 {
                    var episode = builder.episode(
                        user: user, version: UInt64(version), learningRate: 1, gain: 0.9, reward: 1)
                    episode.context.model = StableHash.hash("test")
                    _ = try await bank.storePattern(episode)
                }
            }
            return try script.engine(bank, update: script.plain)
        }
        let (with, without) = (try await engine(planted: true), try await engine(planted: false))
        for step in 0..<4 {
            let feedback = [script.one(.ranking, user, step)]
            let report = try await with.updateAdapter(for: user, with: feedback)
            #expect(try await without.updateAdapter(for: user, with: feedback) == report)
        }
        let bytes = try await without.adapter(for: user)?.stateHash
        #expect(try await with.adapter(for: user)?.stateHash == bytes)
        #expect(try await with.learnStrategy(for: user)?.advice == StrategyAdvice.none)
        #expect(try await with.similarAdaptations(to: user) == [])
        #expect(with.reasoningBankStatistics().hinted == 0)
        // Another user hears of it.
        let other = try await with.learnStrategy(for: "bob")
        // Those planted, and those that the engine has stored of its own three updates with an outcome.
        #expect(other?.advice.episodes ?? 0 >= 20 && other?.advice.confidence ?? 0 > 0)
        #expect(try await with.similarAdaptations(to: "bob")?.allSatisfy { $0.userKey == digest(user) } == true)
        let rate = try await with.updateAdapter(for: "bob", with: [script.one(.ranking, "bob", 0)]).learningRate
        #expect(rate != 0.25 && with.reasoningBankStatistics().hinted == 1)
    }
}
