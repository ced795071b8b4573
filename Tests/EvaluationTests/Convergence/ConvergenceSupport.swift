import Foundation
import TensorCore
import TestSupport

@testable import Evaluation

/// Small runs of benchmarks of convergence.
enum SmallBenchmark {
    /// A few users, each with few likes, who want what is near a taste of their own.
    ///
    /// - Parameter change: Changes the likes of those who are no donors.
    static func data(change: ([Int]) -> [Int] = { $0 }) throws -> EvaluationData {
        var random = PhiloxGenerator(seed: 31, purpose: .simulation)
        var vectors = Matrix<Float>(rows: 30, columns: 6)
        for i in 0..<30 { for j in 0..<6 { vectors[i, j] = Float(random.normal()) } }
        let (units, rows) = EvaluationData.unitRows(vectors)
        let likes = (0..<26).map { user in
            let taste = (0..<6).map { _ in Float(random.normal()) }
            let scores = (0..<30).map { item in
                (0..<6).reduce(Float(random.normal() * 0.5)) { $0 + taste[$1] * units[item, $1] }
            }
            let order = (0..<30).sorted { (-scores[$0], $0) < (-scores[$1], $1) }
            return (id: "user \(user)", items: Array(order.prefix(7 + user % 5)))
        }
        return try EvaluationData(
            name: "small", embeddingsName: "", vectors: units, catalogueRows: rows,
            likes: likes.enumerated().map { ($1.id, $0 % 2 == 0 ? $1.items : change($1.items)) },
            isDonor: likes.indices.map { $0 % 2 == 0 }, truth: nil)
    }

    static func configuration(_ methods: [EvaluationMethod] = [.none], seeds: Int = 1, threads: Int = 2)
        -> EvaluationConfiguration
    {
        var configuration = EvaluationConfiguration()
        configuration.methods = methods
        configuration.rank = 3
        configuration.seeds = seeds
        configuration.resamples = 100
        configuration.threads = threads
        return configuration
    }

    static func run(
        _ variants: [ConvergenceGrid.Variant], data: EvaluationData? = nil, seeds: Int = 1, threads: Int = 2,
        in folder: ConvergenceFolder? = nil, notice: @escaping @Sendable (String) -> Void = { _ in },
        progress: @escaping @Sendable (EvaluationProgress) -> Void = { _ in }
    ) async throws -> ConvergenceResult {
        try await ConvergenceBenchmark(
            try data ?? SmallBenchmark.data(), grid: ConvergenceGrid(variants),
            configuration: configuration(seeds: seeds, threads: threads), version: "test", command: "test"
        ).run(in: folder, notice: notice, progress: progress)
    }

    /// All that a result says but for times.
    static func text(_ result: ConvergenceResult) -> String {
        result.record.json + result.measuresCSV + result.evaluation.curvesCSV + result.candidatesCSV + result.usersCSV
            + result.table
    }
}
