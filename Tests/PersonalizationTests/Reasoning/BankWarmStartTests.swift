import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Starts that a bank gives to new adapters, and adapters that are made again as the bank comes to know their users.
@Suite(.timeLimit(.minutes(10)))
struct BankWarmStartTests {
    private let user = "ada"

    /// A bank that gives a start by how much a user has seen.
    private func bank(_ starts: [Int: AdapterPrior], rate: Double? = nil) -> ScriptedReasoningBank {
        let bank = ScriptedReasoningBank.advising(.none)
        bank.answerLearn { task in
            let known = starts.keys.filter { $0 <= task.context.seen }.max()
            return StrategyAdvice(
                hints: AdaptationHints(learningRate: rate.map { .value($0) }), confidence: 1,
                initialization: known.flatMap { starts[$0] }.map { Initialization(prior: $0) })
        }
        return bank
    }

    private func replay(
        _ start: LoRAAdapter, _ script: Script, _ steps: Range<Int>, _ update: UpdateConfiguration,
        _ overrides: UpdateOverrides = UpdateOverrides()
    ) throws -> LoRAAdapter {
        var adapter = start
        for step in steps {
            _ = try adapter.update(
                with: [script.one(.ranking, user, step)], configuration: update, overrides: overrides)
        }
        return adapter
    }

    @Test func newAdaptersStartFromTheBanksStart() async throws {
        let script = try Script()
        let prior = try script.prior()
        for isProtected in [false, true] {
            var update = script.plain
            update.elasticWeightConsolidation = isProtected ? ElasticWeightConsolidation(strength: 0.5) : nil
            let engine = try script.engine(bank([0: prior]), update: update)
            var expected = try script.warm(user, prior)
            if isProtected { expected.anchorAtStart() }
            #expect(try await engine.createAdapter(for: "made") == 0)
            let made = try #require(try await engine.adapter(for: "made"))
            #expect(made.startedFrom == prior.contentHash && made.version == 0)
            #expect(try made.down == script.warm("made", prior).down && made.up == script.warm("made", prior).up)
            // The first update of a user makes one too, and steps on from there.
            try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
            let updated = try await engine.adapter(for: user)
            #expect(try updated?.stateHash == replay(expected, script, 0..<1, update).stateHash)
            #expect(updated?.startedFrom == prior.contentHash)
            #expect(engine.reasoningBankStatistics().warmStarts == 2 && engine.statistics().created == 2)
            // One that is there is not made again by asking.
            #expect(try await engine.createAdapter(for: user) == 1)
            #expect(engine.reasoningBankStatistics().warmStarts == 2)
        }
    }

