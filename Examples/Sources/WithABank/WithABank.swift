import Attune
import Support

/// With a bank every update becomes an episode: the situation, what was done, and what came of it. The bank turns them into
/// hints for later updates of other users.
@main
struct WithABank {
    static func main() async throws {
        let shop = try Shop()
        let bank = InMemoryReasoningBank()
        var configuration = shop.configuration
        configuration.reasoningBank = bank
        // A rate far below what suits this shop, as one may well have it before anything was measured.
        configuration.update.learningRates.ranking = 0.06
        let engine = try PersonalizationEngine(configuration: configuration)

        for user in 0..<60 { try await shop.live(user, as: "user \(user)", in: engine) }

        // What came of an update is known when the user's next feedback arrives, so the last one of each is not there yet.
        let held = bank.statistics
        print("\(60 * 19) updates, \(held.episodes) episodes of \(held.users) users, \(held.resolved) with an outcome.")
        let user = DigestKey(1, 2).digest(of: "user 0")
        if let episode = bank.episodes(of: user).last?.episode, let outcome = episode.outcome {
            print("The last one of user 0, whom the bank knows only as \(user.description.prefix(8))…:")
            print("  situation   \(episode.input)")
            print("  done        rate \(fixed(episode.action.learningRate, 2)), clip \(episode.action.clipThreshold)")
            print(
                "  came of it  loss \(fixed(episode.lossBefore, 2)) to \(fixed(episode.lossAfter, 2));", terminator: " "
            )
            print("the next like above \(fixed(outcome.benefit * 100, 0)) % more of the items than without an adapter")
        }

        // What a new user would be told, and what an update would make of it.
        if let strategy = try await engine.learnStrategy(for: "new") {
            print("Advice for a new user, followed by \(fixed(strategy.advice.confidence * 100, 0)) %:")
            print("  rate \(fixed(strategy.learningRate, 3)) in place of 0.06,", terminator: " ")
            print("from \(strategy.advice.episodes) episodes")
        }
        let statistics = engine.reasoningBankStatistics()
        print("Updates that hints changed: \(statistics.hinted); failures: \(statistics.failed)")

        // Hints reach the next users, who learn faster than the first ones did.
        var later: [Int] = []
        for user in 60..<100 { later += try await shop.live(user, as: "user \(user)", in: engine).suffix(5) }
        configuration.reasoningBank = nil
        let alone = try PersonalizationEngine(configuration: configuration)
        var without: [Int] = []
        for user in 60..<100 { without += try await shop.live(user, as: "user \(user)", in: alone).suffix(5) }
        print("Mean place of the last five likes: \(mean(without)) without a bank, \(mean(later)) with it")

        // A bank may answer in prose, too. A number is taken as it is, a verb is a factor, and what is not followed is listed.
        let prose = "Reduce the learning rate to 0.1. Do not raise the clip threshold."
        engine.connectReasoningBank(Adviser(sentence: prose))
        if let strategy = try await engine.learnStrategy(for: "new") {
            print("\"\(prose)\"")
            print("  rate \(strategy.learningRate), clip \(strategy.clipThreshold)", terminator: "")
            print(", not followed: \(strategy.ignored.map { "\"\($0.text)\" (\($0.reason))" }.joined(separator: ", "))")
        }
    }
}

/// A bank of five lines: it advises everybody the same and remembers nothing.
struct Adviser: ReasoningBank {
    let sentence: String

    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        StrategyAdvice(confidence: 1, sentence: sentence)
    }
    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] { [] }
    func storePattern(_ episode: Episode) async throws -> EpisodeID { EpisodeID(0) }
    func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport {
        ConsolidationReport()
    }
    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport { ForgettingReport() }
}
