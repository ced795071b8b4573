import LoRA
import Telemetry
import TensorCore
import Testing

@testable import Personalization

/// Users who were looked up once: the same bits as by id, wherever the adapter has gone meanwhile.
@Suite(.timeLimit(.minutes(10)))
struct HandleTests {
    /// What one read by handle gives, into memory of any length.
    static func read(
        _ engine: PersonalizationEngine, _ x: [Float], _ handle: UserHandle, length: Int = 0
    ) async throws -> PersonalizedEmbedding {
        var output = [Float](repeating: .nan, count: length)
        let applied = try await engine.personalize(x, for: handle, into: &output)
        return PersonalizedEmbedding(
            embedding: output, user: handle.user, version: applied.version, isPersonalized: applied.isPersonalized)
    }

    // MARK: - The same as by id

    @Test func aHandleReadsWhatTheIdReads() async throws {
        let script = try Script()
        let engine = try script.engine()
        let early = try engine.handle(for: "ada")
        #expect(early.user == "ada" && early.place == -1)
        for step in 0..<4 {
            for number in 0..<3 {
                let x = script.probe(number)
                let expected = try await engine.personalize(x, for: "ada")
                #expect(expected.version == UInt64(step) && expected.isPersonalized == (step > 0))
                for length in [0, 3, 20, 500] {
                    #expect(try await Self.read(engine, x, early, length: length) == expected)
                    #expect(try await Self.read(engine, x, engine.handle(for: "ada"), length: length) == expected)
                }
            }
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", step))
        }
        #expect(early.place >= 0)
        #expect(engine.statistics().reads == 4 * 3 * 9 && engine.statistics().unpersonalizedReads == 3 * 9)
    }

    @Test func aHandleFindsItsUserAfterEverythingThatHappensToTheAdapter() async throws {
        let script = try Script()
        let engine = try script.engine(limit: 1)
        let handle = try engine.handle(for: "ada")
        let x = script.probe()
        func expectSame(_ version: Int?) async throws {
            let read = try await Self.read(engine, x, handle)
            #expect(read.isPersonalized == (version != nil) && read.version == UInt64(version ?? 0))
            let history = try script.history("ada", steps: version ?? 0)
            #expect(try read.embedding == (version == nil ? x : history[version!].forward(x)))
        }
        try await expectSame(nil)
        #expect(try await engine.updateAdapter(for: handle, with: script.batch("ada", 0)).version == 1)
        try await expectSame(1)
        // Evicted, and others are in its place.
        for i in 0..<300 { try await engine.createAdapter(for: "\(i)") }
        try await expectSame(1)
        for i in 0..<300 { try await engine.createAdapter(for: "\(i)") }
        #expect(try await engine.updateAdapter(for: handle, with: script.batch("ada", 1)).version == 2)
        try await engine.unloadAdapter(for: "ada")
        try await expectSame(2)
        try await engine.removeAdapter(for: "ada")
        try await expectSame(nil)
        try await engine.createAdapter(for: "ada")
        try await expectSame(0)
        engine.expectExactCount()
    }

    @Test func withAnotherEngineAHandleStandsForItsUserThere() async throws {
        let script = try Script()
        let (one, two) = (try script.engine(), try script.engine())
        for i in 0..<50 { try await two.createAdapter(for: "\(i)") }
        let handle = try one.handle(for: "ada")
        for step in 0..<5 {
            try await one.updateAdapter(for: handle, with: script.batch("ada", step))
            if step < 2 { try await two.updateAdapter(for: handle, with: script.batch("ada", step)) }
            #expect(try await Self.read(one, script.probe(), handle).version == UInt64(step + 1))
            #expect(try await Self.read(two, script.probe(), handle).version == UInt64(min(step + 1, 2)))
        }
        for (engine, steps) in [(one, 5), (two, 2)] {
            let state = try await engine.adapter(for: "ada")
            #expect(try state?.stateHash == script.history("ada", steps: steps)[steps].stateHash)
        }
    }

