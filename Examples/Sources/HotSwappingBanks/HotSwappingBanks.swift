import Attune
import Support
import Synchronization

/// A bank can be connected, exchanged and disconnected at any time, also while updates are going on: none of them fails, and
/// no answer of one bank is given for another. The use: move to a new bank, or take a broken one out, without a restart.
@main
struct HotSwappingBanks {
    static func main() async throws {
        let shop = try Shop()
        let engine = try PersonalizationEngine(configuration: shop.configuration, clock: StandingClock())
        let (first, second) = (InMemoryReasoningBank(), InMemoryReasoningBank())
        engine.connectReasoningBank(first)

        // Twenty users learn at the same time while the banks are exchanged behind their backs.
        let swaps = 200
        let (updates, failures) = await withTaskGroup(of: (Int, Int).self) { group in
            for user in 0..<20 {
                group.addTask {
                    var (updates, failures) = (0, 0)
                    for like in shop.likes(of: user) {
                        do {
                            try await engine.updateAdapter(for: "user \(user)", with: [like])
                            updates += 1
                        } catch { failures += 1 }
                        await Task.yield()
                    }
                    return (updates, failures)
                }
            }
            for swap in 0..<swaps {
                engine.connectReasoningBank(swap % 2 == 0 ? second : first)
                await Task.yield()
            }
            var sum = (updates: 0, failures: 0)
            for await part in group { sum = (sum.updates + part.0, sum.failures + part.1) }
            return (sum.updates, sum.failures)
        }
        print("\(swaps) swaps during \(updates) updates, of which \(failures) failed.")

        // Episodes go to the bank that was asked before their update. Shutting down hands over what is still open, and waits for
        // what is on its way to either.
        guard try await engine.shutdown(deadline: .seconds(60)) else { fatalError("the banks take too long") }
        let held = first.statistics.episodes + second.statistics.episodes
        print("Episodes in the two banks together: \(held); dropped: \(engine.reasoningBankStatistics().dropped)")

        let other = shop.likes(of: 50)

        // Out with both: from now on updates are as if there had never been a bank.
        engine.disconnectReasoningBank()
        try await engine.updateAdapter(for: "user 0", with: [other[0]])
        print(
            "Connected: \(engine.hasReasoningBank); episodes stored since: \(engine.reasoningBankStatistics().stored - updates)"
        )

        // A bank that fails costs an update nothing but its hints. After three failures in a row it is left alone for a while.
        let broken = Broken()
        engine.connectReasoningBank(broken)
        for like in other[1..<11] { try await engine.updateAdapter(for: "user 0", with: [like]) }
        print("With a broken bank: 10 updates done, look-ups tried: \(broken.asked.load(ordering: .relaxed))")

        // In with a good one again; its cache starts empty, so nothing old is served.
        engine.connectReasoningBank(first)
        try await engine.updateAdapter(for: "user 0", with: [other[11]])
        print("Answers in the cache of the new connection: \(engine.reasoningBankStatistics().cacheEntries)")
    }
}

/// A clock that stands still, so that what is left alone for a second stays so until the program ends.
struct StandingClock: ReasoningClock {
    let now = Timestamp(microseconds: 0)
    let uptime = 0.0
}

/// A bank that is never there when it is asked, and counts how often it was.
final class Broken: ReasoningBank {
    struct Away: Error {}
    let asked = Atomic<Int>(0)

    func learnStrategy(_ task: AdaptationTask) async throws -> StrategyAdvice {
        asked.add(1, ordering: .relaxed)
        throw Away()
    }
    func retrievePatterns(_ query: PatternQuery) async throws -> [RetrievedPattern] { throw Away() }
    func storePattern(_ episode: Episode) async throws -> EpisodeID { throw Away() }
    func autoConsolidate(_ policy: ConsolidationPolicy, donors: any DonorSource) async throws -> ConsolidationReport {
        throw Away()
    }
    func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport { throw Away() }
}
