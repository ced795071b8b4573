import Dispatch
import LoRA
import Testing
import TensorCore

@testable import Personalization

/// Same seed and feedback, same bytes: for any number of threads and any grouping; users do not touch each other.
@Suite(.timeLimit(.minutes(10)))
struct ReproducibilityTests {
    /// The hash of all adapters after the reference run. It changes only together with the numerics version: then old journals
    /// are replayed by the old rules.
    static let referenceHash: UInt64 = 0x2D40_669F_4EA7_2114

    static let users = (0..<20).map { "user \($0)" }
    static let steps = 6

    /// Runs tasks on a given number of threads.
    final class Threads: TaskExecutor {
        private let queue: DispatchQueue
        private let limit: DispatchSemaphore?

        init(_ count: Int) {
            queue = DispatchQueue(label: "threads", attributes: count == 1 ? [] : .concurrent)
            limit = count == 1 ? nil : DispatchSemaphore(value: count)
        }

        func enqueue(_ job: consuming ExecutorJob) {
            let job = UnownedJob(job)
            queue.async {
                self.limit?.wait()
                defer { self.limit?.signal() }
                unsafe job.runSynchronously(on: self.asUnownedTaskExecutor())
            }
        }
    }

    private func hash(_ engine: PersonalizationEngine, _ users: [String] = users) async throws -> UInt64 {
        var hash = StableHash()
        for user in users { hash.combine(try #require(try await engine.adapter(for: user)).stateHash) }
        return hash.finalized()
    }

    private func runInTasks(_ script: Script, _ users: [String] = users) async throws -> UInt64 {
        let engine = try script.engine(store: TroubledStore(pauses: 1))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for user in users {
                group.addTask {
                    for step in 0..<Self.steps {
                        try await engine.updateAdapter(for: user, with: script.batch(user, step))
                        await Task.yield()
                    }
                }
            }
            try await group.waitForAll()
        }
        return try await hash(engine)
    }

    @Test func aReferenceRunGivesThePublishedHash() async throws {
        let script = try Script()
        let engine = try script.engine()
        for step in 0..<Self.steps {
            for user in Self.users { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        let found = try await hash(engine)
        #expect(found == Self.referenceHash, "found 0x\(String(found, radix: 16, uppercase: true))")
    }

    @Test(arguments: [1, 2])
    func anyNumberOfThreadsGivesTheSameBytes(threads: Int) async throws {
        let script = try Script()
        let found = try await withTaskExecutorPreference(Threads(threads)) { try await runInTasks(script) }
        #expect(found == Self.referenceHash)
    }

    @Test(arguments: [1, 2, 3, 4, 5])
    func anyGroupingOfUpdatesGivesTheSameBytes(seed: UInt64) async throws {
        let script = try Script()
        let engine = try script.engine()
        // Users in random order, steps of a user in theirs, calls of random length.
        var generator = PhiloxGenerator(seed: seed)
        var next = [Int](repeating: 0, count: Self.users.count)
        var open = Array(Self.users.indices)
        var calls: [[UserFeedback]] = [[]]
        while !open.isEmpty {
            let u = open[generator.integer(below: open.count)]
            if generator.integer(below: 9) == 0 { calls.append([]) }
            calls[calls.count - 1].append(
                UserFeedback(user: Self.users[u], feedback: script.batch(Self.users[u], next[u])))
            next[u] += 1
            if next[u] == Self.steps { open.removeAll { $0 == u } }
        }
        for call in calls {
            let results = await engine.updateAdapters(call)
            #expect(results.count == call.count)
            for result in results { _ = try result.get() }
        }
        #expect(try await hash(engine) == Self.referenceHash, "seed \(seed)")
    }

    @Test func anyGroupingOfReadsGivesTheSameBytes() async throws {
        let script = try Script()
        let engine = try script.engine()
        let users = Array(Self.users.prefix(5)) + ["nobody"]
        for user in users.prefix(5) { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        var requests: [PersonalizationRequest] = []
        for i in 0..<40 { requests.append(PersonalizationRequest(user: users[i * 7 % 6], embedding: script.probe(i))) }
        var alone: [PersonalizedEmbedding] = []
        for request in requests { alone.append(try await engine.personalize(request.embedding, for: request.user)) }

        #expect(try await engine.personalize(requests) == alone)
        for size in [1, 3, 7] {
            var parts: [PersonalizedEmbedding] = []
            for start in stride(from: 0, to: requests.count, by: size) {
                parts += try await engine.personalize(Array(requests[start..<min(start + size, requests.count)]))
            }
            #expect(parts == alone)
        }
        for user in users {
            let own = requests.indices.filter { requests[$0].user == user }
            let matrix = try Matrix(rows: own.map { requests[$0].embedding })
            let result = try await engine.personalize(matrix, for: user)
            #expect((0..<own.count).map { result.embeddings.row($0) } == own.map { alone[$0].embedding })
            #expect(result.version == alone[own[0]].version && result.isPersonalized == (user != "nobody"))
        }
        #expect(try await engine.personalize([PersonalizationRequest]()).isEmpty)
    }

    @Test func anotherSeedGivesOtherBytes() async throws {
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(dimension: 20, rank: 4, seed: 8))
        let other = try PersonalizationEngine(configuration: EngineConfiguration(dimension: 20, rank: 4, seed: 9))
        try await engine.createAdapter(for: "ada")
        try await other.createAdapter(for: "ada")
        let (one, two) = (try await engine.adapter(for: "ada"), try await other.adapter(for: "ada"))
        #expect(one?.stateHash != two?.stateHash)
        #expect(one?.down != two?.down)
    }

    // MARK: - Isolation

    @Test(arguments: [1, 2, 3])
    func aUsersBytesDoNotDependOnOthers(seed: UInt64) async throws {
        let script = try Script()
        let engine = try script.engine()
        var generator = PhiloxGenerator(seed: seed)
        for step in 0..<Self.steps {
            for user in Self.users {
                for _ in 0..<generator.integer(below: 4) {
                    let other = "other \(generator.integer(below: 30))"
                    switch generator.integer(below: 5) {
                    case 0: try await engine.removeAdapter(for: other)
                    case 1: try await engine.createAdapter(for: other)
                    case 2:
                        var bad = script.batch(other, step)
                        bad[0].embedding[3] = .nan
                        await #expect(throws: EngineError.self) {
                            try await engine.updateAdapter(for: other, with: bad)
                        }
                    case 3: _ = try await engine.personalize(script.probe(step), for: other)
                    default: try await engine.updateAdapter(for: other, with: script.batch(other, step))
                    }
                }
                try await engine.updateAdapter(for: user, with: script.batch(user, step))
            }
        }
        #expect(try await hash(engine) == Self.referenceHash, "seed \(seed)")
    }

    /// Ids are bytes. Swift calls composed and decomposed letters equal; two ids that differ in bytes are two users.
    static let equivalent = ["\u{E9}", "e\u{301}", "\u{212B}", "\u{C5}", "A\u{30A}"]

    @Test func idsThatOnlyLookAlikeAreDifferentUsers() async throws {
        let script = try Script()
        let store = InMemoryAdapterStore()
        let engine = try script.engine(store: store)
        for (i, user) in Self.equivalent.enumerated() {
            for step in 0...i { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        let requests = Self.equivalent.map { PersonalizationRequest(user: $0, embedding: script.probe()) }
        func check(_ engine: PersonalizationEngine) async throws {
            for (i, result) in try await engine.personalize(requests).enumerated() {
                let own = try script.history(Self.equivalent[i], steps: i + 1)
                let expected = try own[i + 1].forward(script.probe())
                #expect(result.version == UInt64(i + 1) && result.embedding == expected)
                #expect(Array(result.user.utf8) == Array(Self.equivalent[i].utf8))
            }
        }
        try await check(engine)
        #expect(try await engine.users().count == Self.equivalent.count)
        #expect(try await engine.checkpoint() == Self.equivalent.count)
        #expect(try await store.users().count == Self.equivalent.count)
        try await check(try script.engine(store: store))
    }

    @Test func idsThatLookAlikeStayApartInTheSameShard() async throws {
        // Two equivalent ids whose hashes agree in the shard's bits, found by trying endings.
        let script = try Script()
        let engine = try script.engine()
        let (one, two) = try #require(
            (0..<10_000).lazy.map { ("\u{E9}\($0)", "e\u{301}\($0)") }
                .first { engine.shard(of: $0.0) == engine.shard(of: $0.1) })
        try await engine.updateAdapter(for: one, with: script.batch(one, 0))
        #expect(try await engine.adapter(for: two) == nil)
        try await engine.updateAdapter(for: two, with: script.batch(two, 0))
        #expect(try await engine.adapter(for: one)?.stateHash == script.history(one, steps: 1)[1].stateHash)
        #expect(try await engine.adapter(for: two)?.stateHash == script.history(two, steps: 1)[1].stateHash)
        #expect(engine.statistics().residentAdapters == 2)
    }
}
