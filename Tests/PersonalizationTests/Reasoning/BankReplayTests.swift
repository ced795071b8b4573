import Foundation
import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// How often the cache answers when real users' likes come as they came: the data set is not ours to ship.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["ATTUNE_DATA"] != nil, "ATTUNE_DATA is not set"))
struct BankReplayTests {
    private struct Like {
        var user: String
        var item: Int
        var seconds: Int64
    }

    private func lines(_ name: String, _ folder: String) throws -> [Substring] {
        let text = try String(contentsOfFile: folder + "/" + name, encoding: .utf8)
        return text.split(whereSeparator: \.isNewline)
    }

    /// Every like of every user in order of time, one update each; the bank has nothing to say, and says it at once.
    @Test func mostQuestionsOfMovieLensAreAnsweredByTheCache() async throws {
        let folder = try #require(ProcessInfo.processInfo.environment["ATTUNE_DATA"])
        let vectors = try NumPyFile(path: folder + "/embeddings-cf.npy").matrix(of: Float.self, requireFinite: true)
        var rows: [Substring: Int] = [:]
        for (i, line) in try lines("items.csv", folder).dropFirst().enumerated() {
            rows[line.prefix { $0 != "," }] = i
        }
        var likes: [Like] = []
        for line in try lines("interactions.csv", folder).dropFirst() {
            let fields = line.split(separator: ",")
            guard let rating = Double(fields[2]), rating >= 4, let row = rows[fields[1]],
                let seconds = Int64(fields[3]), vectors.row(row).contains(where: { $0 != 0 })
            else { continue }
            likes.append(Like(user: String(fields[0]), item: row, seconds: seconds))
        }
        // Stable, so that likes of one second keep the order of the file.
        let order = likes.indices.sorted { (likes[$0].seconds, $0) < (likes[$1].seconds, $1) }

        let clock = ManualClock()
        let bank = QuietBank()
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: vectors.columns, rank: 1, reasoningBank: bank), clock: clock)
        var last: [String: Int] = [:]
        var generator = PhiloxGenerator(seed: 3, purpose: .simulation)
        for i in order {
            let like = likes[i]
            clock.set(Timestamp(microseconds: like.seconds * 1_000_000))
            let other = generator.integer(below: vectors.rows)
            let query = vectors.row(last[like.user] ?? like.item)
            last[like.user] = like.item
            try await engine.updateAdapter(
                for: like.user,
                with: [
                    Feedback(
                        embedding: query,
                        signal: .preference(.vector(vectors.row(like.item)), over: [.vector(vectors.row(other))]))
                ])
        }
        let statistics = engine.reasoningBankStatistics()
        print(
            "cache on \(likes.count) likes of \(last.count) users: hit rate \(statistics.cacheHitRate),",
            "\(statistics.cacheExpirations) expired, \(statistics.cacheEvictions) evicted")
        #expect(statistics.cacheHits + statistics.cacheMisses == likes.count)
        #expect(statistics.cacheHitRate >= 0.70)
    }
}

/// A bank without memory.
private struct QuietBank: ReasoningBank {
    func storePattern(_ episode: Episode) async throws -> EpisodeID { EpisodeID(episode.version) }
    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] { [] }
    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice { .none }
    func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport {
        ConsolidationReport()
    }
    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport { ForgettingReport() }
}
