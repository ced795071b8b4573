import StorageTesting
import Telemetry
import TensorCore
import Testing

@testable import LoRA
@testable import Reasoning

@Suite("Episodes on their way", .timeLimit(.minutes(10)))
struct EpisodeQueueTests {
    private let builder = EpisodeBuilder()

    private func connection(
        _ bank: any ReasoningBank, storeDeadline: Duration = .seconds(60),
        _ totals: ReasoningTotals = ReasoningTotals(reporting: Reporting())
    ) -> BankConnection {
        BankConnection(
            bank: bank, configuration: ReasoningConfiguration(storeDeadline: storeDeadline, queueCapacity: 100_000),
            isCacheEnabled: true, sessionID: "", clock: ManualClock(), executor: BankExecutor(), totals: totals)
    }

    private func pending(_ version: Int) throws -> PendingEpisode {
        PendingEpisode(
            user: builder.key.digest(of: "ada"), version: UInt64(version), tracker: ContextTracker(seen: 0),
            objective: .target, batchSize: 1, shape: try AdapterShape(dimension: 4, rank: 1), model: 0,
            action: AdaptationAction(learningRate: 0.1, clipThreshold: 1), lossBefore: 1, lossAfter: 1, latency: 0,
            recordedAt: builder.start, uptime: 0)
    }

    /// An episode whose gain is this.
    private func store(_ gain: Double, _ version: Int, in connection: BankConnection) throws {
        connection.take(
            try pending(version), next: .judged(HeldBatch.Judgement(without: 1, before: gain, after: 0))
        ).finish()
    }

    @Test("a reward is the rank among the last 1,024 gains, however many there were before")
    func ranksAmongTheRecent() async throws {
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let connection = connection(bank)
        for version in 1...1024 { try store(1, version, in: connection) }
        for version in 1025...2048 { try store(0, version, in: connection) }
        try store(0.5, 2049, in: connection)
        #expect(try await connection.queue.flush(deadline: .seconds(60)))
        let episodes = bank.episodes(of: builder.key.digest(of: "ada"))
        #expect(episodes.count == 2049)
        // The highest of the recent; of all there ever were, half are above.
        #expect(episodes.last?.episode.outcome?.reward == 1)
        // The first of all ranks in the middle, among its like.
        #expect(episodes.first?.episode.outcome?.reward == 0.5)
        #expect(episodes[1023].episode.outcome?.reward == 0.5 && episodes[1024].episode.outcome?.reward == 0)
    }

    @Test("an episode that cannot be judged is stored without an outcome, and the failure counted")
    func storesWithoutAnOutcome() async throws {
        let bank = InMemoryReasoningBank(clock: ManualClock())
        let totals = ReasoningTotals(reporting: Reporting())
        let connection = connection(bank, totals)
        connection.take(
            try pending(1), next: .failed(LoRAError(.nonFinite, "outcome", "beyond the range of Float"))
        ).finish()
        #expect(try await connection.queue.flush(deadline: .seconds(60)))
        let episodes = bank.episodes(of: builder.key.digest(of: "ada"))
        #expect(episodes.count == 1 && episodes.first?.episode.outcome == nil)
        #expect(totals.snapshot.failed == 1)
    }

    @Test("who waits for the queue is not held up by what comes meanwhile")
    func flushesWhatWasThere() async throws {
        let bank = ScriptedReasoningBank()
        let connection = connection(bank)
        let isFed = Lock(true)
        // For each episode that is stored another one comes, so that the queue is never empty.
        bank.answerStore { episode in
            if isFed.withLock({ $0 }) {
                try store(0.1, Int(episode.version) + 20, in: connection)
                // Slow enough that it does not crowd out who waits.
                try await Task.sleep(for: .milliseconds(2))
            }
            return EpisodeID(episode.version)
        }
        for version in 1...20 { try store(0.1, version, in: connection) }
        #expect(try await connection.queue.flush(deadline: .seconds(60)))
        #expect(bank.finishedCount(of: .store) >= 20)
        isFed.withLock { $0 = false }
        #expect(try await connection.queue.flush(deadline: .seconds(60)))
        #expect(connection.queue.depth == 0)
        // The answer holds the connection, which holds the bank.
        bank.answerStore(nil)
    }

    /// Eight calls do not come back; what comes then waits for one of them, however long that takes.
    @Test("with too many calls out nothing is stored until one comes back")
    func waitsForACall() async throws {
        let bank = ScriptedReasoningBank()
        bank.always(.store, .hang)
        let connection = connection(bank, storeDeadline: .milliseconds(5))
        for version in 1...8 {
            try store(0.1, version, in: connection)
            await eventually { connection.queue.depth == 0 && bank.hangingCount == version }
            #expect(try await connection.queue.flush(deadline: .seconds(60)))
        }
        for version in 9...12 { try store(0.1, version, in: connection) }
        #expect(try await !connection.queue.flush(deadline: .milliseconds(50)))
        #expect(connection.queue.depth == 4 && bank.count(of: .store) == 8)
        bank.always(.store, nil)
        bank.release()
        #expect(try await connection.queue.flush(deadline: .seconds(60)))
        // On a busy machine these too may be given up before they come back.
        await eventually { bank.finishedCount(of: .store) == 12 }
    }

    @Test("what waits for a bank that is gone and does not come back is given up")
    func givesUpWhatWaitsForNobody() async throws {
        let bank = ScriptedReasoningBank()
        bank.always(.store, .hang)
        let totals = ReasoningTotals(reporting: Reporting())
        let connection = connection(bank, storeDeadline: .milliseconds(5), totals)
        for version in 1...8 {
            try store(0.1, version, in: connection)
            await eventually { bank.hangingCount == version && totals.snapshot.timedOut == version }
        }
        for version in 9...12 { try store(0.1, version, in: connection) }
        connection.close()
        #expect(connection.queue.depth == 0 && totals.snapshot.dropped == 4)
        #expect(try await connection.queue.flush(deadline: .seconds(60)))
        // One in hand at the end is given up with those behind it.
        let other = self.connection(bank, storeDeadline: .milliseconds(5), totals)
        for version in 21...24 { try store(0.1, version, in: other) }
        other.close()
        #expect(try await other.queue.flush(deadline: .seconds(60)))
        #expect(totals.snapshot.dropped == 4 + 3 && totals.snapshot.timedOut == 8 + 1 && totals.snapshot.stored == 0)
        bank.release()
    }
}

/// Comes back when `condition` holds; when it does not in a minute, that is an issue.
private func eventually(sourceLocation: SourceLocation = #_sourceLocation, _ condition: () -> Bool) async {
    for _ in 0..<60_000 {
        if condition() { return }
        do { try await Task.sleep(for: .milliseconds(1)) } catch { break }
    }
    Issue.record("what the test waits for does not happen", sourceLocation: sourceLocation)
}
