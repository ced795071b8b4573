import Attune
import Foundation

extension Benchmark {
    /// How often the intervals that reports show hold the truth.
    static func intervals(_ options: Options) async throws {
        let study = CoverageStudy(replicates: options.isQuick ? 200 : 2_000)
        let results = try await study.run()
        if options.isJSON {
            print(String(decoding: try JSONEncoder().encode(["intervals": results]), as: UTF8.self))
            return
        }
        print(
            "\(study.replicates) evaluations of \(study.users) users, \(study.resamples) resamples: nominal 95 % intervals\n"
                + "measure: truth; share that holds it [its 95 % interval]; below it, above it; mean length")
        for result in results {
            func fine(_ value: Double) -> String { "\((value * 10_000).rounded() / 10_000)" }
            func percent(_ share: Double) -> String { "\((share * 1_000).rounded() / 10) %" }
            print(
                "\(result.measure): \(fine(result.truth)); \(percent(result.coverage.mean)) "
                    + "[\(percent(result.coverage.low)), \(percent(result.coverage.high))]; \(percent(result.below)), "
                    + "\(percent(result.above)); \(fine(result.length))")
        }
    }
}
