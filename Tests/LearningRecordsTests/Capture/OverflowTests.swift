import Testing

@testable import LearningRecords

/// Sinks that fail, hang or are slow never hold calls up, and what is lost is counted.
@Suite struct OverflowTests {
    private func call(_ recorder: ModelCallRecorder, _ name: String) async throws {
        _ = await recorder.record(ModelCall("A", model: name), input: nil) { name }
    }

    private func models(_ store: TroubledStore) async throws -> [String] {
        var query = SpanQuery()
        (query.kind, query.limit) = (.modelCall, 10_000)
        return try await store.spans(query).compactMap(\.requestModel)
    }

    private func recorder(
        _ store: TroubledStore, _ overflow: OverflowPolicy, capacity: Int = 4
    ) async throws -> ModelCallRecorder {
        var queues = QueueConfiguration()
        (queues.capacity, queues.overflow, queues.batch) = (capacity, overflow, 1)
        return try ModelCallRecorder(store: store, queues: queues)
    }

    /// Waits until the sink holds a record that it does not get rid of.
    private func blocked(_ recorder: ModelCallRecorder) async throws {
        try await call(recorder, "first")
        #expect(await !recorder.flush(within: .milliseconds(50)))
    }

    @Test func theOldestGiveWay() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .dropOldest)
        try await recorder.enable(.everything)
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.hanging)
        try await blocked(recorder)
        for name in ["a", "b", "c", "d", "e"] { try await call(recorder, name) }
        #expect(recorder.status()?.dropped == 2)
        store.become(.none)
        // The row that says who switched it off would push out another.
        #expect(await recorder.flush(within: .seconds(600)))
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.dropped == 2 && status.total == 6 && status.records == 4)
        #expect(try await models(store) == ["first", "c", "d", "e"])
        #expect(try await store.recordings(limit: 1).first?.dropped == 2)
    }

    @Test func theNewestIsDropped() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .dropNewest)
        try await recorder.enable(.everything)
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.hanging)
        try await blocked(recorder)
        for name in ["a", "b", "c", "d", "e"] { try await call(recorder, name) }
        #expect(recorder.status()?.dropped == 2)
        store.become(.none)
        // The row that says who switched it off would push out another.
        #expect(await recorder.flush(within: .seconds(600)))
        try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(try await models(store) == ["first", "a", "b", "c"])
    }

    @Test func aCallWaitsForRoomButNotForEver() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .block(upTo: .milliseconds(80)), capacity: 1)
        try await recorder.enable(.everything)
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.hanging)
        try await blocked(recorder)
        let start = ContinuousClock.now
        try await call(recorder, "late")
        #expect(ContinuousClock.now - start >= .milliseconds(80))
        #expect(recorder.status()?.dropped == 1)
        let waiting = Task { try await call(recorder, "in time") }
        store.become(.none)
        try await waiting.value
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.dropped <= 2 && status.total == 3)
    }

    @Test func bytesAreBoundedToo() async throws {
        let store = TroubledStore(.none)
        var queues = QueueConfiguration()
        (queues.byteCapacity, queues.batch, queues.overflow) = (10_000, 1, .dropNewest)
        let recorder = try ModelCallRecorder(store: store, queues: queues)
        try await recorder.enable(.everything)
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.hanging)
        try await blocked(recorder)
        let long = String(repeating: "x", count: 4_000)
        for _ in 0..<5 { _ = await recorder.record(ModelCall("A"), input: .text(long)) { "" } }
        #expect(recorder.status()?.dropped == 3)
        store.become(.none)
        try await recorder.disable(.everything, flushWithin: .seconds(600))
    }

    @Test func aStoreThatHangsHoldsNobodyUp() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .dropOldest, capacity: 100)
        try await recorder.enable(.everything)
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.hanging)
        for number in 0..<10 { try await call(recorder, "\(number)") }
        let status = try await recorder.disable(.everything, flushWithin: .milliseconds(100))
        // The row that says who switched it off waits too.
        #expect(status.unflushed == 11 && status.total == 10 && !status.isEnabled)
        // Switched on again, nothing is lost when the store comes back.
        store.become(.none)
        try await recorder.enable(.everything)
        try await call(recorder, "again")
        #expect(await recorder.flush(within: .seconds(600)))
        #expect(try await models(store).count == 11)
    }

    @Test func aStoreThatFailsIsCountedAndCallsGoOn() async throws {
        let store = TroubledStore(.failing)
        let recorder = try await recorder(store, .dropOldest, capacity: 1_000)
        let begun = try await recorder.enable(.everything, within: .seconds(600))
        #expect(begun.sinkFailures == 1)
        try await call(recorder, "a")
        // Three attempts, with half a second between the last two.
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.total == 1 && status.successful == 1 && status.records == 0 && status.sinkFailures >= 2)
    }

    @Test func aStoreThatHangsAtTheStartHoldsNobodyUpAndLosesNothing() async throws {
        let store = TroubledStore(.hanging)
        let recorder = try await recorder(store, .dropOldest, capacity: 100)
        // It returns while the store hangs still.
        let begun = try await recorder.enable(.everything, within: .milliseconds(30))
        #expect(begun.isEnabled && begun.sinkFailures == 0)
        for number in 0..<10 { try await call(recorder, "\(number)") }
        #expect(try await store.recordings(limit: 1).isEmpty)
        store.become(.none)
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        #expect(status.records == 10 && status.sinkFailures == 0 && status.unflushed == 0)
        #expect(try await store.recordings(limit: 2).map(\.totals.records) == [10])
    }

    @Test func aStoreThatFailsAtTheStartTakesWhatComesLater() async throws {
        let store = TroubledStore(.failing)
        let recorder = try await recorder(store, .dropOldest, capacity: 100)
        let id = try await recorder.enable(.everything, within: .seconds(600)).id
        try await call(recorder, "lost")
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.none)
        for name in ["a", "b"] { try await call(recorder, name) }
        let status = try await recorder.disable(.everything, flushWithin: .seconds(600))
        // The row that says who switched it on, and the call.
        #expect(status.records == 2 && status.sinkFailures == 2 && status.total == 3)
        #expect(try await models(store) == ["a", "b"])
        #expect(try await store.recordings(limit: 2).map(\.id) == [id])
    }

    @Test func totalsAreWrittenWhenTheStoreComesBackAfterTheTimeIsUp() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .dropOldest, capacity: 100)
        try await recorder.enable(.everything)
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.hanging)
        for number in 0..<5 { try await call(recorder, "\(number)") }
        let status = try await recorder.disable(.everything, flushWithin: .milliseconds(20))
        #expect(status.unflushed == 6)
        #expect(try await store.recordings(limit: 1).first?.state == .active)
        store.become(.none)
        let deadline = ContinuousClock.now + .seconds(600)
        while try await store.recordings(limit: 1).first?.state != .completed, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(5))
        }
        let ended = try #require(try await store.recordings(limit: 1).first)
        #expect(ended.state == .completed && ended.totals == RecordingTotals(records: 5, successful: 5, failed: 0))
    }

    /// Recordings of everything, of agents and of subjects that are switched while eight tasks call.
    @Test func manyRecordingsAtATimeTakeEachCallAtMostOnce() async throws {
        let store = InMemoryRecordStore()
        let recorder = try ModelCallRecorder(store: store)
        let scopes: [RecordingScope] = [
            .everything, .agent("0"), .agent("1"), .subject("ada"), .subject("bob"), .subject("eve"),
        ]
        var statuses: [RecordingStatus] = []
        let each = 300
        try await withThrowingTaskGroup(of: [RecordingStatus].self) { group in
            for (place, scope) in scopes.enumerated() {
                group.addTask {
                    var own: [RecordingStatus] = []
                    for round in 0..<8 {
                        var configuration = RecordingConfiguration.minimal
                        if round % 2 == 1 { configuration.sample = 0.5 }
                        try await recorder.enable(scope, configuration)
                        await #expect(throws: RecordError.self) { try await recorder.enable(scope) }
                        try await Task.sleep(for: .milliseconds(1 + (place + round) % 4))
                        own.append(try await recorder.disable(scope, flushWithin: .seconds(600)))
                    }
                    return own
                }
            }
            for task in 0..<8 {
                group.addTask {
                    let entities = ["ada", "bob", "eve", nil, nil]
                    for number in 0..<each {
                        let context = SpanContext(agent: "\(task % 3)", entity: entities[number % entities.count])
                        let name = "\(task) \(number)"
                        let call = ModelCall("A", model: name, context: context)
                        let answer = await recorder.record(call, input: .text(name)) { name }
                        #expect(answer == name)
                        if number % 16 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                    }
                    return []
                }
            }
            for try await own in group { statuses += own }
        }
        #expect(statuses.count == 48 && Set(statuses.map(\.id)).count == 48 && recorder.statuses().isEmpty)
        #expect(statuses.allSatisfy { $0.dropped == 0 && $0.sinkFailures == 0 && $0.records <= $0.total })
        #expect(await recorder.flush(within: .seconds(600)))
        var query = SpanQuery()
        (query.kind, query.limit) = (.modelCall, 10_000)
        let spans = try await store.spans(query)
        #expect(Set(spans.compactMap(\.requestModel)).count == spans.count && spans.count <= 8 * each)
        let scopeOf = Dictionary(uniqueKeysWithValues: statuses.map { ($0.id, $0.scope) })
        for span in spans {
            let id = try #require(span.recording)
            switch try #require(scopeOf[id]) {
            case .everything: break
            case .agent(let agent): #expect(span.context.agent == agent)
            case .subject(let subject): #expect(span.context.entity == subject)
            }
        }
        // A call that began before its recording was switched off may end after it, and is counted then.
        let totals = try await store.recordings(limit: 100).map(\.totals.records).reduce(0, +)
        #expect(totals == spans.count && statuses.map(\.total).reduce(0, +) <= spans.count)
    }

    @Test func whatGaveWayIsHeldByNobody() async throws {
        final class Held: Sendable {}
        var queues = QueueConfiguration()
        queues.byteCapacity = 100
        let queue = RecordQueue<Held>(queues)
        weak var first: Held?
        weak var second: Held?
        do {
            let (one, two) = (Held(), Held())
            (first, second) = (one, two)
            _ = queue.append(one, bytes: 60)
            _ = queue.append(two, bytes: 60)
        }
        #expect(first == nil && second != nil && queue.dropped == 1)
        _ = await queue.next()
        #expect(second == nil)
        // What is too much beside what is being stored drives nobody out.
        _ = queue.append(Held(), bytes: 40)
        guard case .dropped(let gone) = queue.append(Held(), bytes: 70) else {
            Issue.record("it was taken")
            return
        }
        #expect(gone.count == 1 && queue.waiting == 2)
    }

    @Test(arguments: [OverflowPolicy.dropOldest, .dropNewest, .block(upTo: .zero)])
    func aSwitchIsARowHoweverFullTheLine(policy: OverflowPolicy) async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, policy)
        try await recorder.enable(.everything)
        #expect(await recorder.flush(within: .seconds(600)))
        store.become(.hanging)
        for number in 0..<9 { try await call(recorder, "\(number)") }
        let dropped = try #require(recorder.status()).dropped
        let off = try await recorder.disable(.everything, flushWithin: .zero, by: "ann")
        #expect(off.dropped == dropped && dropped >= 4)
        store.become(.none)
        #expect(await recorder.flush(within: .seconds(600)))
        var query = SpanQuery()
        query.kind = .event
        #expect(try await store.spans(query).map(\.name) == ["recording enabled", "recording disabled"])
        #expect(try await models(store).count == 9 - dropped)
    }

    @Test func waitingForALineWaitsForWhatWasInItAlone() async throws {
        let queue = RecordQueue<Int>(QueueConfiguration())
        _ = queue.append(1, bytes: 1)
        let drained = Task { await queue.drain(within: .seconds(600)) }
        queue.appendUrgent(0)
        #expect(await queue.next() == [0, 1])
        queue.settle()
        #expect(await drained.value)
        queue.appendUrgent(2)
        #expect(await !queue.drain(within: .zero))
        #expect(await queue.next() == [2])
        queue.settle()
        #expect(await queue.drain(within: .zero))
        queue.close()
        #expect(await queue.next() == nil)
    }
}
