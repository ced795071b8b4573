import TensorCore

/// Chooses settings on the donors; the evaluated users are never seen.
struct Tuner: Sendable {
    let data: EvaluationData
    let configuration: EvaluationConfiguration
    let progress: ProgressCounter
    /// Where finished pieces are kept and found again.
    var pieces: PieceFolder?
    /// What was tried.
    let log = TrialLog()

    /// A method with the settings that were best on donors. Used by one task at a time.
    struct Choice {
        /// What was tried on the donors.
        let trial: Trial
        let kappa: Double
        /// The chosen settings by name, for reports.
        var settings: [(name: String, value: Double)] = []
        /// Makes the method; it may take long where donors' adapters or banks have to be trained for it.
        let method: () async throws -> any RankingMethod
    }

    /// The κ with the best NDCG@10, the smallest of equals.
    func choice(of method: any RankingMethod, _ trial: Trial) async throws -> Choice {
        let (kappa, _) = try await bestKappa(trial) { method }
        return Choice(trial: trial, kappa: kappa) { method }
    }

    /// The κ with the best NDCG@10, and that NDCG@10.
    func bestKappa(
        _ trial: Trial, among kappas: [Double]? = nil, of method: () async throws -> any RankingMethod
    ) async throws -> (kappa: Double, ndcg10: Double) {
        let kappas = kappas ?? configuration.popularityWeights
        let scores = try await run(trial, kappas: kappas, method)
        var best = (kappa: kappas[0], ndcg10: -1.0)
        for (kappa, score) in zip(kappas, scores) where score.mean.ndcg10 > best.ndcg10 {
            best = (kappa, score.mean.ndcg10)
        }
        return best
    }

    /// The rate with the best AUC, the smallest of equals. A rate that a method cannot bear (it throws) is passed over;
    /// when all are, the last error is thrown.
    func bestRate(
        _ rates: [Float], kappa: Double, owner: String, method: @escaping (Float) throws -> any RankingMethod
    ) async throws -> Choice {
        var best: (choice: Choice, auc: Double)?
        var failure: (any Error)?
        for rate in rates {
            let trial = Trial(owner, [("rate", "\(rate)")])
            do {
                let auc = try await scores(trial, kappa: kappa) { try method(rate) }.mean.auc
                if best == nil || auc > (best?.auc ?? 0) {
                    let settings = [("rate", Double("\(rate)") ?? Double(rate))]
                    best = (Choice(trial: trial, kappa: kappa, settings: settings) { try method(rate) }, auc)
                }
            } catch let error as TrialFailure {
                failure = error
            }
        }
        if let best { return best.choice }
        throw failure ?? DataError(.invalidConfiguration, "no rates to try for \(owner)")
    }

    /// What a method did for the donors under one popularity weight.
    func scores(
        _ trial: Trial, kappa: Double, _ method: () async throws -> any RankingMethod
    ) async throws -> DonorScores {
        try await run(trial, kappas: [kappa], method)[0]
    }

    /// - Throws: ``TrialFailure`` where the adapters cannot bear the settings.
    private func run(
        _ trial: Trial, kappas: [Double], _ method: () async throws -> any RankingMethod
    ) async throws -> [DonorScores] {
        try Task.checkCancellation()
        return try await progress.run("tuning \(trial.label) on donors") { report throws -> [DonorScores] in
            let key = "donors\n\(trial.key)\nkappas \(kappas)"
            let piece: DonorPiece
            if let found = try pieces?.donorPiece(key, donors: data.donors.count, kappas: kappas.count) {
                piece = found
            } else {
                piece = try await computed(kappas: kappas, method, report)
                try pieces?.store(piece, key)
            }
            let share = piece.duration / kappas.count
            func entry(_ kappa: Double, _ result: Result<DonorScores, TrialFailure>) -> TrialLog.Entry {
                TrialLog.Entry(trial: trial, kappa: kappa, result: result, duration: share)
            }
            switch piece.result {
            case .success(let scores): log.add(zip(kappas, scores).map { entry($0, .success($1)) })
            case .failure(let failure): log.add(kappas.map { entry($0, .failure(failure)) })
            }
            return try piece.result.get()
        }
    }

    private func computed(
        kappas: [Double], _ method: () async throws -> any RankingMethod, _ report: (Double) -> Void
    ) async throws -> DonorPiece {
        let clock = ContinuousClock()
        let start = clock.now
        let run = PrequentialRun(
            data: data, users: data.donors, query: configuration.query, kappas: kappas, seeds: 1,
            seed: configuration.seed, threads: configuration.threads)
        do {
            let tables = try await run.tables(of: try await method(), progress: report)
            return DonorPiece(result: .success(tables.map { DonorScores($0) }), duration: clock.now - start)
        } catch {
            guard let failure = TrialFailure(error) else { throw error }
            return DonorPiece(result: .failure(failure), duration: clock.now - start)
        }
    }
}

extension Tuner {
    /// The chosen method on the evaluated users, with all seeds; `weight` is its share of the progress.
    func evaluated(_ choice: Choice, label: String, weight: Double) async throws -> UserPiece {
        let key = "users\n\(choice.trial.key)\nkappa \(choice.kappa)\nseeds \(configuration.seeds)"
        let events = data.users.map { $0.items.count - 1 }
        try Task.checkCancellation()
        if let found = try pieces?.userPiece(key, events: events, hasRegret: data.truth != nil) {
            return try await progress.run("evaluating \(label)", weight: weight) { _ in found }
        }
        let method = try await choice.method()
        let clock = ContinuousClock()
        let start = clock.now
        let run = PrequentialRun(
            data: data, users: data.users, query: configuration.query, kappas: [choice.kappa],
            seeds: configuration.seeds, seed: configuration.seed, threads: configuration.threads, measuresRegret: true)
        let outcome = try await progress.run("evaluating \(label)", weight: weight) { report in
            try await run.outcome(of: method, progress: report)
        }
        let piece = UserPiece(
            table: outcome.tables[0], duration: clock.now - start, learning: outcome.learning,
            lessons: outcome.lessons, bytesPerAdapter: method.bytesPerAdapter)
        try pieces?.store(piece, key)
        return piece
    }
}
