import Attune
import Benchmarking
import Foundation

/// Updates that ask a bank of many episodes, since nothing is in the cache.
struct MissResult: Codable {
    let name: String
    let episodes: Int
    let updates: Int
    /// Of one update, in microseconds.
    let p50: Double
    let p99: Double
    let max: Double
    /// The look-ups of episodes, by whether a graph was asked.
    let graphLookups: Int
    let exactLookups: Int
}

extension Benchmark {
    /// Each size in a process of its own, so that memory is that size's alone.
    static func retrieval(_ options: Options) async throws {
        var sizes = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]
        if !options.isQuick { sizes += [100_000, 1_000_000] }
        var results: [RetrievalResult] = []
        if !options.isJSON {
            print(
                "data, episodes: exact p50 / p99, graph p50 / p99 (µs; share by graph), recall@10 (all rewards), graphs "
                    + "(refused), ef, indexing µs an episode, longest piece ms, bytes an episode + graph's")
        }
        for isGrouped in [true, false] {
            for episodes in sizes {
                let data = try child(["retrieval-one", "\(episodes)", isGrouped ? "1" : "0"])
                let result = try JSONDecoder().decode(RetrievalResult.self, from: data)
                results.append(result)
                if !options.isJSON { print(line(result)) }
            }
        }
        var misses: [MissResult] = []
        for isAsking in [false, true] {
            let data = try child(["retrieval-update", options.isQuick ? "20000" : "100000", isAsking ? "1" : "0"])
            let miss = try JSONDecoder().decode(MissResult.self, from: data)
            misses.append(miss)
            guard !options.isJSON else { continue }
            print(
                "\(miss.name), \(miss.episodes) episodes: p50 \(rounded(miss.p50)) µs, p99 \(rounded(miss.p99)) µs, "
                    + "longest \(rounded(miss.max)) µs of \(miss.updates); look-ups of episodes by graph "
                    + "\(miss.graphLookups), exact \(miss.exactLookups)")
        }
        struct All: Encodable {
            let retrieval: [RetrievalResult]
            let misses: [MissResult]
        }
        if options.isJSON {
            print(String(decoding: try JSONEncoder().encode(All(retrieval: results, misses: misses)), as: UTF8.self))
        }
    }

    private static func line(_ result: RetrievalResult) -> String {
        func share(_ value: Double) -> String { "\((value * 1000).rounded() / 1000)" }
        return "\(result.isGrouped ? "grouped" : "hard"), \(result.episodes): \(rounded(result.exactP50)) / "
            + "\(rounded(result.exactP99)), \(rounded(result.graphP50)) / \(rounded(result.graphP99)) "
            + "(\(share(result.graphShare))), \(share(result.recall)) (\(share(result.recallOfAll))), "
            + "\(result.graphs) (\(result.refused)), \(result.effort), \(rounded(result.indexingPerEpisode)), "
            + "\(rounded(result.longestPiece)), \(rounded(result.bytesPerEpisode)) + "
            + "\(rounded(result.graphBytesPerEpisode))"
    }

    static func retrievalOne(_ arguments: [Int]) throws {
        guard arguments.count == 2, arguments[0] > 0 else { throw UsageError("retrieval-one needs two numbers") }
        let result = try RetrievalBenchmark.run(
            episodes: arguments[0], isGrouped: arguments[1] == 1, queries: arguments[0] > 200_000 ? 300 : 1_000,
            memory: residentMemory)
        print(String(decoding: try JSONEncoder().encode(result), as: UTF8.self))
    }

    /// Updates of users whom the cache does not know, with a bank in memory.
    static func retrievalUpdate(_ arguments: [Int]) async throws {
        guard arguments.count == 2, arguments[0] > 0 else { throw UsageError("retrieval-update needs two numbers") }
        let (episodes, isAsking) = (arguments[0], arguments[1] == 1)
        let memory = InMemoryReasoningBank(capacity: episodes + 100_000)
        let bank = isAsking ? EpisodesAlone(bank: memory) : nil
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: 384, rank: 8, reasoningBank: bank ?? memory))
        // The kind of the engine's episodes, from one that it stores: of the update before, judged by the next.
        let probe = EpisodesAlone(bank: InMemoryReasoningBank())
        let other = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: 384, rank: 8, reasoningBank: probe))
        var made = RetrievalEpisodes(
            kind: AdapterKind(AdaptationContext(dimension: 384, rank: 8)), groups: 200, seed: 5)
        var random = PhiloxGenerator(seed: 6, purpose: .simulation)
        func feedback() -> [Feedback] {
            func vector() -> [Float] { (0..<384).map { _ in Float(random.normal()) / 20 } }
            return [Feedback(embedding: vector(), signal: .target(vector()))]
        }
        try await other.updateAdapter(for: "probe", with: feedback())
        guard let kind = probe.kind.value else { throw WrongResult("the bank was not asked") }
        made = RetrievalEpisodes(kind: kind, groups: 200, seed: 5)
        let now = SystemClock().now
        for _ in 0..<episodes { _ = try await memory.storePattern(made.next(now: now)) }
        // In the background, as in any process; the last thousand may be left for the next time.
        let deadline = ContinuousClock.now + .seconds(600)
        while episodes >= 20_000, memory.statistics.indexed < episodes - 1_024 {
            guard ContinuousClock.now < deadline else { throw WrongResult("\(memory.statistics) after ten minutes") }
            try await Task.sleep(for: .milliseconds(100))
        }
        var times: [Double] = []
        for user in 0..<3_000 {
            let feedback = feedback()
            let start = ContinuousClock.now
            try await engine.updateAdapter(for: "user-\(user)", with: feedback)
            times.append((ContinuousClock.now - start) / .microseconds(1))
        }
        let statistics = engine.reasoningBankStatistics()
        guard statistics.cacheHits == 0, statistics.failed == 0, statistics.skipped == 0 else {
            throw WrongResult("\(statistics)")
        }
        times.sort()
        let held = memory.statistics
        let result = MissResult(
            name: isAsking ? "update that asks for episodes" : "update that asks for a strategy",
            episodes: episodes, updates: times.count, p50: times[times.count / 2], p99: times[times.count * 99 / 100],
            max: times[times.count - 1], graphLookups: held.graphLookups, exactLookups: held.exactLookups)
        print(String(decoding: try JSONEncoder().encode(result), as: UTF8.self))
    }
}

/// A bank that has no strategy, so that every update that asks is answered by similar episodes.
private struct EpisodesAlone: ReasoningBank {
    /// The kind that was asked for last.
    final class Kind: @unchecked Sendable {
        private let lock = NSLock()
        private var kind: AdapterKind?

        var value: AdapterKind? {
            get { lock.withLock { kind } }
            set { lock.withLock { kind = newValue } }
        }
    }

    let bank: InMemoryReasoningBank
    let kind = Kind()

    func storePattern(_ episode: Episode) async throws -> EpisodeID { try await bank.storePattern(episode) }

    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] {
        try await bank.retrievePatterns(query)
    }

    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        kind.value = AdapterKind(task.context)
        return .none
    }

    func autoConsolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource
    ) async throws -> ConsolidationReport { try await bank.autoConsolidate(policy, donors: donors) }

    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        try await bank.forget(user, donors: donors)
    }
}