    // MARK: - Mixed calls

    @Test(arguments: [(nil, 1), (nil, 2), (3, 3), (1, 4)] as [(Int?, UInt64)])
    func aMixedCallGivesTheBitsOfOneByOneInAnyOrderAndWithRepetitions(limit: Int?, variant: UInt64) async throws {
        let seed = 314_159 + variant
        let script = try Script(dimension: 31, rank: 3)
        let store = InMemoryAdapterStore()
        let engine = try limit.map { try script.engine(limit: $0, store: store) } ?? script.engine(store: store)
        // The last two have no adapter.
        let users = (0..<8).map { "user \($0)" }
        for (i, user) in users.dropLast(2).enumerated() {
            for step in 0..<i { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
            if i == 0 { try await engine.createAdapter(for: user) }
        }
        let handles = try users.map { try engine.handle(for: $0) }
        var generator = PhiloxGenerator(seed: seed)
        var output = Matrix<Float>(rows: 0, columns: 0)
        var applied: [AppliedVersion] = []
        for call in 0..<25 {
            let count = [0, 1, 2, 3, 31, 127][call % 6]
            let chosen = (0..<count).map { _ in generator.integer(below: users.count) }
            let rows = chosen.indices.map { script.probe($0 + call) }
            let inputs = count == 0 ? Matrix(rows: 0, columns: 31) : try Matrix(rows: rows)
            let before = engine.statistics()
            try await engine.personalize(inputs, for: chosen.map { handles[$0] }, into: &output, applied: &applied)
            let after = engine.statistics()
            #expect(after.reads - before.reads == count, "seed \(seed), call \(call)")
            #expect(after.unpersonalizedReads - before.unpersonalizedReads == chosen.count { $0 >= 6 })
            #expect(output.rows == count && output.columns == 31 && applied.count == count)
            for (i, u) in chosen.enumerated() {
                let expected = try await engine.personalize(rows[i], for: users[u])
                #expect(output.row(i) == expected.embedding, "seed \(seed), call \(call), row \(i)")
                #expect(applied[i].version == expected.version && applied[i].isPersonalized == expected.isPersonalized)
            }
        }
        engine.expectExactCount()
        print("handles: seed \(seed)")
    }

    @Test func anEmptyMixedCallIsEmpty() async throws {
        let script = try Script()
        let engine = try script.engine()
        var output = Matrix<Float>(rows: 3, columns: 20)
        var applied = [AppliedVersion(version: 9, isPersonalized: true)]
        for _ in 0..<2 {
            try await engine.personalize(
                Matrix(rows: 0, columns: 20), for: [], into: &output, applied: &applied)
            #expect(output.rows == 0 && output.columns == 20 && applied.isEmpty)
        }
        #expect(engine.statistics() == EngineStatistics())
    }

    // MARK: - Refusals

    static let bad: [[Float]] =
        [0, 1, 19, 21].map { RefusalTests.vector($0) }
        + [Float.nan, .infinity, -.infinity].map { RefusalTests.vector(20, $0) }

    @Test(arguments: bad)
    func aBadEmbeddingIsRefusedAndChangesNothing(bad: [Float]) async throws {
        let script = try Script()
        let log = RecordingLog()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(), reporting: Reporting(logs: log))
        try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        let before = try await engine.adapter(for: "ada")?.stateHash
        let statistics = engine.statistics()
        for (i, user) in ["ada", "nobody"].enumerated() {
            let handle = try engine.handle(for: user)
            let error = await #expect(throws: EngineError.self) { try await Self.read(engine, bad, handle) }
            #expect(error?.code == .refusedEmbedding && error?.user == user && error?.position == nil)
            #expect(error?.cause is LoRAError && error?.message.contains(bad.count == 20 ? "value 19" : "20") == true)
            #expect(log.lines.count == i + 1, "reported once")
        }
        #expect(engine.statistics() == statistics && engine.slotCount == 1)
        #expect(try await engine.adapter(for: "ada")?.stateHash == before)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity])
    func aMixedCallNamesItsFirstBadRowAndChangesNothing(value: Float) async throws {
        let script = try Script()
        let (log, store) = (RecordingLog(), TroubledStore())
        let engine = try PersonalizationEngine(
            configuration: script.configuration(), store: store, reporting: Reporting(logs: log))
        for user in ["ada", "away"] { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        try await engine.unloadAdapter(for: "away")
        let users = ["ada", "away", "ada", "nobody", "ada"]
        let handles = try users.map { try engine.handle(for: $0) }
        let (statistics, loads) = (engine.statistics(), store.count(of: .load))
        for first in users.indices {
            var inputs = try Matrix(rows: users.indices.map { script.probe($0) })
            // Others further back, those of users in memory too.
            for i in first..<users.count { inputs[i, 13] = value }
            let bad = inputs
            let error = await #expect(throws: EngineError.self) {
                var (output, applied) = (Matrix<Float>(rows: 0, columns: 0), [AppliedVersion]())
                try await engine.personalize(bad, for: handles, into: &output, applied: &applied)
            }
            #expect(error?.code == .refusedEmbedding && error?.position == first && error?.user == users[first])
            #expect(error?.message.contains("value 13") == true)
            #expect(log.lines.count == first + 1)
        }
        #expect(engine.statistics() == statistics && store.count(of: .load) == loads && engine.slotCount == 1)
    }

    @Test(arguments: [(2, 20), (4, 20), (3, 19), (3, 21), (0, 0), (3, 0)])
    func aMixedCallOfAnotherShapeIsRefused(rows: Int, columns: Int) async throws {
        let script = try Script()
        let engine = try script.engine()
        let handle = try engine.handle(for: "ada")
        let error = await #expect(throws: EngineError.self) {
            var (output, applied) = (Matrix<Float>(rows: 0, columns: 0), [AppliedVersion]())
            try await engine.personalize(
                Matrix(rows: rows, columns: columns), for: [handle, handle, handle], into: &output, applied: &applied)
        }
        #expect(error?.code == .refusedEmbedding)
        #expect(error?.message.contains("[\(rows), \(columns)] where [3, 20]") == true)
    }

