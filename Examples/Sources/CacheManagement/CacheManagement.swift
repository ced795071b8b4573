import Attune
import Support
import Synchronization

/// The bank's answers are cached for five minutes, so that most updates ask nobody. The cache is bounded, empties itself when
/// banks are exchanged, and can be cleared or switched off. Time is told by a clock of our own here, so that nobody waits.
@main
struct CacheManagement {
    static func main() async throws {
        let shop = try Shop()
        let clock = HandClock()
        var configuration = shop.configuration
        configuration.reasoning.cacheCapacity = 40
        configuration.reasoningBank = InMemoryReasoningBank(clock: clock)
        let engine = try PersonalizationEngine(configuration: configuration, clock: clock)

        // Situations are told apart roughly, so a user's next update mostly finds the answer to the one before.
        for user in 0..<5 { try await learn(user, 0..<19, shop, engine) }
        print("                        hits  asked  expired  evicted  entries")
        show("Five users, 19 likes", engine)

        // Answers grow old: after five minutes the bank is asked again.
        for _ in 0..<2 { try await learn(0, 18..<19, shop, engine) }
        show("The first, twice more", engine)
        clock.advance(seconds: 301)
        for _ in 0..<2 { try await learn(0, 18..<19, shop, engine) }
        show("The same 301 s later", engine)

        // With more users than it holds the least recently used answer goes. Size the cache for the users of five minutes.
        for user in 10..<30 { try await learn(user, 0..<2, shop, engine) }
        show("Twenty more users", engine)

        // Clear it when the bank was changed behind the engine's back; consolidation through the engine does it by itself.
        engine.clearReasoningBankCache()
        show("Cleared", engine)

        // Without the cache every update asks.
        configuration.enableReasoningBankCache = false
        let uncached = try PersonalizationEngine(configuration: configuration, clock: clock)
        try await learn(40, 0..<19, shop, uncached)
        print("Without the cache, one user, 19 likes: asked \(uncached.reasoningBankStatistics().queries) times.")
    }

    static func learn(_ user: Int, _ steps: Range<Int>, _ shop: Shop, _ engine: PersonalizationEngine) async throws {
        let likes = shop.likes(of: user)
        for step in steps { try await engine.updateAdapter(for: "user \(user)", with: [likes[step]]) }
        try await engine.flushReasoningBank()
    }

    /// Whatever the cache has not is asked of the bank.
    static func show(_ title: String, _ engine: PersonalizationEngine) {
        let now = engine.reasoningBankStatistics()
        let numbers = [now.cacheHits, now.cacheMisses, now.cacheExpirations, now.cacheEvictions, now.cacheEntries]
        let cells = zip(numbers, [6, 7, 9, 9, 9]).map { String(repeating: " ", count: $1 - "\($0)".count) + "\($0)" }
        print(title + String(repeating: " ", count: 22 - title.count) + cells.joined())
    }
}

/// A clock that moves when it is told to.
final class HandClock: ReasoningClock {
    private let seconds = Atomic<Int64>(0)
    var now: Timestamp { Timestamp(microseconds: seconds.load(ordering: .relaxed) * 1_000_000) }
    var uptime: Double { Double(seconds.load(ordering: .relaxed)) }
    func advance(seconds: Int64) { self.seconds.add(seconds, ordering: .relaxed) }
}
