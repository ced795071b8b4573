import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

@Suite struct EvaluationResultTests {
    private func result(
        _ methods: [EvaluationMethod], name: String = "synthetic", seeds: Int = 1, threads: Int = 2
    ) async throws -> EvaluationResult {
        let population = try SmallPopulation.data()
        let data = try EvaluationData(
            name: name, embeddingsName: "", vectors: population.vectors, catalogueRows: population.catalogueRows,
            likes: (population.donors + population.users).map { ($0.userID, $0.items) },
            isDonor: population.donors.map { _ in true } + population.users.map { _ in false },
            truth: population.truth)
        var configuration = EvaluationConfiguration()
        configuration.methods = methods
        configuration.seeds = seeds
        configuration.rank = 4
        configuration.resamples = 200
        configuration.threads = threads
        return try await Evaluation(data, configuration: configuration).run()
    }

    @Test func printsTheAgreedObject() async throws {
        let result = try await result([.none, .profile, .cold])
        let object = try JSONSerialization.jsonObject(with: Data(result.json.utf8))
        let top = try #require(object as? [String: Any])
        #expect(top["dataset"] as? String == "synthetic")
        #expect(try top["items"] as? Int == SmallPopulation.data().itemCount && top["dimension"] as? Int == 12)
        #expect((top["donors"] as? Int ?? 0) + (top["users"] as? Int ?? 0) == 50)
        #expect(top["query"] as? String == "last" && top["seeds"] as? Int == 1)
        let methods = try #require(top["methods"] as? [String: [String: Any]])
        #expect(Set(methods.keys) == ["none", "profile", "cold"])
        for (name, method) in methods {
            for key in ["auc", "ndcg10", "mrr", "hit10", "t90", "saving", "area", "worse"] {
                if name == "none", key == "worse" {
                    #expect(method[key] is NSNull)
                    continue
                }
                let interval = try #require(method[key] as? [String: Double], "\(name).\(key)")
                #expect(Set(interval.keys) == ["mean", "low", "high"])
                #expect(interval["low"] ?? 1 <= interval["high"] ?? 0)
            }
        }
        let overCold = try #require(methods["profile"]?["over_cold"] as? [String: [String: Double]])
        #expect(Set(overCold.keys) == ["auc", "ndcg10", "worse"])
        let (profile, cold) = (try #require(result[.profile]?.worse), try #require(result[.cold]?.worse))
        #expect(abs((overCold["worse"]?["mean"] ?? 9) - (profile.mean - cold.mean)) < 1e-12)
        #expect(result.json.hasPrefix(#"{"dataset":"synthetic","#) && !result.json.contains("\n"))
    }

    @Test func leavesOutWhatIsNotDefined() async throws {
        let result = try await result([.popularity])
        let method = try #require(result[.popularity])
        #expect(method.t90 == nil && method.saving == nil && method.regret != nil)
        #expect(result[.none] == nil, "none is run as the reference and not shown")
        #expect(result.json.contains(#""t90":null,"saving":null"#))
        #expect(result.difference(.auc, of: .popularity, minus: .none) != nil)
        #expect(result.difference(.auc, of: .popularity, minus: .cold) == nil)
        #expect(result.differenceOfWorse(of: .popularity, minus: .cold) == nil)
        #expect(result.json.contains(#""over_profile":null,"over_cold":null"#))
        #expect(result.table.contains("popularity"))
    }

    @Test func doesNotDependOnTheNumberOfThreads() async throws {
        let one = try await result([.none, .bias, .cold], seeds: 2, threads: 1)
        let two = try await result([.none, .bias, .cold], seeds: 2, threads: 2)
        #expect(one.curvesCSV == two.curvesCSV)
        for (a, b) in zip(one.methods, two.methods) {
            #expect(a.auc == b.auc && a.ndcg10 == b.ndcg10 && a.t90 == b.t90 && a.worse == b.worse)
        }
        let cold = try #require(one[.cold])
        let regret = try #require(cold.regret)
        #expect(regret.mean < (try #require(one[.none]?.regret)).mean, "learning the planted maps lowers the regret")
        #expect(cold.saving?.mean == 0)
    }

    @Test func escapesTextFromTheData() async throws {
        let result = try await result([.none, .profile], name: "<script>alert('x')</script>\"&\u{1}")
        let html = result.html
        #expect(!html.contains("<script"))
        #expect(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\u{FFFD}"))
        for outside in ["http://", "https://", "src=", "@import", "url("] { #expect(!html.contains(outside)) }
        #expect(!html.contains("nan") && !html.contains("inf\""))
        #expect(result.json.contains(#"<script>alert('x')</script>\"&\u0001"#))
    }

    @Test func writesOneRowOfCurvesPerMethodAndStep() async throws {
        let result = try await result([.none, .profile])
        let lines = result.curvesCSV.split(separator: "\n")
        #expect(lines.count == 1 + 2 * result.activeUsers.count)
        #expect(lines.allSatisfy { $0.split(separator: ",").count == 9 })
        #expect(lines[1].hasPrefix("none,1,\(result.users),0.0,"))
    }

    @Test func reportsProgressThatNeverFalls() async throws {
        let data = try SmallPopulation.data()
        var configuration = EvaluationConfiguration()
        configuration.methods = [.none, .profile]
        configuration.resamples = 100
        let seen = Lock([EvaluationProgress]())
        _ = try await Evaluation(data, configuration: configuration).run { progress in
            seen.withLock { $0.append(progress) }
        }
        let fractions = seen.withLock { $0.map(\.fraction) }
        #expect(fractions == fractions.sorted())
        #expect(fractions.last == 1)
    }

    @Test func refusesSettingsOutOfRange() throws {
        let data = try SmallPopulation.data()
        func refuses(_ change: (inout EvaluationConfiguration) -> Void) -> Bool {
            var configuration = EvaluationConfiguration()
            configuration.rank = 4
            change(&configuration)
            do {
                _ = try Evaluation(data, configuration: configuration)
                return false
            } catch {
                return error.code == .invalidConfiguration
            }
        }
        #expect(refuses { $0.rank = 13 } && refuses { $0.rank = 0 } && refuses { $0.seeds = 0 })
        #expect(refuses { $0.methods = [] } && refuses { $0.methods = [.none, .none] })
        #expect(
            refuses { $0.threads = 0 } && refuses { $0.resamples = 10 } && refuses { $0.popularityWeights = [.nan] })
        #expect(!refuses { _ in })
    }

    @Test(
        arguments: [
            (0.0, 2, "0.00"), (-0.004, 2, "0.00"), (-1.005, 1, "-1.0"), (12.345, 2, "12.35"), (.nan, 1, "-"),
            (1e13, 0, "-"),
            (0.049, 1, "0.0"), (2.5, 0, "3"),
        ] as [(Double, Int, String)])
    func formatsDecimals(value: Double, digits: Int, text: String) {
        #expect(decimal(value, digits: digits) == text)
    }

    @Test func placesTicksAtRoundNumbers() {
        let scale = PlotScale(covering: [-0.013, 0.047], pixels: (0, 100), tickCount: 6)
        #expect(
            scale.ticks.map { decimal($0, digits: scale.digits) } == [
                "-0.02", "-0.01", "0.00", "0.01", "0.02", "0.03", "0.04", "0.05",
            ])
        #expect(scale.position(scale.domain.upperBound) == 100)
        #expect(PlotScale(covering: [3, 3], pixels: (0, 1), tickCount: 4).ticks.count > 1)
        #expect(PlotScale(covering: [], pixels: (0, 1), tickCount: 4).ticks.count > 1)
    }
}

