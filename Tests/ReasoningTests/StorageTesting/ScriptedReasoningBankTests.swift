import LoRA
import Reasoning
import StorageTesting
import TensorCore
import Testing

@Suite("The scripted bank")
struct ScriptedReasoningBankTests {
    struct Fault: Error {}
    let builder = EpisodeBuilder()
    var task: AdaptationTask { AdaptationTask(context: builder.context(), configuredLearningRate: 0.25) }
    var query: PatternQuery { PatternQuery(context: builder.context(), minimumReward: 0) }

    @Test("records requests and takes steps in order, then what is usual")
    func takesSteps() async throws {
        let bank = ScriptedReasoningBank()
        bank.script(.store, .fail(Fault()), .answer)
        await #expect(throws: Fault.self) { _ = try await bank.storePattern(builder.episode(user: "ada")) }
        #expect(try await bank.storePattern(builder.episode(user: "ada")) == EpisodeID(1))
        bank.always(.store, .fail(Fault()))
        bank.script(.store, .answer)
        #expect(try await bank.storePattern(builder.episode(user: "bob")) == EpisodeID(2))
        await #expect(throws: Fault.self) { _ = try await bank.storePattern(builder.episode(user: "eve")) }
        bank.always(.store, nil)
        #expect(try await bank.storePattern(builder.episode(user: "eve")) == EpisodeID(3))
        _ = try await bank.retrievePatterns(query)
        _ = try await bank.learnStrategy(task)
        _ = try await bank.autoConsolidate(ConsolidationPolicy(), donors: NoDonors())
        _ = try await bank.forget(builder.key.digest(of: "ada"), donors: NoDonors())
        #expect(
            bank.requests.map(\.call) == [
                .store, .store, .store, .store, .store, .retrieve, .learn, .consolidate, .forget,
            ])
        #expect(bank.count(of: .store) == 5 && bank.finishedCount(of: .store) == 5)
        guard case .store(let episode) = bank.requests[0], case .learn(let asked) = bank.requests[6] else {
            Issue.record("other requests")
            return
        }
        #expect(episode == builder.episode(user: "ada") && asked == task)
    }

    @Test("hangs until it is released, and answers then", arguments: [false, true])
    func hangs(cancelled: Bool) async throws {
        let bank = ScriptedReasoningBank()
        bank.always(.learn, .hang)
        let tasks = (0..<3).map { _ in Task { try await bank.learnStrategy(self.task) } }
        while bank.hangingCount < 3 { await Task.yield() }
        if cancelled { for task in tasks { task.cancel() } }
        for _ in 0..<100 { await Task.yield() }
        #expect(bank.hangingCount == 3 && bank.finishedCount(of: .learn) == 0)
        bank.release()
        for task in tasks { #expect(try await task.value == .none) }
        #expect(bank.hangingCount == 0 && bank.finishedCount(of: .learn) == 3)
    }

    @Test("waits, and lets itself be cancelled then")
    func waits() async throws {
        let bank = ScriptedReasoningBank()
        bank.script(.retrieve, .delay(.milliseconds(1)), .delay(.seconds(3600)))
        #expect(try await bank.retrievePatterns(query).isEmpty)
        let query = query
        let task = Task { try await bank.retrievePatterns(query) }
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
    }

    @Test("answers what a closure answers")
    func answers() async throws {
        let bank = ScriptedReasoningBank()
        bank.answerStore { EpisodeID($0.version + 100) }
        bank.answerRetrieve { query in
            [
                RetrievedPattern(
                    id: EpisodeID(UInt64(query.limit)), user: UserDigest(high: 0, low: 0), reward: 1, success: true,
                    similarity: 1, loss: 0, action: AdaptationAction(learningRate: 1, clipThreshold: 1), rank: 4)
            ]
        }
        bank.answerLearn { StrategyAdvice(confidence: Double($0.configuredLearningRate)) }
        bank.answerConsolidate { policy in
            var report = ConsolidationReport()
            report.users = policy.minimumUsers
            return report
        }
        bank.answerForget { _ in throw Fault() }
        #expect(try await bank.storePattern(builder.episode(user: "ada")) == EpisodeID(101))
        #expect(try await bank.retrievePatterns(query).map(\.id) == [EpisodeID(5)])
        #expect(try await bank.learnStrategy(task).confidence == 0.25)
        #expect(try await bank.autoConsolidate(ConsolidationPolicy(), donors: NoDonors()).users == 5)
        await #expect(throws: Fault.self) { _ = try await bank.forget(UserDigest(high: 0, low: 0), donors: NoDonors()) }
        bank.answerStore(nil)
        #expect(try await bank.storePattern(builder.episode(user: "ada")) == EpisodeID(1))
    }

    @Test("talks each kind of nonsense", arguments: ScriptedReasoningBank.Garbage.allCases)
    func talksNonsense(garbage: ScriptedReasoningBank.Garbage) async throws {
        let bank = ScriptedReasoningBank(InMemoryReasoningBank(clock: ManualClock()))
        _ = try await bank.storePattern(builder.episode(user: "ada"))
        _ = try await bank.storePattern(builder.episode(user: "bob"))
        let usualAdvice = try await bank.learnStrategy(task)
        let usual = try await bank.retrievePatterns(query)
        for call in ScriptedReasoningBank.Call.allCases { bank.always(call, .garbage(garbage)) }
        let advice = try await bank.learnStrategy(task)
        #expect(advice != usualAdvice)
        let patterns = try await bank.retrievePatterns(query)
        #expect((patterns == usual) == [.absurdProbabilities, .otherDimension].contains(garbage))
        let report = try await bank.autoConsolidate(ConsolidationPolicy(), donors: NoDonors())
        let id = try await bank.storePattern(builder.episode(user: "ada"))
        _ = try await bank.forget(builder.key.digest(of: "ada"), donors: NoDonors())
        switch garbage {
        case .notANumber:
            #expect(advice.confidence.isNaN && patterns.allSatisfy { $0.similarity.isNaN })
            #expect(report.refused.contains { $0.evidence.successRate.isNaN })
        case .infinity: #expect(advice.confidence == .infinity && patterns.allSatisfy { $0.loss == .infinity })
        case .tooMuch: #expect(advice.evidence.count == 1_000_000 && patterns.count == 1_000_000)
        case .absurdRate:
            #expect(advice.rateArms.map(\.learningRate) == [1e30] && patterns[0].action.learningRate == 1e30)
        case .negativeRate: #expect(advice.hints.learningRate == .value(-0.25) && patterns[0].action.learningRate == -1)
        case .absurdConfidence: #expect(advice.confidence == 7 && patterns[0].similarity == 7)
        case .absurdProbabilities: #expect(advice.rateArms.reduce(0) { $0 + $1.probability } == 3)
        case .otherDimension:
            #expect(advice.initialization?.prior.dimension == 33)
            #expect(advice.initialization?.prior.singularValues.first ?? 0 > 0)
        case .brokenPromises:
            #expect(advice.confidence == -1 && id == EpisodeID(0))
            #expect(patterns[0].similarity < patterns[1].similarity)
        case .longText: #expect(advice.sentence.utf8.count > 900_000 && patterns[0].input.utf8.count == 1_000_000)
        }
        // In an empty bank there is something to spoil, too.
        let empty = ScriptedReasoningBank()
        empty.script(.retrieve, .garbage(garbage))
        let found = try await empty.retrievePatterns(query)
        #expect(found.isEmpty == [.absurdProbabilities, .otherDimension].contains(garbage))
    }
}
