import LoRA
import StorageTesting
import TensorCore
import Testing

@testable import Reasoning

@Suite("Forgetting a user")
struct ForgettingTests {
    let policy = ConsolidationPolicy()

    @Test("leaves what a bank holds that never saw them, to the byte", arguments: [0, 9, 19, 26])
    func leavesNothing(index: Int) async throws {
        let population = try Population([10, 10, 8], noise: 0.1) { 0.2 + 0.01 * $0.normal() }
        let user = population.users[index]
        let (bank, never) = (try await population.bank(), try await population.bank(without: user.name))
        let before = try await bank.autoConsolidate(policy, donors: population)
        _ = try await never.autoConsolidate(policy, donors: population)
        let report = try await bank.forget(population.digest(user), donors: population)
        // Skills are numbered in the order of their first users, which may be the user forgotten.
        func content(_ bank: InMemoryReasoningBank) -> Snapshot {
            var snapshot = Snapshot(bank)
            for i in snapshot.skills.indices {
                snapshot.skills[i].id = SkillID(0)
                snapshot.skills[i].initialization?.skill = nil
            }
            snapshot.skills.sort { $0.centroid.lexicographicallyPrecedes($1.centroid) }
            for i in snapshot.records.indices {
                snapshot.records[i].skill.id = SkillID(0)
                snapshot.records[i].skill.initialization?.skill = nil
            }
            snapshot.records.sort { $0.skill.centroid.lexicographicallyPrecedes($1.skill.centroid) }
            return snapshot
        }
        #expect(content(bank) == content(never))
        // All gave to the population's start, which is half of each skill's.
        #expect(report.episodes == 2 && report.rederived == before.created.map(\.id).sorted())
        #expect(report.retired.isEmpty && report.populationRederived)
        #expect(report.stalePriors.count == 4)
        #expect(Set(report.stalePriors).isSuperset(of: before.created.compactMap(\.initialization?.id)))
        #expect(report.stalePriors == report.stalePriors.sorted { $0.value < $1.value })
        // In the place of each start stands what is given out now.
        #expect(Set(report.successors.keys) == Set(report.stalePriors))
        for skill in before.created {
            let now = bank.skills.first { $0.id == skill.id }
            let start = try #require(skill.initialization?.id)
            let successor = try #require(report.successors[start])
            #expect(successor.prior == now?.initialization?.prior)
            #expect(
                successor.donors == successor.donors.sorted() && !successor.donors.contains(population.digest(user)))
            #expect(Set(successor.donors).isSuperset(of: now?.donors ?? []))
        }
        #expect(bank.episodes(of: population.digest(user)).isEmpty)
        #expect(try await bank.forget(population.digest(user), donors: population) == ForgettingReport())
    }

    @Test("names starts as stale that were replaced long ago")
    func namesOldStarts() async throws {
        var population = try Population([8], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        var given: Set<PriorID> = []
        let user = population.digest(population.users[0])
        for round in 0..<3 {
            let report = try await bank.autoConsolidate(policy, donors: population)
            given.formUnion((report.created + report.updated).compactMap(\.initialization?.id))
            if let whole = bank.populationInitialization(of: AdapterKind(population.builder.context())) {
                given.insert(whole.id)
            }
            // The third time without the user's adapter.
            population.adapters[population.digest(population.users[7 - round])] = nil
            if round == 1 { population.adapters[user] = nil }
        }
        #expect(given.count == 6)
        let stale = try await bank.forget(user, donors: population).stalePriors
        #expect(stale.count == 4 && Set(stale).isSubset(of: given))
    }

    @Test("gives up skills and starts of too few users, or that no longer pass")
    func givesUp() async throws {
        let population = try Population([5], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        _ = try await bank.autoConsolidate(policy, donors: population)
        let report = try await bank.forget(population.digest(population.users[2]), donors: population)
        #expect(report.retired == [SkillID(1)] && report.rederived.isEmpty && !report.populationRederived)
        #expect(bank.skills.isEmpty && bank.statistics.populations == 0)
        // 6 of 7 succeed; without one of the six, 5 of 6 are 0.83.
        var mixed = try Population([7], noise: 0.1, gain: { _ in 0.5 })
        mixed.users[3].gain = -0.1
        let other = try await mixed.bank()
        #expect(try await other.autoConsolidate(policy, donors: mixed).created.count == 1)
        #expect(try await other.forget(mixed.digest(mixed.users[0]), donors: mixed).retired.count == 1)
    }

    @Test("makes a skill again of a member who gave nothing, too")
    func membersWhoGaveNothing() async throws {
        var population = try Population([12], noise: 0.1, gain: { _ in 0.5 })
        population.users[3].gain = -0.1
        let bank = try await population.bank()
        let before = try await bank.autoConsolidate(policy, donors: population)
        let user = population.digest(population.users[3])
        #expect(before.created[0].evidence.users == 12 && !before.created[0].donors.contains(user))
        // Not even the middle of the group is of use to them.
        let advice = try await bank.learnStrategy(
            AdaptationTask(
                context: population.builder.context(taste: before.created[0].centroid), configuredLearningRate: 0.25,
                excluding: user))
        #expect(advice.initialization?.skill == nil && advice.initialization != nil)
        let report = try await bank.forget(user, donors: population)
        #expect(report.rederived == [SkillID(1)] && report.stalePriors.isEmpty && report.populationRederived)
        #expect(
            bank.skills[0].evidence.users == 11 && bank.skills[0].initialization == before.created[0].initialization)
    }

    @Test("leaves nothing even when donors fail or the task is cancelled", arguments: [0, 8, 14])
    func leavesNothingWhenDonorsFail(calls: Int) async throws {
        let population = try Population([10, 10], noise: 0.1, gain: { _ in 0.2 })
        let user = population.digest(population.users[0])
        let bank = try await population.bank()
        _ = try await bank.autoConsolidate(policy, donors: population)
        await #expect(throws: FailingDonors.Fault.self) {
            _ = try await bank.forget(user, donors: FailingDonors(base: population, after: calls))
        }
        let left = Snapshot(bank)
        #expect(!left.episodes.contains { $0.user == user } && !left.records.contains { $0.involves(user) })
        #expect(
            !left.populations.values.contains { $0.trials.contains { $0.user == user } || $0.donors.contains(user) })
        #expect(!left.donorsByPrior.values.contains { $0.contains(user) })
        // The next consolidation brings back what was withdrawn.
        #expect(try await bank.autoConsolidate(policy, donors: population).populationDonors == 19)
        #expect(bank.skills.count == 2)
        let task = Task {
            while !Task.isCancelled { await Task.yield() }
            _ = try await bank.forget(population.digest(population.users[1]), donors: population)
        }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(!Snapshot(bank).records.contains { $0.involves(population.digest(population.users[1])) })
    }

    @Test("waits for a consolidation that may have read them")
    func waitsForConsolidation() async throws {
        let population = try Population([10], noise: 0.1, gain: { _ in 0.2 })
        let user = population.digest(population.users[0])
        let bank = try await population.bank()
        let slow = CountingDonors(base: population)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: slow) }
            while slow.most == 0 { await Task.yield() }
            group.addTask { _ = try await bank.forget(user, donors: slow) }
            try await group.waitForAll()
        }
        #expect(slow.most == 1)
        let left = Snapshot(bank)
        #expect(left.records.count == 1 && left.records[0].members.count == 9 && !left.records[0].involves(user))
        #expect(left.episodes.count == 18)
    }

    @Test("remembers the donors of the last 1,024 starts")
    func remembersABoundedNumber() throws {
        var shelf = SkillShelf()
        let user = UserDigest(high: 1, low: 1)
        let kind = AdapterKind(EpisodeBuilder().context())
        let prior = try AdapterPrior(
            merging: [
                (
                    LoRAAdapter(
                        shape: AdapterShape(dimension: 4, rank: 1), identity: AdapterIdentity(seed: 1, stream: 1)), 1
                )
            ],
            rank: 1)
        for i in 0..<1100 {
            var record = PopulationRecord(trials: [UserTrial(user: user)], policy: ConsolidationPolicy())
            record.donors = [user]
            record.initialization = Initialization(id: PriorID(UInt64(i)), prior: prior)
            shelf.put(record, for: kind)
        }
        let stale = shelf.takeStale(user)
        #expect(stale.count == SkillShelf.mostIssued && stale.first == PriorID(76))
        #expect(shelf.takeStale(user).isEmpty)
    }
}
