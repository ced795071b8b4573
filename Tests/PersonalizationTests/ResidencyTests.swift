import LoRA
import Reasoning
import StorageTesting
import TensorCore
import TestSupport
import Testing

@testable import Personalization

/// A budget of memory: who goes, who stays, and that nobody can tell from an adapter that it was away.
@Suite(.timeLimit(.minutes(10)))
struct ResidencyTests {
    // MARK: - The budget

    @Test(arguments: [Int.min, -1, 0, 1])
    func aBudgetSmallerThanOneAdapterIsRefused(bytes: Int) throws {
        let script = try Script()
        var configuration = try script.configuration(limit: 1)
        // 1: one byte less than an adapter takes.
        configuration.residentByteBudget = bytes == 1 ? configuration.residentByteBudget! - 1 : bytes
        let budget = configuration.residentByteBudget!
        let error = #expect(throws: EngineError.self) { try PersonalizationEngine(configuration: configuration) }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("residentByteBudget: \(budget) bytes") == true, "\(error?.message ?? "")")
    }

    @Test func theBytesOfAdaptersStayWithinTheBudgetWithAllTheirState() async throws {
        let script = try Script()
        for update in RefusalTests.optimizers {
            var configuration = script.configuration(update: update)
            let shape = try configuration.validatedShape()
            configuration.residentByteBudget = 3 * configuration.bytesPerAdapter(shape) + 1
            #expect(configuration.residentLimit(shape) == 3)
            let engine = try PersonalizationEngine(configuration: configuration)
            for i in 0..<10 {
                for step in 0..<2 { try await engine.updateAdapter(for: "\(i)", with: script.batch("\(i)", step)) }
                try await engine.consolidateAdapter(for: "\(i)")
            }
            #expect(engine.statistics().residentAdapters == 3 && engine.statistics().evicted == 7)
            #expect(engine.statistics().residentBytes <= configuration.residentByteBudget!)
            engine.expectExactCount()
        }
    }

    @Test func withoutABudgetNobodyGoes() async throws {
        let script = try Script()
        let engine = try script.engine()
        for i in 0..<500 { try await engine.createAdapter(for: "\(i)") }
        #expect(engine.statistics().residentAdapters == 500 && engine.statistics().evicted == 0)
        engine.expectExactCount()
    }

    // MARK: - Who goes

    enum Use: CaseIterable {
        case read, matrix, requests, handle, mixed, update, updateByHandle, copy, creation, consolidation, prefetch, pin
        case advisedUpdate
    }

