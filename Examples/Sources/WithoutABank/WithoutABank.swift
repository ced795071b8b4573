import Attune
import Support

/// The engine needs no bank. Without one nothing is looked up and nothing is stored; what asks for a bank says so by `nil`.
@main
struct WithoutABank {
    static func main() async throws {
        let shop = try Shop()
        let engine = try PersonalizationEngine(configuration: shop.configuration)

        // Twenty users live their first twenty likes. Each teaches only their own adapter.
        var places: [[Int]] = []
        for user in 0..<20 { places.append(try await shop.live(user, as: "user \(user)", in: engine)) }
        let plain = (0..<20).map { shop.placesWithoutAdapter(of: $0) }
        print("Mean place of the next like among 120 items:")
        print("  the first five   \(mean(plain.flatMap { $0.prefix(5) })) without an adapter,", terminator: " ")
        print("\(mean(places.flatMap { $0.prefix(5) })) with one")
        print("  the last five    \(mean(plain.flatMap { $0.suffix(5) })) without an adapter,", terminator: " ")
        print("\(mean(places.flatMap { $0.suffix(5) })) with one")

        // Nothing was kept beside the adapters.
        let report = try await engine.consolidateAdaptationPatterns()
        let similar = try await engine.similarAdaptations(to: "user 0")
        let statistics = engine.reasoningBankStatistics()
        print("A bank is connected: \(engine.hasReasoningBank)")
        print("Consolidation: \(report == nil ? "nil" : "a report"), similar users: \(similar == nil ? "nil" : "some")")
        print("Questions asked: \(statistics.queries), episodes stored: \(statistics.stored)")

        // An engine that has a bank and learns nothing from it gives the same bytes: the bank is beside the path, not in it.
        // This one is disconnected before its first update.
        let other = try PersonalizationEngine(configuration: shop.configuration)
        other.connectReasoningBank(InMemoryReasoningBank())
        other.disconnectReasoningBank()
        for user in 0..<20 { try await shop.live(user, as: "user \(user)", in: other) }
        var equal = 0
        for user in 0..<20 {
            let (one, two) = (
                try await engine.adapter(for: "user \(user)"), try await other.adapter(for: "user \(user)")
            )
            if one?.stateHash == two?.stateHash { equal += 1 }
        }
        print("Adapters equal to those of an engine whose bank was disconnected: \(equal) of 20")
    }
}
