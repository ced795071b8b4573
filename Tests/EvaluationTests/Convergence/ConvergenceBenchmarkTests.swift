import Foundation
import LoRA
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// What is tried on donors, what is chosen, and what is said of it.
@Suite struct ConvergenceBenchmarkTests {
    private typealias Variant = ConvergenceGrid.Variant

    @Test func methodsWithoutSettingsGiveWhatAnEvaluationGives() async throws {
        let methods = EvaluationMethod.allCases
        let data = try SmallBenchmark.data()
        let plain = try await Evaluation(data, configuration: SmallBenchmark.configuration(methods, seeds: 2)).run()
        let result = try await SmallBenchmark.run(methods.map { Variant($0) }, data: data, seeds: 2)
        #expect(result.record == plain.record(version: "test", command: "test"))
        #expect(result.evaluation.table == plain.table && result.evaluation.curvesCSV == plain.curvesCSV)
        for (variant, method) in zip(result.variants, plain.methods) {
            #expect(variant.name == method.name && variant.method == method.method)
            #expect(variant.measures.auc == method.auc && variant.measures.t90 == method.t90)
            // What was tried is told, and what was chosen is one of it.
            let chosen = variant.candidates.filter(\.isChosen)
            #expect(chosen.count == (variant.method == .popularity ? 0 : 1), "\(variant.name)")
            #expect(chosen.allSatisfy { $0.kappa == method.kappa })
            if variant.method == .cold { #expect(variant.candidates.count == PairwiseTraining.rates.count) }
            if variant.method == .ridge { #expect(variant.candidates.count == RidgeFoldIn.grid.count * 8) }
        }
        #expect(result.reference == "cold" && result["cold"]?.differences.isEmpty == true)
        #expect(result["engine"]?.differences.count == 4 && result["none"]?.differences.isEmpty == true)
    }

    /// The choice against a loop over the rates, each on its own.
    @Test func theCandidateWithTheBestAUCOnTheDonorsIsEvaluated() async throws {
        let data = try SmallBenchmark.data()
        let rates: [Double] = [0.01, 3, 0.3, 10]
        let result = try await SmallBenchmark.run(
            [
                Variant(
                    name: "mine", method: .cold,
                    settings: [
                        .init(.rank, [.number(2)]), .init(.rate, rates.map { .number($0) }),
                        .init(.kappa, [.number(0.1)]),
                    ])
            ], data: data, seeds: 2)
        func tables(_ rate: Double, users: [LikeSequence], seeds: Int) async throws -> EventTable {
            let method = try ColdAdapterMethod(
                vectors: data.vectors, offsets: data.popularity.map { Float(0.1) * $0 }, rank: 2, rate: Float(rate),
                seed: 0)
            let run = PrequentialRun(
                data: data, users: users, query: .last, kappas: [0.1], seeds: seeds, seed: 0, threads: 1)
            return try await run.tables(of: method)[0]
        }
        var best = (rate: 0.0, auc: -1.0)
        let mine = try #require(result["mine"])
        for (rate, candidate) in zip(rates, mine.candidates) {
            let auc = try await tables(rate, users: data.donors, seeds: 1).mean.auc
            #expect(candidate.auc?.mean == auc && candidate.settings.map(\.name) == ["rank", "rate"])
            if auc > best.auc { best = (rate, auc) }
        }
        let chosen = try #require(mine.candidates.first { $0.isChosen })
        #expect(chosen.settings[1].value == ConvergenceGrid.Value.number(best.rate).text)
        let table = try await tables(best.rate, users: data.users, seeds: 2)
        #expect(abs(mine.measures.auc.mean - table.mean.auc) < 1e-12)
        let record = try #require(result.record["mine"])
        #expect(record.settings == ["rank": 2, "rate": best.rate, "kappa": 0.1])
        #expect(record.records.auc == UserRecords(table, over: table).auc)
        // Without 'cold' there is no level to reach, and the reference is 'none'.
        #expect(result.reference == "none" && mine.measures.t90 == nil && mine.differences.count == 2)
        let gains = zip(mine.userGains, result.eventsPerUser).reduce(0.0) { $0 + $1.0 * Double($1.1) }
        let gained = try #require(result.evaluation.difference(.auc, of: "mine", minus: "none"))
        #expect(abs(gains / Double(result.evaluation.events) - gained.mean) < 1e-12)
    }

    /// Other likes of the evaluated users change nothing that is chosen.
    @Test func theChoiceIsMadeOnDonorsAlone() async throws {
        let variants = [
            Variant(.cold), Variant(.engine),
            Variant(
                name: "grid", method: .engine,
                settings: [.init(.rate, [.number(0.05), .number(0.5)]), .init(.bank, [.flag(true), .flag(false)])]),
        ]
        let one = try await SmallBenchmark.run(variants)
        let other = try await SmallBenchmark.run(variants, data: SmallBenchmark.data { $0.reversed() })
        #expect(one.candidatesCSV == other.candidatesCSV && one.usersCSV != other.usersCSV)
        #expect(one["grid"]?.candidates.count == 4)
    }

    /// No donor's own likes inform what the donor starts from: with one donor's likes changed, the candidates of a bank do change
    /// for others, and what is found for users stays the same only without a bank.
    @Test func aBankIsTaughtByDonorsOnly() async throws {
        let result = try await SmallBenchmark.run([
            Variant(.engine), Variant(name: "bank", method: .engine, settings: [.init(.bank, [.flag(true)])]),
            Variant(name: "alone", method: .engine, settings: [.init(.bank, [.flag(false)])]),
            Variant(name: "weak", method: .engine, settings: [.init(.bankStrength, [.number(0.25)])]),
        ])
        let record = result.record
        if result["engine"]?.measures.kappa == 0.3 { #expect(record["bank"]?.records == record["engine"]?.records) }
        #expect(record["bank"]?.records != record["alone"]?.records)
        #expect(record["weak"]?.records != record["alone"]?.records)
        #expect(record["weak"]?.records != record["bank"]?.records)
        #expect(result["alone"]?.bytesPerAdapter == (2 * 3 * 6 + 6) * 4)
        #expect(result["alone"]?.learningTime ?? .zero > .zero)
    }

    @Test func everySettingOfTheEngineIsFollowed() async throws {
        let values: [(ConvergenceGrid.Setting, ConvergenceGrid.Value)] = [
            (.rank, .number(2)), (.alpha, .number(8)), (.rate, .number(0.1)), (.objective, .word("pairwise")),
            (.temperature, .number(0.2)), (.optimizer, .word("adagrad")), (.schedule, .word("inverse square root")),
            (.warmup, .number(3)), (.clip, .number(0.05)), (.clipping, .word("by value")), (.fading, .number(0.3)),
            (.weightDecay, .number(0.5)), (.ewc, .number(10)), (.kappa, .number(1)), (.queryShare, .number(0.5)),
        ]
        let variants = values.map { setting, value in
            // Clips that bite, so that the kind of clipping makes a difference.
            var settings = [ConvergenceGrid.Axis(.bank, [.flag(false)]), .init(setting, [value])]
            if setting == .clipping { settings.append(.init(.clip, [.number(0.05)])) }
            return Variant(name: setting.rawValue, method: .engine, settings: settings)
        }
        let plain = Variant(name: "plain", method: .engine, settings: [.init(.bank, [.flag(false)])])
        let result = try await SmallBenchmark.run([plain] + variants)
        let expected = try #require(result.record["plain"]?.records)
        for variant in variants { #expect(result.record[variant.name]?.records != expected, "\(variant.name)") }
        #expect(result.record["clip"]?.records != result.record["clipping"]?.records)
    }

    @Test func resultsDoNotDependOnTheTasks() async throws {
        let variants = [
            Variant(.none), Variant(.similar), Variant(.engine),
            Variant(name: "w", method: .warm, settings: [.init(.rate, [.number(1), .number(3)])]),
        ]
        let one = try await SmallBenchmark.run(variants, seeds: 2, threads: 1)
        let two = try await SmallBenchmark.run(variants, seeds: 2, threads: 2)
        #expect(SmallBenchmark.text(one) == SmallBenchmark.text(two))
    }

    @Test func whatAdaptersCannotBearIsToldAndPassedOver() async throws {
        let hard: [ConvergenceGrid.Axis] = [
            .init(.bank, [.flag(false)]), .init(.clipping, [.word("off")]), .init(.alpha, [.number(10_000)]),
            .init(.temperature, [.number(0.001)]),
        ]
        let result = try await SmallBenchmark.run([
            Variant(name: "hard", method: .engine, settings: hard + [.init(.rate, [.number(1_000), .number(1e-9)])])
        ])
        let candidates = try #require(result["hard"]?.candidates)
        let failure = try #require(candidates[0].failure)
        #expect(!failure.isEmpty && candidates[0].auc == nil && !candidates[0].isChosen && candidates[1].isChosen)
        #expect(result.candidatesCSV.contains("hard,engine,1,") && result.table.contains("of which 1 failed"))
        let error = await #expect(throws: DataError.self) {
            _ = try await SmallBenchmark.run([
                Variant(name: "hard", method: .engine, settings: hard + [.init(.rate, [.number(1_000)])])
            ])
        }
        #expect(error?.code == .malformedGrid && error?.message.contains("'hard'") == true)
    }

    @Test func printsOneObject() async throws {
        let result = try await SmallBenchmark.run([
            Variant(.cold), Variant(name: "b", method: .bias, settings: [.init(.rate, [.number(1)])]),
        ])
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(result.json.utf8)) as? [String: Any])
        #expect(object["reference"] as? String == "cold" && object["dataset"] as? String == "small")
        let variants = try #require(object["variants"] as? [[String: Any]])
        #expect(variants.compactMap { $0["name"] as? String } == ["cold", "b"])
        #expect((variants[1]["candidates"] as? [[String: Any]])?.count == 1)
        #expect((variants[1]["user_gains"] as? [Double])?.count == result.evaluation.users)
        #expect((variants[1]["differences"] as? [[String: Any]])?.count == 4)
        #expect(variants[1]["bytes_per_adapter"] as? Int == 24)
        // As many fields in each row as in the header.
        for csv in [result.measuresCSV, result.usersCSV, result.timesCSV] {
            let counts = csv.split(separator: "\n").map {
                $0.split(separator: ",", omittingEmptySubsequences: false).count
            }
            #expect(Set(counts).count == 1 && counts.count > 1)
        }
    }
}

/// y = s·x + (alpha / rank)·B·A·x + b, by an adapter that is fed s·x with alpha / s.
@Suite struct QueryShareTests {
    @Test(arguments: [Float(0.25), 0.6, 1.5])
    func learnsAsTheMapThatItStandsFor(share: Float) throws {
        let (d, rank, items, alpha, rate, temperature) = (5, 2, 7, 3.0, 0.3, 0.5)
        var random = PhiloxGenerator(seed: 8, purpose: .simulation)
        var vectors = Matrix<Float>(rows: items, columns: d)
        for i in 0..<items { for j in 0..<d { vectors[i, j] = Float(random.normal()) * 0.5 } }
        let catalogue = try ItemCatalogue(vectors: vectors)
        let shape = try AdapterShape(dimension: d, rank: rank, alpha: Float(alpha) / share, hasBias: true)
        var adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 3, stream: 4))
        let configuration = UpdateConfiguration(
            objective: ObjectiveConfiguration(like: .catalogueSoftmax, temperature: Float(temperature)),
            learningRates: PerObjective(all: Float(rate)), clipping: .off, fading: PerObjective(all: 0))
        // The same in Float64, by hand.
        var a = (0..<rank).map { k in (0..<d).map { Double(adapter.down[k, $0]) } }
        var b = (0..<rank).map { k in (0..<d).map { Double(adapter.up[k, $0]) } }
        var bias = [Double](repeating: 0, count: d)
        let scale = alpha / Double(rank)
        func map(_ x: [Double]) -> (y: [Double], inner: [Double]) {
            let inner = (0..<rank).map { k in (0..<d).reduce(0.0) { $0 + a[k][$1] * x[$1] } }
            let y = (0..<d).map { i in
                Double(share) * x[i] + bias[i] + (0..<rank).reduce(0.0) { $0 + scale * inner[$1] * b[$1][i] }
            }
            return (y, inner)
        }
        for step in 0..<12 {
            let x = (0..<d).map { _ in random.normal() }
            let liked = random.integer(below: items)
            let fed = x.map { Float($0) * share }
            let (y, inner) = map(x.map { Double(Float($0)) })
            for (found, expected) in zip(try adapter.forward(fed), y) {
                #expect(abs(Double(found) - expected) < 2e-4 * max(1, abs(expected)), "step \(step)")
            }
            _ = try adapter.update(
                with: [Feedback(embedding: fed, signal: .like(liked, in: catalogue))], configuration: configuration)
            let logits = (0..<items).map { i in
                (0..<d).reduce(0.0) { $0 + y[$1] * Double(vectors[i, $1]) } / temperature
            }
            let weights = logits.map { exp($0 - (logits.max() ?? 0)) }
            let total = weights.reduce(0, +)
            let gradient = (0..<d).map { j in
                (0..<items).reduce(-Double(vectors[liked, j])) { $0 + weights[$1] / total * Double(vectors[$1, j]) }
                    / temperature
            }
            let back = (0..<rank).map { k in (0..<d).reduce(0.0) { $0 + b[k][$1] * gradient[$1] } }
            for k in 0..<rank {
                for j in 0..<d {
                    b[k][j] -= rate * scale * inner[k] * gradient[j]
                    a[k][j] -= rate * scale * back[k] * Double(Float(x[j]))
                }
            }
            for j in 0..<d { bias[j] -= rate * gradient[j] }
        }
    }

    /// A new user of such an engine ranks by the share of the query, and by nothing else.
    @Test func anEngineStartsFromTheShare() async throws {
        let data = try SmallBenchmark.data()
        let method = try EngineMethod(
            [.queryShare: .number(0.5), .bank: .flag(false)], kappa: 0, data: data, rank: 3, seed: 0)
        let ranker = method.ranker(for: "new", seed: 0)
        let query = data.vectors.rowValues(0)
        #expect(try await ranker.vector(for: query) == query.map { $0 * 0.5 })
    }
}
