import LoRA
import Reasoning
import StorageTesting
import Testing

@testable import Personalization

struct StreamPositionTests {
    private let user = "ada"

    @Test("an update's position is kept with what was learned, on every way to the journal", arguments: [false, true])
    func isKeptWithTheUpdate(hasBank: Bool) async throws {
        let script = try Script()
        let journal = FaultyJournal()
        let engine = try PersonalizationEngine(configuration: script.configuration(), journal: journal)
        if hasBank { engine.connectReasoningBank(InMemoryReasoningBank()) }
        func update(_ step: Int, _ sequence: Int64, id: FeedbackID? = nil) async throws -> UpdateReport {
            try await engine.updateAdapter(
                for: user, with: [script.one(.ranking, user, step)], id: id,
                position: StreamPosition(stream: "s", sequence: sequence))
        }
        #expect(try await engine.position(in: "s") == 0)
        // The first makes the adapter, the second finds it.
        for step in 0..<2 {
            #expect(try await update(step, Int64(step) + 5, id: FeedbackID("\(step)")).samples == 1)
            #expect(try await engine.position(in: "s") == Int64(step) + 5)
        }
        // What is known already was read all the same.
        #expect(try await update(1, 7, id: FeedbackID("1")).samples == 0)
        #expect(try await engine.position(in: "s") == 7)
        journal.set(.fails)
        await #expect(throws: EngineError.self) { _ = try await update(2, 8) }
        #expect(try await engine.position(in: "s") == 7)
        let failure = await #expect(throws: EngineError.self) {
            try await engine.record(StreamPosition(stream: "s", sequence: 9))
        }
        #expect(failure?.code == .journalFailed)
        journal.set(.works)
        // Feedback that is refused is not learned, and its position not kept.
        await #expect(throws: EngineError.self) {
            try await engine.updateAdapter(
                for: user, with: [Feedback(embedding: [1], signal: .reward(1, for: .vector([1])))],
                position: StreamPosition(stream: "s", sequence: 9))
        }
        #expect(try await engine.position(in: "s") == 7)
        try await engine.record(StreamPosition(stream: "s", sequence: 9))
        #expect(try await engine.position(in: "s") == 9)
        #expect(try await journal.inner.entries(of: user, after: nil).count == 2)
    }

    @Test("a stream's name has 1 to 1,024 bytes, and without a journal nothing is kept")
    func names() async throws {
        let script = try Script()
        let engine = try PersonalizationEngine(
            configuration: script.configuration(), journal: InMemoryFeedbackJournal())
        for name in ["", String(repeating: "ż", count: 513)] {
            let position = StreamPosition(stream: name, sequence: 1)
            for (operation, call) in [
                ("position", { _ = try await engine.position(in: name) }),
                ("record", { try await engine.record(position) }),
                (
                    "updateAdapter",
                    {
                        try await engine.updateAdapter(
                            for: user, with: [script.one(.ranking, user, 0)], position: position)
                    }
                ),
            ] as [(String, () async throws -> Void)] {
                let error = await #expect(throws: EngineError.self) { try await call() }
                #expect(error?.code == .invalidStream && error?.operation == operation)
            }
        }
        #expect(try await engine.adapter(for: user) == nil)
        let longest = StreamPosition(stream: String(repeating: "ż", count: 512), sequence: 1)
        try await engine.record(longest)
        #expect(try await engine.position(in: longest.stream) == 1)
        let other = try PersonalizationEngine(configuration: script.configuration())
        try await other.updateAdapter(for: user, with: [script.one(.ranking, user, 0)], position: longest)
        #expect(try await other.position(in: longest.stream) == 0)
    }
}
