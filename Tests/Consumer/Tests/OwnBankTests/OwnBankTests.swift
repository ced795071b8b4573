import Attune
import StorageTesting
import Testing

/// What an engineer outside the package does who brings a bank of their own.
@Suite("A bank of somebody else's")
struct OwnBankTests {
    @Test("keeps every promise")
    func contract() async throws {
        let violations = try await ReasoningBankContract { PlainBank() }.violations()
        #expect(violations.isEmpty, "\(violations)")
    }

    @Test("serves an engine: users leave episodes, skills are made, and the next user starts from one")
    func engine() async throws {
        let bank = PlainBank()
        var configuration = EngineConfiguration(dimension: 4, rank: 2, seed: 42)
        configuration.reasoningBank = bank
        let engine = try PersonalizationEngine(configuration: configuration)
        // Everybody likes what stands at a right angle to what they see.
        let lesson = Feedback(embedding: [1, 0, 0, 0], signal: .target([0, 1, 0, 0]))
        for user in 0..<8 {
            for _ in 0..<6 { try await engine.updateAdapter(for: "user \(user)", with: [lesson]) }
        }
        #expect(try await engine.flushReasoningBank())
        #expect(engine.reasoningBankStatistics().stored == 40 && engine.reasoningBankStatistics().failed == 0)
        let patterns = try await engine.similarAdaptations(to: "user 0")
        #expect(patterns?.isEmpty == false)
        let report = try await engine.consolidateAdaptationPatterns()
        #expect(report?.episodes == 40)
        let receipt = try await engine.forget("user 3")
        #expect(receipt.bank?.episodes == 5)
    }
}
