import TensorCore
import TestSupport
import Testing

@testable import Evaluation

@Suite struct RankingQualityTests {
    @Test(
        arguments: [
            // greater, ties, candidates, auc, reciprocal rank, ndcg, hit
            (0, 0, 101, 1.0, 1.0, 1.0, 1.0),
            (2, 0, 101, 0.98, 1.0 / 3, 0.5, 1),
            (0, 1, 3, 0.75, 2.0 / 3, 0.75647079736603, 1),  // rank 1.5: 1 / log2(2.5)
            (9, 0, 11, 0.1, 0.1, 0.2890648263178879, 1),
            (9, 1, 11, 0.05, 2.0 / 21, 0, 0),  // rank 10.5
            (10, 0, 11, 0, 1.0 / 11, 0, 0),
        ] as [(Int, Int, Int, Double, Double, Double, Double)])
    func agreesWithHandComputedValues(
        greater: Int, ties: Int, candidates: Int, auc: Double, reciprocal: Double, ndcg: Double, hit: Double
    ) {
        let quality = RankingQuality(greater: greater, ties: ties, candidates: candidates)
        #expect(abs(quality.auc - auc) < 1e-12)
        #expect(abs(quality.reciprocalRank - reciprocal) < 1e-12)
        #expect(abs(quality.ndcg10 - ndcg) < 1e-12)
        #expect(quality.hit10 == hit)
    }

    /// Against a count one by one, with many ties, seen items and offsets.
    @Test(arguments: [2, 3, 31, 127, 1_000])
    func countsLikeANaiveLoop(items: Int) throws {
        var random = PhiloxGenerator(seed: 5, stream: UInt64(items))
        var vectors = Matrix<Float>(rows: items, columns: 1)
        for i in 0..<items { vectors[i, 0] = Float(random.integer(below: 7)) }
        let offsets = (0..<items).map { _ in Float(random.integer(below: 3)) }
        var scores = CatalogueScores(vectors: vectors, rows: 3)
        for row in 0..<3 { scores.setVector([Float(row)], row: row) }
        try scores.compute(rows: 2)
        for row in 0..<2 {
            let target = random.integer(below: items)
            let seen = (0..<items).filter { $0 != target && random.bernoulli(0.3) }.prefix(items - 2)
            let all = (0..<items).map { Float(row) * vectors[$0, 0] + offsets[$0] }
            let candidates = (0..<items).filter { !seen.contains($0) }
            let greater = candidates.filter { all[$0] > all[target] }.count
            let ties = candidates.filter { all[$0] == all[target] }.count - 1
            #expect(
                scores.quality(
                    row: row, offsets: offsets, target: target, seen: Array(seen)[...], candidates: candidates.count)
                    == RankingQuality(greater: greater, ties: ties, candidates: candidates.count))
        }
    }

    @Test func letsNaNCountAgainstTheTarget() throws {
        let vectors = try Matrix<Float>(rows: 4, columns: 1, elements: [1, 2, 3, 4])
        var scores = CatalogueScores(vectors: vectors, rows: 1)
        scores.setVector([.nan], row: 0)
        try scores.compute(rows: 1)
        let zeros = [Float](repeating: 0, count: 4)
        let quality = scores.quality(row: 0, offsets: zeros, target: 3, seen: [0], candidates: 3)
        #expect(quality.auc == 0)
        scores.setVector([1], row: 0)
        try scores.compute(rows: 1)
        let oneBad = scores.quality(row: 0, offsets: [0, .nan, 0, 0], target: 3, seen: [], candidates: 4)
        #expect(oneBad == RankingQuality(greater: 1, ties: 0, candidates: 4))
    }
}

@Suite struct PrequentialRunTests {
    /// The protocol in Float64, one event at a time, without any of the real code.
    private func naive(_ data: EvaluationData, query: QueryKind, kappa: Double) -> [RankingQuality] {
        var result: [RankingQuality] = []
        let vectors = (0..<data.itemCount).map { data.vectors.row($0).map(Double.init) }
        for user in data.users {
            var average = [Double](repeating: 0, count: data.dimension)
            for t in 0..<(user.items.count - 1) {
                var y = vectors[user.items[t]]
                average = zip(average, y).map { 0.9 * $0 + 0.1 * $1 }
                if query == .profile { y = average.map { $0 / average.map { $0 * $0 }.reduce(0, +).squareRoot() } }
                let scores = (0..<data.itemCount).map { i in
                    zip(y, vectors[i]).map(*).reduce(0, +) + kappa * Double(data.popularity[i])
                }
                let target = scores[user.items[t + 1]]
                let rivals = (0..<data.itemCount).filter { !user.items[0...(t + 1)].contains($0) }
                let above = rivals.filter { scores[$0] > target + 1e-9 }.count
                result.append(RankingQuality(greater: above, ties: 0, candidates: rivals.count + 1))
            }
        }
        return result
    }

