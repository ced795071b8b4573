import LoRA
import TensorCore

/// Compares ways of ranking a user's next like, prequentially, with every setting tuned on donors.
///
/// For each evaluated user and each step t the method ranks every item that has an embedding, except the user's likes
/// so far, by y·e + κ·log(1 + donor likes); the next like is the target. Only then does the method learn from it. AUC,
/// reciprocal rank, NDCG@10 and hit@10 of each event are averaged over the seeds and then over all events, each
/// weighing the same. Intervals are percentiles over resampled users, the same resamples for every method.
///
/// ```swift
/// let data = try EvaluationData(DataFolder(path: "ml-latest-small", embeddings: "cf"))
/// let result = try await Evaluation(data).run()
/// print(result.table)
/// ```
///
/// Tuned on donors: κ of the query (shared by `none`, `bias`, `cold`, `warm`, `similar` and `random`), κ of `profile` and
/// of `engine`, and κ, ω, λ and β of `ridge` by NDCG@10; the rates of `bias` and `cold`, and strength and rate of `warm`,
/// `similar` and `random`, by AUC. `popularity` has nothing to tune. Where donors' adapters inform a start, a donor's own
/// never informs the start that is tuned on that donor.
public struct Evaluation: Sendable {
    /// The data set.
    public let data: EvaluationData
    /// The settings.
    public let configuration: EvaluationConfiguration

    /// An evaluation of a data set.
    ///
    /// - Throws: ``DataError`` (`invalidConfiguration`) naming the setting that is out of range.
    public init(
        _ data: EvaluationData, configuration: EvaluationConfiguration = EvaluationConfiguration()
    ) throws(DataError) {
        try configuration.validate(dimension: data.dimension)
        self.data = data
        self.configuration = configuration
    }

    /// Tunes and evaluates every method.
    ///
    /// - Parameter progress: Told how far the run is; called from any thread, one call at a time.
    /// - Throws: `CancellationError` when the task is cancelled; a method's own error when it fails on the evaluated
    ///   users.
    /// - Complexity: O(methods · events · seeds · items · dimension), in up to ``EvaluationConfiguration/threads``
    ///   tasks.
    ///
    /// **Numerics.** The result depends neither on the number of threads nor on which other methods are compared.
    /// Scores come from BLAS, so their last bits may differ from machine to machine.
    public func run(
        progress: @escaping @Sendable (EvaluationProgress) -> Void = { _ in }
    ) async throws -> EvaluationResult {
        let methods = configuration.methods
        let all = methods.contains(.none) ? methods : [.none] + methods
        let counter = ProgressCounter(stages: stages(all), handler: progress)
        let tuner = Tuner(data: data, configuration: configuration, progress: counter)
        let none = try await tuner.choice(of: IdentityMethod(query: nil), label: "the popularity weight")
        let catalogue = CatalogueContext(data: data, kappa: none.kappa)
        let warmStarts = WarmStarts(tuner: tuner, catalogue: catalogue)
        var choices: [Tuner.Choice] = []
        var tables: [EventTable] = []
        var durations: [Duration] = []
        for method in all {
            let choice = method == .none ? none : try await tuned(method, tuner, catalogue, warmStarts)
            let clock = ContinuousClock()
            let start = clock.now
            let run = PrequentialRun(
                data: data, users: data.users, query: configuration.query, kappas: [choice.kappa],
                seeds: configuration.seeds, seed: configuration.seed, threads: configuration.threads,
                measuresRegret: true)
            tables += try await counter.run("evaluating \(method.rawValue)", weight: weight(method)) { report in
                try await run.tables(of: choice.method, progress: report)
            }
            durations.append(clock.now - start)
            choices.append(choice)
        }
        return try await counter.run("resampling users") { _ in
            result(all: all, choices: choices, tables: tables, durations: durations)
        }
    }

