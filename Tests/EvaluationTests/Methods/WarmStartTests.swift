import LoRA
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

@Suite struct DonorBankTests {
    private static func training(_ data: EvaluationData, rate: Float = 3) throws -> PairwiseAdapter {
        try PairwiseAdapter(
            vectors: data.vectors, offsets: [Float](repeating: 0, count: data.itemCount), rank: 3, rate: rate, seed: 3)
    }

    private func bank(_ data: EvaluationData, threads: Int = 2) async throws -> DonorBank {
        try await DonorBank.trained(
            on: data, query: .last, training: Self.training(data), seed: 3, threads: threads)
    }

    /// Σ w·B·A of some adapters, in Float64, entry by entry; `[dimension²]`, row-major.
    private func naiveSum(_ parts: [(adapter: LoRAAdapter, weight: Double)], dimension d: Int) -> [Double] {
        var sum = [Double](repeating: 0, count: d * d)
        for (adapter, weight) in parts {
            let (a, b) = (adapter.down, adapter.up)
            for k in 0..<a.rows {
                for i in 0..<d {
                    for j in 0..<d {
                        sum[i * d + j] += weight * Double(adapter.shape.scale) * Double(b[k, i]) * Double(a[k, j])
                    }
                }
            }
        }
        return sum
    }

