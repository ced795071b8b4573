import LoRA
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("The life of skills")
struct SkillLifeTests {
    let policy = ConsolidationPolicy()

    /// Stores further episodes of a group with a gain.
    func store(
        _ bank: InMemoryReasoningBank, _ population: Population, group: Int, version: UInt64, gain: Double,
        users: Range<Int>? = nil, at moment: Timestamp? = nil
    ) async throws {
        for (i, user) in population.users.filter({ $0.group == group }).enumerated() where users?.contains(i) ?? true {
            var episode = population.builder.episode(user: user.name, version: version, taste: user.taste, gain: gain)
            if let moment { episode.recordedAt = moment }
            _ = try await bank.storePattern(episode)
        }
    }

    @Test("updates the one whose group is found again, under its identifier")
    func updates() async throws {
        let population = try Population([8, 8], noise: 0.1, gain: { _ in 0.2 })
        let clock = ManualClock()
        let bank = try await population.bank(clock: clock)
        let first = try await bank.autoConsolidate(policy, donors: population)
        clock.advance(days: 1)
        try await store(bank, population, group: 0, version: 9, gain: 0.5)
        let second = try await bank.autoConsolidate(policy, donors: population)
        #expect(second.created.isEmpty && second.retired.isEmpty)
        #expect(second.updated.map(\.id).sorted() == first.created.map(\.id))
        #expect(second.updated.allSatisfy { $0.updatedAt == clock.now })
        let better = try #require(second.updated.first { $0.evidence.uses == 24 })
        #expect(abs(better.evidence.gain.mean - 0.3) < 1e-6)
        #expect(bank.skills == second.updated.sorted { $0.id < $1.id })
    }

    @Test("retires the one that now does harm, or whose group has left the window, and numbers the next one on")
    func retires() async throws {
        let population = try Population([8, 8], noise: 0.1, gain: { _ in 0.2 })
        let clock = ManualClock()
        let bank = try await population.bank(clock: clock)
        let first = try await bank.autoConsolidate(policy, donors: population)
        let harmed = try #require(first.created.first { $0.donors.contains(population.digest(population.users[0])) })
        try await store(bank, population, group: 0, version: 9, gain: -1.5)
        let second = try await bank.autoConsolidate(policy, donors: population)
        #expect(second.retired.map(\.id) == [harmed.id] && second.updated.count == 1)
        #expect(second.refused.count == 1 && second.refused[0].reason.contains("lower bound"))
        #expect(!second.refused[0].reason.contains("stays"))
        clock.advance(days: 31)
        let third = try await bank.autoConsolidate(policy, donors: population)
        #expect(third.retired.count == 1 && third.episodes == 0 && bank.skills.isEmpty)
        #expect(bank.populationInitialization(of: AdapterKind(population.builder.context())) == nil)
        try await store(bank, population, group: 1, version: 10, gain: 0.2, at: clock.now)
        let fourth = try await bank.autoConsolidate(policy, donors: population)
        #expect(fourth.created.map(\.id) == [SkillID(3)])
    }

    @Test("keeps the one whose group no longer passes but does no harm, and says so")
    func keeps() async throws {
        let population = try Population([10], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        let first = try await bank.autoConsolidate(policy, donors: population)
        try await store(bank, population, group: 0, version: 9, gain: -0.5, users: 0..<2)
        let second = try await bank.autoConsolidate(policy, donors: population)
        #expect(second.updated.isEmpty && second.retired.isEmpty && bank.skills == first.created)
        let reason = try #require(second.refused.first?.reason)
        #expect(reason.contains("the success rate 0.8 is below 0.85"))
        #expect(reason.contains("10 users, 22 episodes, success rate 0.8"))
        #expect(reason.contains("skill 1 stays as it was"))
        #expect(
            second.refused[0].evidence.users == 10
                && second.refused[0].centroid.count == AdaptationContext.tasteDimension)
    }

