import LearningRecords
import Testing

@Suite struct RecordingCommandsTests {
    let store = InMemoryRecordStore()

    private func audits() async throws -> [String] {
        var query = SpanQuery()
        query.kind = .event
        return try await store.spans(query).map(\.name)
    }

    @Test func switchesAsItIsTold() async throws {
        let recorder = try ModelCallRecorder(store: store)
        let commands = RecordingCommands(recorder, configuration: .minimal) { $0.actor != "eve" }
        func outcome(_ text: String, from actor: String = "ann") async -> RecordingCommands.Reply.Outcome {
            await commands.reply(to: text, from: actor).outcome
        }
        #expect(await outcome("please don't start training") == .nothing)
        #expect(await outcome("restart training") == .question)
        #expect(await outcome("training status") == .done(.checkStatus))
        #expect(await outcome("deactivate enhanced reasoning") == .failed(.disable))
        #expect(recorder.status() == nil)
        #expect(await outcome("turn on enhanced reasoning", from: "eve") == .refused(.enable))
        #expect(recorder.status() == nil)
        let on = await commands.reply(to: "Turn on enhanced reasoning, please", from: "ann")
        #expect(on.outcome == .done(.enable) && on.status?.isEnabled == true)
        #expect(await outcome("start training") == .failed(.enable))
        _ = await recorder.record(ModelCall("A"), input: nil) { "" }
        _ = try? await recorder.record(ModelCall("A"), input: nil) { throw CancellationError() }
        let status = await commands.reply(to: "check training status", from: "ann")
        let id = try #require(on.status?.id)
        #expect(
            status.text.hasPrefix(
                "Recording is on.\nSession: \(id)\nKept in: memory\nCalls: 2 (1 successful, 1 failed)\nSuccess rate: 50 %\nDuration: "
            ))
        let off = await commands.reply(to: "stop training", from: "bob")
        #expect(off.outcome == .done(.disable) && off.status?.isEnabled == false && off.text.contains(id))
        #expect(await commands.reply(to: "training status", from: "bob").text == "Nothing is being recorded.")
        #expect(await recorder.flush(within: .seconds(600)))
        // Switches go before what waits.
        #expect(try await audits().sorted() == ["recording disabled", "recording enabled", "recording refused"])
    }
}