    @Test(arguments: Use.allCases)
    func whoWasUsedStaysAndWhoWasNotGoes(use: Use) async throws {
        let script = try Script()
        let engine = try script.engine(limit: 3)
        for user in ["ada", "bob", "cy"] { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        let probe = script.probe()
        var (row, rows) = ([Float](), Matrix<Float>(rows: 0, columns: 0))
        var applied: [AppliedVersion] = []
        let handle = try engine.handle(for: "ada")
        switch use {
        case .read: _ = try await engine.personalize(probe, for: "ada")
        case .matrix: _ = try await engine.personalize(Matrix(rows: [probe]), for: "ada")
        case .requests: _ = try await engine.personalize([PersonalizationRequest(user: "ada", embedding: probe)])
        case .handle: try await engine.personalize(probe, for: handle, into: &row)
        case .mixed:
            try await engine.personalize(Matrix(rows: [probe]), for: [handle], into: &rows, applied: &applied)
        case .update: try await engine.updateAdapter(for: "ada", with: script.batch("ada", 1))
        case .updateByHandle: try await engine.updateAdapter(for: handle, with: script.batch("ada", 1))
        case .copy: _ = try await engine.adapter(for: "ada")
        case .creation: try await engine.createAdapter(for: "ada")
        case .consolidation: try await engine.consolidateAdapter(for: "ada")
        case .prefetch: #expect(try await engine.prefetch(["ada"]) == 1)
        case .pin:
            #expect(try await engine.pin("ada"))
            engine.unpin("ada")
        case .advisedUpdate:
            engine.connectReasoningBank(ScriptedReasoningBank.advising(.none))
            // The first asks the bank; the next ones may find the answer in the cache.
            for step in 1..<4 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        }
        #expect(engine.residents == ["ada", "bob", "cy"])
        try await engine.createAdapter(for: "dan")
        #expect(engine.residents == ["ada", "cy", "dan"])
        #expect(engine.statistics().evicted == 1)
        engine.expectExactCount()
    }

    @Test func anAdvisedUpdateThatFindsItsAnswerInTheCacheIsAUse() async throws {
        let script = try Script()
        var configuration = try script.configuration(limit: 3)
        configuration.reasoningBank = ScriptedReasoningBank.advising(.none)
        configuration.reasoning = .patient()
        let engine = try PersonalizationEngine(configuration: configuration, clock: ManualClock())
        func update(_ user: String, _ step: Int) async throws {
            try await engine.updateAdapter(for: user, with: [script.one(.target, user, 0)])
        }
        // Often enough that the same question comes again.
        for step in 0..<12 { try await update("ada", step) }
        for user in ["bob", "cy"] { try await update(user, 0) }
        let asked = engine.reasoningBankStatistics()
        try await update("ada", 12)
        #expect(engine.reasoningBankStatistics().cacheHits > asked.cacheHits, "the test has to find its answer")
        try await update("dan", 0)
        #expect(engine.residents == ["ada", "cy", "dan"])
    }

    /// Also where the count of epochs wraps around, which it does early in every engine's life.
    @Test(arguments: [1, 2, 5, 40])
    func theLongestUnusedGoFirst(limit: Int) async throws {
        let script = try Script()
        let engine = try script.engine(limit: limit)
        let slack = limit / 16
        for i in 0..<200 {
            try await engine.updateAdapter(for: "user \(i)", with: script.batch("user \(i)", 0))
            let residents = engine.residents
            #expect(residents.count <= limit && residents.count >= min(i + 1, limit - slack))
            let newest = Set((max(0, i + 1 - residents.count)...i).map { "user \($0)" })
            #expect(residents == newest, "after \(i)")
            engine.expectExactCount()
        }
        let statistics = engine.statistics()
        #expect(statistics.created == 200 && statistics.loaded == 0)
        #expect(statistics.evicted == 200 - statistics.residentAdapters)
        // One who went comes back, once.
        #expect(try await engine.personalize(script.probe(), for: "user 0").version == 1)
        #expect(try await engine.personalize(script.probe(), for: "user 0").version == 1)
        #expect(engine.statistics().loaded == 1)
        #expect(engine.residents.contains("user 0"))
    }

    @Test func onlyWhatHasChangedIsSaved() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(limit: 1, store: store)
        try await engine.createAdapter(for: "ada")
        try await engine.checkpoint()
        #expect(store.count(of: .save) == 1)
        try await engine.createAdapter(for: "bob")
        #expect(engine.residents == ["bob"] && store.count(of: .save) == 1)
        _ = try await engine.personalize(script.probe(), for: "ada")
        #expect(engine.residents == ["ada"] && store.count(of: .save) == 2)
        #expect(try await engine.users() == ["ada", "bob"])
    }

    // MARK: - Nobody can tell

    enum Trouble: CaseIterable { case none, slowStore, failingSaves }

