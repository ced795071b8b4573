import Attune

/// Updates through the engine: alone, and with a bank whose answer is in the cache.
struct EngineCases {
    private let name: String
    private let configuration: EngineConfiguration
    /// One batch of feedback, of one sample, for each embedding: a target near it.
    private let feedback: [[Feedback]]

    init(dimension: Int, rank: Int) {
        name = "\(dimension)/\(rank)"
        var random = PhiloxGenerator(seed: 7, purpose: .simulation)
        configuration = EngineConfiguration(
            dimension: dimension, rank: rank, reasoning: ReasoningConfiguration(cacheTimeToLive: 1e9))
        feedback = (0..<64).map { _ in
            let embedding = (0..<dimension).map { _ in Float(random.normal()) }
            return [
                Feedback(embedding: embedding, signal: .target(embedding.map { $0 + 0.1 * Float(random.normal()) }))
            ]
        }
    }

    /// Both in turns, chunk by chunk, so that what disturbs the machine disturbs both. In short chunks, between which episodes are
    /// stored: what an update costs its caller. And in long ones, during which the other core stores them without a pause: what
    /// an engine bears that does nothing but updates.
    func updates(_ effort: Effort) async throws -> [Measurement] {
        let alone = try PersonalizationEngine(configuration: configuration)
        let advised = try PersonalizationEngine(configuration: configuration)
        advised.connectReasoningBank(ConstantBank())
        let cases: [(name: String, call: (Int) async throws -> Void)] = [
            ("engine update \(name), no bank", { try await update(alone, $0) }),
            ("engine update \(name), bank, cache hit", { try await update(advised, $0) }),
        ]
        // A new user's situation changes with almost every update, and with it what the bank is asked.
        for number in 0..<2_000 { for item in cases { try await item.call(number) } }
        try await advised.flushReasoningBank()
        let before = advised.reasoningBankStatistics()
        let short = try await effort.measure(cases, calls: 200) { try await advised.flushReasoningBank() }
        let long = try await effort.measure(
            cases.map { ($0.name + ", long", $0.call) }, calls: effort.chunks > 100 ? 2000 : 200, rest: {})
        try await advised.flushReasoningBank()
        let after = advised.reasoningBankStatistics()
        let hits = after.cacheHits - before.cacheHits
        let misses = after.cacheMisses - before.cacheMisses
        guard after.stored > before.stored, hits > 99 * misses, after.hinted == 0 else {
            throw WrongResult(description: "\(name): \(hits) hits, \(misses) misses, the bank: \(after)")
        }
        let states = (try await alone.adapter(for: "ada"), try await advised.adapter(for: "ada"))
        guard let a = states.0, let b = states.1 else { throw WrongResult(description: "no adapter") }
        if a.version == b.version, a.stateHash != b.stateHash {
            throw WrongResult(description: "a bank without hints changed the bytes")
        }
        return short + long
    }

    private func update(_ engine: PersonalizationEngine, _ number: Int) async throws {
        blackHole(try await engine.updateAdapter(for: "ada", with: feedback[number & 63]))
    }
}

/// A bank that knows nothing and stores nothing, at once.
private struct ConstantBank: ReasoningBank {
    func storePattern(_ episode: Episode) async throws -> EpisodeID { EpisodeID(episode.version) }
    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] { [] }
    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice { .none }
    func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport {
        ConsolidationReport()
    }
    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport { ForgettingReport() }
}
