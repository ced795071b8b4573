import LoRA
import Reasoning
import StorageTesting
import TensorCore
import TestSupport
import Testing

@Suite("The contract of reasoning banks", .timeLimit(.minutes(10)))
struct ReasoningBankContractTests {
    @Test("is kept by the bank in memory")
    func isKeptInMemory() async throws {
        let violations = try await ReasoningBankContract { InMemoryReasoningBank() }.violations()
        #expect(violations.isEmpty, "\(violations)")
        let clock = ManualClock()
        let timed = try await ReasoningBankContract(now: { clock.now }) { InMemoryReasoningBank(clock: clock) }
            .violations()
        #expect(timed.isEmpty, "\(timed)")
    }

    @Test("is kept by a scripted bank that nothing was scripted for")
    func isKeptByTheScriptedBank() async throws {
        let violations = try await ReasoningBankContract { ScriptedReasoningBank() }.violations()
        #expect(violations.isEmpty, "\(violations)")
    }

    /// Under a sanitizer one of each part of the contract: every one of them takes all of it, with the same bank beneath.
    static let faults = underSanitizer(
        [.storesTwice, .ignoresTheLimit, .confidentWithoutEvidence, .skillsOfLosers, .doesNotForget, .losesEpisodes],
        otherwise: BrokenBank.Fault.allCases)

    @Test("finds out a broken bank", arguments: faults)
    func findsOut(fault: BrokenBank.Fault) async throws {
        let violations = try await ReasoningBankContract { BrokenBank(fault) }.violations()
        #expect(!violations.isEmpty)
        #expect(violations.contains { fault.promise.map($0.promise.contains) ?? true }, "\(violations.map(\.promise))")
        #expect(
            violations.allSatisfy { !$0.promise.isEmpty && !$0.expected.isEmpty && $0.description.contains($0.seen) })
    }

    @Test("counts what a bank throws as a violation, and passes on what its maker throws")
    func countsErrors() async throws {
        struct Fault: Error {}
        let violations = try await ReasoningBankContract {
            let bank = ScriptedReasoningBank()
            for call in ScriptedReasoningBank.Call.allCases { bank.always(call, .fail(Fault())) }
            return bank
        }.violations()
        #expect(violations.count > 10)
        await #expect(throws: Fault.self) { try await ReasoningBankContract { throw Fault() }.violations() }
    }
}

/// A bank with one mistake.
final class BrokenBank: ReasoningBank {
    enum Fault: String, CaseIterable, Sendable {
        case storesTwice, fallingIdentifiers, sharedIdentifiers, retrievesUnresolved, adviceCountsUnresolved
        case retrievesTheExcluded, adviceOfTheExcluded, startOfTheExcluded, ignoresTheLimit, worstFirst, ignoresRewards
        case ignoresSuccess, ignoresFailure, mixesModels, acceptsInvalidQueries, acceptsInvalidEpisodes
        case acceptsInvalidPolicies, confidentWithoutEvidence, unfollowableAdvice, skillsDependOnTheCall
        case skillsOfFewUsers, skillsOfLosers, ignoresTheWindow, neverRetires, doesNotForget, forgetsEpisodesOnly
        case namesNoStalePriors, losesEpisodes, similaritiesAboveOne, noVariety

        /// A part of the promise that is broken, where it is to be a certain one.
        var promise: String? {
            switch self {
            case .storesTwice: "changes nothing"
            case .fallingIdentifiers: "rise"
            case .retrievesUnresolved: "resolved"
            case .retrievesTheExcluded: "excluded user is never retrieved"
            case .adviceOfTheExcluded: "excluded user enters"
            case .startOfTheExcluded: "starts from what they gave"
            case .doesNotForget, .forgetsEpisodesOnly: "forgotten user"
            case .skillsDependOnTheCall: "same skills"
            case .losesEpisodes: "lost"
            case .noVariety: "variety"
            default: nil
            }
        }
    }
    let fault: Fault
    private let base = InMemoryReasoningBank()
    private let state = Lock((calls: 0, starts: [Initialization]()))

    init(_ fault: Fault) { self.fault = fault }

    private var call: UInt64 {
        state.withLock { state in
            state.calls += 1
            return UInt64(state.calls)
        }
    }

