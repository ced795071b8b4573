import LoRA
import TensorCore

/// Tunes variants on the donors and evaluates what was chosen: what ``Evaluation`` and ``ConvergenceBenchmark`` share.
struct VariantRun {
    /// What came of a run.
    struct Outcome {
        let result: EvaluationResult
        /// For each variant of the result what was chosen, and what it did.
        let chosen: [(choice: Tuner.Choice, piece: UserPiece)]
        /// What was tried for all of them, in order.
        let trials: [TrialLog.Entry]
        /// Each donor's number of events.
        let donorEvents: [Int]
        /// When everybody's taste changes.
        let tasteChange: TasteChange?
    }

    private let data: EvaluationData
    private let configuration: EvaluationConfiguration
    /// Those that are shown.
    private let variants: [ConvergenceGrid.Variant]
    private let tuner: Tuner
    private var counter: ProgressCounter { tuner.progress }

    init(
        data: EvaluationData, configuration: EvaluationConfiguration, variants: [ConvergenceGrid.Variant],
        pieces: PieceFolder?, progress: @escaping @Sendable (EvaluationProgress) -> Void
    ) {
        self.data = data
        self.configuration = configuration
        self.variants = variants
        let counter = ProgressCounter(
            stages: Self.stages(Self.withReference(variants), seeds: configuration.seeds), handler: progress)
        tuner = Tuner(data: data, configuration: configuration, progress: counter, pieces: pieces)
    }

    /// The same with `none`, against which gains are counted, where it is not among them.
    private static func withReference(_ variants: [ConvergenceGrid.Variant]) -> [ConvergenceGrid.Variant] {
        variants.contains { $0.name == EvaluationMethod.none.rawValue } ? variants : [.init(.none)] + variants
    }

    func run() async throws -> Outcome {
        let all = Self.withReference(variants)
        let none = try await tuner.choice(of: IdentityMethod(query: nil), Trial("none"))
        let catalogue = CatalogueContext(data: data, kappa: none.kappa)
        let warmStarts = WarmStarts(tuner: tuner, catalogue: catalogue)
        let candidates = CandidateTuning(tuner: tuner, catalogue: catalogue)
        var chosen: [(choice: Tuner.Choice, piece: UserPiece)] = []
        for variant in all {
            let choice: Tuner.Choice
            if !variant.isTunedAsEvaluation {
                choice = try await candidates.best(of: variant)
            } else if variant.method == .none {
                choice = none
            } else {
                choice = try await tuned(variant.method, catalogue, warmStarts)
            }
            let piece = try await tuner.evaluated(
                choice, label: variant.name, weight: Self.weight(variant.method, configuration.seeds))
            chosen.append((choice, piece))
        }
        try Task.checkCancellation()
        return try await counter.run("resampling users") { _ in
            let result = result(all: all, chosen: chosen)
            return Outcome(
                result: result, chosen: result.methods.compactMap { result.positions[$0.name].map { chosen[$0] } },
                trials: tuner.log.entries, donorEvents: data.donors.map { $0.items.count - 1 },
                tasteChange: data.tasteChange)
        }
    }

    /// The method with its settings chosen on the donors.
    private func tuned(
        _ method: EvaluationMethod, _ catalogue: CatalogueContext, _ warmStarts: WarmStarts
    ) async throws -> Tuner.Choice {
        switch method {
        case .none: return try await tuner.choice(of: IdentityMethod(query: nil), Trial("none"))
        case .popularity: return Tuner.Choice(trial: Trial("popularity"), kappa: 1) { PopularityMethod() }
        case .profile: return try await tuner.choice(of: IdentityMethod(query: .profile), Trial("profile"))
        case .bias:
            let (vectors, offsets) = (data.vectors, catalogue.offsets)
            return try await tuner.bestRate(PairwiseTraining.rates, kappa: catalogue.kappa, owner: "bias") { rate in
                BiasVectorMethod(vectors: vectors, offsets: offsets, rate: rate)
            }
        case .ridge: return try await RidgeFoldIn.tuned(with: tuner, owner: "ridge")
        case .cold: return try await warmStarts.cold()
        case .warm: return try await warmStarts.choice(nil, owner: "warm")
        case .similar: return try await warmStarts.choice(.nearest, owner: "similar")
        case .random: return try await warmStarts.choice(.random, owner: "random")
        case .engine: return try await EngineMethod.tuned(with: tuner)
        }
    }

