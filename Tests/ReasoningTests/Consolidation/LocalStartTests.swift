import LoRA
import StorageTesting
import TensorCore
import Testing

@testable import Reasoning

/// The starts that users get whose taste is known, and that of the whole population.
@Suite("Local starts")
struct LocalStartTests {
    private let policy = ConsolidationPolicy()

    private func advice(
        _ bank: InMemoryReasoningBank, _ population: Population, taste: [Float], _ user: UserDigest? = nil
    )
        async throws -> Initialization?
    {
        try await bank.learnStrategy(
            AdaptationTask(
                context: population.builder.context(taste: taste), configuredLearningRate: 0.25, excluding: user)
        ).initialization
    }

    @Test("are merges, at half strength, of the donors nearest to an anchor")
    func areMergesOfTheNearest() async throws {
        let population = try Population([30, 30], noise: 0.3, gain: { _ in 0.2 })
        let bank = try await population.bank()
        _ = try await bank.autoConsolidate(policy, donors: population)
        let record = try #require(Snapshot(bank).populations.values.first)
        #expect(record.local.count == 30)
        // Independently: for each donor the six nearest.
        let neighborhoods = Set(
            population.users.map { anchor in
                let ranked = population.users.map { (cosine($0.taste, anchor.taste), population.digest($0)) }
                return Set(ranked.sorted { ($1.0, $0.1) < ($0.0, $1.1) }.prefix(6).map(\.1))
            })
        for start in record.local {
            #expect(start.donors.count == 6)
            let expected = try AdapterPrior(
                merging: start.donors.compactMap { population.adapters[$0] }.map { ($0, 1) }, rank: 4,
                shrinkage: .factor(0.5))
            #expect(start.initialization.prior == expected)
            #expect(neighborhoods.contains(Set(start.donors)))
        }
    }

    @Test("a taste gets the nearest one, no taste the population's, and a donor none that they gave to")
    func giveTheNearest() async throws {
        let population = try Population([30, 30], noise: 0.3, gain: { _ in 0.2 })
        let bank = try await population.bank()
        _ = try await bank.autoConsolidate(policy, donors: population)
        let record = try #require(Snapshot(bank).populations.values.first)
        for user in population.users {
            let digest = population.digest(user)
            let given = try #require(try await advice(bank, population, taste: user.taste, digest))
            let allowed = record.local.filter { !$0.donors.contains(digest) }
            let best = try #require(allowed.max { cosine($0.centroid, user.taste) < cosine($1.centroid, user.taste) })
            #expect(given == best.initialization)
            #expect(try await advice(bank, population, taste: [], digest) == nil)
        }
        let unknown = try await advice(bank, population, taste: [])
        #expect(unknown == record.initialization && unknown?.prior.donors == 60)
    }

    @Test("there are none among few donors, nor where users do not surely gain")
    func needDonorsAndGain() async throws {
        let few = try Population([20, 20], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await few.bank()
        _ = try await bank.autoConsolidate(policy, donors: few)
        #expect(Snapshot(bank).populations.values.allSatisfy { $0.local.isEmpty && $0.initialization != nil })
        let noise = try Population([60], noise: 0.1, gain: { 0.1 * $0.normal() })
        let other = try await noise.bank()
        let report = try await other.autoConsolidate(policy, donors: noise)
        #expect(report.populationDonors == 0 && report.created.isEmpty)
        #expect(try await advice(other, noise, taste: noise.users[0].taste) == nil)
    }

    @Test("are made again without a user who is forgotten")
    func areMadeAgain() async throws {
        let population = try Population([30, 30], noise: 0.3, gain: { _ in 0.2 })
        let user = population.digest(population.users[7])
        let bank = try await population.bank()
        _ = try await bank.autoConsolidate(policy, donors: population)
        let before = try #require(Snapshot(bank).populations.values.first)
        let report = try await bank.forget(user, donors: population)
        #expect(report.populationRederived && report.stalePriors.count > 1)
        let made = try #require(Snapshot(bank).populations.values.first)
        for start in before.local where start.donors.contains(user) {
            // The local start of those who are most alike, in whose place it was made.
            let successor = try #require(report.successors[start.initialization.id])
            let kept = try #require(made.local.first { $0.initialization.prior == successor.prior })
            #expect(
                made.local.allSatisfy { cosine($0.centroid, start.centroid) <= cosine(kept.centroid, start.centroid) })
            #expect(successor.donors == kept.donors)
        }
        let everybody = try #require(before.initialization)
        #expect(report.successors[everybody.id]?.prior == made.initialization?.prior)
        #expect(Set(report.successors.keys) == Set(report.stalePriors))
        var without = population
        without.users.removeAll { population.digest($0) == user }
        let never = try await without.bank()
        _ = try await never.autoConsolidate(policy, donors: without)
        let (left, expected) = (Snapshot(bank).populations.values.first, Snapshot(never).populations.values.first)
        #expect(left?.local == expected?.local && left?.initialization == expected?.initialization)
        #expect(left?.local.contains { $0.donors.contains(user) } == false)
    }

    @Test("serve adapters that differ in the objective alone, where nothing is known of those")
    func serveRelatives() async throws {
        let population = try Population([12], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        _ = try await bank.autoConsolidate(policy, donors: population)
        var context = population.builder.context()
        context.objective = .target
        let task = AdaptationTask(context: context, configuredLearningRate: 0.25)
        #expect(try await bank.learnStrategy(task).initialization?.prior.donors == 12)
        context.rank += 1
        let stranger = AdaptationTask(context: context, configuredLearningRate: 0.25)
        #expect(try await bank.learnStrategy(stranger).initialization == nil)
    }
}
