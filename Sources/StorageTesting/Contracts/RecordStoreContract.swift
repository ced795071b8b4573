public import LearningRecords
internal import Reasoning

/// What every ``RecordStore`` promises, checked on any store. Needs no test framework:
///
/// ```swift
/// let violations = try await RecordStoreContract { try await MyStore() }.violations()
/// precondition(violations.isEmpty, "\(violations)")
/// ```
public struct RecordStoreContract: Sendable {
    let makeStore: @Sendable () async throws -> any RecordStore

    /// A suite for stores that a closure makes, each empty; called eight times.
    public init(makeStore: @escaping @Sendable () async throws -> any RecordStore) { self.makeStore = makeStore }

    /// Checks every promise.
    ///
    /// - Returns: The promises that were broken, in the order of the checks; empty for a store that keeps them.
    /// - Throws: What making a store throws, and `CancellationError`. What a store throws is a violation.
    public func violations() async throws -> [ContractViolation] {
        let journal = ContractJournal()
        let run = Run(makeStore: makeStore, journal: journal)
        _ = try await makeStore()
        try await journal.check("an empty store holds nothing") { try await run.checkAnEmptyStore() }
        try await journal.check("spans come back as they were stored") { try await run.checkWholeSpans() }
        try await journal.check("queries find what they ask for") { try await run.checkQueries() }
        try await journal.check("what has a final status stays") { try await run.checkFinalSpans() }
        try await journal.check("what is refused is told, and the rest is kept") { try await run.checkRefusals() }
        try await journal.check("totals are counted from what is stored") { try await run.checkTotals() }
        try await journal.check("an erasure deletes contents and names") { try await run.checkErasure() }
        try await journal.check("all calls may be made from many tasks at once") {
            try await run.checkConcurrentCalls()
        }
        return journal.violations
    }
}

private struct Run: Sendable {
    let makeStore: @Sendable () async throws -> any RecordStore
    let journal: ContractJournal

    private static let start: Int64 = 1_795_757_469_123_456

    private func moment(_ microseconds: Int64) -> Timestamp { Timestamp(microseconds: Self.start + microseconds) }

    private func span(_ number: Int64, _ kind: SpanKind = .modelCall, in recording: String? = nil) -> SpanRecord {
        let moment = moment(number * 1_000)
        var span = SpanRecord(
            id: RecordID(at: moment), trace: RecordID(at: moment), kind: kind, name: "TEXT_LARGE", startedAt: moment)
        span.recording = recording
        span.status = .completed
        span.duration = 1_500
        return span
    }

    private func begun(_ store: any RecordStore, _ id: String) async throws {
        try await store.begin(RecordingRecord(id: id, scope: .everything, startedAt: moment(0)))
    }

    /// Everything that is there, with the contents as they come back: JSON in the same words.
    private func all(_ store: any RecordStore) async throws -> [SpanRecord] {
        var query = SpanQuery()
        query.limit = SpanQuery.mostSpans
        return try await store.spans(query)
    }

    func checkAnEmptyStore() async throws {
        let store = try await makeStore()
        journal.expect("a store says where it keeps records", store.place.isEmpty, is: false)
        journal.expect("an empty store has no recordings", try await store.recordings(limit: 10), is: [])
        journal.expect("an empty store has no spans", try await all(store), is: [])
        journal.expect("nothing is erased from an empty store", try await store.eraseContents(about: "ada"), is: 0)
        journal.expect("storing nothing refuses nothing", try await store.store([]).count, is: 0)
        let error = try await journal.failure("a recording that is not there does not end", of: "end") {
            try await store.end("session_1_00000000", dropped: 0, at: moment(0))
        }
        journal.expect("its error says so", (error as? RecordError)?.code, is: .unknownRecording)
        var query = SpanQuery()
        query.limit = 0
        let refused = try await journal.failure("a limit of 0 is refused", of: "spans") { try await store.spans(query) }
        journal.expect("its error says so", (refused as? RecordError)?.code, is: .invalid)
    }

    func checkWholeSpans() async throws {
        let store = try await makeStore()
        try await begun(store, "s")
        let bare = span(1)
        var full = span(2, .tool, in: "s")
        full.trace = bare.trace
        full.parent = bare.id
        full.status = .failed
        full.severity = .critical
        full.failure = .init(type: "Timeout", message: "after 30 s — “too long” \u{0}\n\u{1F600}")
        (full.timeToFirstChunk, full.provider, full.requestModel) = (700, "acme", "m-1")
        (full.responseModel, full.inputTokens, full.outputTokens, full.cost) = ("m-1b", 12, 0, 0.1)
        (full.tool, full.externalID) = ("search", "call'1\"; DROP TABLE spans")
        full.context = SpanContext(agent: "ågent", room: "room", entity: "ada", message: "message")
        full.attributes = "{\"a\": [1, 2.50, null]}"
        full.contents = [
            .input: .text("“words”\n\t\"\\ \u{1F600} \u{7F}"), .output: .json("{\"b\":[1,2,{\"c\":null}]}"),
            .payload: .text(""),
        ]
        var broken = span(3)
        broken.contents = [.output: .json("{\"b\":")]
        journal.expect("all are taken", try await store.store([bare, full, broken]).map(\.place), is: [])
        let found = try await all(store)
        var expected = [bare, full, broken]
        expected[2].contents = [.output: .text("{\"b\":")]
        journal.expect("spans come back as they were stored", found, is: expected)
    }

