import LoRA
import StorageTesting
import TensorCore
import Testing

@testable import Reasoning

@Suite("Skills")
struct SkillTests {
    let policy = ConsolidationPolicy()

    @Test("are the same to the byte, whatever the order of storage")
    func areDeterministic() async throws {
        let population = try Population([12, 9, 15], noise: 0.1)
        var snapshots: [Snapshot] = []
        for seed: UInt64 in 1...3 {
            let bank = try await population.bank(each: 3, shuffled: seed)
            _ = try await bank.autoConsolidate(policy, donors: population)
            snapshots.append(Snapshot(bank))
        }
        #expect(snapshots[0].skills.count == 3)
        #expect(snapshots[0] == snapshots[1] && snapshots[0] == snapshots[2])
    }

    @Test("hold their evidence, their middle and who gave")
    func holdEvidence() async throws {
        let population = try Population([8, 6], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank(each: 2)
        let report = try await bank.autoConsolidate(policy, donors: population)
        #expect(report.populationDonors == 14 && report.users == 14 && report.episodes == 28)
        for skill in report.created {
            let members = population.users.filter { skill.donors.contains(population.digest($0)) }
            #expect(Set(members.map(\.group)).count == 1)
            #expect(skill.donors == members.map(population.digest).sorted())
            #expect(skill.evidence.users == members.count && skill.evidence.uses == 2 * members.count)
            #expect(skill.evidence.successRate == 1)
            #expect(skill.evidence.wilsonLow == wilsonLowerBound(successes: members.count, of: members.count))
            #expect(abs(skill.evidence.gain.mean - 0.2) < 1e-9)
            #expect(skill.learningRate == 0.25)
            #expect(skill.updatedAt == Timestamp(microseconds: 1_700_000_000_000_000))
            for i in 0..<AdaptationContext.tasteDimension {
                let mean = members.reduce(Float(0)) { $0 + $1.taste[i] } / Float(members.count)
                #expect(abs(skill.centroid[i] - mean) < 0.15)
            }
            #expect(abs(cosine(skill.centroid, skill.centroid) - 1) < 1e-6)
        }
        #expect(bank.skills == report.created && bank.statistics.skills == 2 && bank.statistics.populations == 1)
    }

    @Test("start half from the population and half from their donors, by product")
    func startHalfAndHalf() async throws {
        let population = try Population([8, 6], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        let report = try await bank.autoConsolidate(policy, donors: population)
        let kind = AdapterKind(population.builder.context())
        let whole = try AdapterPrior(
            merging: population.adapters.sorted { $0.key < $1.key }.map { ($0.value, 1) }, rank: 4,
            shrinkage: .factor(0.5))
        let start = try #require(bank.populationInitialization(of: kind))
        #expect(start.prior == whole && start.id == PriorID(of: whole) && start.skill == nil)
        for skill in report.created {
            let own = try AdapterPrior(
                merging: skill.donors.compactMap { population.adapters[$0] }.map { ($0, 1) }, rank: 4)
            let expected = try AdapterPrior(blending: [(whole, 0.5), (own, 0.5)], rank: 4)
            #expect(skill.initialization?.prior == expected)
            #expect(skill.initialization?.id == PriorID(of: expected) && skill.initialization?.skill == skill.id)
        }
    }

    @Test("give the nearest start to a taste near enough, else the population's, and none to who gave to it")
    func giveStarts() async throws {
        let population = try Population([8, 6], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank()
        func start(_ taste: [Float], excluding user: UserDigest? = nil) async throws -> Initialization? {
            let advice = try await bank.learnStrategy(
                AdaptationTask(
                    context: population.builder.context(taste: taste), configuredLearningRate: 0.25, excluding: user))
            #expect((advice.initialization != nil) == advice.sentence.contains("Start from"))
            return advice.initialization
        }
        #expect(try await start([]) == nil)
        let report = try await bank.autoConsolidate(policy, donors: population)
        let whole = bank.populationInitialization(of: AdapterKind(population.builder.context()))
        #expect(try await start([]) == whole)
        for skill in report.created {
            #expect(try await start(skill.centroid.map { 100 * $0 }) == skill.initialization)
            #expect(try await start(skill.centroid, excluding: skill.donors[0]) == nil)
        }
        // Of two skills near enough the nearer one.
        let (a, b) = (report.created[0], report.created[1])
        let between = zip(a.centroid, b.centroid).map { 0.55 * $0 + 0.45 * $1 }
        #expect(try await start(between)?.skill == a.id)
        // Orthogonal to both.
        var far = [Float](repeating: 0, count: AdaptationContext.tasteDimension)
        var generator = PhiloxGenerator(seed: 1, purpose: .simulation)
        far = far.map { _ in Float(generator.normal()) }
        for centroid in [a.centroid, b.centroid, a.centroid, b.centroid, a.centroid, b.centroid] {
            let product = Float(cosine(far, centroid))
            for i in far.indices { far[i] -= product * centroid[i] }
        }
        #expect(try await start(far) == whole)
        #expect(try await start([], excluding: population.digest(population.users[0])) == nil)
        // One of another kind starts from nothing.
        var context = population.builder.context()
        context.model = 9
        let other = try await bank.learnStrategy(AdaptationTask(context: context, configuredLearningRate: 0.25))
        #expect(other == .none)
    }

    @Test("are given without episodes behind them, too")
    func areGivenWithoutEpisodes() async throws {
        let population = try Population([8], noise: 0.1, gain: { _ in 0.2 })
        let bank = InMemoryReasoningBank(capacity: 16, clock: ManualClock())
        for episode in population.allEpisodes() { _ = try await bank.storePattern(episode) }
        _ = try await bank.autoConsolidate(policy, donors: population)
        for i in 0..<16 { _ = try await bank.storePattern(population.builder.episode(user: "new \(i)", gain: nil)) }
        let advice = try await bank.learnStrategy(
            AdaptationTask(context: population.builder.context(), configuredLearningRate: 0.25))
        #expect(
            advice.initialization != nil && advice.confidence == 0 && advice.hints.isEmpty && advice.rateArms.isEmpty)
    }

    @Test("are made for each kind of adapter by itself, in one order of kinds")
    func areOfOneKind() async throws {
        var episodes: [Episode] = []
        var kinds: [AdapterKind] = []
        for (objective, dimension, rank, model): (ObjectiveKind, Int, Int, UInt64) in [
            (.preference, 32, 4, 0), (.ranking, 16, 4, 0), (.ranking, 32, 2, 0), (.ranking, 32, 4, 1),
            (.ranking, 32, 4, 2),
        ] {
            var population = try Population([6], noise: 0.1, withAdapters: false, gain: { _ in 0.2 })
            population.builder.objective = objective
            (population.builder.dimension, population.builder.rank) = (dimension, rank)
            for episode in population.allEpisodes() {
                var episode = episode
                episode.context.model = model
                // One user may have adapters of several kinds.
                episode.version += UInt64(100 * kinds.count)
                episodes.append(episode)
            }
            kinds.append(AdapterKind(episodes[episodes.count - 1].context))
        }
        for seed: UInt64 in 1...2 {
            var generator = PhiloxGenerator(seed: seed, purpose: .shuffling)
            generator.shuffle(&episodes)
            let bank = InMemoryReasoningBank(clock: ManualClock())
            for episode in episodes { _ = try await bank.storePattern(episode) }
            let report = try await bank.autoConsolidate(policy, donors: NoDonors())
            #expect(report.created.map(\.kind) == kinds && report.created.map(\.evidence.users) == [6, 6, 6, 6, 6])
            #expect(report.users == 6 && report.episodes == 60)
        }
    }

    @Test("have no start where too few donors have an adapter of the kind")
    func needDonors() async throws {
        var population = try Population([9], noise: 0.1, gain: { _ in 0.2 })
        let digests = population.users.map(population.digest).sorted()
        population.adapters[digests[0]] = nil
        population.adapters[digests[1]] = LoRAAdapter(
            shape: try AdapterShape(dimension: 32, rank: 5), identity: AdapterIdentity(seed: 1, stream: 1))
        population.adapters[digests[2]] = LoRAAdapter(
            shape: try AdapterShape(dimension: 33, rank: 4), identity: AdapterIdentity(seed: 1, stream: 1))
        population.adapters[digests[3]] = LoRAAdapter(
            shape: try AdapterShape(dimension: 32, rank: 4, normalizesOutput: true),
            identity: AdapterIdentity(seed: 1, stream: 1))
        let bank = try await population.bank()
        let five = try await bank.autoConsolidate(policy, donors: population)
        #expect(five.populationDonors == 5 && five.created[0].donors == Array(digests[4...]))
        population.adapters[digests[8]] = nil
        let four = try await bank.autoConsolidate(policy, donors: population)
        #expect(four.populationDonors == 0 && four.updated[0].initialization == nil && four.updated[0].donors.isEmpty)
        let none = try await bank.autoConsolidate(policy, donors: NoDonors())
        #expect(none.updated.count == 1 && none.updated[0].initialization == nil)
        // A start that is a cold one is none.
        for digest in digests {
            population.adapters[digest] = LoRAAdapter(
                shape: try AdapterShape(dimension: 32, rank: 4), identity: AdapterIdentity(seed: 1, stream: 1))
        }
        #expect(try await bank.autoConsolidate(policy, donors: population).populationDonors == 0)
    }

    @Test("leave out adapters that diverged", arguments: [Float(1e3), 1e18, 1e30])
    func leaveOutGiants(scale: Float) async throws {
        var population = try Population([8], noise: 0.1, gain: { _ in 0.2 })
        let digests = population.users.map(population.digest).sorted()
        let usual = try #require(population.adapters[digests[5]])
        var down = usual.down
        for k in 0..<down.rows { for j in 0..<down.columns { down[k, j] *= scale } }
        population.adapters[digests[5]] = try LoRAAdapter(
            shape: usual.shape, identity: usual.identity, down: down, up: usual.up)
        let shape = try AdapterShape(dimension: 32, rank: 4, hasBias: true)
        population.adapters[digests[6]] = try LoRAAdapter(
            shape: shape, identity: usual.identity, down: usual.down, up: usual.up,
            bias: (0..<32).map { $0 == 0 ? 3e38 : 0 })
        let bank = try await population.bank()
        let report = try await bank.autoConsolidate(policy, donors: population)
        #expect(report.created.map(\.donors) == [Array(digests[..<5] + digests[7...])])
        // Where nobody has learned anything there is nothing in common.
        for digest in digests {
            population.adapters[digest] = LoRAAdapter(shape: usual.shape, identity: usual.identity)
        }
        #expect(try await bank.autoConsolidate(policy, donors: population).populationDonors == 0)
    }

    @Test("merge a bounded number of donors, those nearest the middle")
    func mergeABoundedNumber() async throws {
        let maker = PriorMaker(donors: NoDonors(), maximumDonors: 300)
        func limit(_ dimension: Int, _ rank: Int) -> Int {
            var builder = EpisodeBuilder()
            (builder.dimension, builder.rank) = (dimension, rank)
            return maker.limit(AdapterKind(builder.context()))
        }
        #expect(limit(384, 8) == 300 && limit(384, 256) == 300 && limit(4096, 256) == 300 && limit(4097, 8) == 300)
        #expect(limit(4097, 16) == 150 && limit(8192, 256) == 9 && limit(65_536, 1000) == 8)
        let population = try Population([20], noise: 0.1, gain: { _ in 0.2 })
        let bank = try await population.bank(configuration: ReasoningBankConfiguration(maximumDonors: 6))
        let report = try await bank.autoConsolidate(policy, donors: population)
        let skill = try #require(report.created.first)
        #expect(skill.evidence.users == 20 && skill.donors.count == 6 && report.populationDonors == 6)
        let nearest = population.users.sorted { cosine($0.taste, skill.centroid) > cosine($1.taste, skill.centroid) }
        #expect(skill.donors == nearest.prefix(6).map(population.digest).sorted())
    }

    @Test("hundreds of donors of the usual size are merged in full, each held only while it is added")
    func mergeHundreds() async throws {
        var builder = EpisodeBuilder()
        (builder.dimension, builder.rank) = (64, 8)
        var generator = PhiloxGenerator(seed: 1, purpose: .simulation)
        let common = try Population.adapter(builder, &generator)
        var source = Population.Adapters()
        let bank = InMemoryReasoningBank(clock: ManualClock())
        for i in 0..<500 {
            source.held[builder.key.digest(of: "\(i)")] = try Population.near(common, &generator)
            _ = try await bank.storePattern(builder.episode(user: "\(i)", gain: 0.2))
        }
        // No tastes: no groups, but a population.
        let report = try await bank.autoConsolidate(policy, donors: source)
        #expect(report.populationDonors == 500 && report.created.isEmpty && report.refused.isEmpty)
        let start = try #require(bank.populationInitialization(of: AdapterKind(builder.context())))
        #expect(start.prior.donors == 500 && start.prior.shrinkage == 0.5)
    }
}

extension SkillTests {
    @Test("leave out donors who go, change their adapter or let it grow while others are read")
    func leaveOutWhoChanges() async throws {
        let population = try Population([12], noise: 0.1, gain: { _ in 0.2 })
        let digests = population.users.map(population.digest).sorted()
        let usual = try #require(population.adapters[digests[0]])
        var down = usual.down
        for k in 0..<down.rows { for j in 0..<down.columns { down[k, j] *= 1e6 } }
        let grown = try LoRAAdapter(shape: usual.shape, identity: usual.identity, down: down, up: usual.up)
        let other = LoRAAdapter(shape: try AdapterShape(dimension: 32, rank: 5), identity: usual.identity)
        let source = ChangingDonors(
            first: population.adapters,
            then: population.adapters.merging([digests[4]: other, digests[6]: grown, digests[8]: usual]) { $1 }
                .filter { $0.key != digests[2] })
        let maker = PriorMaker(donors: source, maximumDonors: 100)
        let kind = AdapterKind(population.builder.context())
        let made = try #require(
            try await maker.merge(digests.reversed(), kind: kind, minimum: 9, shrinkage: .factor(0.5)))
        let left = digests.enumerated().filter { ![2, 4, 6].contains($0.offset) }.map(\.element)
        #expect(made.donors == left)
        let expected = try AdapterPrior(
            merging: left.map { ($0 == digests[8] ? usual : population.adapters[$0] ?? usual, 1) }, rank: 4,
            shrinkage: .factor(0.5))
        #expect(made.prior == expected)
        // With them there were enough; without them there are too few.
        let again = ChangingDonors(first: source.first, then: source.then)
        let few = PriorMaker(donors: again, maximumDonors: 100)
        #expect(try await few.merge(digests, kind: kind, minimum: 10) == nil)
        let gone = PriorMaker(donors: ChangingDonors(first: source.first, then: [:]), maximumDonors: 100)
        #expect(try await gone.merge(digests, kind: kind, minimum: 0) == nil)
    }

    @Test("stop at once when the task is cancelled, in either reading")
    func stopWhenCancelled() async throws {
        let population = try Population([30], noise: 0.1, gain: { _ in 0.2 })
        let kind = AdapterKind(population.builder.context())
        for place in [10, 45] {
            let source = CancellingDonors(base: population, at: place)
            let maker = PriorMaker(donors: source, maximumDonors: 100)
            let task = Task { try await maker.merge(population.users.map(population.digest), kind: kind, minimum: 2) }
            source.task.withLock { $0 = task }
            await #expect(throws: CancellationError.self) { _ = try await task.value }
            #expect(source.calls == place)
        }
    }
}

/// Donors who have other adapters from the second question on.
private final class ChangingDonors: DonorSource {
    let first: [UserDigest: LoRAAdapter]
    let then: [UserDigest: LoRAAdapter]
    private let asked = Lock(Set<UserDigest>())