    func storePattern(_ episode: Episode) async throws -> EpisodeID {
        var episode = episode
        switch fault {
        case .storesTwice: episode.version = call
        case .retrievesUnresolved, .adviceCountsUnresolved:
            let unresolved = AdaptationOutcome(gain: 0, benefit: 0, reward: 0.5, success: false)
            episode.outcome = episode.outcome ?? unresolved
        case .mixesModels: episode.context.model = 0
        case .acceptsInvalidEpisodes:
            do { try episode.validate() } catch { return EpisodeID(call) }
        case .losesEpisodes: if call % 40 == 39 { return EpisodeID(1_000_000 + call) }
        case .ignoresTheWindow: episode.recordedAt = SystemClock().now
        default: break
        }
        let id = try await base.storePattern(episode)
        switch fault {
        case .fallingIdentifiers: return EpisodeID(UInt64.max - id.value)
        case .sharedIdentifiers: return EpisodeID(id.value / 2)
        default: return id
        }
    }

    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] {
        var query = query
        let wanted = query
        switch fault {
        case .adviceCountsUnresolved: return []
        case .retrievesTheExcluded: query.excluding = nil
        case .ignoresTheLimit: query.limit = min(10_000, max(query.limit, 1) * 2)
        case .ignoresRewards: query.minimumReward = 0
        case .ignoresSuccess: query.onlySuccesses = false
        case .ignoresFailure: query.onlyFailures = false
        case .mixesModels: query.context.model = 0
        case .noVariety: query.relevance = 1
        case .acceptsInvalidQueries:
            do { try query.validate() } catch { return [] }
        default: break
        }
        if fault == .ignoresTheLimit { try wanted.validate() }
        var found = try await base.retrievePatterns(query)
        if fault == .worstFirst { found.reverse() }
        if fault == .similaritiesAboveOne { for i in found.indices { found[i].similarity *= 1.5 } }
        return found
    }

    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        let known = task
        var task = task
        if fault == .adviceOfTheExcluded { task.excluding = nil }
        if fault == .mixesModels { task.context.model = 0 }
        var advice = try await base.learnStrategy(task)
        switch fault {
        case .startOfTheExcluded:
            task.excluding = nil
            advice.initialization = try await base.learnStrategy(task).initialization
        case .confidentWithoutEvidence: advice.confidence = max(advice.confidence, 0.1)
        case .unfollowableAdvice: for i in advice.rateArms.indices { advice.rateArms[i].probability *= 2 }
        case .neverRetires, .forgetsEpisodesOnly:
            guard known.excluding == nil else { break }
            if let start = advice.initialization, fault == .neverRetires { state.withLock { $0.starts = [start] } }
            advice.initialization = state.withLock { $0.starts.last } ?? advice.initialization
        default: break
        }
        return advice
    }

    func autoConsolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource
    ) async throws -> ConsolidationReport {
        var policy = policy
        switch fault {
        case .acceptsInvalidPolicies:
            do { try policy.validate() } catch { return ConsolidationReport() }
        case .skillsOfFewUsers where policy.minimumUsers > 2: policy.minimumUsers = 2
        default: break
        }
        var report = try await base.autoConsolidate(policy, donors: donors)
        switch fault {
        case .skillsDependOnTheCall:
            let nudge = Float(UInt64.random(in: 1...1_000_000)) * 1e-8
            for i in report.created.indices { report.created[i].centroid[0] += nudge }
        case .skillsOfLosers:
            for group in report.refused {
                report.created.append(
                    Skill(
                        id: SkillID(call), kind: AdapterKind(EpisodeBuilder().context()), centroid: group.centroid,
                        initialization: nil, donors: [], learningRate: 1, evidence: group.evidence,
                        updatedAt: SystemClock().now))
            }
        case .neverRetires: report.retired = []
        case .forgetsEpisodesOnly:
            state.withLock { [report] in $0.starts = report.created.compactMap(\.initialization) }
        default: break
        }
        return report
    }

    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        if fault == .doesNotForget { return ForgettingReport() }
        var report = try await base.forget(user, donors: donors)
        if fault == .namesNoStalePriors { report.stalePriors = [] }
        return report
    }
}