    @Test(arguments: QueryKind.allCases, [0, 0.37])
    func agreesWithANaiveImplementation(query: QueryKind, kappa: Double) async throws {
        let data = try SmallPopulation.data()
        let run = PrequentialRun(
            data: data, users: data.users, query: query, kappas: [5, kappa], seeds: 3, seed: 0, threads: 2)
        let tables = try await run.tables(of: IdentityMethod(query: nil))
        let expected = naive(data, query: query, kappa: kappa)
        #expect(tables[1].quality.count == expected.count)
        for (found, wanted) in zip(tables[1].quality, expected) {
            // Float32 may order two nearly equal scores otherwise than Float64: one place of about 150.
            #expect(abs(found.auc - wanted.auc) <= 1.01 / 100)
        }
        let mean = expected.map(\.auc).reduce(0, +) / Double(expected.count)
        #expect(abs(tables[1].mean.auc - mean) < 1e-4)
    }

    @Test func popularityRanksByDonorLikesAlone() async throws {
        let data = try SmallPopulation.data()
        let run = PrequentialRun(
            data: data, users: data.users, query: .last, kappas: [1], seeds: 1, seed: 0, threads: 1)
        let table = try await run.tables(of: PopularityMethod())[0]
        let user = data.users[0]
        let target = data.popularity[user.items[1]]
        let rivals = (0..<data.itemCount).filter { $0 != user.items[0] && $0 != user.items[1] }
        #expect(
            table.quality[0]
                == RankingQuality(
                    greater: rivals.filter { data.popularity[$0] > target }.count,
                    ties: rivals.filter { data.popularity[$0] == target }.count, candidates: rivals.count + 1))
    }

    @Test(arguments: [EvaluationMethod.bias, .cold, .ridge, .engine])
    func doesNotDependOnThreadsOrOtherUsers(method: EvaluationMethod) async throws {
        let data = try SmallPopulation.data()
        let ranking: any RankingMethod =
            switch method {
            case .bias: BiasVectorMethod(vectors: data.vectors, offsets: data.popularity, rate: 1)
            case .ridge:
                try RidgeFoldIn(
                    vectors: data.vectors, gramian: RidgeFoldIn.gramian(of: data.vectors),
                    setting: RidgeFoldIn.Setting(covariance: 10, ridge: 1, decay: 0.9))
            case .engine: try EngineMethod(vectors: data.vectors, offsets: data.popularity, rank: 2, seed: 3)
            default:
                try ColdAdapterMethod(vectors: data.vectors, offsets: data.popularity, rank: 2, rate: 1, seed: 3)
            }
        func table(threads: Int) async throws -> EventTable {
            let run = PrequentialRun(
                data: data, users: data.users, query: .last, kappas: [0.1], seeds: 2, seed: 3, threads: threads)
            return try await run.tables(of: ranking)[0]
        }
        let one = try await table(threads: 1)
        let two = try await table(threads: 2)
        #expect(one.quality == two.quality)
        #expect(one.mean.auc > 0.5)
    }

    @Test func drawsNegativesFromTheOtherCandidates() {
        var counts = [Int](repeating: 0, count: 12)
        for step in 0..<2_000 {
            let negatives = NegativeSampler.negatives(
                count: 10, items: 12, positive: 3, seen: [0, 7], seed: 1, replicate: 0, userID: "u", step: step)
            #expect(negatives.count == 10)
            for item in negatives { counts[item] += 1 }
        }
        #expect(counts[3] == 0 && counts[0] == 0 && counts[7] == 0)
        // 20,000 draws over 9 items: standard deviation 44 around 2,222.
        for item in [1, 2, 4, 5, 6, 8, 9, 10, 11] { #expect(abs(counts[item] - 2_222) < 220) }
        func draw(replicate: Int = 0, user: String = "u", step: Int = 0) -> [Int] {
            NegativeSampler.negatives(
                count: 10, items: 1_000, positive: 3, seen: [], seed: 1, replicate: replicate, userID: user, step: step)
        }
        #expect(draw() == draw())
        #expect(draw() != draw(replicate: 1) && draw() != draw(user: "v") && draw() != draw(step: 1))
    }
}

@Suite struct MethodTests {
    private func population() throws -> EvaluationData { try SmallPopulation.data() }

