public import LearningRecords
internal import Reasoning
internal import TensorCore

/// What every ``TrainingDataStore`` promises beside what ``RecordStoreContract`` checks. Needs no test framework.
public struct TrainingDataStoreContract: Sendable {
    let makeStore: @Sendable () async throws -> any TrainingDataStore

    /// A suite for stores that a closure makes, each empty; called some ten times.
    public init(makeStore: @escaping @Sendable () async throws -> any TrainingDataStore) { self.makeStore = makeStore }

    /// Checks every promise.
    ///
    /// - Returns: The promises that were broken, in the order of the checks; empty for a store that keeps them.
    /// - Throws: What making a store throws, and `CancellationError`. What a store throws is a violation.
    public func violations() async throws -> [ContractViolation] {
        let journal = ContractJournal()
        let run = TrainingRun(makeStore: makeStore, journal: journal)
        _ = try await makeStore()
        try await journal.check("told in any order, a task is the same") { try await run.checkOrders() }
        try await journal.check("told again, nothing changes and nobody is told") { try await run.checkIdempotence() }
        try await journal.check("times follow from ends") { try await run.checkEnds() }
        try await journal.check("workflows never go back") { try await run.checkWorkflows() }
        try await journal.check("messages come in order, after a position") { try await run.checkMessages() }
        try await journal.check("scores are stored once, of spans that are there") { try await run.checkScores() }
        try await journal.check("rows are those of the kind, interval and filter") { try await run.checkRows() }
        try await journal.check("an erasure reaches all that is about a subject") { try await run.checkErasure() }
        try await journal.check("a policy deletes the oldest of what has ended") { try await run.checkRetention() }
        return journal.violations
    }
}

struct TrainingRun: Sendable {
    let makeStore: @Sendable () async throws -> any TrainingDataStore
    let journal: ContractJournal

    private static let start: Int64 = 1_795_757_469_123_456
    private func moment(_ seconds: Int64) -> Timestamp { Timestamp(microseconds: Self.start + seconds * 1_000_000) }

    func data(_ store: any TrainingDataStore) -> TrainingData { TrainingData(store, redaction: .none) }

    func rows(_ store: any TrainingDataStore, _ query: TrainingQuery) async throws -> [[TrainingValue]] {
        try await store.withRows(query) { rows in
            var all: [[TrainingValue]] = []
            try rows.forEach { all.append($0) }
            return all
        }
    }