    init(first: [UserDigest: LoRAAdapter], then: [UserDigest: LoRAAdapter]) {
        (self.first, self.then) = (first, then)
    }

    func adapter(of user: UserDigest) async throws -> LoRAAdapter? {
        asked.withLock { $0.insert(user).inserted } ? first[user] : then[user]
    }
}

/// Donors whose reading is cancelled from within a call.
private final class CancellingDonors: DonorSource {
    let task = Lock<Task<PriorMaker.Made?, any Error>?>(nil)
    private let base: any DonorSource
    private let place: Int
    private let count = Lock(0)

    init(base: any DonorSource, at place: Int) {
        self.base = base
        self.place = place
    }

    var calls: Int { count.withLock { $0 } }

    func adapter(of user: UserDigest) async throws -> LoRAAdapter? {
        let number = count.withLock { count in
            count += 1
            return count
        }
        if number == place {
            while task.withLock({ $0 }) == nil { await Task.yield() }
            task.withLock { $0 }?.cancel()
        }
        return try await base.adapter(of: user)
    }
}

extension Population {
    /// Adapters alone.
    struct Adapters: DonorSource {
        var held: [UserDigest: LoRAAdapter] = [:]
        func adapter(of user: UserDigest) async throws -> LoRAAdapter? { held[user] }
    }
}