    /// The product of an adapter that starts from a prior.
    private func product(_ prior: AdapterPrior, _ shape: AdapterShape) throws -> [Double] {
        let adapter = try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 9, stream: 9), startingFrom: prior)
        return naiveSum([(adapter, 1)], dimension: shape.dimension)
    }

    @Test func trainsEveryDonorOnceAndNobodyElse() async throws {
        let data = try SmallPopulation.data()
        let bank = try await bank(data)
        #expect(bank.donors.map(\.userID) == data.donors.map(\.userID))
        for (donor, sequence) in zip(bank.donors, data.donors) {
            #expect(donor.adapter.steps == UInt64(sequence.items.count - 1))
            #expect(donor.profile == DonorBank.profile(of: sequence.items, in: data.vectors))
        }
    }

    @Test func dealsFoldsEvenlyAndStably() {
        let users = (0..<23).map { "user-\($0)" }
        let folds = DonorBank.fold(of: users, seed: 1)
        for fold in 0..<DonorBank.folds { #expect((4...5).contains(folds.count { $0 == fold })) }
        #expect(folds == DonorBank.fold(of: users, seed: 1) && folds != DonorBank.fold(of: users, seed: 2))
        let reversed = DonorBank.fold(of: users.reversed(), seed: 1)
        #expect(Array(reversed.reversed()) == folds)
    }

    /// At full rank nothing is truncated, so that the merges are the plain sums.
    @Test func mergesAreNaiveSums() async throws {
        let data = try SmallPopulation.data()
        let d = data.dimension
        let full = try AdapterShape(dimension: d, rank: d)
        let donors = try await bank(data).donors.map { donor in
            let prior = try AdapterPrior(merging: [(donor.adapter, 1)], rank: d, shrinkage: .none)
            return DonorBank.Donor(
                userID: donor.userID,
                adapter: try LoRAAdapter(
                    shape: full, identity: AdapterIdentity(seed: 1, stream: 2), startingFrom: prior),
                profile: donor.profile, fold: donor.fold)
        }
        let bank = try DonorBank(donors: donors, vectors: data.vectors, seed: 3)
        func expectEqual(_ found: [Double], _ expected: [Double]) {
            let size = expected.map(abs).max() ?? 0
            #expect(size > 0.01)
            for (x, y) in zip(found, expected) { #expect(abs(x - y) < 1e-5 * size) }
        }
        let user = data.users[0]
        let mean = naiveSum(donors.map { ($0.adapter, 1 / Double(donors.count)) }, dimension: d)
        let global = try #require(bank.global(for: user.userID))
        expectEqual(try product(global, full), mean)
        expectEqual(try product(global.scaled(by: 0.25), full), mean.map { 0.25 * $0 })
        let likes = Array(user.items.prefix(4))
        for company in [DonorBank.Company.nearest, .random] {
            let members = bank.members(of: company, for: user.userID, likes: likes)
            let own = naiveSum(members.map { ($0.adapter, 1 / Double(members.count)) }, dimension: d)
            let start = try #require(try bank.start(company, for: user.userID, likes: likes))
            expectEqual(try product(start, full), zip(mean, own).map { ($0 + $1) / 2 })
        }
    }

    /// A donor's id in another canonical form is somebody else's, who gets what all donors have learned.
    @Test func anIDInAnotherFormIsAnotherUser() async throws {
        let data = try SmallPopulation.data()
        let trained = try await bank(data)
        let bank = try DonorBank(
            donors: trained.donors.enumerated().map { i, donor in
                DonorBank.Donor(
                    userID: i == 0 ? "\u{E9}" : donor.userID, adapter: donor.adapter, profile: donor.profile,
                    fold: donor.fold)
            }, vectors: data.vectors, seed: 3)
        let likes = Array(data.donors[0].items.prefix(4))
        #expect(bank.global(for: "\u{E9}") != bank.global(for: "somebody"))
        #expect(bank.global(for: "e\u{301}") == bank.global(for: "somebody"))
        let own = try bank.start(.nearest, for: "\u{E9}", likes: likes)
        #expect(try bank.start(.nearest, for: "e\u{301}", likes: likes) != own)
    }

    /// What is tuned on a donor must not hold anything of that donor's.
    @Test func noDonorInformsTheirOwnPrior() async throws {
        let data = try SmallPopulation.data()
        let bank = try await bank(data)
        let donor = bank.donors[0]
        let likes = Array(data.donors[0].items.prefix(4))
        let changed = try DonorBank(
            donors: bank.donors.map { other in
                guard other.fold == donor.fold else { return other }
                let cold = LoRAAdapter(shape: other.adapter.shape, identity: other.adapter.identity)
                return DonorBank.Donor(userID: other.userID, adapter: cold, profile: other.profile, fold: other.fold)
            }, vectors: data.vectors, seed: 3)
        #expect(bank.global(for: donor.userID) == changed.global(for: donor.userID))
        #expect(bank.global(for: data.users[0].userID) != changed.global(for: data.users[0].userID))
        for company in [DonorBank.Company.nearest, .random] {
            let members = bank.members(of: company, for: donor.userID, likes: likes)
            #expect(!members.isEmpty && members.allSatisfy { $0.fold != donor.fold })
            #expect(
                try bank.start(company, for: donor.userID, likes: likes)
                    == changed.start(company, for: donor.userID, likes: likes))
        }
    }

    @Test func similarAndRandomCompanyDiffer() async throws {
        let data = try SmallPopulation.data()
        let bank = try await bank(data)
        let user = data.users[0]
        let likes = Array(user.items.prefix(4))
        let nearest = bank.members(of: .nearest, for: user.userID, likes: likes)
        let random = bank.members(of: .random, for: user.userID, likes: likes)
        #expect(nearest.count == min(30, data.donors.count) && random.count == min(10, data.donors.count))
        #expect(Set(random.map(\.userID)).count == random.count)
        // By hand: similarities fall, and nobody who was left out is more similar.
        let profile = DonorBank.profile(of: likes, in: data.vectors)
        func similarity(_ donor: DonorBank.Donor) -> Float {
            zip(donor.profile, profile).reduce(0) { $0 + $1.0 * $1.1 }
        }
        #expect(zip(nearest, nearest.dropFirst()).allSatisfy { similarity($0) >= similarity($1) })
        #expect(
            try bank.start(.nearest, for: user.userID, likes: likes)
                != bank.start(.random, for: user.userID, likes: likes))
        let again = bank.members(of: .random, for: user.userID, likes: Array(user.items.prefix(9)))
        #expect(again.map(\.userID) == random.map(\.userID), "drawn by user, not by likes")
        let other = bank.members(of: .random, for: data.users[1].userID, likes: likes)
        #expect(other.map(\.userID) != random.map(\.userID))
    }

    @Test func aLoneDonorHasNoPriorOfOthers() async throws {
        let data = try SmallPopulation.data()
        let donor = try await bank(data).donors[0]
        let bank = try DonorBank(donors: [donor], vectors: data.vectors, seed: 3)
        #expect(bank.global(for: donor.userID) == nil && bank.global(for: "another") != nil)
        let method = WarmAdapterMethod(try Self.training(data), bank: bank, company: .nearest, strength: 1)
        let cold = ColdAdapterMethod(try Self.training(data))
        func table(_ method: any RankingMethod) async throws -> EventTable {
            let run = PrequentialRun(
                data: data, users: [data.donors[0]], query: .last, kappas: [0], seeds: 1, seed: 3, threads: 1)
            return try await run.tables(of: method)[0]
        }
        #expect(try await table(method).quality == table(cold).quality, "without others a warm start is a cold one")
    }

    @Test func trainingDoesNotDependOnThreads() async throws {
        let data = try SmallPopulation.data()
        let (one, four) = (try await bank(data, threads: 1), try await bank(data, threads: 4))
        #expect(one.donors.map(\.adapter.stateHash) == four.donors.map(\.adapter.stateHash))
        #expect(one.global(for: "another") == four.global(for: "another"))
    }
}

