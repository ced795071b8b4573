import LoRA
import Reasoning
import StorageTesting
import Telemetry
import TensorCore
import Testing

@testable import Personalization

/// Hints take effect exactly: the bytes are those of the same update with the hinted values given by hand.
@Suite(.timeLimit(.minutes(10)))
struct BankHintTests {
    private let user = "ada"

    private var protected: UpdateConfiguration {
        get throws {
            var update = try Script().plain
            update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 0.5)
            update.fading = PerObjective(all: 0)
            return update
        }
    }

    /// Updates under an advice, and by hand with the overrides that it stands for; the bytes must agree.
    private func expect(
        _ advice: StrategyAdvice, _ update: UpdateConfiguration, kind: ObjectiveKind = .ranking, steps: Int = 5,
        overrides given: UpdateOverrides = UpdateOverrides(), sourceLocation: SourceLocation = #_sourceLocation,
        equals overrides: (_ step: Int) -> UpdateOverrides
    ) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(advice)
        let engine = try script.engine(bank, update: update)
        var expected = try script.cold(user)
        for step in 0..<steps {
            let feedback = [script.one(kind, user, step)]
            let report = try await engine.updateAdapter(for: user, with: feedback, overrides: given)
            let byHand = try expected.update(with: feedback, configuration: update, overrides: overrides(step))
            #expect(report == byHand, "step \(step)", sourceLocation: sourceLocation)
            if step == 2 {
                try await engine.consolidateAdapter(for: user)
                expected = consolidated(expected, update)
            }
        }
        let found = try await engine.adapter(for: user)
        #expect(found?.stateHash == expected.stateHash, sourceLocation: sourceLocation)
    }

    private func consolidated(_ adapter: LoRAAdapter, _ update: UpdateConfiguration) -> LoRAAdapter {
        var adapter = adapter
        if update.elasticWeightConsolidation != nil { adapter.consolidate() }
        return adapter
    }

    @Test(arguments: ObjectiveKind.allCases)
    func everySettingTakesEffectExactly(kind: ObjectiveKind) async throws {
        let hints = AdaptationHints(
            learningRate: .value(0.125), clipThreshold: .value(0.0625), consolidationStrength: .value(2.5))
        try await expect(StrategyAdvice(hints: hints, confidence: 1), protected, kind: kind) { _ in
            UpdateOverrides(learningRate: 0.125, clipThreshold: 0.0625, consolidationStrength: 2.5)
        }
    }

    @Test func oneSettingAloneLeavesTheOthers() async throws {
        let update = try protected
        let one = AdaptationHints(consolidationStrength: .value(4))
        try await expect(StrategyAdvice(hints: one, confidence: 1), update) { _ in
            UpdateOverrides(consolidationStrength: 4)
        }
        let other = AdaptationHints(clipThreshold: .value(0.03125))
        try await expect(StrategyAdvice(hints: other, confidence: 1), update) { _ in
            UpdateOverrides(clipThreshold: 0.03125)
        }
    }

    @Test func factorsMultiplyTheEffectiveValue() async throws {
        let hints = AdaptationHints(
            learningRate: .factor(0.5), clipThreshold: .factor(0.25), consolidationStrength: .factor(8))
        try await expect(StrategyAdvice(hints: hints, confidence: 1), protected) { _ in
            UpdateOverrides(learningRate: 0.125, clipThreshold: 0.5, consolidationStrength: 4)
        }
    }

    @Test(arguments: [0.1, 0.5, 0.9])
    func confidenceBlendsInProportion(confidence: Double) async throws {
        let script = try Script()
        let hints = AdaptationHints(
            learningRate: .value(0.01), clipThreshold: .value(0.5), consolidationStrength: .value(8))
        let bank = ScriptedReasoningBank.advising(StrategyAdvice(hints: hints, confidence: confidence))
        let engine = try script.engine(bank, update: protected)
        let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        func blended(_ value: Double, _ hint: Double) -> Double {
            Elementary.exp((1 - confidence) * Elementary.log(value) + confidence * Elementary.log(hint))
        }
        #expect(abs(report.learningRate / blended(0.25, 0.01) - 1) < 1e-6)
        #expect(abs(report.clipThreshold / blended(2, 0.5) - 1) < 1e-6)
        _ = try await engine.shutdown(deadline: .seconds(60))
        let action = try #require(bank.storedEpisodes.first).action
        #expect(abs(Double(action.consolidationStrength) / blended(0.5, 8) - 1) < 1e-6)
    }

    @Test func noConfidenceMeansNoHint() async throws {
        let hints = AdaptationHints(learningRate: .value(0.001), clipThreshold: .factor(2))
        try await expect(StrategyAdvice(hints: hints, confidence: 0), protected) { _ in UpdateOverrides() }
    }

    @Test func sentencesAreRead() async throws {
        let sentence = "Set the learning rate to 0.125, clip threshold: 0.0625, and EWC lambda = 2.5."
        try await expect(StrategyAdvice(confidence: 1, sentence: sentence), protected) { _ in
            UpdateOverrides(learningRate: 0.125, clipThreshold: 0.0625, consolidationStrength: 2.5)
        }
        try await expect(StrategyAdvice(confidence: 1, sentence: "Reduce the learning rate."), protected) { _ in
            UpdateOverrides(learningRate: 0.125)
        }
        // Typed hints come first.
        try await expect(
            StrategyAdvice(
                hints: AdaptationHints(learningRate: .value(0.5)), confidence: 1,
                sentence: "Set the clip threshold to 0.1."), protected
        ) { _ in UpdateOverrides(learningRate: 0.5) }
    }

    @Test func aHintForTheRateIsBeforeTheSchedule() async throws {
        var update = try Script().plain
        update.schedule = Schedule(.step(size: 1, factor: 0.5))
        try await expect(
            StrategyAdvice(hints: AdaptationHints(learningRate: .value(0.125)), confidence: 1), update
        ) { step in UpdateOverrides(learningRate: 0.125 / Float(1 << step)) }
    }

    /// The rates of similar successes include their schedules; what is taken from them is the rate before it.
    @Test func ratesOfSimilarSuccessesAreTakenBeforeTheirSchedule() async throws {
        let script = try Script()
        var update = script.plain
        update.schedule = Schedule(.step(size: 1, factor: 0.5))
        let bank = ScriptedReasoningBank.advising(.none)
        bank.answerRetrieve { query in
            (0..<query.limit).map { i in
                RetrievedPattern(
                    id: EpisodeID(UInt64(i) + 1), user: digest("bob"), reward: 1, success: true, similarity: 1, loss: 1,
                    action: AdaptationAction(learningRate: 0.0625, scheduleFactor: 0.0625, clipThreshold: 2),
                    rank: query.context.rank)
            }
        }
        let engine = try script.engine(bank, update: update)
        // Half of the way from 0.25 to 1.
        for rate in [0.5, 0.25, 0.125] {
            let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
            #expect(abs(report.learningRate / rate - 1) < 1e-6)
        }
    }

    @Test func similarSuccessesAdviseWhereTheBankHasNoStrategy() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let patterns: [(rate: Float, similarity: Double, reward: Double, success: Bool)] = [
            // The last two are no answer to what was asked: no success, too small a reward.
            (0.5, 0.8, 1, true), (0.125, 0.25, 0.8, true), (9, -0.5, 1, true), (8, 1, 1, false), (7, 1, 0.5, true),
        ]
        bank.answerRetrieve { query in
            patterns.enumerated().map { i, pattern in
                RetrievedPattern(
                    id: EpisodeID(UInt64(i)), user: digest("bob"), reward: pattern.reward, success: pattern.success,
                    similarity: pattern.similarity, loss: 1,
                    action: AdaptationAction(learningRate: pattern.rate, clipThreshold: 2), rank: 4)
            }
        }
        let engine = try script.engine(bank, update: script.plain)
        let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        // Weights 0.8 and 0.2, of 5 that could be; half of that at most.
        let mean = 0.8 * Elementary.log(0.5) + 0.2 * Elementary.log(0.125)
        let confidence = (1.0 / 5) * 0.5
        let expected = Elementary.exp((1 - confidence) * Elementary.log(0.25) + confidence * mean)
        #expect(abs(report.learningRate / expected - 1) < 1e-6)
        let query = try #require(bank.queries.first)
        #expect(
            query.onlySuccesses && query.limit == 5 && query.minimumReward == 0.7 && query.excluding == digest(user))
        // The one who asks to see it sees the same.
        try await engine.removeAdapter(for: user)
        let strategy = try #require(try await engine.learnStrategy(for: user))
        #expect(abs(Double(strategy.learningRate) / expected - 1) < 1e-6 && strategy.advice == .none)
        #expect(strategy.hints.learningRate != nil)
    }

    /// A bank that gives its own user's past away, or what was not asked for: nothing of it is followed, and nobody sees it.
    @Test func whatWasNotAskedForIsLeftOut() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.answerRetrieve { query in
            let past = [(query.excluding, 1.0, true), (digest("bob"), 0.1, true), (digest("bob"), 0.2, false)]
            return past.enumerated().compactMap { i, one in
                one.0.map {
                    RetrievedPattern(
                        id: EpisodeID(UInt64(i)), user: $0, reward: one.1, success: one.2, similarity: 1, loss: 1,
                        action: AdaptationAction(learningRate: 1, clipThreshold: 2), rank: 4)
                }
            }
        }
        let engine = try script.engine(bank, update: script.plain)
        let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        #expect(report.learningRate == 0.25 && engine.reasoningBankStatistics().hinted == 0)
        let similar = try #require(try await engine.similarAdaptations(to: user))
        #expect(similar.map(\.userKey) == [digest("bob"), digest("bob")])
        for kind in [ScriptedReasoningBank.Garbage.notANumber, .infinity, .tooMuch] {
            bank.always(.retrieve, .garbage(kind))
            await #expect(throws: ReasoningError.self) { try await engine.similarAdaptations(to: user) }
        }
    }

    /// A bank with a strategy is not asked for patterns, which would be of no use.
    @Test func patternsAreAskedForOnlyWhereThereIsNoStrategy() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.125)
        let engine = try script.engine(bank, isCached: false)
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        #expect(bank.count(of: .learn) == 1 && bank.count(of: .retrieve) == 0)
        #expect(engine.reasoningBankStatistics().queries == 1)
        bank.answerLearn { _ in .none }
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)])
        #expect(bank.count(of: .learn) == 2 && bank.count(of: .retrieve) == 1)
        #expect(engine.reasoningBankStatistics().queries == 3)
    }

    /// The target loss carries 1/dimension, so its rates are bounded in units of it: up to 1 a dimension.
    @Test func hintsForTargetsAreInUnitsOfTheDimension() async throws {
        let script = try Script()
        for (hint, rate) in [(10.0, 10.0), (1000.0, 20.0), (1e-9, 20e-6)] {
            let bank = ScriptedReasoningBank.advising(rate: hint)
            let engine = try script.engine(bank, update: script.plain)
            let report = try await engine.updateAdapter(for: user, with: [script.one(.target, user, 0)])
            #expect(abs(report.learningRate / rate - 1) < 1e-6)
            let other = try await engine.updateAdapter(for: "bob", with: [script.one(.ranking, "bob", 0)])
            #expect(abs(other.learningRate / max(1e-6, min(1, hint)) - 1) < 1e-6)
            #expect(engine.reasoningBankStatistics().hintsIgnored == (hint == 10 ? 1 : 2))
        }
    }

    @Test func whatTheCallerAsksForComesFirst() async throws {
        let hints = AdaptationHints(
            learningRate: .value(0.5), clipThreshold: .value(0.25), consolidationStrength: .value(4))
        let given = UpdateOverrides(learningRate: 0.0625)
        try await expect(StrategyAdvice(hints: hints, confidence: 1), protected, overrides: given) { _ in
            UpdateOverrides(learningRate: 0.0625, clipThreshold: 0.25, consolidationStrength: 4)
        }
        let all = UpdateOverrides(learningRate: 0.0625, clipThreshold: 0.125, consolidationStrength: 1)
        try await expect(StrategyAdvice(hints: hints, confidence: 1), protected, overrides: all) { _ in all }
    }

    @Test func whatIsIgnoredIsCounted() async throws {
        let script = try Script()
        let metrics = RecordingMetrics()
        // λ is off; the rate is out of bounds; the clip is no number.
        let bank = ScriptedReasoningBank.advising(
            StrategyAdvice(
                hints: AdaptationHints(
                    learningRate: .value(50), clipThreshold: .factor(.nan), consolidationStrength: .value(1)),
                confidence: 1))
        let engine = try script.engine(bank, update: script.plain, reporting: .init(metrics: metrics))
        let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 0)])
        #expect(report.learningRate == 1 && report.clipThreshold == 2)
        #expect(engine.reasoningBankStatistics().hintsIgnored == 3 && engine.reasoningBankStatistics().hinted == 1)
        #expect(metrics["attune_bank_hints_ignored_total"] == 3)
        let strategy = try #require(try await engine.learnStrategy(for: user))
        #expect(strategy.ignored.count == 3 && strategy.learningRate == 1 && strategy.clipThreshold == 2)
        #expect(strategy.consolidationStrength == nil)
        // What of a sentence is not understood is counted when the bank is asked.
        bank.answerLearn { _ in
            StrategyAdvice(confidence: 1, sentence: "Do not reduce the learning rate. Set dropout = 0.1.")
        }
        engine.clearReasoningBankCache()
        try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, 1)])
        #expect(engine.reasoningBankStatistics().hintsIgnored == 5 && engine.reasoningBankStatistics().hinted == 1)
    }

    @Test func theStrategyOfAUserIsWhatTheirNextUpdateWillDo() async throws {
        let script = try Script()
        var update = try protected
        update.schedule = Schedule(.step(size: 1, factor: 0.5))
        let bank = ScriptedReasoningBank.advising(
            StrategyAdvice(
                hints: AdaptationHints(learningRate: .factor(0.5), consolidationStrength: .value(3)), confidence: 0.7))
        let engine = try script.engine(bank, update: update)
        for step in 0..<4 {
            let strategy = try #require(try await engine.learnStrategy(for: user))
            let report = try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)])
            #expect(report.learningRate == Double(strategy.learningRate))
            #expect(report.clipThreshold == Double(strategy.clipThreshold))
            #expect(strategy.advice.confidence == 0.7 && strategy.hints.learningRate == .factor(0.5))
            #expect(strategy.consolidationStrength.map { abs($0 - 1.7528) < 1e-3 } == true)
        }
        bank.script(.learn, .garbage(.absurdConfidence), .fail(BankFault()))
        await #expect(throws: ReasoningError.self) { try await engine.learnStrategy(for: user) }
        await #expect(throws: BankFault.self) { try await engine.learnStrategy(for: user) }
    }
}