    @Test func aStrictEngineRefusesUnknownUsersByHandle() async throws {
        let script = try Script()
        let engine = try script.engine(limit: 1, isStrict: true)
        for user in ["ada", "bob"] { try await engine.createAdapter(for: user) }
        let handles = try ["bob", "ada", "nobody", "bob"].map { try engine.handle(for: $0) }
        let read = await #expect(throws: EngineError.self) {
            try await Self.read(engine, script.probe(), handles[2])
        }
        #expect(read?.code == .unknownUser && read?.user == "nobody")
        let update = await #expect(throws: EngineError.self) {
            try await engine.updateAdapter(for: handles[2], with: script.batch("nobody", 0))
        }
        #expect(update?.code == .unknownUser && update?.user == "nobody")
        let inputs = try Matrix(rows: handles.indices.map { script.probe($0) })
        let mixed = await #expect(throws: EngineError.self) {
            var (output, applied) = (Matrix<Float>(rows: 0, columns: 0), [AppliedVersion]())
            try await engine.personalize(inputs, for: handles, into: &output, applied: &applied)
        }
        #expect(mixed?.code == .unknownUser && mixed?.user == "nobody" && mixed?.position == 2)
        #expect(try await engine.pin("nobody") == false)
        #expect(try await engine.prefetch(["nobody", "ada"]) == 1)
        engine.unpin("nobody")
        #expect(engine.slotCount == 1 && engine.statistics().failedUpdates == 1)
        // One who goes between two calls is no stranger.
        #expect(try await Self.read(engine, script.probe(), handles[0]).isPersonalized)
        #expect(try await Self.read(engine, script.probe(), handles[1]).isPersonalized)
    }

    @Test(arguments: [0, 1_025])
    func badIdsAreRefusedEverywhere(bytes: Int) async throws {
        let script = try Script()
        let log = RecordingLog()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(limit: 1), reporting: Reporting(logs: log))
        // Two bytes a letter: bytes count, and not letters.
        let user = String(repeating: "ä", count: bytes / 2) + (bytes % 2 == 1 ? "x" : "")
        #expect(user.utf8.count == bytes)
        let calls: [(String, () async throws -> Void)] = [
            ("handle", { _ = try engine.handle(for: user) }), ("pin", { try await engine.pin(user) }),
            ("prefetch", { try await engine.prefetch([user]) }),
            ("prefetch", { try await engine.prefetch(["ada", "bob", user, "cy"]) }),
        ]
        for (i, (name, call)) in calls.enumerated() {
            let error = await #expect(throws: EngineError.self) { try await call() }
            #expect(error?.code == .invalidUser && error?.operation == name)
            #expect(error?.message.contains("has \(bytes)") == true)
            #expect(log.lines.count == i + 1 && log.lines.last?.metadata["code"] == "invalidUser")
        }
        engine.unpin(user)
        #expect(engine.slotCount == 0)
        // The longest id there is.
        let longest = String(repeating: "ä", count: 512)
        #expect(try await engine.pin(longest) == false)
        let handle = try engine.handle(for: longest)
        #expect(try await engine.updateAdapter(for: handle, with: script.batch(longest, 0)).version == 1)
        #expect(try await engine.prefetch([longest]) == 1)
    }

    // MARK: - Order

    /// Steps of some users by many tasks, half by handle and half by id, and each user's in order; hardly anybody fits.
    @Test(arguments: [nil, 3] as [Int?])
    func updatesByHandleKeepTheOrderOfEachUser(limit: Int?) async throws {
        let script = try Script()
        let store = TroubledStore(pauses: 1)
        let engine = try limit.map { try script.engine(limit: $0, store: store) } ?? script.engine(store: store)
        let users = (0..<12).map { "user \($0)" }
        let handles = try users.map { try engine.handle(for: $0) }
        let turns = users.map { _ in Turns() }
        let steps = 12
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<16 {
                group.addTask {
                    for step in 0..<steps {
                        for (u, user) in users.enumerated() where (u + step * 7) % 16 == worker {
                            await turns[u].wait(for: step)
                            defer { turns[u].finish() }
                            let batch = script.batch(user, step)
                            let report =
                                step % 2 == 0
                                ? try await engine.updateAdapter(for: handles[u], with: batch)
                                : try await engine.updateAdapter(for: user, with: batch)
                            #expect(report.version == UInt64(step + 1))
                            let read = try await Self.read(engine, batch[0].embedding, handles[u])
                            #expect(read.version == report.version && read.isPersonalized)
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        for user in users {
            let state = try await engine.adapter(for: user)
            #expect(try state?.stateHash == script.history(user, steps: steps)[steps].stateHash)
        }
        engine.expectExactCount()
    }

    @Test func manyTasksOnOneHandleLoseNoUpdate() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let handle = try engine.handle(for: "ada")
        let hold = store.hold(.load)
        let tasks = Shared<[Task<UInt64, any Error>]>([])
        for i in 0..<30 {
            let task = Task { try await engine.updateAdapter(for: handle, with: script.batch("ada", i)).version }
            tasks.change { $0.append(task) }
            if i == 0 { await hold.isReached() } else { await until { engine.waiting(for: "ada") == i } }
        }
        hold.release()
        // In the order in which they came.
        for (i, task) in tasks.value.enumerated() { #expect(try await task.value == UInt64(i + 1)) }
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 30)[30].stateHash)
    }
}
