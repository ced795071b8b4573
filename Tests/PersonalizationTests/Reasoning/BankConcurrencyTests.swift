import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// Many users and many tasks with a bank; cancellation while a bank is asked; order; reads.
@Suite(.timeLimit(.minutes(10)))
struct BankConcurrencyTests {
    private let user = "ada"

    /// Frozen advice depends on the question alone, so the bytes must not depend on the tasks.
    @Test func theBytesAreTheSameForOneAndForEightTasks() async throws {
        let script = try Script()
        let priors = try (0..<3).map { Initialization(prior: try script.prior($0)) }
        let users = (0..<24).map { "user \($0)" }
        func run(tasks: Int) async throws -> [UInt64] {
            let bank = ScriptedReasoningBank.advising(.none)
            bank.answerLearn { task in
                for _ in 0..<(task.context.seen % 3) { await Task.yield() }
                let number = Int(truncatingIfNeeded: (task.excluding?.low ?? 0) & 0xFF) % 3
                return StrategyAdvice(
                    hints: AdaptationHints(learningRate: .factor(1 + Double(number))), confidence: 0.5,
                    initialization: priors[(number + task.context.seen / 2) % 3])
            }
            let engine = try script.engine(
                bank, reasoning: .patient(restartsAfter: [2, 4]), isCached: false,
                store: TroubledStore(pauses: tasks == 1 ? 0 : 1))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<tasks {
                    group.addTask {
                        for step in 0..<6 {
                            for (i, user) in users.enumerated() where i % tasks == task {
                                try await engine.updateAdapter(for: user, with: script.batch(user, step))
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            var hashes: [UInt64] = []
            for user in users { hashes.append(try #require(try await engine.adapter(for: user)).stateHash) }
            #expect(engine.reasoningBankStatistics().hinted > 0 && engine.reasoningBankStatistics().restarts > 0)
            return hashes
        }
        let one = try await run(tasks: 1)
        for _ in 0..<2 { #expect(try await run(tasks: 8) == one) }
    }

    @Test func aTaskThatIsCancelledWhileTheBankIsAskedLeavesAtOnce() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(rate: 0.125)
        let engine = try script.engine(bank, isCached: false)
        try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        let before = try #require(try await engine.adapter(for: user))
        bank.script(.learn, .hang)
        let task = Task { try await engine.updateAdapter(for: user, with: script.batch(user, 1)) }
        await eventually { bank.hangingCount == 1 }
        task.cancel()
        // Nothing releases the bank meanwhile.
        await #expect(throws: CancellationError.self) { try await task.value }
        let after = try #require(try await engine.adapter(for: user))
        #expect(after.stateHash == before.stateHash && after.version == 1)
        #expect(engine.statistics().failedUpdates == 0 && engine.statistics().updates == 1)
        // Giving up is no failure of the bank's, and the next update is asked for anew.
        #expect(engine.reasoningBankStatistics().failed == 0 && engine.reasoningBankStatistics().timedOut == 0)
        bank.release()
        #expect(try await engine.updateAdapter(for: user, with: script.batch(user, 1)).version == 2)
    }

    @Test func aCancelledFirstUpdateLeavesNobody() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.learn, .hang)
        let engine = try script.engine(bank)
        let tasks = [
            Task { _ = try await engine.updateAdapter(for: user, with: script.batch(user, 0)) },
            Task { _ = try await engine.createAdapter(for: "bob") },
        ]
        await eventually { bank.hangingCount == 2 }
        for task in tasks {
            task.cancel()
            await #expect(throws: CancellationError.self) { try await task.value }
        }
        #expect(engine.slotCount == 0 && engine.statistics().created == 0)
        bank.release()
    }

    @Test func updatesOfOneUserKeepTheirOrderWhileTheBankIsSlow() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank, isCached: false)
        bank.script(.learn, .hang)
        var tasks: [Task<UpdateReport, any Error>] = []
        for step in 0..<8 {
            tasks.append(Task { try await engine.updateAdapter(for: user, with: script.batch(user, step)) })
            // In line before the next one comes.
            await eventually { bank.hangingCount == 1 && engine.waiting(for: user) == step }
        }
        #expect(bank.count(of: .learn) == 1)
        bank.release()
        for (step, task) in tasks.enumerated() { #expect(try await task.value.version == UInt64(step) + 1) }
        #expect(try await engine.adapter(for: user)?.stateHash == script.history(user, steps: 8)[8].stateHash)
    }

    @Test func otherUsersDoNotWaitForAUserWhoseBankHangs() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.learn, .hang)
        let engine = try script.engine(bank)
        let task = Task { try await engine.updateAdapter(for: user, with: script.batch(user, 0)) }
        await eventually { bank.hangingCount == 1 }
        let neighbour = try #require(
            (0..<10_000).lazy.map { "user \($0)" }.first { engine.shard(of: $0) == engine.shard(of: user) })
        for other in ["bob", neighbour] {
            #expect(try await engine.updateAdapter(for: other, with: script.batch(other, 0)).version == 1)
        }
        bank.release()
        #expect(try await task.value.version == 1)
    }

