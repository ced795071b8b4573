import LearningRecords
import Testing

@Suite struct RecordedStreamTests {
    let store = InMemoryRecordStore()
    let model = ScriptedModel()

    private func only(_ recorder: ModelCallRecorder) async throws -> SpanRecord {
        #expect(await recorder.flush(within: .seconds(600)))
        var query = SpanQuery()
        query.kind = .modelCall
        let spans = try await store.spans(query)
        try #require(spans.count == 1)
        return spans[0]
    }

    private func opened(
        _ recorder: ModelCallRecorder, _ words: [String], then error: ScriptedModel.Refusal? = nil,
        pause: Duration = .zero
    ) async throws -> RecordedStream<AsyncThrowingStream<String, any Error>> {
        await recorder.recordStream(ModelCall("TEXT_LARGE"), input: .text("count")) {
            model.stream(words, then: error, pause: pause)
        } chunk: {
            ModelChunk($0, inputTokens: 7, outputTokens: Int64($0.utf8.count), model: "m")
        }
    }

    @Test func passesEveryPieceOnAndKeepsTheWhole() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        var seen: [String] = []
        for try await word in try await opened(recorder, ["one ", "two ", "ann@example.org"]) { seen.append(word) }
        #expect(seen == ["one ", "two ", "ann@example.org"] && model.count == 1)
        let span = try await only(recorder)
        // Redacted as a whole: an address may be cut in two by pieces.
        #expect(span.contents == [.input: .text("count"), .output: .text("one two [email]")])
        #expect(
            span.status == .completed && span.inputTokens == 7 && span.outputTokens == 15 && span.responseModel == "m")
        let (first, whole) = (try #require(span.timeToFirstChunk), try #require(span.duration))
        #expect(first >= 0 && first <= whole)
    }

    @Test func anErrorComesThroughAndIsKept() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        var seen: [String] = []
        await #expect(throws: ScriptedModel.Refusal(reason: "enough")) {
            for try await word in try await opened(recorder, ["a", "b"], then: .init(reason: "enough")) {
                seen.append(word)
            }
        }
        #expect(seen == ["a", "b"])
        let span = try await only(recorder)
        #expect(span.status == .failed && span.contents[.output] == .text("ab") && span.failure?.type == "Refusal")
    }

    @Test func oneThatIsLeftHalfWayIsCancelled() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        for try await word in try await opened(recorder, ["a", "b", "c"]) where word == "b" { break }
        let span = try await only(recorder)
        #expect(span.status == .cancelled && span.contents[.output] == .text("ab"))
    }

    @Test func oneThatNobodyReadsIsCancelled() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        _ = try await opened(recorder, ["a"])
        let span = try await only(recorder)
        #expect(span.status == .cancelled && span.contents[.output] == .text("") && span.timeToFirstChunk == nil)
    }

    @Test func aCancelledTaskIsCancelled() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        let stream = try await opened(recorder, Array(repeating: "x", count: 100_000), pause: .milliseconds(1))
        let (started, signal) = AsyncStream<Void>.makeStream()
        let reading = Task {
            var count = 0
            for try await _ in stream {
                count += 1
                if count == 3 { signal.finish() }
            }
            return count
        }
        for await _ in started {}
        reading.cancel()
        _ = await reading.result
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.failed == 1 && status.successful == 0)
    }

    @Test func onlyTheFirstPassIsKept() async throws {
        struct Words: AsyncSequence, AsyncIteratorProtocol {
            var left = 3
            mutating func next() async -> String? {
                left -= 1
                return left >= 0 ? "w" : nil
            }
            func makeAsyncIterator() -> Words { self }
        }
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        let stream = await recorder.recordStream(ModelCall("A"), input: nil) {
            Words()
        } chunk: {
            ModelChunk($0)
        }
        for _ in 0..<2 {
            var count = 0
            for await _ in stream { count += 1 }
            #expect(count == 3)
        }
        #expect(try await only(recorder).contents[.output] == .text("www"))
    }

    @Test func aStreamThatDoesNotOpenIsAFailedCall() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        await #expect(throws: ScriptedModel.Refusal(reason: "closed")) {
            _ = try await recorder.recordStream(ModelCall("A"), input: nil) {
                () async throws -> AsyncStream<String> in
                throw ScriptedModel.Refusal(reason: "closed")
            } chunk: {
                ModelChunk($0)
            }
        }
        #expect(try await only(recorder).status == .failed)
    }
}