    func checkQueries() async throws {
        let store = try await makeStore()
        try await begun(store, "s")
        try await begun(store, "t")
        let first = span(0)
        var spans: [SpanRecord] = []
        for number in 0..<40 as Range<Int64> {
            var span = span(number, number % 5 == 0 ? .event : .modelCall, in: number % 3 == 0 ? "s" : "t")
            span.context.agent = number % 2 == 0 ? "even" : nil
            span.status = number % 7 == 0 ? .failed : .completed
            if number > 30 { span.trace = first.trace }
            spans.append(span)
        }
        // Neither the order of identifiers nor its contrary.
        spans = spans.filter { $0.startedAt >= moment(20_000) } + spans.filter { $0.startedAt < moment(20_000) }
        journal.expect("all are taken", try await store.store(spans).count, is: 0)
        func expect(_ promise: String, _ change: (inout SpanQuery) -> Void, _ holds: (SpanRecord) -> Bool) async throws
        {
            var query = SpanQuery()
            change(&query)
            journal.expect(promise, try await store.spans(query).map(\.id), is: spans.filter(holds).map(\.id))
        }
        let (from, until) = (moment(10_000), moment(20_000))
        let trace = first.trace
        try await expect("spans come in the order in which they were stored", { _ in }) { _ in true }
        try await expect("by recording", { $0.recording = "s" }) { $0.recording == "s" }
        try await expect("by run", { $0.trace = trace }) { $0.trace == trace }
        try await expect("by kind", { $0.kind = .event }) { $0.kind == .event }
        try await expect("by agent", { $0.agent = "even" }) { $0.context.agent == "even" }
        try await expect("by status", { $0.status = .failed }) { $0.status == .failed }
        try await expect("by time, the end left out", { ($0.from, $0.until) = (from, until) }) {
            $0.startedAt >= from && $0.startedAt < until
        }
        try await expect(
            "by all at once",
            { query in
                (query.recording, query.kind, query.agent, query.status) = ("s", .modelCall, "even", .completed)
            },
            { $0.recording == "s" && $0.kind == .modelCall && $0.context.agent == "even" && $0.status == .completed })
        try await expect("a recording that is not there has none", { $0.recording = "u" }) { _ in false }
        try await expect("a run that is not there has none", { $0.trace = RecordID(at: from) }) { _ in false }
        var pages: [RecordID] = []
        var query = SpanQuery()
        query.limit = 7
        while true {
            let page = try await store.spans(query).map(\.id)
            if page.isEmpty { break }
            pages += page
            query.after = page.last
        }
        journal.expect("pages hold each once", pages, is: spans.map(\.id))
        query.after = RecordID(at: from)
        let error = try await journal.failure("pages after a span that is not there are refused", of: "spans") {
            try await store.spans(query)
        }
        journal.expect("its error says so", (error as? RecordError)?.code, is: .invalid)
    }

    func checkFinalSpans() async throws {
        let store = try await makeStore()
        var running = span(1)
        running.status = .running
        running.duration = nil
        running.contents = [.input: .text("begun")]
        var done = running
        done.status = .completed
        done.duration = 5
        done.contents = [.output: .text("done")]
        var late = running
        late.status = .failed
        late.contents = [.output: .text("late")]
        var expected = done
        expected.contents = [.input: .text("begun"), .output: .text("done")]
        for span in [running, done, late, running, done] {
            journal.expect("all are taken", try await store.store([span]).count, is: 0)
        }
        journal.expect("a later status never replaces a final one", try await all(store), is: [expected])
        // Many at once, among them some that are there and some that come twice.
        let many = (10..<200 as Range<Int64>).map { span($0) }
        _ = try await store.store([many[7], many[150]])
        journal.expect("all are taken", try await store.store(many + [done, many[3]] + many).count, is: 0)
        let ids =
            [expected.id, many[7].id, many[150].id] + many.map(\.id).filter { $0 != many[7].id && $0 != many[150].id }
        let found = try await all(store)
        journal.expect("the same again is the same once", found.map(\.id), is: ids)
        journal.expect("whole", Set(found.dropFirst()), is: Set(many))
    }