    @Test func readsOfAResidentAdapterWaitForNoBank() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        let engine = try script.engine(bank, isCached: false)
        try await engine.updateAdapter(for: user, with: script.batch(user, 0))
        let expected = try script.history(user, steps: 1)[1].forward(script.probe())
        bank.script(.learn, .hang)
        let task = Task { try await engine.updateAdapter(for: user, with: script.batch(user, 1)) }
        await eventually { bank.hangingCount == 1 }
        let read = try await engine.personalize(script.probe(), for: user)
        #expect(read.version == 1 && read.embedding == expected)
        let many = try await engine.personalize([PersonalizationRequest(user: user, embedding: script.probe())])
        #expect(many.map(\.embedding) == [expected])
        #expect(try await engine.personalize(Matrix(rows: [script.probe()]), for: user).version == 1)
        #expect(try await engine.adapter(for: user)?.version == 1 && bank.hangingCount == 1)
        bank.release()
        #expect(try await task.value.version == 2)
        #expect(try await engine.personalize(script.probe(), for: user).version == 2)
    }

    /// Updates, reads, swaps, forgetting, unloading and consolidation at once: versions never go back within a life.
    @Test func everythingAtOnce() async throws {
        let script = try Script(dimension: 8, rank: 2)
        let banks = (0..<3).map { _ in InMemoryReasoningBank(clock: ManualClock()) }
        let engine = try script.engine(banks[0], reasoning: .patient(restartsAfter: [2, 4]))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<6 {
                group.addTask {
                    var generator = PhiloxGenerator(seed: 31, stream: UInt64(worker))
                    // Each worker has users of its own, so that it knows their versions.
                    var versions = [UInt64](repeating: 0, count: 4)
                    for step in 0..<150 {
                        let u = generator.integer(below: 4)
                        let user = "user \(worker) \(u)"
                        switch generator.integer(below: 40) {
                        case 0:
                            _ = try await engine.forget(user)
                            versions[u] = 0
                        case 1: _ = try await engine.unloadAdapter(for: user)
                        case 2: engine.connectReasoningBank(banks[generator.integer(below: 3)])
                        case 3: engine.disconnectReasoningBank()
                        case 4:
                            _ = try await engine.consolidateAdaptationPatterns(
                                ConsolidationPolicy(minimumSuccessRate: 0, minimumUses: 2, minimumUsers: 2))
                        case 5: engine.clearReasoningBankCache()
                        case 6: _ = try await engine.similarAdaptations(to: user)
                        case 7: _ = try await engine.personalize(script.probe(), for: user)
                        default:
                            let report = try await engine.updateAdapter(for: user, with: script.batch(user, step))
                            versions[u] += 1
                            #expect(report.version == versions[u])
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        _ = try await engine.shutdown(deadline: .seconds(60))
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.timedOut == 0 && statistics.dropped == 0 && statistics.queueDepth == 0)
    }
}
