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
    /// Updates of users whom the cache does not know: with a bank in memory, or with bank, adapters and journal in a file.
    static func retrievalUpdate(_ arguments: [String]) async throws {
        guard arguments.count == 3, let episodes = Int(arguments[0]), episodes > 0 else {
            throw UsageError("retrieval-update needs two numbers and a path, which may be empty")
        }
        let (isAsking, path) = (arguments[1] == "1", arguments[2])
        // The kind of the engine's episodes, from one that it stores: of the update before, judged by the next.
        let probe = EpisodesAlone(bank: InMemoryReasoningBank())
        let other = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: 384, rank: 8, reasoningBank: probe))
        var random = PhiloxGenerator(seed: 6, purpose: .simulation)
        func feedback() -> [Feedback] {
            func vector() -> [Float] { (0..<384).map { _ in Float(random.normal()) / 20 } }
            return [Feedback(embedding: vector(), signal: .target(vector()))]
        }
        try await other.updateAdapter(for: "probe", with: feedback())
        guard let kind = probe.kind.value else { throw WrongResult("the bank was not asked") }

        var configuration = EngineConfiguration(dimension: 384, rank: 8)
        let engine: PersonalizationEngine
        let bank: any ReasoningBank
        let statistics: () async throws -> ReasoningBankStatistics
        if path.isEmpty {
            let memory = InMemoryReasoningBank(capacity: episodes + 100_000)
            (bank, statistics) = (memory, { memory.statistics })
            configuration.reasoningBank = isAsking ? EpisodesAlone(bank: memory) : memory
            engine = try PersonalizationEngine(configuration: configuration)
        } else {
            let storage = try await SQLiteStorage(path: path)
            let inFile = try await SQLiteReasoningBank(storage)
            (bank, statistics) = (inFile, { try await inFile.statistics() })
            configuration.reasoningBank = isAsking ? EpisodesAlone(bank: inFile) : inFile
            engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        }
        var made = RetrievalEpisodes(kind: kind, groups: 200, seed: 5)
        let now = SystemClock().now
        for start in stride(from: 0, to: episodes, by: 256) {
            let batch = (start..<min(start + 256, episodes)).map { _ in made.next(now: now) }
            for result in await bank.storePatterns(batch) { _ = try result.get() }
        }
        // In the background, as in any process; the last thousand may be left for the next time.
        let deadline = ContinuousClock.now + .seconds(600)
        while episodes >= 20_000, try await statistics().indexed < episodes - 1_024 {
            guard ContinuousClock.now < deadline else {
                throw WrongResult("\(try await statistics()) after ten minutes")
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        var times: [Double] = []
        for user in 0..<3_000 {
            let feedback = feedback()
            let start = ContinuousClock.now
            try await engine.updateAdapter(for: "user-\(user)", with: feedback)
            times.append((ContinuousClock.now - start) / .microseconds(1))
        }
        let totals = engine.reasoningBankStatistics()
        guard totals.cacheHits == 0, totals.failed == 0, totals.skipped == 0 else { throw WrongResult("\(totals)") }
        times.sort()
        let held = try await statistics()
        let result = MissResult(
            name: (isAsking ? "update that asks for episodes" : "update that asks for a strategy")
                + (path.isEmpty ? "" : ", all in a file"),
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

    let bank: any ReasoningBank
    let kind = Kind()

    var digestKey: DigestKey? { bank.digestKey }
    var storesTogether: Int { bank.storesTogether }

    func storePattern(_ episode: Episode) async throws -> EpisodeID { try await bank.storePattern(episode) }

    func storePatterns(_ episodes: [Episode]) async -> [Result<EpisodeID, any Error>] {
        await bank.storePatterns(episodes)
    }

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
