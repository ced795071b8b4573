import LoRA
import Reasoning
import StorageTesting
import Telemetry
import TensorCore
import Testing

@testable import Personalization

/// Swaps during updates, and the bounds of what the engine holds for its banks.
@Suite(.timeLimit(.minutes(10)))
struct BankLimitTests {
    /// A bank that advises a rate of its own and keeps what it is told.
    final class TaggedBank: ReasoningBank {
        let rate: Float
        private let kept = Lock<[Episode]>([])

        init(rate: Float) { self.rate = rate }

        var episodes: [Episode] { kept.withLock { $0 } }

        func storePattern(_ episode: Episode) async throws -> EpisodeID {
            kept.withLock { kept in
                kept.append(episode)
                return EpisodeID(UInt64(kept.count))
            }
        }
        func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] { [] }
        func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
            await Task.yield()
            return StrategyAdvice(hints: AdaptationHints(learningRate: .value(Double(rate))), confidence: 1)
        }
        func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport
        {
            ConsolidationReport()
        }
        func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport { ForgettingReport() }
    }

    /// 1,000 swaps during the updates of eight users. Every update is applied once, under the rate of one bank or the default, and
    /// its episode goes to the bank whose rate it was.
    @Test(arguments: [false, true])
    func aThousandSwapsDuringUpdates(withDisconnects: Bool) async throws {
        let script = try Script(dimension: 8, rank: 2)
        let banks = (0..<1000).map { TaggedBank(rate: Float($0 + 1) / 1025) }
        let engine = try script.engine(banks[0], update: script.plain)
        let users = (0..<8).map { "user \($0)" }
        let swaps = Shared(0)
        let reports = Shared<[String: [UpdateReport]]>([:])
        let updates = Shared(0)
        // Neither runs far ahead of the other: two updates for each swap.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for user in users {
                group.addTask {
                    for step in 0..<250 {
                        while swaps.value < 4 * step { await Task.yield() }
                        let report = try await engine.updateAdapter(
                            for: user, with: [script.one(.ranking, user, step)])
                        reports.change { $0[user, default: []].append(report) }
                        updates.change { $0 += 1 }
                    }
                }
            }
            group.addTask {
                for (i, bank) in banks.enumerated() {
                    while updates.value < 2 * i - 16 { await Task.yield() }
                    if withDisconnects {
                        engine.disconnectReasoningBank()
                        await Task.yield()
                    }
                    engine.connectReasoningBank(bank)
                    swaps.change { $0 += 1 }
                    if i % 50 == 0 {
                        let statistics = engine.reasoningBankStatistics()
                        #expect(statistics.cacheEntries <= 1024 && statistics.queueDepth <= 4096)
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        var advised = 0
        for user in users {
            let own = reports.value[user] ?? []
            // No update is lost or counted twice, and the bytes are those of the same updates by hand.
            #expect(own.map(\.version) == (1...250).map { UInt64($0) })
            var adapter = try script.cold(user)
            for (step, report) in own.enumerated() {
                let byHand = try adapter.update(
                    with: [script.one(.ranking, user, step)], configuration: script.plain,
                    overrides: UpdateOverrides(learningRate: Float(report.learningRate)))
                #expect(byHand == report)
            }
            #expect(try await engine.adapter(for: user)?.stateHash == adapter.stateHash)
            advised += own.count { $0.learningRate != 0.25 || !withDisconnects }
        }
        await eventually { banks.reduce(0) { $0 + $1.episodes.count } >= advised }
        var rates: Set<Float> = []
        var keys: Set<String> = []
        for bank in banks {
            for episode in bank.episodes {
                #expect(episode.action.learningRate == bank.rate)
                #expect(keys.insert("\(episode.user) \(episode.version)").inserted)
                rates.insert(bank.rate)
            }
        }
        #expect(withDisconnects || rates.count > 10, "swaps and updates did not mix")
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.failed == 0 && statistics.timedOut == 0 && statistics.dropped == 0)
        #expect(statistics.stored == keys.count && statistics.queueDepth == 0)
    }

    @Test func aFullQueueDropsTheOldestAndCountsIt() async throws {
        let script = try Script()
        let log = RecordingLog()
        let metrics = RecordingMetrics()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.store, .hang)
        var reasoning = ReasoningConfiguration.patient()
        reasoning.queueCapacity = 4
        let engine = try script.engine(bank, reasoning: reasoning, reporting: Reporting(logs: log, metrics: metrics))
        for step in 0..<2 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        await eventually { bank.hangingCount == 1 }
        for step in 2..<20 {
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", step))
            #expect(engine.reasoningBankStatistics().queueDepth <= 4)
        }
        #expect(engine.reasoningBankStatistics().dropped == 14 && metrics["attune_bank_dropped_total"] == 14)
        // A line for the 1st, 2nd, 4th and 8th, with the number so far.
        let lines = log.lines.filter { $0.message.contains("dropped") && $0.level == .warning }
        #expect(lines.map { $0.metadata["count"] } == ["1", "2", "4", "8"])
        #expect(try await !engine.flushReasoningBank(deadline: .milliseconds(5)))
        bank.release()
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        #expect(bank.storedEpisodes.map(\.version) == [1, 16, 17, 18, 19])
        #expect(engine.reasoningBankStatistics().stored == 5)
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 20)[20].stateHash)
    }

    /// Nothing is on its way any more when they say so, to banks that were exchanged or disconnected either.
    @Test(arguments: [false, true])
    func flushingWaitsForBanksThatWereExchanged(isDisconnected: Bool) async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.store, .hang)
        let engine = try script.engine(bank)
        for step in 0..<10 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        await eventually { bank.hangingCount == 1 }
        if isDisconnected {
            engine.disconnectReasoningBank()
        } else {
            engine.connectReasoningBank(ScriptedReasoningBank.advising(.none))
        }
        #expect(engine.reasoningBankStatistics().queueDepth == 9)
        #expect(try await !engine.shutdown(deadline: .milliseconds(20)))
        #expect(try await !engine.flushReasoningBank(deadline: .milliseconds(20)))
        bank.always(.store, nil)
        bank.release()
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        #expect(bank.storedEpisodes.count == 10 && engine.reasoningBankStatistics().stored == 10)
    }

    /// Without a bank nothing is kept of its users.
    @Test func disconnectingLeavesNothing() async throws {
        let script = try Script()
        let engine = try script.engine(ScriptedReasoningBank.advising(.none))
        for i in 0..<100 {
            try await engine.updateAdapter(for: "user \(i)", with: [script.one(.ranking, "user \(i)", 0)])
        }
        func memories() -> Int {
            engine.allShards.reduce(0) { sum, shard in
                shard.withLock { state in
                    var count = sum
                    state.forEach { slot in if slot.memory != nil { count += 1 } }
                    return count
                }
            }
        }
        #expect(memories() == 100)
        engine.disconnectReasoningBank()
        #expect(memories() == 0)
    }

    @Test func slowStoresHoldUpNoUpdate() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.store, .hang)
        let engine = try script.engine(bank)
        for step in 0..<30 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        #expect(try await engine.adapter(for: "ada")?.stateHash == script.history("ada", steps: 30)[30].stateHash)
        await eventually { bank.hangingCount == 1 }
        #expect(engine.reasoningBankStatistics().queueDepth == 28)
        bank.always(.store, nil)
        bank.release()
        #expect(try await engine.shutdown(deadline: .seconds(60)))
        #expect(engine.reasoningBankStatistics().stored == 30)
    }

    /// Stores that never come back: eight at most are out, the others wait, and all that came back in time are counted as late.
    @Test func storesThatHangAreBounded() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.store, .hang)
        let engine = try script.engine(bank, reasoning: .patient(storeDeadline: .milliseconds(5)))
        for step in 0..<30 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        // A call may be given up before it has come to the bank.
        await eventually { engine.reasoningBankStatistics().timedOut == 8 && bank.hangingCount == 8 }
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.queueDepth + statistics.timedOut == 29 && statistics.stored == 0)
        bank.always(.store, nil)
        bank.release()
        #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        // All others reach the bank, in time or not.
        let after = engine.reasoningBankStatistics()
        #expect(after.stored + after.timedOut == 29 && after.dropped == 0)
        await eventually { bank.finishedCount(of: .store) == 29 }
        #expect(bank.storedEpisodes.map(\.version) == (1...29).map { UInt64($0) })
    }

    /// Stores that are out when the queue runs dry and fills again: each later episode is stored by a call of its own.
    @Test func anEpisodeIsNeverTakenForOneWhoseStoreHangs() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.script(.store, .hang, .hang)
        let engine = try script.engine(bank, reasoning: .patient(storeDeadline: .milliseconds(500)))
        for step in 0..<3 {
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", step))
            await eventually { engine.reasoningBankStatistics().timedOut == step }
            #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        }
        await eventually { bank.hangingCount == 2 }
        for step in 3..<6 {
            try await engine.updateAdapter(for: "ada", with: script.batch("ada", step))
            #expect(try await engine.flushReasoningBank(deadline: .seconds(60)))
        }
        #expect(bank.storedEpisodes.map(\.version) == [1, 2, 3, 4, 5])
        #expect(engine.reasoningBankStatistics().stored == 3 && engine.reasoningBankStatistics().timedOut == 2)
        bank.release()
    }

    /// The queue of a bank that was swapped out and does not answer is given up, so that it is not kept for ever.
    @Test func theQueueOfAHangingBankThatIsGoneIsGivenUp() async throws {
        let script = try Script()
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.store, .hang)
        let engine = try script.engine(bank, reasoning: .patient(storeDeadline: .milliseconds(5)))
        for step in 0..<30 { try await engine.updateAdapter(for: "ada", with: script.batch("ada", step)) }
        engine.disconnectReasoningBank()
        await eventually {
            let statistics = engine.reasoningBankStatistics()
            return statistics.dropped + statistics.timedOut == 30
        }
        #expect(engine.reasoningBankStatistics().stored == 0 && bank.hangingCount <= 8)
        bank.release()
    }

    /// 200 users ask a bank that hangs: 64 questions are out at most, nobody waits beyond the deadline, and all learn.
    @Test func lookUpsThatHangAreBounded() async throws {
        let script = try Script(dimension: 4, rank: 1)
        let bank = ScriptedReasoningBank.advising(.none)
        bank.always(.learn, .hang)
        let engine = try script.engine(bank, reasoning: .patient(deadline: .milliseconds(200)))
        try await withThrowingTaskGroup(of: UInt64.self) { group in
            for i in 0..<200 {
                group.addTask {
                    try await engine.updateAdapter(for: "user \(i)", with: [script.one(.ranking, "ada", i)]).version
                }
            }
            for try await version in group { #expect(version == 1) }
        }
        await eventually { bank.hangingCount == engine.reasoningBankStatistics().queries }
        #expect(bank.count(of: .learn) <= 64 && bank.hangingCount == bank.count(of: .learn))
        let statistics = engine.reasoningBankStatistics()
        #expect(statistics.timedOut >= 3 && statistics.queries == bank.count(of: .learn))
        // None is lost: answered late, not asked for want of room, or left alone.
        #expect(statistics.timedOut <= 200 && statistics.cacheEntries == 0)
        bank.always(.learn, nil)
        bank.release()
        await eventually { engine.reasoningBankStatistics().cacheEntries == bank.count(of: .learn) }
    }
}
