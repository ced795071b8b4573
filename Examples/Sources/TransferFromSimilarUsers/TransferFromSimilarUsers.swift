import Attune
import Support

/// New users start from what users like them learned, instead of from nothing. The shop's users are of four groups that want
/// different things; nobody tells the bank which group a user is of.
@main
struct TransferFromSimilarUsers {
    static func main() async throws {
        let shop = try Shop(users: 200, groups: 4)
        let bank = InMemoryReasoningBank()
        let engine = try PersonalizationEngine(configuration: shop.configuration)
        engine.connectReasoningBank(bank)

        // A hundred and sixty users teach the bank, which then makes starts from their adapters.
        for user in 0..<160 { try await shop.live(user, as: "user \(user)", in: engine) }
        guard let report = try await engine.consolidateAdaptationPatterns() else { return }
        print("Learned from \(report.users) users: \(report.created.count) groups alike in taste,", terminator: " ")
        print("and a start for everybody from \(report.populationDonors) of them.")

        // Forty new users live the same likes twice: in this engine, and in one without a bank.
        let alone = try PersonalizationEngine(configuration: shop.configuration)
        let newcomers = 160..<200
        var none: [[Int]] = []
        var cold: [[Int]] = []
        var warm: [[Int]] = []
        for user in newcomers {
            none.append(shop.placesWithoutAdapter(of: user))
            cold.append(try await shop.live(user, as: "user \(user)", in: alone))
            warm.append(try await shop.live(user, as: "user \(user)", in: engine))
        }
        print("Mean place of the next like among 120 items, \(newcomers.count) new users:")
        print("  after likes    no adapter   own adapter   own adapter, with the bank")
        for (label, range) in [("1", 0..<1), ("2-3", 1..<3), ("4-7", 3..<7), ("8-19", 7..<19)] {
            let numbers = [none, cold, warm].map { "\(mean($0.flatMap { $0[range] }))" }
            print("  \(padded(label, 15))\(padded(numbers[0], 13))\(padded(numbers[1], 14))\(numbers[2])")
        }
        let statistics = engine.reasoningBankStatistics()
        print("Warm starts: \(statistics.warmStarts); started again once their taste was known:", terminator: " ")
        print(statistics.restarts)

        // Whom the bank finds like the last newcomer: other users, by digest; here we know who they are.
        let last = newcomers.upperBound - 1
        let names = Dictionary(
            uniqueKeysWithValues: (0..<200).map { (DigestKey(1, 2).digest(of: "user \($0)"), $0) })
        let similar = try await engine.similarAdaptations(to: "user \(last)", limit: 10) ?? []
        let alike = similar.count { names[$0.userKey].map { $0 % 4 } == last % 4 }
        print("Of the \(similar.count) adaptations most like the last newcomer's, \(alike) are of the same group.")
    }

    static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