    /// The method with its settings chosen on the donors.
    private func tuned(
        _ method: EvaluationMethod, _ tuner: Tuner, _ catalogue: CatalogueContext, _ warmStarts: WarmStarts
    ) async throws -> Tuner.Choice {
        switch method {
        case .none: return try await tuner.choice(of: IdentityMethod(query: nil), label: "the popularity weight")
        case .popularity: return Tuner.Choice(method: PopularityMethod(), kappa: 1)
        case .profile: return try await tuner.choice(of: IdentityMethod(query: .profile), label: "profile")
        case .bias:
            return try await tuner.bestRate(PairwiseTraining.rates, kappa: catalogue.kappa, label: "bias") { rate in
                BiasVectorMethod(vectors: data.vectors, offsets: catalogue.offsets, rate: rate)
            }
        case .ridge: return try await RidgeFoldIn.tuned(with: tuner)
        case .cold: return try await warmStarts.cold()
        case .warm: return try await warmStarts.choice(nil, label: "warm")
        case .similar: return try await warmStarts.choice(.nearest, label: "similar")
        case .random: return try await warmStarts.choice(.random, label: "random")
        case .engine: return try await EngineMethod.tuned(with: tuner)
        }
    }

    /// The expected cost of evaluating a method, in stages of progress.
    private func weight(_ method: EvaluationMethod) -> Double {
        switch method {
        case .none, .popularity, .profile, .ridge: 1
        case .bias, .cold, .warm, .similar, .random, .engine: Double(configuration.seeds)
        }
    }

    /// The stages of ``run(progress:)``.
    private func stages(_ methods: [EvaluationMethod]) -> Int {
        var stages = 1.0 + Double(WarmStarts.sharedStages(of: methods))
        for method in methods {
            stages += weight(method)
            switch method {
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
        all: [EvaluationMethod], choices: [Tuner.Choice], tables: [EventTable], durations: [Duration]
    ) -> EvaluationResult {
        let positions = Dictionary(uniqueKeysWithValues: all.enumerated().map { ($1, $0) })
        let none = positions[.none] ?? 0
        let records = tables.map { UserRecords($0, over: tables[none]) }
        let events = (0..<tables[none].userCount).map { tables[none].events(of: $0).count }
        let measures = PairedMeasures(
            records, reference: none, events: events, resamples: configuration.resamples, seed: configuration.seed)
        let cold = positions[.cold]
        let methods = configuration.methods.map { method in
            let m = positions[method] ?? 0
            let convergence = cold.map { measures.convergence(of: m, cold: $0) }
            return EvaluationResult.Method(
                method: method, auc: measures.mean(.auc, of: m), ndcg10: measures.mean(.ndcg10, of: m),
                mrr: measures.mean(.reciprocalRank, of: m), hit10: measures.mean(.hit10, of: m),
                t90: convergence?.step, saving: convergence?.saving, area: measures.area(m),
                worse: method == .none ? nil : measures.shareWorse(m),
                regret: tables[m].regret.isEmpty ? nil : measures.mean(.regret, of: m),
                kappa: choices[m].kappa, settings: choices[m].settings, gains: measures.gains(of: m),
                smoothedGains: measures.smoothedGains(of: m), duration: durations[m])
        }
        return EvaluationResult(
            dataset: data.name, embeddings: data.embeddingsName, items: data.itemCount, dimension: data.dimension,
            donors: data.donors.count, users: data.users.count, events: measures.events,
            activeUsers: measures.activeUsers, configuration: configuration, methods: methods,
            dataHash: data.contentHash, userHashes: data.users.map { StableHash.hash($0.userID) },
            eventsPerUser: events, records: records, measures: measures, positions: positions)
    }
}

/// What learning methods need to know of the catalogue.
struct CatalogueContext: Sendable {
    /// The weight of the popularity in the scores that learning sees.
    let kappa: Double
    /// κ·log(1 + donor likes), shape `[items]`.
    let offsets: [Float]

    init(data: EvaluationData, kappa: Double) {
        self.kappa = kappa
        offsets = data.popularity.map { Float(kappa) * $0 }
    }
}
