/// Chooses settings on the donors; the evaluated users are never seen.
struct Tuner: Sendable {
    let data: EvaluationData
    let configuration: EvaluationConfiguration
    let progress: ProgressCounter

    /// A method with the settings that were best on donors.
    struct Choice: Sendable {
        let method: any RankingMethod
        let kappa: Double
        /// The chosen settings by name, for reports.
        var settings: [(name: String, value: Double)] = []
    }

    /// The κ with the best NDCG@10, the smallest of equals.
    func choice(of method: any RankingMethod, label: String) async throws -> Choice {
        let (kappa, _) = try await bestKappa(of: method, label: label)
        return Choice(method: method, kappa: kappa)
    }

    /// The κ with the best NDCG@10, and that NDCG@10.
    func bestKappa(of method: any RankingMethod, label: String) async throws -> (kappa: Double, ndcg10: Double) {
        let tables = try await run(kappas: configuration.popularityWeights, method, label: label)
        var best = (kappa: configuration.popularityWeights[0], ndcg10: -1.0)
        for (kappa, table) in zip(configuration.popularityWeights, tables) {
            let value = table.mean.ndcg10
            if value > best.ndcg10 { best = (kappa, value) }
        }
        return best
    }

    /// The rate with the best AUC, the smallest of equals. A rate that a method cannot bear (it throws) is passed over;
    /// when all are, the last error is thrown.
    func bestRate(
        _ rates: [Float], kappa: Double, label: String, method: (Float) throws -> any RankingMethod
    ) async throws -> Choice {
        var best: (choice: Choice, auc: Double)?
        var failure: (any Error)?
        for rate in rates {
            do {
                let candidate = try method(rate)
                let auc = try await table(of: candidate, kappa: kappa, label: "\(label), rate \(rate)").mean.auc
                if best == nil || auc > (best?.auc ?? 0) {
                    best = (
                        Choice(
                            method: candidate, kappa: kappa, settings: [("rate", Double("\(rate)") ?? Double(rate))]),
                        auc
                    )
                }
            } catch let error as CancellationError {
                throw error
            } catch {
                failure = error
            }
        }
        if let best { return best.choice }
        throw failure ?? DataError(.invalidConfiguration, "no rates to try for \(label)")
    }

    /// The donors' events under a method and one popularity weight.
    func table(of method: any RankingMethod, kappa: Double, label: String) async throws -> EventTable {
        try await run(kappas: [kappa], method, label: label)[0]
    }

    private func run(kappas: [Double], _ method: any RankingMethod, label: String) async throws -> [EventTable] {
        let run = PrequentialRun(
            data: data, users: data.donors, query: configuration.query, kappas: kappas, seeds: 1,
            seed: configuration.seed, threads: configuration.threads)
        return try await progress.run("tuning \(label) on donors") { report in
            try await run.tables(of: method, progress: report)
        }
    }
}
