import LearningRecords
import Reasoning
import Testing

@Suite struct ModelCallRecorderTests {
    let store = InMemoryRecordStore()
    let model = ScriptedModel()

    private func calls(_ store: InMemoryRecordStore? = nil) async throws -> [SpanRecord] {
        var query = SpanQuery()
        (query.kind, query.limit) = (.modelCall, SpanQuery.mostSpans)
        return try await (store ?? self.store).spans(query)
    }

    @Test func keepsWhatWentInAndCameOut() async throws {
        let recorder = try ModelCallRecorder(store: store)
        let enabled = try await recorder.enable(.everything, by: "ann")
        #expect(enabled.isEnabled && enabled.id.wholeMatch(of: /session_[0-9]{13}_[0-9a-f]{8}/) != nil, "\(enabled.id)")
        let call = ModelCall(
            "TEXT_LARGE", provider: "acme", model: "m-1",
            context: SpanContext(agent: "shop", room: "r", entity: "ada", message: "m"), externalID: "x")
        let answer = await recorder.record(call, input: .json("{\"prompt\":\"hello\"}")) {
            await model.answer("hello")
        } output: {
            ModelOutput(.text($0), model: "m-1b", inputTokens: 3, outputTokens: 4, cost: 0.5)
        }
        #expect(answer == "You said: hello" && model.count == 1)
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(!status.isEnabled && status.total == 1 && status.successful == 1 && status.failed == 0)
        #expect(status.successRate == 1 && status.medianLatency != nil && status.unflushed == 0)
        // Two audit rows are stored too, and are no calls.
        #expect(status.records == 1 && status.dropped == 0 && status.sinkFailures == 0)
        let span = try #require(try await calls().first)
        #expect(try await calls().count == 1)
        #expect(span.name == "TEXT_LARGE" && span.provider == "acme" && span.requestModel == "m-1")
        #expect(span.responseModel == "m-1b" && span.inputTokens == 3 && span.outputTokens == 4 && span.cost == 0.5)
        #expect(span.context == call.context && span.externalID == "x" && span.recording == enabled.id)
        #expect(span.status == .completed && span.failure == nil && (span.duration ?? -1) >= 0)
        #expect(span.contents == [.input: .json("{\"prompt\":\"hello\"}"), .output: .text("You said: hello")])
        let recording = try #require(try await store.recordings(limit: 1).first)
        #expect(recording.state == .completed && recording.totals == RecordingTotals(records: 1, successful: 1))
    }