    /// The expected cost of evaluating a method, in stages of progress.
    private static func weight(_ method: EvaluationMethod, _ seeds: Int) -> Double {
        switch method {
        case .none, .popularity, .profile, .ridge: 1
        case .bias, .cold, .warm, .similar, .random, .engine: Double(seeds)
        }
    }

    /// The stages of ``run()``.
    private static func stages(_ variants: [ConvergenceGrid.Variant], seeds: Int) -> Int {
        var stages = 1.0 + Double(WarmStarts.sharedStages(of: variants.filter(\.isTunedAsEvaluation).map(\.method)))
        for variant in variants {
            stages += weight(variant.method, seeds)
            guard variant.isTunedAsEvaluation else {
                stages += Double(CandidateTuning.stages(of: variant))
                continue
            }
            switch variant.method {
            case .popularity, .cold: break
            case .engine: stages += Double(EngineMethod.popularityWeights.count + 1)
            case .none, .profile: stages += 1
            case .ridge: stages += Double(RidgeFoldIn.grid.count)
            case .bias: stages += Double(PairwiseTraining.rates.count)
            case .warm, .similar, .random: stages += Double(WarmStarts.stages)
            }
        }
        return Int(stages)
    }

    private func result(
        all: [ConvergenceGrid.Variant], chosen: [(choice: Tuner.Choice, piece: UserPiece)]
    ) -> EvaluationResult {
        let positions = Dictionary(uniqueKeysWithValues: all.enumerated().map { ($1.name, $0) })
        let none = positions[EvaluationMethod.none.rawValue] ?? 0
        let tables = chosen.map(\.piece.table)
        let records = tables.map { UserRecords($0, over: tables[none]) }
        let events = (0..<tables[none].userCount).map { tables[none].events(of: $0).count }
        let measures = PairedMeasures(
            records, reference: none, events: events, resamples: configuration.resamples, seed: configuration.seed)
        let cold = positions[EvaluationMethod.cold.rawValue]
        let methods = variants.map { variant in
            let m = positions[variant.name] ?? 0
            let convergence = cold.map { measures.convergence(of: m, cold: $0) }
            return EvaluationResult.Method(
                name: variant.name, method: variant.method, auc: measures.mean(.auc, of: m),
                ndcg10: measures.mean(.ndcg10, of: m), mrr: measures.mean(.reciprocalRank, of: m),
                hit10: measures.mean(.hit10, of: m), t90: convergence?.step, saving: convergence?.saving,
                area: measures.area(m), worse: m == none ? nil : measures.shareWorse(m),
                regret: tables[m].regret.isEmpty ? nil : measures.mean(.regret, of: m),
                kappa: chosen[m].choice.kappa, settings: chosen[m].choice.settings, gains: measures.gains(of: m),
                smoothedGains: measures.smoothedGains(of: m), duration: chosen[m].piece.duration)
        }
        return EvaluationResult(
            dataset: data.name, embeddings: data.embeddingsName, items: data.itemCount, dimension: data.dimension,
            donors: data.donors.count, users: data.users.count, events: measures.events,
            activeUsers: measures.activeUsers, configuration: configuration, methods: methods,
            dataHash: data.contentHash, userHashes: data.users.map { StableHash.hash($0.userID) },
            eventsPerUser: events, records: records, measures: measures, positions: positions)
    }
}
