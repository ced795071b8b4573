import LoRA
import TestSupport
import Testing

@testable import Personalization

/// Order of updates, reads of one's writes, no lost update.
@Suite(.timeLimit(.minutes(10)))
struct UpdateOrderTests {
    static let users = (0..<100).map { "user \($0)" }
    static let steps = 8

    enum Start: String, CaseIterable { case resident, firstUpdateMakesThem, slowStore }

    /// 64 tasks; each carries some steps of some users, and for every user the steps take place in their order.
    @Test(arguments: Start.allCases)
    func sixtyFourTasksOnAHundredUsersGiveTheBytesOfASerialRun(start: Start) async throws {
        let script = try Script()
        let store = TroubledStore(pauses: start == .slowStore ? 3 : 0)
        if start == .slowStore {
            // Half of the users have learned before, in another engine on the same store.
            let earlier = try script.engine(store: store)
            for user in Self.users.prefix(50) {
                _ = try await earlier.updateAdapter(for: user, with: script.batch(user, 1_000))
            }
            #expect(try await earlier.checkpoint() == 50)
        }
        let engine = try script.engine(store: store)
        if start == .resident { for user in Self.users { try await engine.createAdapter(for: user) } }

        var histories: [String: [LoRAAdapter]] = [:]
        for (i, user) in Self.users.enumerated() {
            var states = [try script.cold(user)]
            let hasLearned = start == .slowStore && i < 50
            for step in (hasLearned ? [1_000] : []) + Array(0..<Self.steps) {
                let batch = script.batch(user, step)
                states.append(try states[states.count - 1].updated(with: batch, configuration: script.update).adapter)
            }
            histories[user] = states
        }
        let expected = histories
        let probe = script.probe()
        let turns = Self.users.map { _ in Turns() }

        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<64 {
                group.addTask {
                    // By step, then by user: the earliest step that is not done is always at the head of its task.
                    for step in 0..<Self.steps {
                        for (u, user) in Self.users.enumerated() where (u + step * 7) % 64 == worker {
                            await turns[u].wait(for: step)
                            defer { turns[u].finish() }
                            let report = try await engine.updateAdapter(for: user, with: script.batch(user, step))
                            let base = expected[user]!.count - 1 - Self.steps
                            #expect(report.version == UInt64(base + step + 1), "\(user), step \(step)")
                            // Read what was just written: nobody else may write before this turn is over.
                            let read = try await engine.personalize(probe, for: user)
                            #expect(read.version == report.version && read.isPersonalized)
                            #expect(read.embedding == (try expected[user]![Int(read.version)].forward(probe)))
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        for user in Self.users {
            let final = try #require(try await engine.adapter(for: user))
            #expect(final.stateHash == expected[user]!.last!.stateHash, "\(user)")
        }
        #expect(engine.statistics().updates == 100 * Self.steps)
    }

    @Test(arguments: [0, 3])
    func manyTasksOnOneUserLoseNoUpdateAndTheirVersionsGiveTheOrder(pauses: Int) async throws {
        let script = try Script()
        let engine = try script.engine(store: TroubledStore(pauses: pauses))
        let users = ["one", "two", "three"]
        let done = try await withThrowingTaskGroup(of: [(user: String, version: UInt64, step: Int)].self) { group in
            for worker in 0..<64 {
                group.addTask {
                    var mine: [(user: String, version: UInt64, step: Int)] = []
                    for round in 0..<6 {
                        let step = worker * 6 + round
                        let user = users[step % 3]
                        let report = try await engine.updateAdapter(for: user, with: script.batch(user, step))
                        mine.append((user, report.version, step))
                        if worker % 2 == 0 { await Task.yield() }
                    }
                    return mine
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        for user in users {
            let ordered = done.filter { $0.user == user }.sorted { $0.version < $1.version }
            #expect(ordered.map(\.version) == Array(1...UInt64(ordered.count)))
            var serial = try script.cold(user)
            for update in ordered {
                serial = try serial.updated(with: script.batch(user, update.step), configuration: script.update).adapter
            }
            let final = try #require(try await engine.adapter(for: user))
            #expect(final.version == UInt64(64 * 6 / 3) && final.stateHash == serial.stateHash)
        }
    }

    @Test(arguments: [0, 3])
    func readersSeeWholeVersionsThatNeverGoBackwards(pauses: Int) async throws {
        let script = try Script()
        let store = TroubledStore(pauses: pauses)
        let steps = underSanitizer(40, otherwise: 150)
        let users = ["ada", "bob"]
        let states = try users.map { try script.history($0, steps: steps) }
        let engine = try script.engine(store: store)
        let probe = script.probe()
        let isDone = Shared(0)
        let seen = Shared(Set<UInt64>())

        try await withThrowingTaskGroup(of: Void.self) { group in
            for user in users {
                group.addTask {
                    for step in 0..<steps {
                        try await engine.updateAdapter(for: user, with: script.batch(user, step))
                        await Task.yield()
                    }
                    isDone.change { $0 += 1 }
                }
            }
            for reader in 0..<6 {
                group.addTask {
                    var last = [UInt64](repeating: 0, count: users.count)
                    func take(_ version: UInt64, _ embedding: [Float], _ u: Int) throws {
                        #expect(version >= last[u], "went back from \(last[u]) to \(version)")
                        last[u] = version
                        seen.change { _ = $0.insert(version) }
                        #expect(embedding == (version == 0 ? probe : try states[u][Int(version)].forward(probe)))
                    }
                    while isDone.value < users.count {
                        for (u, user) in users.enumerated() {
                            switch reader % 3 {
                            case 0:
                                let read = try await engine.personalize(probe, for: user)
                                try take(read.version, read.embedding, u)
                            case 1:
                                let many = try await engine.personalize(
                                    users.map { PersonalizationRequest(user: $0, embedding: probe) })
                                try take(many[u].version, many[u].embedding, u)
                            default:
                                let copy = try await engine.adapter(for: user)
                                guard let copy else { continue }
                                #expect(copy.stateHash == states[u][Int(copy.version)].stateHash)
                                try take(copy.version, try copy.forward(probe), u)
                            }
                        }
                        await Task.yield()
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(!seen.value.isEmpty)
    }

    @Test func anUpdateWaitsForThoseInLineAndAnotherUserDoesNot() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let hold = store.hold(.load)
        async let first = engine.updateAdapter(for: "ada", with: script.batch("ada", 0))
        await hold.isReached()
        async let second = engine.updateAdapter(for: "ada", with: script.batch("ada", 1))
        // Users of every shard, ada's too, go on while her adapter is being loaded.
        for user in Self.users {
            let report = try await engine.updateAdapter(for: user, with: script.batch(user, 0))
            #expect(report.version == 1)
        }
        hold.release()
        #expect(Set([try await first.version, try await second.version]) == [1, 2])
    }

    @Test func aReadOfAnAdapterInMemoryWaitsForNoStore() async throws {
        let script = try Script()
        let store = TroubledStore()
        let engine = try script.engine(store: store)
        let before = try await engine.updateAdapter(for: "ada", with: script.batch("ada", 0)).version
        let saving = store.hold(.save)
        let removing = store.hold(.remove)
        let checkpoint = Task { try await engine.checkpoint() }
        await saving.isReached()
        let removal = Task { try await engine.removeAdapter(for: "ada") }
        #expect(try await engine.personalize(script.probe(), for: "ada").version == before)
        #expect(try await engine.adapter(for: "ada")?.version == before)
        #expect(engine.statistics().residentAdapters == 1)
        saving.release()
        _ = try await checkpoint.value
        await removing.isReached()
        #expect(try await engine.personalize(script.probe(), for: "ada").version == before)
        removing.release()
        #expect(try await removal.value)
        #expect(try await engine.personalize(script.probe(), for: "ada").version == 0)
    }
}