    @Test(arguments: [[2, 4, 8], [1], [3, 5]])
    func adaptersAreMadeAgainAtTheConfiguredCounts(counts: [Int]) async throws {
        let script = try Script()
        var update = script.update
        update.elasticWeightConsolidation = nil
        let numbers = [0] + counts
        let priors = Dictionary(uniqueKeysWithValues: try numbers.map { ($0, try script.prior($0)) })
        let bank = bank(priors, rate: 0.125)
        let engine = try script.engine(
            bank, reasoning: .patient(restartsAfter: counts), update: update, isCached: false)
        var expected = try script.warm(user, try #require(priors[0]))
        var restarts = 0
        for step in 0..<12 {
            let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)])
            if counts.contains(step), let prior = priors[step] {
                // Again from the start, with the rates that those updates had.
                expected = try script.warm(user, prior)
                for past in 0..<step { expected = try advised(expected, script, past, update) }
                restarts += 1
            }
            expected = try advised(expected, script, step, update)
            let found = try #require(try await engine.adapter(for: user))
            #expect(found.stateHash == expected.stateHash, "step \(step)")
            #expect(found.startedFrom == expected.startedFrom && report.version == UInt64(step) + 1)
            #expect(found.version == UInt64(step) + 1 && found.steps == UInt64(step) + 1)
            #expect(engine.reasoningBankStatistics().restarts == restarts)
        }
        #expect(restarts == counts.count && engine.reasoningBankStatistics().warmStarts == 1)
        #expect(engine.statistics().updates == 12 && engine.statistics().created == 1)
        // The episodes name the start of each update, and the losses are those of the adapter that is.
        _ = try await engine.shutdown(deadline: .seconds(60))
        #expect(bank.storedEpisodes.map(\.version) == (1...12).map { UInt64($0) })
        for episode in bank.storedEpisodes {
            // The last one before a restart was made again with it.
            let step = Int(episode.version) - 1
            let start = numbers.last { $0 <= (counts.contains(step + 1) ? step + 1 : step) } ?? 0
            #expect(episode.action.initialization == priors[start].map { PriorID($0.contentHash) }, "step \(step)")
        }
    }

    /// One update under the bank's rate, before the schedule.
    private func advised(
        _ adapter: LoRAAdapter, _ script: Script, _ step: Int, _ update: UpdateConfiguration
    ) throws -> LoRAAdapter {
        let planned = LoRAAdapter.planned(.ranking, adapter, update)
        return try adapter.updated(
            with: [script.one(.ranking, user, step)], configuration: update,
            overrides: UpdateOverrides(learningRate: Float(0.125 * planned.scheduleFactor))
        ).adapter
    }

    @Test func theSameStartOrNoneChangesNothing() async throws {
        let script = try Script()
        let prior = try script.prior()
        let engine = try script.engine(
            bank([0: prior]), reasoning: .patient(restartsAfter: [2, 4]), update: script.plain, isCached: false)
        for step in 0..<6 { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        let expected = try replay(script.warm(user, prior), script, 0..<6, script.plain)
        #expect(try await engine.adapter(for: user)?.stateHash == expected.stateHash)
        #expect(engine.reasoningBankStatistics().restarts == 0)
        // A user who began without a bank's start gets one at the next restart.
        let late = try script.engine(
            bank([2: prior]), reasoning: .patient(restartsAfter: [2, 4]), update: script.plain, isCached: false)
        for step in 0..<6 { try await late.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        #expect(try await late.adapter(for: user)?.stateHash == expected.stateHash)
        #expect(late.reasoningBankStatistics().restarts == 1 && late.reasoningBankStatistics().warmStarts == 0)
    }

    @Test func aBatchRefusedAtARestartLeavesAllAsItWas() async throws {
        let script = try Script()
        let priors = [0: try script.prior(), 2: try script.prior(2)]
        let bank = bank(priors)
        let engine = try script.engine(
            bank, reasoning: .patient(restartsAfter: [2]), update: script.plain, isCached: false)
        for step in 0..<2 { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        let before = try #require(try await engine.adapter(for: user))
        var bad = script.one(.ranking, user, 2)
        bad.embedding[0] = .nan
        for _ in 0..<2 {
            await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: user, with: [bad]) }
            let after = try #require(try await engine.adapter(for: user))
            #expect(after.stateHash == before.stateHash && after.version == 2)
            #expect(after.startedFrom == priors[0]?.contentHash)
        }
        #expect(engine.reasoningBankStatistics().restarts == 0)
        // The next good one makes it again after all.
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 2)])
        let start = try script.warm(user, try #require(priors[2]))
        #expect(try await engine.adapter(for: user)?.stateHash == replay(start, script, 0..<3, script.plain).stateHash)
        #expect(engine.reasoningBankStatistics().restarts == 1)
        _ = try await engine.shutdown(deadline: .seconds(60))
        #expect(bank.storedEpisodes.map(\.version) == [1, 2, 3])
    }

    /// The episode of the step before is that of the step that was made, not of one that was undone.
    @Test func anEpisodeBeforeARefusedRestartStaysAsItWas() async throws {
        let script = try Script()
        let priors = [0: try script.prior(), 2: try script.prior(2)]
        let bank = bank(priors)
        let engine = try script.engine(
            bank, reasoning: .patient(restartsAfter: [2]), update: script.plain, isCached: false)
        var reports: [UpdateReport] = []
        for step in 0..<2 {
            reports.append(try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]))
        }
        var bad = script.one(.ranking, user, 2)
        bad.embedding[0] = .nan
        await #expect(throws: EngineError.self) { try await engine.updateAdapter(for: user, with: [bad]) }
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        let last = try #require(bank.storedEpisodes.last)
        #expect(last.version == 2 && last.action.initialization?.value == priors[0]?.contentHash)
        #expect(last.lossBefore == reports[1].lossBefore && last.lossAfter == reports[1].lossAfter)
    }

    @Test func fadingDrawsToTheStart() async throws {
        let script = try Script()
        let prior = try script.prior()
        var update = script.plain
        update.fading = PerObjective(all: 0.5)
        let engine = try script.engine(bank([0: prior]), update: update)
        // Rewards of 0 with no baseline teach nothing: what is left is the fading.
        let nothing = Feedback(embedding: script.probe(), signal: .reward(0, for: .vector(script.probe(1))))
        let start = try script.warm(user, prior)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        func distance(_ adapter: LoRAAdapter?, _ other: LoRAAdapter) throws -> Double {
            let adapter = try #require(adapter)
            var sum = 0.0
            for k in 0..<script.rank {
                for (a, b) in zip(adapter.up.row(k), other.up.row(k)) { sum += Double(a - b) * Double(a - b) }
            }
            return sum.squareRoot()
        }
        let first = try distance(try await engine.adapter(for: user), start)
        for _ in 0..<10 { try await engine.updateAdapter(for: user, with: [nothing]) }
        let last = try distance(try await engine.adapter(for: user), start)
        #expect(first > 1e-3 && last < first / 500 && last < 1e-4)
        // Not to zero.
        #expect(try distance(try await engine.adapter(for: user), script.cold(user)) > 0.05)
    }

    @Test func aUserWithBigEarlyBatchesNeverStartsAgain() async throws {
        let script = try Script()
        let priors = [0: try script.prior(), 2: try script.prior(2)]
        let engine = try script.engine(
            bank(priors), reasoning: .patient(restartsAfter: [2, 4]), update: script.plain, isCached: false)
        let big = (0..<17).map { script.one(.ranking, user, 100 + $0) }
        var expected = try script.warm(user, try #require(priors[0]))
        for step in 0..<6 {
            let batch = step == 1 ? big : [script.one(.ranking, user, step)]
            try await engine.updateAdapter(for: user, with: batch)
            _ = try expected.update(with: batch, configuration: script.plain)
        }
        #expect(try await engine.adapter(for: user)?.stateHash == expected.stateHash)
        #expect(engine.reasoningBankStatistics().restarts == 0)
    }

    @Test func storedAdaptersKeepWhatTheyStartedFrom() async throws {
        let script = try Script()
        let prior = try script.prior()
        let store = InMemoryAdapterStore()
        var update = script.plain
        update.fading = PerObjective(all: 0.1)
        let bank = bank([0: prior, 1: try script.prior(1)])
        func engine() throws -> PersonalizationEngine {
            try script.engine(
                bank, reasoning: .patient(restartsAfter: [1, 2]), update: update, isCached: false, store: store)
        }
        let first = try engine()
        try await first.createAdapter(for: user)
        #expect(try await first.checkpoint() == 1)
        // Loaded without updates: it is still new, and made again when the bank knows more.
        let second = try engine()
        #expect(try await second.adapter(for: user)?.startedFrom == prior.contentHash)
        try await second.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        #expect(try await second.unloadAdapter(for: user))
        // Loaded with updates that nobody remembers: it goes on from where it is, drawn to where it started.
        for step in 1..<4 { try await second.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        let expected = try replay(script.warm(user, prior), script, 0..<4, update)
        #expect(try await second.adapter(for: user)?.stateHash == expected.stateHash)
        #expect(second.reasoningBankStatistics().restarts == 0)
        try await second.checkpoint()
        #expect(try await store.load(user)?.adapter.startedFrom == prior.contentHash)
    }

    /// Starts of more than one prior are kept for those to come, and forgotten together with a user.
    /// A start that the caller has chosen is theirs: the bank's advice of starts is for adapters without one.
    @Test func aStartOfTheCallersOwnStays() async throws {
        let script = try Script()
        let (own, banks) = (try script.prior(1), try script.prior(2))
        let engine = try script.engine(
            bank([0: banks]), reasoning: .patient(restartsAfter: [1, 2]), update: script.plain)
        try await engine.createAdapter(for: user, startingFrom: own)
        for step in 0..<4 { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
        #expect(try await engine.adapter(for: user)?.startedFrom == own.contentHash)
        #expect(
            try await engine.adapter(for: user)?.stateHash
                == replay(script.warm(user, own), script, 0..<4, script.plain).stateHash)
        #expect(engine.reasoningBankStatistics().restarts == 0)
    }

    /// Making an adapter again would undo what was anchored in the meantime.
    @Test func anAnchoredAdapterIsNotMadeAgain() async throws {
        let script = try Script()
        var update = script.plain
        update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 0.5)
        let (first, second) = (try script.prior(1), try script.prior(2))
        for isAnchored in [false, true] {
            let engine = try script.engine(
                bank([0: first, 2: second]), reasoning: .patient(restartsAfter: [2]), update: update)
            for step in 0..<2 { try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]) }
            if isAnchored { try await engine.consolidateAdapter(for: user) }
            try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 2)])
            let started = try await engine.adapter(for: user)?.startedFrom
            #expect(started == (isAnchored ? first : second).contentHash)
        }
    }

    /// A bank with a new start for everybody: those that are kept for others are bounded.
    @Test func keptStartsAreBounded() async throws {
        let script = try Script(dimension: 4, rank: 1)
        let bank = ScriptedReasoningBank.advising(.none)
        let number = Shared(0)
        bank.answerLearn { _ in
            let next = number.change { number -> Int in
                number += 1
                return number
            }
            return StrategyAdvice(initialization: Initialization(prior: try script.prior(next)))
        }
        let engine = try script.engine(bank, update: script.plain)
        for i in 0..<600 {
            try await engine.createAdapter(for: "user \(i)")
            #expect(engine.reasoning.startCount <= ReasoningHub.mostStarts)
        }
        #expect(engine.reasoningBankStatistics().warmStarts == 600)
    }

    @Test func startsAreMadeOncePerPrior() async throws {
        let script = try Script(dimension: 6, rank: 1)
        let bank = ScriptedReasoningBank.advising(.none)
        let priors = try (0..<300).map { try script.prior($0) }
        bank.answerLearn { task in
            let number = Int(truncatingIfNeeded: task.excluding?.low ?? 0) & 0xFFFF
            return StrategyAdvice(initialization: Initialization(prior: priors[number % priors.count]))
        }
        let engine = try script.engine(bank, update: script.plain)
        for i in 0..<600 {
            let user = "user \(i)"
            try await engine.createAdapter(for: user)
            let prior = priors[(Int(truncatingIfNeeded: digest(user).low) & 0xFFFF) % priors.count]
            #expect(try await engine.adapter(for: user)?.stateHash == script.warm(user, prior).stateHash)
        }
        #expect(engine.reasoningBankStatistics().warmStarts == 600 && engine.reasoningBankStatistics().failed == 0)
    }
}
