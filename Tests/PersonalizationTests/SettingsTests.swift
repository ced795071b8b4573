import LoRA
import Reasoning
import StorageTesting
import Testing

@testable import Personalization

/// The settings in words, and settings that cannot be.
struct SettingsTests {
    private func settings(_ configuration: EngineConfiguration) -> [String: Setting.Value] {
        Dictionary(uniqueKeysWithValues: configuration.settings.map { ($0.name, $0.value) })
    }

    @Test func everySettingShowsItsValue() throws {
        var configuration = EngineConfiguration(dimension: 32, rank: 2, seed: .max)
        configuration.update.objective.like = .pairwise(negatives: 7)
        configuration.update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 0.5, decay: 0.9)
        configuration.reasoning.deadline = .milliseconds(20)
        configuration.reasoning.restartsAfter = [3, 5]
        configuration.enableReasoningBankCache = false
        let found = settings(configuration)
        #expect(found["dimension"] == .integer(32) && found["alpha"] == .number(2))
        #expect(found["seed"] == .text("18446744073709551615"))
        #expect(found["update.objective.like"] == .text("pairwise"))
        #expect(found["update.objective.like.negatives"] == .integer(7))
        #expect(found["update.learningRates.ranking"] == .number(0.25))
        #expect(found["update.elasticWeightConsolidation"] == .text("strength 0.5, decay 0.9"))
        #expect(found["reasoning.deadline"] == .text("0.02 seconds"))
        #expect(found["reasoning.restartsAfter"] == .text("3 5"))
        #expect(found["enableReasoningBankCache"] == .flag(false) && found["hasReasoningBank"] == .flag(false))
        configuration.update.objective.like = .sampledSoftmax(negatives: 5, wholeUpTo: 9)
        #expect(settings(configuration)["update.objective.like.wholeUpTo"] == .integer(9))
        let engine = try Script().engine(ScriptedReasoningBank())
        #expect(settings(engine.configuration)["hasReasoningBank"] == .flag(true))
    }

    @Test func settingsOfTheBankOutOfRangeAreRefused() throws {
        let changes: [(inout ReasoningConfiguration) -> Void] = [
            { $0.deadline = .zero }, { $0.deadline = .seconds(61) }, { $0.storeDeadline = .zero },
            { $0.cacheCapacity = 0 }, { $0.cacheTimeToLive = 0 }, { $0.cacheTimeToLive = .nan },
            { $0.queueCapacity = 0 }, { $0.retrievalLimit = 0 }, { $0.minimumReward = 1.5 },
            { $0.minimumReward = .nan }, { $0.successMargin = .infinity }, { $0.restartsAfter = [0] },
            { $0.restartsAfter = [3, 2] }, { $0.restartsAfter = [2, 2] }, { $0.restartsAfter = [65] },
            { $0.sessionID = "" }, { $0.sessionID = String(repeating: "x", count: 257) },
        ]
        for (i, change) in changes.enumerated() {
            var configuration = EngineConfiguration(dimension: 8)
            change(&configuration.reasoning)
            do throws(EngineError) {
                _ = try PersonalizationEngine(configuration: configuration)
                Issue.record("change \(i) was accepted")
            } catch {
                #expect(error.code == .invalidConfiguration && error.cause is ReasoningError, "change \(i)")
            }
        }
    }
}