/// Numbers of the independent program on MovieLens; the data set is not ours to ship.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["ATTUNE_DATA"] != nil, "ATTUNE_DATA is not set"))
struct MovieLensTests {
    @Test func agreesWithTheIndependentProgram() async throws {
        let path = try #require(ProcessInfo.processInfo.environment["ATTUNE_DATA"])
        let data = try EvaluationData(DataFolder(path: path, embeddings: "cf"))
        #expect(data.itemCount == 2_141 && data.users.count == 305 && data.donors.count == 346)
        #expect(data.users.map { $0.items.count - 1 }.reduce(0, +) == 11_381)
        var configuration = EvaluationConfiguration()
        configuration.methods = [.none, .popularity, .profile]
        let result = try await Evaluation(data, configuration: configuration).run()
        let expected: [(EvaluationMethod, auc: Double, mrr: Double, ndcg10: Double, hit10: Double, kappa: Double)] = [
            (.none, 0.8407, 0.0616, 0.0671, 0.1257, 0.2), (.popularity, 0.8028, 0.0393, 0.0414, 0.0837, 1),
            (.profile, 0.8833, 0.0675, 0.0747, 0.1454, 0.02),
        ]
        for row in expected {
            let method = try #require(result[row.0])
            #expect(abs(method.auc.mean - row.auc) < 6e-5)
            #expect(abs(method.mrr.mean - row.mrr) < 6e-5)
            #expect(abs(method.ndcg10.mean - row.ndcg10) < 6e-5)
            #expect(abs(method.hit10.mean - row.hit10) < 6e-5)
            #expect(method.kappa == row.kappa)
        }
        let auc = try #require(result[.none]).auc
        #expect(abs(auc.low - 0.8332) < 1e-3 && abs(auc.high - 0.8475) < 1e-3)
    }
}
