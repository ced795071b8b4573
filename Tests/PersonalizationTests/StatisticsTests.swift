import LoRA
import TensorCore
import Testing

@testable import Personalization

@Suite(.timeLimit(.minutes(10)))
struct StatisticsTests {
    @Test func everyCallIsCountedOnce() async throws {
        let script = try Script()
        let engine = try script.engine()
        var expected = EngineStatistics()
        #expect(engine.statistics() == expected)
        let users = (0..<7).map { "user \($0)" }
        for user in users.prefix(3) { try await engine.createAdapter(for: user) }
        for user in users {
            for step in 0..<2 { try await engine.updateAdapter(for: user, with: script.batch(user, step)) }
        }
        expected.created = 7
        expected.updates = 14
        expected.residentAdapters = 7
        expected.unsavedAdapters = 7
        _ = try await engine.personalize(script.probe(), for: users[0])
        _ = try await engine.personalize(script.probe(), for: "nobody")
        _ = try await engine.personalize(
            [users[1], "nobody", users[2], users[1], "none"].map {
                PersonalizationRequest(user: $0, embedding: script.probe())
            })
        _ = try await engine.personalize(Matrix<Float>(rows: 4, columns: 20), for: users[3])
        _ = try await engine.personalize(Matrix<Float>(rows: 2, columns: 20), for: "nobody")
        _ = try await engine.personalize(Matrix<Float>(rows: 0, columns: 20), for: "nobody")
        expected.reads = 1 + 1 + 5 + 4 + 2
        expected.unpersonalizedReads = 1 + 2 + 2
        expected.residentBytes = engine.statistics().residentBytes
        #expect(engine.statistics() == expected)
        try await engine.removeAdapter(for: users[6])
        expected.residentAdapters = 6
        expected.unsavedAdapters = 6
        expected.residentBytes = expected.residentBytes / 7 * 6
        #expect(engine.statistics() == expected)
        try await engine.checkpoint()
        expected.unsavedAdapters = 0
        #expect(engine.statistics() == expected)
    }

    /// Numbers of 4 bytes a parameter, each block rounded up to whole lines of 64 bytes.
    static func bytes(_ numbers: Int) -> Int { (numbers * 4 + 63) / 64 * 64 }

    @Test(arguments: [
        (Optimizer.sgd, false, 0), (.momentum(), false, 1), (.adam(), false, 2), (.doG(), false, 1), (.sgd, true, 3),
        (.adaGrad(), true, 4),
    ])
    func reportedBytesAreThoseThatAreHeld(optimizer: Optimizer, isProtected: Bool, blocks: Int) async throws {
        for hasBias in [false, true] {
            let script = try Script(dimension: 31, rank: 3)
            var configuration = script.configuration(
                update: UpdateConfiguration(
                    optimizer: optimizer,
                    elasticWeightConsolidation: isProtected ? ElasticWeightConsolidation() : nil))
            configuration.hasBias = hasBias
            let engine = try PersonalizationEngine(configuration: configuration)
            let n = 2 * 3 * 31 + (hasBias ? 31 : 0)
            // State comes with the first update that needs it.
            for i in 0..<5 { try await engine.createAdapter(for: "user \(i)") }
            #expect(engine.statistics().residentBytes == 5 * Self.bytes(n))
            for i in 0..<5 { try await engine.updateAdapter(for: "user \(i)", with: script.batch("user \(i)", 0)) }
            var sum = 0
            for i in 0..<5 { sum += try #require(try await engine.adapter(for: "user \(i)")).byteCount }
            let optimizerBlocks = optimizer.stateCountPerParameter
            let expected =
                Self.bytes(n) + (optimizerBlocks > 0 ? Self.bytes(optimizerBlocks * n) : 0)
                + (isProtected ? Self.bytes(3 * n) : 0)
            #expect(optimizerBlocks + (isProtected ? 3 : 0) == blocks)
            #expect(sum == 5 * expected && engine.statistics().residentBytes == sum)
        }
    }

    @Test func failedFirstUpdatesAndUsersWhoCameAndWentLeaveNoSlots() async throws {
        let script = try Script()
        let engine = try script.engine()
        for i in 0..<500 {
            _ = try await engine.personalize(script.probe(), for: "reader \(i)")
            try await engine.createAdapter(for: "guest \(i)")
            try await engine.removeAdapter(for: "guest \(i)")
            _ = try? await engine.updateAdapter(
                for: "failing \(i)", with: [Feedback(embedding: [], signal: .target([]))])
        }
        #expect(engine.slotCount == 0)
        #expect(engine.statistics().residentBytes == 0)
    }
}