    /// Every order of three tellings of a task ends in the same.
    func checkOrders() async throws {
        let tellings = [
            AgentTask(
                "crawl", id: "t", agent: "scout", priority: "high", input: .json("{\"page\":1}"), startedAt: moment(0)),
            AgentTask("crawl", id: "t", instance: "i-1", status: .running, retryCount: 1, startedAt: moment(1)),
            AgentTask(
                "crawl", id: "t", status: .completed, output: .text("done"), executionTime: .milliseconds(1_500),
                startedAt: moment(2)),
        ]
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let store = try await makeStore()
            for place in order {
                journal.expect(
                    "a task's identifier is the application's",
                    try await data(store).storeAgentTask(tellings[place]), is: "t")
            }
            let span = try await store.span(.task, externalID: "t")
            journal.expect("\(order): the status is the furthest", span?.status, is: .completed)
            journal.expect("\(order): it began when it ran", span?.startedAt, is: moment(1))
            journal.expect("\(order): its time", span?.duration, is: 1_500_000)
            journal.expect("\(order): its agent", span?.context.agent, is: "scout")
            journal.expect(
                "\(order): its contents", span?.contents, is: [.input: .json("{\"page\":1}"), .output: .text("done")])
            let row = try await rows(store, TrainingQuery(.tasks)).first ?? []
            journal.expect(
                "\(order): its row", Array(row.prefix(6)) + Array(row.dropFirst(9).prefix(4)),
                is: [
                    .text("t"), .text("scout"), .text("i-1"), .text("crawl"), .text("high"), .text("completed"),
                    .integer(1), .integer(3), .integer(300), .real(1_500),
                ])
        }
    }

    func checkIdempotence() async throws {
        let store = try await makeStore()
        let event = AgentEvent(
            "deployed", id: "e", agent: "scout", workflow: "w", session: "no recording", source: "cron",
            payload: .json("{\"a\":1}"), severity: .warning, happenedAt: moment(0))
        for _ in 0..<3 { _ = try await data(store).storeAgentEvent(event) }
        _ = try await data(store).storeAgentEvents([event, event, AgentEvent("deployed", id: "f"), event])
        journal.expect(
            "an event told again is one row",
            try await rows(store, TrainingQuery(.events)).map { $0[0] }, is: [.text("e"), .text("f")])
        let row = try await rows(store, TrainingQuery(.events)).first ?? []
        journal.expect(
            "an event's row", row,
            is: [
                .text("e"), .text("deployed"), .text("scout"), .text("w"), .text("no recording"), .text("cron"),
                .json("{\"a\":1}"), .text("warning"), .text("2026-11-27 05:31:09.123456"), .null,
            ])
        journal.expect(
            "and one message", try await store.messages(.agentEvents, after: 0, limit: 10).count, is: 2)
        let own = try await data(store).storeAgentEvent(AgentEvent("nameless"))
        journal.expect("an event without an identifier gets one", RecordID(own) != nil, is: true)
        _ = try await data(store).storeAgentEvent(AgentEvent("nameless", id: own, agent: "scout"))
        let nameless = try await rows(
            store, TrainingQuery(.events, filter: .compare("event_type", .equal, .text("nameless"))))
        journal.expect("told again under it, it is the same", nameless.map { $0[2] }, is: [.text("scout")])
        // Another kind may have the same identifier.
        _ = try await data(store).storeToolExecution(ToolExecution("search", id: "e"))
        journal.expect("kinds have identifiers of their own", try await rows(store, TrainingQuery(.tools)).count, is: 1)
    }

    /// When something ended tells how long it took as soon as it is known when it began.
    func checkEnds() async throws {
        let store = try await makeStore()
        _ = try await data(store).storeAgentTask(AgentTask("t", id: "a", status: .running, startedAt: moment(1)))
        _ = try await data(store).storeAgentTask(AgentTask("t", id: "a", status: .completed, completedAt: moment(4)))
        journal.expect("an end tells the time", try await store.span(.task, externalID: "a")?.duration, is: 3_000_000)
        // The other way round, and told twice.
        for _ in 0..<2 {
            _ = try await data(store).storeAgentTask(
                AgentTask("t", id: "b", status: .completed, completedAt: moment(4)))
        }
        let ended = try await rows(store, TrainingQuery(.tasks, filter: .compare("task_id", .equal, .text("b"))))
        journal.expect(
            "an end is kept without the beginning", ended.first.map { Array($0[12...15]) },
            is: [.null, .text(moment(4).rowText), .text(moment(4).rowText), .text(moment(4).rowText)])
        _ = try await data(store).storeAgentTask(AgentTask("t", id: "b", status: .running, startedAt: moment(1)))
        journal.expect(
            "and tells the time later", try await store.span(.task, externalID: "b")?.duration, is: 3_000_000)
        // Two that end differently.
        _ = try await data(store).storeAgentTask(AgentTask("t", id: "c", status: .completed, input: .text("in")))
        _ = try await data(store).storeAgentTask(
            AgentTask("t", id: "c", status: .failed, output: .text("out"), error: "late"))
        let first = try await store.span(.task, externalID: "c")
        journal.expect("the first end counts", first?.status, is: .completed)
        journal.expect("and nothing of the other is taken", first?.failure?.message, is: nil)
        journal.expect("nor what it gave", first?.contents, is: [.input: .text("in")])
        for moment in [Timestamp(microseconds: -1), Timestamp(microseconds: 253_402_300_800_000_000)] {
            do {
                _ = try await data(store).storeAgentEvent(AgentEvent("e", happenedAt: moment))
                journal.expect("a moment without a text is refused", false, "an error", saw: "none")
            } catch let error as RecordError {
                journal.expect("a moment without a text is refused", error.code, is: .invalid)
            }
        }
    }

    func checkWorkflows() async throws {
        let store = try await makeStore()
        let data = data(store)
        var workflow = AgentWorkflow(
            id: "w", name: "build", phase: "plan", totalSteps: 5, completedSteps: 3, state: .json("{\"s\":3}"),
            agents: ["a", "b"], tags: ["x"])
        _ = try await data.storeWorkflow(workflow)
        // Late.
        (workflow.completedSteps, workflow.state, workflow.phase) = (2, .json("{\"s\":2}"), "draft")
        _ = try await data.storeWorkflow(workflow)
        journal.expect("fewer steps are older", try await store.workflow("w")?.state, is: .json("{\"s\":3}"))
        _ = try await data.storeWorkflow(AgentWorkflow(id: "w", name: "build", status: .completed, completedSteps: 5))
        (workflow.completedSteps, workflow.status) = (4, .running)
        _ = try await data.storeWorkflow(workflow)
        let kept = try await store.workflow("w")
        journal.expect("what has ended stays", kept?.status, is: .completed)
        journal.expect("steps never become less", kept?.completedSteps, is: 5)
        journal.expect("what was known stays", kept?.agents, is: ["a", "b"])
        let messages = try await store.messages(.workflows, after: 0, limit: 10)
        journal.expect("each change is a message", messages.count, is: 2)
        journal.expect("a workflow's row", try await rows(store, TrainingQuery(.workflows)).count, is: 1)
    }

    func checkMessages() async throws {
        let store = try await makeStore()
        let data = data(store)
        for number in 0..<20 {
            _ = try await data.storeToolExecution(ToolExecution("search", id: "x\(number)"))
            _ = try await data.storeAgentEvent(AgentEvent("e", id: "e\(number)"))
        }
        let all = try await store.messages(.toolExecutions, after: 0, limit: 100)
        journal.expect("a message for each", all.count, is: 20)
        journal.expect("in order", all.map(\.sequence).sorted(), is: all.map(\.sequence))
        journal.expect("of the topic alone", Set(all.map(\.topic)), is: [.toolExecutions])
        let rest = try await store.messages(.toolExecutions, after: all[9].sequence, limit: 5)
        journal.expect("after a position, a page", rest, is: Array(all[10..<15]))
        journal.expect("a new consumer is at the start", try await store.position(of: "c", in: .toolExecutions), is: 0)
        try await store.advance("c", in: .toolExecutions, to: all[4].sequence)
        try await store.advance("c", in: .toolExecutions, to: all[2].sequence)
        journal.expect(
            "a position never goes back", try await store.position(of: "c", in: .toolExecutions), is: all[4].sequence)
        journal.expect("topics have their own", try await store.position(of: "c", in: .agentEvents), is: 0)
        var seen: [Int64] = []
        for try await message in store.stream(.toolExecutions, consumer: "c") {
            seen.append(message.sequence)
            if seen.count == 15 { break }
        }
        journal.expect("a stream goes on after what was acknowledged", seen, is: all.dropFirst(5).map(\.sequence))
    }

    func checkScores() async throws {
        let store = try await makeStore()
        var span = SpanRecord(
            id: RecordID(at: moment(0)), trace: RecordID(at: moment(0)), kind: .modelCall, name: "TEXT",
            startedAt: moment(0))
        span.status = .completed
        _ = try await store.store([span])
        let score = Score(.rating, 4, of: span.id, comment: "good", source: "user", at: moment(1))
        let missing = Score(.thumbs, 1, of: RecordID(at: moment(5)), at: moment(1))
        var refused = try await store.store([score, missing, Score(.rating, 6, of: span.id, at: moment(1)), score])
        journal.expect("what is refused is told", refused.map(\.place), is: [1, 2])
        journal.expect("and why", refused.map(\.error.code), is: [.unknownSpan, .invalid])
        refused = try await store.store([score])
        journal.expect("again it is no fault", refused.count, is: 0)
        journal.expect("a score is there once, whole", try await store.scores(of: span.id), is: [score])
        journal.expect("and one message", try await store.messages(.scores, after: 0, limit: 9).count, is: 1)
        try await store.keep(embedding: [1, -2.5, 3], .input, of: span.id)
        journal.expect("an embedding comes back", try await store.embedding(.input, of: span.id), is: [1, -2.5, 3])
        journal.expect("roles have their own", try await store.embedding(.output, of: span.id), is: nil)
        journal.expect(
            "nobody has agreed who was not asked", try await store.hasConsent(of: "ada", to: .personalLearning),
            is: false)
        try await store.setConsent(true, of: "ada", to: .personalLearning)
        journal.expect("who agrees has", try await store.hasConsent(of: "ada", to: .personalLearning), is: true)
        let agreed = try await store.consent(of: "ada", to: .personalLearning)
        try await store.setConsent(true, of: "ada", to: .personalLearning)
        journal.expect(
            "who agrees again agrees since the first time", try await store.consent(of: "ada", to: .personalLearning),
            is: agreed)
        journal.expect("which is now", agreed.map { SystemClock().now.seconds(since: $0) < 600 }, is: true)
        try await store.setConsent(false, of: "ada", to: .personalLearning)
        journal.expect("until they do not", try await store.hasConsent(of: "ada", to: .personalLearning), is: false)
    }

    func checkRows() async throws {
        let store = try await makeStore()
        let data = data(store)
        for number in 0..<10 {
            let agent = number % 2 == 0 ? "even" : nil
            _ = try await data.storeAgentEvent(
                AgentEvent(
                    "e\(number)", id: "\(number)", agent: agent, severity: number > 7 ? .error : .info,
                    happenedAt: moment(Int64(number) * 3_600)))
        }
        func names(_ query: TrainingQuery) async throws -> [TrainingValue] {
            try await rows(store, query).map { $0[0] }
        }
        journal.expect(
            "an interval is half-open",
            try await names(TrainingQuery(.events, from: moment(7_200), until: moment(14_400))),
            is: [.text("2"), .text("3")])
        func filtered(_ filter: RecordFilter) async throws -> [TrainingValue] {
            try await names(TrainingQuery(.events, filter: filter))
        }
        let (even, isError) = (
            RecordFilter.compare("agent_id", .equal, .text("even")),
            RecordFilter.compare("severity", .equal, .text("error"))
        )
        journal.expect("equal", try await filtered(isError), is: [.text("8"), .text("9")])
        journal.expect("both", try await filtered(.all([even, isError])), is: [.text("8")])
        journal.expect("no value", try await filtered(.all([.isNull("agent_id"), isError])), is: [.text("9")])
        journal.expect(
            "one of both", try await filtered(.any([isError, .compare("event_id", .equal, .text("1"))])).count, is: 3)
        journal.expect("not", try await filtered(.not(isError)).count, is: 8)
        journal.expect(
            "moments in any form", try await filtered(.compare("created_at", .less, .text("2026-11-27T06:30Z"))).count,
            is: 1)
        journal.expect(
            "what is no language of the store's",
            try await filtered(.compare("event_id", .equal, .text("1' OR '1'='1"))), is: [])
        journal.expect(
            "contains, to the letter", try await filtered(.compare("event_type", .contains, .text("e%"))), is: [])
        journal.expect("a limit", try await names(TrainingQuery(.events, limit: 3)).count, is: 3)
        do {
            _ = try await filtered(.compare("no such column", .equal, .text("")))
            journal.expect("a column that is not there is refused", false, "an error", saw: "none")
        } catch let error as RecordError {
            journal.expect("a column that is not there is refused", error.code, is: .invalid)
        }
    }

    func checkErasure() async throws {
        let store = try await makeStore()
        let data = data(store)
        for subject in ["ada", "bob"] {
            _ = try await data.storeAgentTask(
                AgentTask("t", id: "task of \(subject)", input: .text("of \(subject)"), subject: subject))
            _ = try await data.storeWorkflow(
                AgentWorkflow(id: "flow of \(subject)", name: "w", state: .text("of \(subject)"), subject: subject))
            guard let span = try await store.span(.task, externalID: "task of \(subject)") else { continue }
            _ = try await store.store([Score(.thumbs, 1, of: span.id, comment: "of \(subject)", at: moment(0))])
            try await store.keep(embedding: [1], .input, of: span.id)
            try await store.setConsent(true, of: subject, to: .personalLearning)
        }
        let erased = try await store.erase("ada")
        var expected = RecordErasure()
        (expected.spans, expected.contents, expected.messages, expected.scores) = (1, 1, 3, 1)
        (expected.embeddings, expected.workflows) = (1, 1)
        journal.expect("a receipt says what was erased", erased, is: expected)
        journal.expect("again there is nothing", try await store.erase("ada"), is: RecordErasure())
        guard let (ada, bob) = try await both(store) else {
            journal.expect("spans stay", false, "two spans", saw: "fewer")
            return
        }
        journal.expect("contents are gone", ada.contents, is: [:])
        journal.expect("so is who it was", ada.context.entity, is: nil)
        journal.expect("others' stay", bob.contents, is: [.input: .text("of bob")])
        journal.expect("comments are gone", try await store.scores(of: ada.id).map(\.comment), is: [nil])
        journal.expect("others' stay", try await store.scores(of: bob.id).map(\.comment), is: ["of bob"])
        journal.expect("embeddings are gone", try await store.embedding(.input, of: ada.id), is: nil)
        journal.expect("a workflow's state is gone", try await store.workflow("flow of ada")?.state, is: nil)
        journal.expect("others' stays", try await store.workflow("flow of bob")?.state, is: .text("of bob"))
        journal.expect("consent is gone", try await store.hasConsent(of: "ada", to: .personalLearning), is: false)
        journal.expect(
            "messages are gone", try await store.messages(.agentTasks, after: 0, limit: 9).count, is: 1)
    }

    private func both(_ store: any TrainingDataStore) async throws -> (SpanRecord, SpanRecord)? {
        guard let ada = try await store.span(.task, externalID: "task of ada"),
            let bob = try await store.span(.task, externalID: "task of bob")
        else { return nil }
        return (ada, bob)
    }
}