    /// Against the normal equations, solved by Gaussian elimination in Float64.
    @Test(arguments: [(0, 1, 1), (50, 3, 0.9), (1_000, 0.5, 0.8)] as [(Double, Double, Double)])
    func ridgeSolvesItsNormalEquations(covariance: Double, ridge: Double, decay: Double) async throws {
        let data = try population()
        let method = try RidgeFoldIn(
            vectors: data.vectors, gramian: RidgeFoldIn.gramian(of: data.vectors),
            setting: RidgeFoldIn.Setting(covariance: covariance, ridge: ridge, decay: decay))
        let ranker = method.ranker(for: "u", seed: 0)
        let likes = [3, 17, 99, 4, 50]
        for item in likes { try ranker.observe(item: item) }
        let found = try await ranker.vector(for: [])
        let d = data.dimension
        var a = [[Double]](repeating: [Double](repeating: 0, count: d), count: d)
        var b = [Double](repeating: 0, count: d)
        func add(_ item: Int, weight: Double, isTarget: Bool) {
            let e = data.vectors.row(item).map(Double.init)
            for j in 0..<d {
                for k in 0..<d { a[j][k] += weight * e[j] * e[k] }
                if isTarget { b[j] += weight * e[j] }
            }
        }
        for j in 0..<d { a[j][j] += ridge }
        for item in 0..<data.itemCount { add(item, weight: covariance / Double(data.itemCount), isTarget: false) }
        for (age, item) in likes.reversed().enumerated() {
            add(item, weight: (0..<age).reduce(1) { weight, _ in weight * decay }, isTarget: true)
        }
        for j in 0..<d {
            for k in (j + 1)..<max(d, j + 1) {
                let factor = a[k][j] / a[j][j]
                for l in j..<d { a[k][l] -= factor * a[j][l] }
                b[k] -= factor * b[j]
            }
        }
        for j in (0..<d).reversed() {
            for k in (j + 1)..<max(d, j + 1) { b[j] -= a[j][k] * b[k] }
            b[j] /= a[j][j]
        }
        let norm = b.map { $0 * $0 }.reduce(0, +).squareRoot()
        for j in 0..<d { #expect(abs(Double(found[j]) - b[j] / norm) < 2e-5) }
    }

    /// The bias moves along the gradient of the pairwise loss, by finite differences in Float64, clipped to 0.3.
    @Test(arguments: [Float(0.01), 100])
    func biasFollowsTheClippedGradient(scale: Float) async throws {
        var vectors = Matrix<Float>(rows: 5, columns: 3)
        var random = PhiloxGenerator(seed: 9)
        for i in 0..<5 { for j in 0..<3 { vectors[i, j] = scale * Float(random.normal()) } }
        let offsets: [Float] = [0, 0.1, 0.2, 0.3, 0.4]
        let method = BiasVectorMethod(vectors: vectors, offsets: offsets, rate: 2)
        let ranker = method.ranker(for: "u", seed: 0)
        let query: [Float] = [0.1, -0.2, 0.3]
        let event = LearningEvent(query: query, positive: 0, negatives: [1, 2, 2, 4], seen: [])
        try await ranker.learn(from: event)
        let moved = zip(try await ranker.vector(for: query), query).map { Double($0 - $1) }
        func loss(_ bias: [Double]) -> Double {
            func score(_ item: Int) -> Double {
                (0..<3).map { (Double(query[$0]) + bias[$0]) * Double(vectors[item, $0]) }.reduce(0, +)
                    + Double(offsets[item])
            }
            return event.negatives.map { Elementary.log1p(Elementary.exp(score($0) - score(0))) }.reduce(0, +) / 4
        }
        let step = 1e-5 / Double(max(scale, 1))
        let gradient = (0..<3).map { j in
            var plus = [0.0, 0, 0]
            plus[j] = step
            var minus = plus
            minus[j] = -step
            return (loss(plus) - loss(minus)) / (2 * step)
        }
        let norm = gradient.map { $0 * $0 }.reduce(0, +).squareRoot()
        #expect((norm > 0.3) == (scale == 100))
        for j in 0..<3 {
            let expected = -2 * gradient[j] * min(1, 0.3 / norm)
            #expect(abs(moved[j] - expected) < 1e-4 * max(abs(expected), 1e-2))
        }
    }

    /// A planted cycle of topics: an adapter can follow it, a bias vector cannot.
    @Test func learnsThePlantedMaps() async throws {
        let data = try population()
        func auc(_ method: any RankingMethod) async throws -> Double {
            let run = PrequentialRun(
                data: data, users: data.users, query: .last, kappas: [0], seeds: 1, seed: 1, threads: 2)
            return try await run.tables(of: method)[0].mean.auc
        }
        let zeros = [Float](repeating: 0, count: data.itemCount)
        let none = try await auc(IdentityMethod(query: nil))
        let bias = try await auc(BiasVectorMethod(vectors: data.vectors, offsets: zeros, rate: 3))
        let cold = try await auc(
            ColdAdapterMethod(vectors: data.vectors, offsets: zeros, rank: 4, rate: 10, seed: 1))
        #expect(cold > none + 0.02)
        #expect(cold > bias + 0.02, "cold \(cold), bias \(bias)")
    }
}

/// The small population as a data set, made once; with fewer items and likes under a sanitizer.
enum SmallPopulation {
    private static let made = Result {
        var configuration = SyntheticPopulation.Configuration.small
        configuration.items = underSanitizer(100, otherwise: configuration.items)
        configuration.likes = underSanitizer(8...11, otherwise: configuration.likes)
        return try EvaluationData(SyntheticPopulation(configuration))
    }

    static func data() throws -> EvaluationData { try made.get() }
}

extension SyntheticPopulation.Configuration {
    /// Small enough for a debug build.
    static var small: Self {
        var configuration = Self()
        configuration.users = 50
        configuration.items = 150
        configuration.dimension = 12
        configuration.topics = 6
        configuration.clusters = 2
        configuration.likes = 25...40
        return configuration
    }
}