    @Test func throwsTheSameErrorAndNeverCallsAgain() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        // The error's type is kept: this compiles without a cast.
        do throws(ScriptedModel.Refusal) {
            _ = try await recorder.record(ModelCall("TEXT_SMALL"), input: .text("please, ann@example.org")) {
                () async throws(ScriptedModel.Refusal) in try await model.refuse("not to bob@example.org")
            }
            Issue.record("nothing was thrown")
        } catch {
            #expect(error == ScriptedModel.Refusal(reason: "not to bob@example.org"))
        }
        await #expect(throws: CancellationError.self) {
            try await recorder.record(ModelCall("TEXT_SMALL"), input: nil) { throw CancellationError() }
        }
        #expect(model.count == 1)
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.total == 2 && status.failed == 2 && status.successRate == 0)
        let spans = try await calls()
        #expect(spans.map(\.status) == [.failed, .cancelled])
        #expect(spans[0].failure?.type == "Refusal")
        #expect(spans[0].failure?.message == "Refusal(reason: \"not to [email]\")")
        #expect(spans[0].contents == [.input: .text("please, [email]")] && spans[0].severity == .error)
    }

    @Test func doesNothingWhereNothingIsSwitchedOn() async throws {
        let recorder = try ModelCallRecorder(store: store)
        func never() -> RecordContent { Issue.record("the input was made"); return .text("") }
        let answer = await recorder.record(ModelCall("A"), input: never()) { await model.answer("a") }
        #expect(answer == "You said: a")
        try await recorder.enable(.agent("shop"))
        _ = await recorder.record(ModelCall("A"), input: never()) { await model.answer("b") }
        try await recorder.disable(.agent("shop"), flushWithin: .seconds(600))
        _ = await recorder.record(ModelCall("A"), input: never()) { await model.answer("c") }
        #expect(model.count == 3)
        #expect(try await calls().isEmpty)
    }

    @Test func switchingTwiceIsAnError() async throws {
        let recorder = try ModelCallRecorder(store: store)
        func code(_ body: () async throws(RecordError) -> RecordingStatus) async -> RecordError.Code? {
            do throws(RecordError) { _ = try await body() } catch { return error.code }
            return nil
        }
        #expect(
            await code { () async throws(RecordError) in
                try await recorder.disable(.everything, flushWithin: .seconds(600))
            } == .notRecording)
        #expect(await code { () async throws(RecordError) in try await recorder.enable(.everything) } == nil)
        #expect(
            await code { () async throws(RecordError) in try await recorder.enable(.everything) } == .alreadyRecording)
        #expect(await code { () async throws(RecordError) in try await recorder.enable(.agent("a")) } == nil)
        #expect(
            await code { () async throws(RecordError) in
                try await recorder.disable(.agent("b"), flushWithin: .seconds(600))
            } == .notRecording)
        #expect(recorder.statuses().count == 2 && recorder.status(.agent("a"))?.total == 0)
        var odd = RecordingConfiguration.minimal
        odd.sample = 0
        #expect(await code { () async throws(RecordError) in try await recorder.enable(.agent("c"), odd) } == .invalid)
        #expect(
            await code { () async throws(RecordError) in
                try await recorder.disable(.everything, flushWithin: .seconds(600))
            } == nil)
        #expect(recorder.status() == nil)
    }

    @Test func everySwitchIsAnAuditRow() async throws {
        let recorder = try ModelCallRecorder(store: store)
        let id = try await recorder.enable(.agent("shop"), by: "ann \"a\"").id
        try await recorder.disable(.agent("shop"), flushWithin: .seconds(600), by: "bob")
        #expect(await recorder.flush(within: .seconds(600)))
        var query = SpanQuery()
        query.kind = .event
        let rows = try await store.spans(query)
        #expect(rows.map(\.name) == ["recording enabled", "recording disabled"])
        #expect(
            rows.map(\.attributes) == [
                "{\"recording\":\"\(id)\",\"by\":\"ann \\\"a\\\"\"}", "{\"recording\":\"\(id)\",\"by\":\"bob\"}",
            ])
        #expect(rows.allSatisfy { $0.context.agent == "shop" && $0.recording == nil && $0.status == .completed })
    }

    @Test func aCallBelongsToTheNarrowestRecording() async throws {
        let recorder = try ModelCallRecorder(store: store)
        let all = try await recorder.enable(.everything).id
        let agent = try await recorder.enable(.agent("shop")).id
        let subject = try await recorder.enable(.subject("ada")).id
        for (who, about) in [("shop", "ada"), ("shop", "bob"), ("other", "ada"), ("other", "bob")] {
            let call = ModelCall("A", context: SpanContext(agent: who, entity: about))
            _ = await recorder.record(call, input: nil) { await model.answer("") }
        }
        for scope in [RecordingScope.everything, .agent("shop"), .subject("ada")] {
            try await recorder.disable(scope, flushWithin: .seconds(600))
        }
        #expect(try await calls().map(\.recording) == [subject, agent, subject, all])
    }

    @Test func aSampleTakesASubjectAlwaysOrNever() async throws {
        let recorder = try ModelCallRecorder(store: store)
        var sampled = RecordingConfiguration.minimal
        sampled.sample = 0.25
        try await recorder.enable(.everything, sampled)
        for number in 0..<2_000 {
            let call = ModelCall("A", context: SpanContext(entity: "user \(number % 500)"))
            _ = await recorder.record(call, input: nil) { "" }
        }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        let users = Dictionary(grouping: try await calls(), by: \.context.entity).mapValues(\.count)
        #expect(users.values.allSatisfy { $0 == 4 } && status.total == users.count * 4)
        // 125 expected, with a standard deviation of 9.7.
        #expect((90...160).contains(users.count), "\(users.count)")
    }

    @Test func whatCannotBeRedactedIsNotKept() async throws {
        struct No: Error {}
        let recorder = try ModelCallRecorder(store: store)
        var configuration = RecordingConfiguration.minimal
        configuration.redaction.custom = { _ in throw No() }
        try await recorder.enable(.everything, configuration)
        _ = await recorder.record(ModelCall("A", provider: "acme"), input: .text("secret")) { "more" }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        let span = try #require(try await calls().first)
        #expect(status.redactionFailures == 1 && status.successful == 1 && span.contents.isEmpty)
        #expect(span.provider == "acme" && span.status == .completed)
    }

    @Test func aRecordingWithoutContentsKeepsTheRest() async throws {
        let recorder = try ModelCallRecorder(store: store)
        var configuration = RecordingConfiguration.minimal
        (configuration.keepsContents, configuration.fillsOutbox) = (false, true)
        try await recorder.enable(.everything, configuration)
        _ = await recorder.record(ModelCall("A"), input: .text("secret")) { "more" }
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        let span = try #require(try await calls().first)
        #expect(span.contents.isEmpty && span.duration != nil)
        // Beside the rows that say who switched it on and off.
        #expect(store.published.count == 3 && store.published.contains(span.id))
    }

    @Test func recordsOfManyTasksAreAllThereAndInOrder() async throws {
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    let trace = RecordID(at: SystemClock().now)
                    for number in 0..<500 {
                        let call = ModelCall(
                            "A", model: "\(number)", context: SpanContext(agent: "\(task)"), trace: trace)
                        _ = await recorder.record(call, input: .text("\(number)")) { "\(number)" }
                    }
                }
            }
            try await group.waitForAll()
        }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.total == 4_000 && status.records == 4_000 && status.dropped == 0)
        for task in 0..<8 {
            var query = SpanQuery()
            (query.agent, query.limit) = ("\(task)", 1_000)
            let spans = try await store.spans(query)
            let sorted = spans.sorted { ($0.startedAt, $0.id) < ($1.startedAt, $1.id) }
            #expect(Set(spans.map(\.trace)).count == 1 && spans.count == 500)
            // Two within one microsecond have no order of their own.
            let numbers = sorted.compactMap { $0.requestModel.flatMap { Int($0) } }
            #expect(zip(numbers, numbers.dropFirst()).allSatisfy { abs($0 - $1) <= 2 })
        }
    }

    @Test func whatIsGivenAsJSONAndIsNoneIsRedactedAsWords() async throws {
        let store = InMemoryRecordStore()
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        let said =
            "Sure! Write to ann@example.org, card 4111 1111 1111 1111.\n```json\n{\"mail\":\"bob@example.org\"}\n```"
        for text in [said, "{\"mail\": \"eve@example.org", "{\"mail\": \"eve@example.org\"}"] {
            _ = await recorder.record(ModelCall("A"), input: .json(text)) {
                text
            } output: {
                ModelOutput(.json($0))
            }
        }
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        var query = SpanQuery()
        query.kind = .modelCall
        let contents = try await store.spans(query).map(\.contents)
        let words = "Sure! Write to [email], card [card].\n```json\n{\"mail\":\"[email]\"}\n```"
        #expect(contents[0] == [.input: .text(words), .output: .text(words)])
        #expect(contents[1] == [.input: .text("{\"mail\": \"[email]"), .output: .text("{\"mail\": \"[email]")])
        #expect(contents[2][.input] == .json("{\"mail\": \"[email]\"}"))
    }

    @Test func wordsOfErrorsAreRedactedBeforeTheyAreCut() async throws {
        struct Long: Error, CustomStringConvertible { let description: String }
        let store = InMemoryRecordStore()
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        // The card begins before the cut and ends after it.
        let text = String(repeating: "x", count: 4_085) + " 4111 1111 1111 1111 and more"
        await #expect(throws: Long.self) {
            try await recorder.record(ModelCall("A"), input: nil) { () async throws(Long) -> String in
                throw Long(description: text)
            }
        }
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        var query = SpanQuery()
        query.kind = .modelCall
        let message = try #require(try await store.spans(query).first?.failure?.message)
        #expect(message.count == 4_096 && !message.contains("4111") && message.contains("[card]"))
    }

    @Test func aCallIsKeptWhateverItSaysOfItself() async throws {
        let store = InMemoryRecordStore()
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        let long = String(repeating: "ü", count: 600)
        let call = ModelCall("", provider: "a\0b", model: long, context: SpanContext(agent: long))
        _ = await recorder.record(call, input: nil) {
            ""
        } output: { _ in
            ModelOutput(nil, inputTokens: -1, outputTokens: 3, cost: .nan)
        }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.records == 1 && status.sinkFailures == 0)
        var query = SpanQuery()
        query.kind = .modelCall
        let span = try #require(try await store.spans(query).first)
        #expect(span.name == "unnamed" && span.provider == "a\u{FFFD}b" && span.cost == nil)
        #expect(span.inputTokens == nil && span.outputTokens == 3)
        #expect(span.requestModel == String(repeating: "ü", count: 512) && span.context.agent == span.requestModel)
    }

    @Test func whoseNameIsCutIsErasedByTheWholeName() async throws {
        let store = InMemoryRecordStore()
        let recorder = try ModelCallRecorder(store: store)
        try await recorder.enable(.everything)
        let long = String(repeating: "ada", count: 600)
        for number in 0..<2 {
            let call = ModelCall("A", context: SpanContext(entity: long), externalID: "\(long) \(number)")
            _ = await recorder.record(call, input: .text("mine")) { "" }
        }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.records == 2)
        #expect(try await store.eraseContents(about: long) == 4)
    }

    @Test func toWriteDownWhatWentInAndOutIsNoPartOfTheCall() async throws {
        let recorder = try ModelCallRecorder(store: InMemoryRecordStore())
        try await recorder.enable(.everything)
        func slowly(_ text: String) -> RecordContent {
            let end = ContinuousClock.now + .milliseconds(500)
            while ContinuousClock.now < end {}
            return .text(text)
        }
        _ = await recorder.record(ModelCall("A"), input: slowly("in")) {
            ""
        } output: {
            ModelOutput(slowly($0))
        }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(try #require(status.medianLatency) < 450_000)
    }
}
