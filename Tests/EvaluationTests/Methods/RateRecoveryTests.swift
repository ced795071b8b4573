import Foundation
import LoRA
import Personalization
import Reasoning
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// A bank finds the learning rate where the configured one is wrong: users come one after another, each with a rate that the bank
/// drew for them, and it learns from what their adapters bring.
@Suite(
    "Recovery from a wrong learning rate",
    .enabled(if: !TestRun.isSanitized, "too long under a sanitizer; other tests reach the same code"))
struct RateRecoveryTests {
    static let population: SyntheticPopulation = {
        var configuration = SyntheticPopulation.Configuration()
        configuration.users = 600
        configuration.items = 200
        configuration.dimension = 16
        configuration.likes = 20...24
        do { return try SyntheticPopulation(configuration) } catch { preconditionFailure("\(error)") }
    }()

    /// The mean benefit of each user's adapter over their likes: the share of items ranked below the next like, less that without
    /// an adapter.
    private static func benefits(rate: Float, users: Range<Int>, listens: Bool) async throws -> [Double] {
        let population = population
        let catalogue = try ItemCatalogue(vectors: population.vectors)
        let bank = InMemoryReasoningBank()
        let scripted = ScriptedReasoningBank(bank)
        if !listens { scripted.answerLearn { _ in .none } }
        var configuration = EngineConfiguration(
            dimension: population.vectors.columns, rank: 4,
            reasoning: ReasoningConfiguration(deadline: .seconds(60), digestKey: DigestKey(1, 2)))
        configuration.update.learningRates.ranking = rate
        let engine = try PersonalizationEngine(configuration: configuration)
        engine.connectReasoningBank(listens ? bank : scripted)
        var result: [Double] = []
        for user in users {
            let likes = population.likes(of: user)
            let id = SyntheticPopulation.userID(user)
            for step in 0..<(likes.count - 1) {
                let query = population.vectors.rowValues(likes[step])
                let signal = Feedback.Signal.like(likes[step + 1], in: catalogue, seen: Array(likes[0...step]))
                try await engine.updateAdapter(for: id, with: [Feedback(embedding: query, signal: signal)])
            }
            try #require(try await engine.flushReasoningBank(deadline: .seconds(60)))
            let outcomes = bank.episodes(of: DigestKey(1, 2).digest(of: id)).compactMap { $0.episode.outcome?.benefit }
            result.append(outcomes.reduce(0, +) / Double(max(1, outcomes.count)))
        }
        return result
    }

    private static let last = 500..<600

    /// What the best of the rates around the default brings, without a bank's advice.
    private static let tuned = Task {
        var best = 0.0
        for rate: Float in [0.125, 0.25, 0.5, 1] {
            best = max(best, try await Self.mean(Self.benefits(rate: rate, users: last, listens: false)))
        }
        return best
    }

    private static func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

    @Test("new users reach nine tenths of the tuned benefit within 500 users", arguments: [Float(0.0025), 2.5])
    func recovers(rate: Float) async throws {
        let tuned = try await Self.tuned.value
        let wrong = Self.mean(try await Self.benefits(rate: rate, users: Self.last, listens: false))
        #expect(wrong < 0.5 * tuned, "the rate \(rate) brings \(wrong) where \(tuned) can be had")
        let reached = Self.mean(Array(try await Self.benefits(rate: rate, users: 0..<600, listens: true).suffix(100)))
        #expect(reached >= 0.9 * tuned, "from the rate \(rate) users reach \(reached) where \(tuned) can be had")
    }
}
