import Reasoning
import StorageTesting
import TensorCore
import TestSupport
import Testing

/// Users whose benefit is a known curve of the rate, with noise: does the population find the best rate?
@Suite("The population's learning rate")
struct RateSimulationTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var configured: Float
        var best: Double
        var testDescription: String { name }
    }

    static let cases = [
        Case(name: "ten times too small", configured: 0.025, best: 0.25),
        Case(name: "a hundred times too small", configured: 0.0025, best: 0.25),
        Case(name: "ten times too large", configured: 1, best: 0.1),
        Case(name: "right", configured: 0.25, best: 0.25),
    ]

    /// 0.2 at the best rate, 0 at 16 times more or less: concave in the log of the rate. Rates 100 times off do much
    /// harm.
    static func benefit(_ rate: Double, best: Double) -> Double {
        let octaves = (Elementary.log(rate) - Elementary.log(best)) / Elementary.log(2)
        return 0.2 * (1 - (octaves / 4) * (octaves / 4))
    }

    /// The expected benefit of the last 100 of 500 users, as a share of the best rate's.
    static func share(_ test: Case, seed: UInt64) async throws -> Double {
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let builder = EpisodeBuilder()
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        var last = 0.0
        for user in 0..<500 {
            let advice = try await bank.learnStrategy(
                AdaptationTask(
                    context: builder.context(), configuredLearningRate: test.configured,
                    excluding: builder.key.digest(of: "\(user)")))
            var rate = Double(test.configured)
            if !advice.rateArms.isEmpty {
                #expect(abs(advice.rateArms.reduce(0) { $0 + $1.probability } - 1) < 1e-9)
                var left = generator.uniformDouble()
                let arm = advice.rateArms.first { arm in
                    left -= arm.probability
                    return left < 0
                }
                let chosen = try #require(arm ?? advice.rateArms.last)
                let c = advice.confidence
                rate = Elementary.exp(
                    (1 - c) * Elementary.log(rate) + c * Elementary.log(Double(chosen.learningRate)))
            }
            let expected = benefit(rate, best: test.best)
            if user >= 400 { last += expected }
            let observed = expected + 0.1 * generator.normal()
            _ = try await bank.storePattern(
                builder.episode(user: "\(user)", learningRate: Float(rate), gain: observed / 4, benefit: observed))
        }
        return last / 100 / 0.2
    }

    @Test(
        "comes within a tenth of the best one's benefit in 500 users", arguments: cases,
        [UInt64](1...underSanitizer(1, otherwise: 3)))
    func findsTheBestRate(test: Case, seed: UInt64) async throws {
        let share = try await Self.share(test, seed: seed)
        #expect(share >= 0.9, "\(test.name), seed \(seed): \(share)")
    }
}
