import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Rates that a bank lets users try.
@Suite(.timeLimit(.minutes(10)))
struct RateArmTests {
    private let arms = [
        RateArm(learningRate: 0.0625, probability: 0.1), RateArm(learningRate: 0.125, probability: 0),
        RateArm(learningRate: 0.5, probability: 0.6), RateArm(learningRate: 1, probability: 0.3),
    ]

    private func bank(confidence: Double = 1) -> ScriptedReasoningBank {
        .advising(
            StrategyAdvice(
                hints: AdaptationHints(learningRate: .value(0.03)), confidence: confidence, rateArms: arms))
    }

    @Test func usersDrawArmsByTheirProbabilities() async throws {
        let script = try Script(dimension: 4, rank: 1)
        let engine = try script.engine(bank(), update: script.plain)
        var counts: [Double: Int] = [:]
        let users = 2000
        for i in 0..<users {
            let report = try await engine.updateAdapter(for: "user \(i)", with: [script.one(.ranking, "ada", 0)])
            counts[report.learningRate, default: 0] += 1
        }
        // Chi-square with two degrees of freedom: above 18.4 one time in 10,000.
        let chi = arms.filter { $0.probability > 0 }.reduce(0.0) { sum, arm in
            let expected = arm.probability * Double(users)
            let deviation = Double(counts[Double(arm.learningRate)] ?? 0) - expected
            return sum + deviation * deviation / expected
        }
        #expect(chi < 18.4, "\(counts)")
        #expect(counts.values.reduce(0, +) == users && counts.count == 3)
    }

    @Test func aUserKeepsTheirArmAndItsPropensityIsLogged() async throws {
        let script = try Script()
        let bank = bank()
        let engine = try script.engine(bank, update: script.plain, isCached: false)
        var drawn: Set<Double> = []
        for i in 0..<30 {
            let user = "user \(i)"
            var rates: Set<Double> = []
            for step in 0..<4 {
                rates.insert(
                    try await engine.updateAdapter(for: user, with: [script.one(.ranking, user, step)]).learningRate)
            }
            #expect(rates.count == 1)
            drawn.formUnion(rates)
        }
        #expect(drawn.count == 3)
        // The same user draws the same in another engine of the seed.
        let other = try script.engine(self.bank(), update: script.plain)
        let first = try await other.updateAdapter(for: "user 0", with: [script.one(.ranking, "user 0", 0)])
        _ = try await engine.shutdown(deadline: .seconds(60))
        #expect(bank.storedEpisodes.count == 120)
        for episode in bank.storedEpisodes {
            let arm = try #require(arms.first { $0.learningRate == episode.action.learningRate })
            #expect(episode.action.propensity == arm.probability)
            if episode.user == digest("user 0") { #expect(Double(episode.action.learningRate) == first.learningRate) }
        }
    }

    @Test func noArmIsDrawnWithoutConfidenceOrAgainstTheCaller() async throws {
        let script = try Script()
        for (confidence, override) in [(0.0, nil), (1.0, Float(0.7))] {
            let bank = bank(confidence: confidence)
            let engine = try script.engine(bank, update: script.plain)
            for i in 0..<10 {
                let report = try await engine.updateAdapter(
                    for: "user \(i)", with: [script.one(.ranking, "ada", i)],
                    overrides: UpdateOverrides(learningRate: override))
                #expect(report.learningRate == Double(override ?? 0.25))
            }
            _ = try await engine.shutdown(deadline: .seconds(60))
            #expect(bank.storedEpisodes.count == 10)
            #expect(bank.storedEpisodes.allSatisfy { $0.action.propensity == 1 })
        }
    }

    /// Probabilities may miss 1 by rounding: the last arm that has any takes what is left.
    @Test func theLastArmTakesWhatRoundingLeaves() throws {
        let shape = try AdapterShape(dimension: 4, rank: 1)
        let advice = StrategyAdvice(
            confidence: 1,
            rateArms: [
                RateArm(learningRate: 0.5, probability: 0.9995), RateArm(learningRate: 0.25, probability: 0),
            ])
        let checked = try CheckedAdvice(advice, shape: shape)
        let planned = LoRAAdapter.planned(.ranking, nil, UpdateConfiguration())
        for draw in [0, 0.5, 0.9994, 0.9999] {
            let applied = checked.applied(to: planned, dimension: 4, draw: draw)
            #expect(applied.overrides.learningRate == 0.5 && applied.propensity == 0.9995)
        }
    }
}