@Suite struct WarmMethodTests {
    /// A restart learns what was known again from the new start: by hand for one user, on the real classes.
    @Test func startsAnewOnceFourLikesAreKnown() async throws {
        let data = try SmallPopulation.data()
        let training = try PairwiseAdapter(
            vectors: data.vectors, offsets: data.popularity, rank: 2, rate: 1, seed: 3)
        let bank = try await DonorBank.trained(on: data, query: .last, training: training, seed: 3, threads: 2)
        let method = WarmAdapterMethod(training, bank: bank, company: .nearest, strength: 0.5)
        let user = data.users[0]
        let events = (0..<6).map { step in
            LearningEvent(
                query: data.vectors.rowValues(user.items[step]), positive: user.items[step + 1],
                negatives: [(user.items[step] + 1) % data.itemCount], seen: Array(user.items[0...step]))
        }
        let probe = data.vectors.rowValues(user.items[9])
        let ranker = try method.ranker(for: user.userID, seed: 1)
        let scratch = UpdateScratch()
        let global = try #require(bank.global(for: user.userID))
        var expected = try training.start(userID: user.userID, replicate: 1, from: global.scaled(by: 0.5))
        for (i, event) in events.enumerated() {
            #expect(try await ranker.vector(for: probe) == expected.forward(probe), "before event \(i)")
            try await ranker.learn(from: event)
            if i == 2 {
                let start = try #require(
                    try bank.start(.nearest, for: user.userID, likes: Array(user.items.prefix(4))))
                expected = try training.start(userID: user.userID, replicate: 1, from: start.scaled(by: 0.5))
                for earlier in events[0...2] { try training.learn(&expected, from: earlier, scratch: scratch) }
            } else {
                try training.learn(&expected, from: event, scratch: scratch)
            }
        }
        #expect(try await ranker.vector(for: probe) == expected.forward(probe))
    }

    private func result(_ methods: [EvaluationMethod], threads: Int = 2) async throws -> EvaluationResult {
        var configuration = EvaluationConfiguration()
        configuration.methods = methods
        configuration.seeds = 1
        configuration.rank = 4
        configuration.resamples = 200
        configuration.threads = threads
        return try await Evaluation(SmallPopulation.data(), configuration: configuration).run()
    }

    /// Clusters with a map each: what donors have in common helps.
    @Test(
        .enabled(
            if: !TestRun.isSanitized, "needs more users than a sanitizer has time for; other tests reach the same code")
    )
    func warmStartsConvergeSoonerThanColdOnes() async throws {
        let result = try await result([.none, .cold, .warm, .similar, .random])
        func gain(_ method: EvaluationMethod, _ other: EvaluationMethod) throws -> Interval {
            try #require(result.difference(.auc, of: method, minus: other))
        }
        #expect(try gain(.warm, .cold).low > 0)
        #expect(try gain(.similar, .cold).low > 0)
        func method(_ wanted: EvaluationMethod) throws -> EvaluationResult.Method {
            try #require(result.methods.first { $0.method == wanted })
        }
        let cold = try #require(try method(.cold).t90?.mean)
        for wanted in [EvaluationMethod.warm, .similar] {
            let warm = try method(wanted)
            #expect(try #require(warm.t90?.mean) < cold, "\(wanted)")
            #expect(warm.saving.map { abs($0.mean - (1 - (warm.t90?.mean ?? 0) / cold)) < 1e-12 } == true)
            #expect(Set(warm.settings.map(\.name)) == ["strength", "rate"])
        }
        #expect(try method(.similar).auc != method(.random).auc)
    }

    /// Clusters with a map each, and more donors than a company has: similar ones help more than random ones.
    @Test func similarDonorsHelpMoreThanRandomOnes() async throws {
        var configuration = SyntheticPopulation.Configuration.small
        configuration.users = 180
        configuration.items = 100
        configuration.likes = 12...16
        configuration.clusters = 3
        let data = try EvaluationData(SyntheticPopulation(configuration))
        let training = try PairwiseAdapter(
            vectors: data.vectors, offsets: [Float](repeating: 0, count: data.itemCount), rank: 4, rate: 3, seed: 1)
        let bank = try await DonorBank.trained(on: data, query: .last, training: training, seed: 1, threads: 2)
        func table(_ method: any RankingMethod) async throws -> EventTable {
            let run = PrequentialRun(
                data: data, users: data.users, query: .last, kappas: [0], seeds: 1, seed: 1, threads: 2)
            return try await run.tables(of: method)[0]
        }
        var tables = [try await table(ColdAdapterMethod(training))]
        for company in [DonorBank.Company.random, .nearest] {
            tables.append(try await table(WarmAdapterMethod(training, bank: bank, company: company, strength: 1)))
        }
        let measures = PairedMeasures(tables: tables, reference: 0, resamples: 200, seed: 1)
        #expect(measures.difference(.auc, of: 1, minus: 0).low > 0)
        #expect(measures.difference(.auc, of: 2, minus: 1).low > 0)
    }

    @Test func doesNotDependOnThreadsOrOtherMethods() async throws {
        let all = try await result([.cold, .warm, .similar], threads: 1)
        let alone = try await result([.similar], threads: 4)
        let (a, b) = (all.methods[2], alone.methods[0])
        #expect(a.auc == b.auc && a.ndcg10 == b.ndcg10 && a.gains == b.gains)
        #expect(a.settings.map(\.value) == b.settings.map(\.value))
        #expect(b.t90 == nil && b.saving == nil)
    }
}