    @Test(arguments: [(1, Trouble.none), (8, .none), (20, .slowStore), (8, .failingSaves)])
    func tenTimesMoreUsersThanFitLearnTheSame(limit: Int, trouble: Trouble) async throws {
        let seed: UInt64 = 577_215
        let script = try Script(dimension: 12, rank: 2)
        let store = TroubledStore(pauses: trouble == .slowStore ? 1 : 0)
        if trouble == .failingSaves { store.fail(.save, times: 60) }
        let engine = try script.engine(limit: limit, store: store)
        let unlimited = try script.engine()
        let users = (0..<10 * limit).map { "user \($0)" }
        let (workers, steps) = (5, underSanitizer(3, otherwise: 6))
        let histories = try users.map { try script.history($0, steps: steps) }
        let probe = script.probe()

        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<workers {
                group.addTask {
                    // Each user's steps are one task's, in order; those of its users take turns at random.
                    var generator = PhiloxGenerator(seed: seed, stream: UInt64(worker))
                    var next = users.indices.filter { $0 % workers == worker }.map { (user: $0, step: 0) }
                    while !next.isEmpty {
                        let i = generator.integer(below: next.count)
                        let (u, step) = next[i]
                        let batch = script.batch(users[u], step)
                        let report = try await engine.updateAdapter(for: users[u], with: batch)
                        #expect(report.version == UInt64(step + 1), "seed \(seed): \(users[u])")
                        try await unlimited.updateAdapter(for: users[u], with: batch)
                        next[i].step += 1
                        if next[i].step == steps { next.remove(at: i) }
                        // Another user's adapter, as it is or once was.
                        let other = generator.integer(below: users.count)
                        let read = try await engine.personalize(probe, for: users[other])
                        #expect(
                            read.embedding
                                == (read.isPersonalized
                                    ? try histories[other][Int(read.version)].forward(probe) : probe),
                            "seed \(seed): \(users[other])")
                    }
                }
            }
            try await group.waitForAll()
        }
        engine.expectExactCount("seed \(seed)")
        // With nobody else at it, there is room again.
        try await engine.createAdapter(for: "last")
        #expect(engine.statistics().residentAdapters <= limit, "seed \(seed)")
        for (u, user) in users.enumerated() {
            let state = try #require(try await engine.adapter(for: user))
            #expect(state.stateHash == histories[u][steps].stateHash, "seed \(seed): \(user)")
            #expect(try await unlimited.adapter(for: user)?.stateHash == state.stateHash, "seed \(seed): \(user)")
        }
        let statistics = engine.statistics()
        #expect(statistics.updates == users.count * steps && statistics.failedUpdates == 0)
        #expect(statistics.evicted > users.count - limit && statistics.loaded >= users.count - limit)
        #expect(statistics.created == users.count + 1)
        #expect(statistics.created + statistics.loaded - statistics.evicted == statistics.residentAdapters)
        engine.expectExactCount("seed \(seed)")
        try await engine.checkpoint()
        let again = try script.engine(store: store)
        for (u, user) in users.enumerated() {
            #expect(try await again.adapter(for: user)?.stateHash == histories[u][steps].stateHash)
        }
        print("residency: seed \(seed), limit \(limit), \(trouble): \(statistics.evicted) evicted")
    }

    // MARK: - Pinning

    @Test func thePinnedStay() async throws {
        let script = try Script()
        let engine = try script.engine(limit: 2)
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        #expect(try await engine.pin("ada"))
        for i in 0..<20 { try await engine.createAdapter(for: "\(i)") }
        #expect(engine.residents == ["ada", "19"])
        engine.unpin("ada")
        engine.unpin("ada")
        for i in 20..<22 { try await engine.createAdapter(for: "\(i)") }
        #expect(engine.residents == ["20", "21"])
        // Pinning loads what went.
        #expect(try await engine.pin("ada"))
        #expect(engine.residents.contains("ada") && engine.statistics().loaded == 1)
        engine.expectExactCount()
    }

    @Test func moreMayBePinnedThanFit() async throws {
        let script = try Script()
        let engine = try script.engine(limit: 2)
        let users = (0..<6).map { "\($0)" }
        for user in users {
            try await engine.createAdapter(for: user)
            #expect(try await engine.pin(user))
        }
        #expect(engine.residents == Set(users))
        for i in 0..<3 { try await engine.updateAdapter(for: "x\(i)", with: script.batch("x\(i)", 0)) }
        #expect(engine.residents.isSuperset(of: users) && engine.statistics().residentAdapters <= 7)
        for user in users { engine.unpin(user) }
        try await engine.createAdapter(for: "last")
        #expect(engine.statistics().residentAdapters == 2 && engine.residents.contains("last"))
        engine.expectExactCount()
    }

    @Test func aPinHoldsForAnAdapterThatIsMadeLaterOrAgain() async throws {
        let script = try Script()
        let engine = try script.engine(limit: 2)
        #expect(try await engine.pin("ada") == false)
        #expect(engine.residents.isEmpty && engine.slotCount == 1)
        for _ in 0..<2 {
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
            for i in 0..<5 { try await engine.createAdapter(for: "\(i)") }
            #expect(engine.residents.contains("ada"))
            #expect(try await engine.removeAdapter(for: "ada"))
        }
        for i in 0..<5 { try await engine.removeAdapter(for: "\(i)") }
        #expect(engine.slotCount == 1)
        engine.unpin("ada")
        engine.unpin("nobody")
        #expect(engine.slotCount == 0)
        engine.expectExactCount()
    }

    // MARK: - Loading ahead

    @Test func prefetchingLoadsSeveralAtATime() async throws {
        let script = try Script()
        let store = TroubledStore()
        let first = try script.engine(store: store)
        let users = (0..<40).map { "\($0)" }
        for user in users { try await first.updateAdapter(for: user, with: script.batch(user, 0)) }
        try await first.checkpoint()
        let engine = try script.engine(limit: 64, store: store)
        let holds = [store.hold(.load), store.hold(.load)]
        let found = Task { try await engine.prefetch(users + ["nobody", "3"]) }
        for hold in holds { await hold.isReached() }
        for hold in holds { hold.release() }
        #expect(try await found.value == 41)
        #expect(engine.residents == Set(users) && engine.statistics().loaded == 40)
        let loads = store.count(of: .load)
        for user in users { #expect(try await engine.personalize(script.probe(), for: user).version == 1) }
        #expect(store.count(of: .load) == loads)
        #expect(try await engine.prefetch([]) == 0)
        #expect(engine.slotCount == 40)
    }

    @Test func prefetchingMoreThanFitsKeepsTheLast() async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let first = try script.engine(store: store)
        let users = (0..<100).map { "\($0)" }
        for user in users { try await first.createAdapter(for: user) }
        try await first.checkpoint()
        let engine = try script.engine(limit: 4, store: store)
        #expect(try await engine.prefetch(users) == 100)
        #expect(engine.statistics().residentAdapters == 4 && engine.statistics().evicted == 96)
        engine.expectExactCount()
    }
}