    @Test("says each number that a group lacks")
    func saysWhy() {
        let few = GroupEvidence(
            users: 3, uses: 4, successRate: 0.5, wilsonLow: 0.1,
            gain: ConfidenceInterval(mean: 0.1, low: -0.1, high: 0.3))
        #expect(
            few.refusal(by: ConsolidationPolicy())
                == "3 users are fewer than the 5 asked for; 4 episodes are fewer than the 5 asked for; the success rate 0.5 is below 0.85; the mean gain's lower bound -0.1 is not above 0: 3 users, 4 episodes, success rate 0.5 (lower bound 0.1), mean gain 0.1 (-0.1 to 0.3)"
        )
        let wilson = ConsolidationPolicy(minimumSuccessRate: 0.4, minimumUses: 1, minimumUsers: 2, gate: .wilson)
        #expect(few.refusal(by: wilson)?.hasPrefix("the success rate's lower bound 0.1 is below 0.4:") == true)
        let sure = GroupEvidence(
            users: 22, uses: 22, successRate: 1, wilsonLow: wilsonLowerBound(successes: 22, of: 22),
            gain: ConfidenceInterval(mean: 0.1, low: -0.1, high: 0.3))
        #expect(sure.refusal(by: ConsolidationPolicy(gate: .wilson)) == nil)
        #expect(sure.refusal(by: ConsolidationPolicy()) != nil)
        #expect(GroupEvidence([]).users == 0)
    }

    @Test("asks 22 of 22 under Wilson's gate")
    func asksMuch() async throws {
        for (count, passes) in [(21, false), (22, true)] {
            let population = try Population([count], noise: 0.1, withAdapters: false, gain: { _ in 0.2 })
            let bank = try await population.bank(each: 1)
            let report = try await bank.autoConsolidate(ConsolidationPolicy(gate: .wilson), donors: NoDonors())
            #expect(report.created.isEmpty == !passes)
        }
    }

    @Test("names the rate under which the group benefited most, few users counting for little")
    func namesTheRate() async throws {
        let builder = EpisodeBuilder()
        let taste: [Float] = (0..<AdaptationContext.tasteDimension).map { $0 == 3 ? 1 : 0 }
        let bank = InMemoryReasoningBank(clock: ManualClock())
        for i in 0..<40 {
            _ = try await bank.storePattern(builder.episode(user: "a\(i)", taste: taste, learningRate: 0.25, gain: 0.1))
            _ = try await bank.storePattern(
                builder.episode(user: "b\(i)", taste: taste, learningRate: 0.5, gain: 0.1, benefit: 0.2))
        }
        _ = try await bank.storePattern(
            builder.episode(user: "c", taste: taste, learningRate: 1, gain: 0.1, benefit: 0.6))
        let report = try await bank.autoConsolidate(policy, donors: NoDonors())
        #expect(report.created.map(\.learningRate) == [0.5])
        // Without any rate there is none to name.
        let idle = InMemoryReasoningBank(clock: ManualClock())
        for i in 0..<8 {
            _ = try await idle.storePattern(
                builder.episode(user: "\(i)", taste: taste, learningRate: 0, gain: 0.1 + 0.01 * Double(i)))
        }
        #expect(try await idle.autoConsolidate(policy, donors: NoDonors()).created.map(\.learningRate) == [0])
    }

    @Test("a user counts once, however many episodes they have")
    func countsUsersOnce() async throws {
        let builder = EpisodeBuilder()
        let taste: [Float] = (0..<AdaptationContext.tasteDimension).map { $0 == 3 ? 1 : 0 }
        let gains = [0.30, 0.10, 0.20, 0.15, 0.25]
        func evidence(episodesOfTheFirst count: Int) async throws -> GroupEvidence? {
            let bank = InMemoryReasoningBank(clock: ManualClock())
            for (i, gain) in gains.enumerated() {
                for version in 1...(i == 0 ? count : 1) {
                    _ = try await bank.storePattern(
                        builder.episode(user: "\(i)", version: UInt64(version), taste: taste, gain: gain))
                }
            }
            return try await bank.autoConsolidate(policy, donors: NoDonors()).created.first?.evidence
        }
        let many = try #require(try await evidence(episodesOfTheFirst: 60))
        #expect(many.users == 5 && many.uses == 64 && many.successRate == 1)
        // Student's interval by hand: mean 0.2, standard error 0.0790569 / √5, t(0.975; 4) = 2.776445.
        #expect(abs(many.gain.mean - 0.2) < 1e-9)
        #expect(abs(many.gain.high - many.gain.low - 2 * 2.776445 * 0.0790569 / 5.0.squareRoot()) < 1e-5)
        #expect(try await evidence(episodesOfTheFirst: 1)?.gain == many.gain)
    }

    @Test("a user who does not gain the margin is no success")
    func countsSuccessesAboveTheMargin() async throws {
        let builder = EpisodeBuilder()
        let taste: [Float] = (0..<AdaptationContext.tasteDimension).map { $0 == 3 ? 1 : 0 }
        for (margin, rate) in [(0.0, 1.0), (0.05, 0.5)] {
            var configuration = ReasoningBankConfiguration()
            configuration.successMargin = margin
            let bank = InMemoryReasoningBank(clock: ManualClock(), configuration: configuration)
            for i in 0..<10 {
                _ = try await bank.storePattern(
                    builder.episode(user: "\(i)", taste: taste, gain: i % 2 == 0 ? 0.02 : 0.2))
            }
            let report = try await bank.autoConsolidate(policy, donors: NoDonors())
            #expect((report.created.first?.evidence ?? report.refused.first?.evidence)?.successRate == rate)
        }
        var wrong = ReasoningBankConfiguration()
        wrong.successMargin = .nan
        #expect(throws: ReasoningError.self) { try wrong.validate() }
    }

    @Test("a taste that begins anew does not take the place of one with more likes behind it")
    func keepsTheTasteWithTheMostLikes() {
        let builder = EpisodeBuilder()
        func episode(_ version: UInt64, _ index: Int, likes: Int) -> Episode {
            var episode = builder.episode(
                user: "ada", version: version,
                taste: (0..<AdaptationContext.tasteDimension).map { $0 == index ? 1 : 0 })
            episode.context.tasteLikes = likes
            return episode
        }
        // After 60 likes the engine starts again.
        let episodes = [episode(59, 1, likes: 59), episode(60, 2, likes: 60), episode(61, 3, likes: 1)]
        for order in [[0, 1, 2], [2, 1, 0]] {
            var trial = UserTrial(user: builder.key.digest(of: "ada"))
            for i in order {
                trial.count(episodes[i], AdaptationOutcome(gain: 0, benefit: 0, reward: 0, success: false))
            }
            #expect(trial.taste?[2] == 1)
        }
    }

    @Test("takes the latest taste of each user, and none for those without")
    func takesTheLatestTaste() {
        let builder = EpisodeBuilder()
        func taste(_ index: Int) -> [Float] { (0..<AdaptationContext.tasteDimension).map { $0 == index ? 2 : 0 } }
        let episodes = [
            builder.episode(user: "ada", version: 1, taste: taste(1)),
            builder.episode(user: "ada", version: 3, taste: taste(3)),
            builder.episode(user: "ada", version: 2, taste: taste(2)),
            builder.episode(user: "ada", version: 4),
        ]
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
            var trial = UserTrial(user: builder.key.digest(of: "ada"))
            #expect(trial.taste == nil)
            for i in order {
                trial.count(
                    episodes[i],
                    episodes[i].outcome ?? AdaptationOutcome(gain: 0, benefit: 0, reward: 0, success: false))
            }
            #expect(trial.taste?[3] == 1 && trial.sums.episodes == 4)
        }
    }

    @Test("refuses a policy out of range, and changes nothing when donors fail or the task is cancelled")
    func changesNothing() async throws {
        let population = try Population([8, 8], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        #expect(
            await refusal {
                _ = try await bank.autoConsolidate(ConsolidationPolicy(minimumUsers: 1), donors: population)
            }?.code == .invalidPolicy)
        _ = try await bank.autoConsolidate(policy, donors: population)
        let before = Snapshot(bank)
        try await store(bank, population, group: 0, version: 9, gain: 0.5)
        let skills = bank.skills
        for calls in [0, 3, 20] {
            await #expect(throws: FailingDonors.Fault.self) {
                _ = try await bank.autoConsolidate(policy, donors: FailingDonors(base: population, after: calls))
            }
            #expect(bank.skills == skills && Snapshot(bank).populations == before.populations)
        }
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: population)
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(bank.skills == skills)
    }

    @Test("takes turns: of two at once each sees the other's skills")
    func takesTurns() async throws {
        let population = try Population([8, 8], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        let slow = CountingDonors(base: population)
        let reports = try await withThrowingTaskGroup(of: ConsolidationReport.self) { group in
            for _ in 0..<4 { group.addTask { try await bank.autoConsolidate(ConsolidationPolicy(), donors: slow) } }
            var all: [ConsolidationReport] = []
            for try await report in group { all.append(report) }
            return all
        }
        #expect(reports.map(\.created.count).sorted() == [0, 0, 0, 2])
        #expect(reports.map(\.updated.count).sorted() == [0, 2, 2, 2])
        #expect(bank.skills.map(\.id) == [SkillID(1), SkillID(2)])
        #expect(slow.most == 1)
    }

    @Test("finds groups in more users than it looks at for their middles")
    func assignsTheRest() async throws {
        var generator = PhiloxGenerator(seed: 2, purpose: .simulation)
        let middles = (0..<2).map { _ in Population.direction(&generator) }
        let sample = underSanitizer(512, otherwise: TasteClustering.sample)
        let directions = (0..<sample + 300).map { i in
            Population.unit(middles[i % 2].map { Double($0) + 0.1 * generator.normal() })
        }
        let groups = try await TasteClustering.groups(of: directions, seed: 1, leastMembers: 5, sample: sample)
        #expect(groups.map(\.count) == [sample / 2 + 150, sample / 2 + 150])
        #expect(groups.allSatisfy { group in group.allSatisfy { $0 % 2 == group[0] % 2 } })
        #expect(try await TasteClustering.groups(of: [], seed: 1, leastMembers: 5).isEmpty)
        let same = [[Float]](repeating: middles[0], count: 40)
        #expect(try await TasteClustering.groups(of: same, seed: 1, leastMembers: 5) == [Array(0..<40)])
    }
}

/// Donors of which the calls after some fail.
final class FailingDonors: DonorSource {
    struct Fault: Error {}
    private let base: any DonorSource
    private let left: Lock<Int>

    init(base: any DonorSource, after calls: Int) {
        self.base = base
        left = Lock(calls)
    }

    func adapter(of user: UserDigest) async throws -> LoRAAdapter? {
        let fails = left.withLock { left in
            left -= 1
            return left < 0
        }
        if fails { throw Fault() }
        return try await base.adapter(of: user)
    }
}

/// Donors that take their time and count how many are asked at once.
final class CountingDonors: DonorSource {
    private let base: any DonorSource
    private let state = Lock((now: 0, most: 0))

    init(base: any DonorSource) { self.base = base }

    var most: Int { state.withLock { $0.most } }

    func adapter(of user: UserDigest) async throws -> LoRAAdapter? {
        state.withLock { state in
            state.now += 1
            state.most = max(state.most, state.now)
        }
        for _ in 0..<5 { await Task.yield() }
        state.withLock { $0.now -= 1 }
        return try await base.adapter(of: user)
    }
}