    func checkRefusals() async throws {
        let store = try await makeStore()
        var first = span(1)
        first.externalID = "x"
        var second = span(2)
        second.externalID = "x"
        var other = span(3, .tool)
        other.externalID = "x"
        var unnamed = span(4)
        unnamed.name = ""
        var negative = span(5)
        negative.duration = -1
        let unknown = span(6, in: "nowhere")
        var attributes = span(7)
        attributes.attributes = "[1]"
        var endless = span(8)
        endless.cost = .infinity
        let last = span(9)
        let refused = try await store.store([
            first, second, other, unnamed, negative, unknown, attributes, endless, last,
        ])
        journal.expect("what is refused is told", refused.map(\.place), is: [1, 3, 4, 5, 6, 7])
        journal.expect(
            "and why", refused.map(\.error.code),
            is: [.duplicate, .invalid, .invalid, .unknownRecording, .invalid, .invalid])
        journal.expect("the others are kept", try await all(store).map(\.id), is: [first.id, other.id, last.id])
        journal.expect("the same again is no duplicate", try await store.store([first]).count, is: 0)
        var taken = first
        taken.id = last.id
        journal.expect(
            "another's external identifier is refused of one that is there too",
            try await store.store([taken]).map(\.error.code), is: [.duplicate])
    }

    func checkTotals() async throws {
        let store = try await makeStore()
        try await begun(store, "s")
        let error = try await journal.failure("an identifier begins once", of: "begin") { try await begun(store, "s") }
        journal.expect("its error says so", (error as? RecordError)?.code, is: .duplicate)
        var later = RecordingRecord(id: "t", scope: .subject("ada"), startedAt: moment(10))
        (later.sample, later.description) = (0.25, "why")
        try await store.begin(later)
        var agents = RecordingRecord(id: "u", scope: .agent("shop"), startedAt: moment(20))
        agents.description = nil
        try await store.begin(agents)
        journal.expect("recordings come latest first", try await store.recordings(limit: 2), is: [agents, later])
        let statuses: [SpanStatus] = [.completed, .completed, .failed, .cancelled, .running]
        for (number, status) in statuses.enumerated() {
            var span = span(Int64(number), in: "s")
            span.status = status
            _ = try await store.store([span])
        }
        let ended = try await store.end("s", dropped: 3, at: moment(99))
        var expected = RecordingRecord(id: "s", scope: .everything, startedAt: moment(0))
        expected.state = .completed
        expected.totals = RecordingTotals(records: 5, successful: 2, failed: 2)
        (expected.dropped, expected.completedAt) = (3, moment(99))
        journal.expect("totals are counted from what is stored", ended, is: expected)
        journal.expect("and kept", try await store.recordings(limit: 10).last, is: expected)
    }

    func checkErasure() async throws {
        let store = try await makeStore()
        var mine = span(1)
        mine.context = SpanContext(agent: "shop", room: "ada's", entity: "ada", message: "m of ada")
        (mine.attributes, mine.isPublished) = ("{\"who\":\"ada\"}", true)
        mine.failure = .init(type: "Refused", message: "ada said so")
        mine.contents = [.input: .text("of ada"), .output: .text("to ada")]
        var other = span(2)
        other.context.entity = "bob"
        other.contents = [.input: .text("of bob")]
        _ = try await store.store([mine, other])
        try await store.begin(RecordingRecord(id: "s", scope: .subject("ada"), startedAt: moment(0)))
        journal.expect("contents are counted", try await store.eraseContents(about: "ada"), is: 2)
        var left = mine
        (left.context, left.attributes, left.contents) = (SpanContext(agent: "shop"), nil, [:])
        left.isPublished = false
        left.failure?.message = ""
        journal.expect("an erasure deletes contents and names", try await all(store), is: [left, other])
        journal.expect("of recordings too", try await store.recordings(limit: 1).map(\.scope), is: [.subject("")])
        journal.expect("a second one finds nothing", try await store.eraseContents(about: "ada"), is: 0)
    }

    func checkConcurrentCalls() async throws {
        let store = try await makeStore()
        try await begun(store, "s")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 as Range<Int64> {
                group.addTask {
                    for number in 0..<20 as Range<Int64> {
                        let span = span(task * 100 + number, in: "s")
                        if try await !store.store([span]).isEmpty { throw RecordError(.invalid, "store", "refused") }
                        var query = SpanQuery()
                        query.trace = span.trace
                        let found = try await store.spans(query).map(\.id)
                        journal.expect("what was acknowledged is seen", found, is: [span.id])
                    }
                }
            }
            try await group.waitForAll()
        }
        let ended = try await store.end("s", dropped: 0, at: moment(1))
        journal.expect("nothing is lost", ended.totals.records, is: 160)
    }
}
