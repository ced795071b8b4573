import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import Personalization

/// A bank that takes several episodes in one call, and answers as a test says.
private final class TogetherBank: ReasoningBank {
    enum Answer: Sendable { case all, tooFew, waits }
    let inner = InMemoryReasoningBank()
    let calls = Lock<[[UserDigest]]>([])
    private let answer: Lock<Answer>
    private let waiting = Lock<[CheckedContinuation<Void, Never>]>([])
    let storesTogether: Int

    init(storesTogether: Int, _ answer: Answer = .all) {
        self.storesTogether = storesTogether
        self.answer = Lock(answer)
    }

    func release() {
        answer.withLock { $0 = .all }
        for continuation in waiting.withLock({ waiting in
            defer { waiting.removeAll() }
            return waiting
        }) { continuation.resume() }
    }

    func storePattern(_ episode: Episode) async throws -> EpisodeID {
        try await storePatterns([episode])[0].get()
    }

    func storePatterns(_ episodes: [Episode]) async -> [Result<EpisodeID, any Error>] {
        calls.withLock { $0.append(episodes.map(\.user)) }
        if case .waits = answer.withLock({ $0 }) {
            await withCheckedContinuation { continuation in waiting.withLock { $0.append(continuation) } }
        }
        var results: [Result<EpisodeID, any Error>] = []
        for episode in episodes {
            do { results.append(.success(try await inner.storePattern(episode))) } catch {
                results.append(.failure(error))
            }
        }
        if case .tooFew = answer.withLock({ $0 }), results.count > 1 { results.removeLast() }
        return results
    }

    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] { [] }
    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice { .none }
    func autoConsolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource
    ) async throws -> ConsolidationReport { ConsolidationReport() }
    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        try await inner.forget(user, donors: donors)
    }
}

/// Episodes handed over several at a time, to a bank that asks for that.
@Suite("Episodes that go together", .timeLimit(.minutes(10)))
struct TogetherTests {
    private func learn(_ script: Script, _ engine: PersonalizationEngine, users: Int, steps: Int) async throws {
        for step in 0..<steps {
            for user in 0..<users {
                try await engine.updateAdapter(for: "user \(user)", with: [script.one(.ranking, "user \(user)", step)])
            }
        }
    }

    @Test(arguments: [1, 3, 1000])
    func allAreStoredInTheirOrder(most: Int) async throws {
        let script = try Script()
        let bank = TogetherBank(storesTogether: most)
        let engine = try script.engine(bank)
        try await learn(script, engine, users: 5, steps: 9)
        #expect(try await engine.shutdown())
        let calls = bank.calls.withLock { $0 }
        #expect(calls.allSatisfy { (1...min(most, 256)).contains($0.count) })
        #expect(most == 1 || calls.contains { $0.count > 1 })
        #expect(calls.joined().count == 45 && bank.inner.statistics.episodes == 45)
        #expect(engine.reasoningBankStatistics().stored == 45 && engine.reasoningBankStatistics().failed == 0)
        for user in 0..<5 {
            let digest = engine.reasoning.digestKey.digest(of: "user \(user)")
            #expect(bank.inner.episodes(of: digest).map(\.episode.version) == Array(1...9))
        }
    }

    @Test func anAnswerThatIsMissingIsAFailure() async throws {
        let script = try Script()
        let bank = TogetherBank(storesTogether: 1000, .tooFew)
        let engine = try script.engine(bank)
        try await learn(script, engine, users: 5, steps: 4)
        #expect(try await engine.shutdown())
        let statistics = engine.reasoningBankStatistics()
        // The last of each call of several; one alone is another call.
        let several = bank.calls.withLock { $0.count { $0.count > 1 } }
        #expect(several > 0 && statistics.failed == several && statistics.stored + statistics.failed == 20)
    }

    @Test func whoIsForgottenIsWaitedForWhileTheBankHasTheirs() async throws {
        let script = try Script()
        let bank = TogetherBank(storesTogether: 1000, .waits)
        let engine = try script.engine(bank)
        // All that the bank has in hand, however many they are, are theirs.
        for step in 0..<3 {
            try await engine.updateAdapter(for: "user 1", with: [script.one(.ranking, "user 1", step)])
        }
        while bank.calls.withLock({ $0.isEmpty }) { try await Task.sleep(for: .milliseconds(1)) }
        let isDone = Lock<Bool>(false)
        let forgetting = Task {
            defer { isDone.withLock { $0 = true } }
            return try await engine.forget("user 1")
        }
        try await Task.sleep(for: .milliseconds(50))
        #expect(!isDone.withLock { $0 })
        try await learn(script, engine, users: 1, steps: 6)
        bank.release()
        _ = try await forgetting.value
        #expect(try await engine.shutdown())
        #expect(bank.inner.episodes(of: engine.reasoning.digestKey.digest(of: "user 1")).isEmpty)
        #expect(bank.inner.statistics.episodes == 6)
    }
}
