import LearningRecords
import Testing

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
        #expect(await recorder.flush())
        store.become(.hanging)
        try await blocked(recorder)
        for name in ["a", "b", "c", "d", "e"] { try await call(recorder, name) }
        #expect(recorder.status()?.dropped == 2)
        store.become(.none)
        // The row that says who switched it off would push out another.
        #expect(await recorder.flush())
        let status = try await recorder.disable(.everything)
        #expect(status.dropped == 2 && status.total == 6 && status.records == 4)
        #expect(try await models(store) == ["first", "c", "d", "e"])
        #expect(try await store.recordings(limit: 1).first?.dropped == 2)
    }

    @Test func theNewestIsDropped() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .dropNewest)
        try await recorder.enable(.everything)
        #expect(await recorder.flush())
        store.become(.hanging)
        try await blocked(recorder)
        for name in ["a", "b", "c", "d", "e"] { try await call(recorder, name) }
        #expect(recorder.status()?.dropped == 2)
        store.become(.none)
        // The row that says who switched it off would push out another.
        #expect(await recorder.flush())
        try await recorder.disable(.everything)
        #expect(try await models(store) == ["first", "a", "b", "c"])
    }

    @Test func aCallWaitsForRoomButNotForEver() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .block(upTo: .milliseconds(80)), capacity: 1)
        try await recorder.enable(.everything)
        #expect(await recorder.flush())
        store.become(.hanging)
        try await blocked(recorder)
        let start = ContinuousClock.now
        try await call(recorder, "late")
        #expect(ContinuousClock.now - start >= .milliseconds(80))
        #expect(recorder.status()?.dropped == 1)
        let waiting = Task { try await call(recorder, "in time") }
        store.become(.none)
        try await waiting.value
        let status = try await recorder.disable(.everything)
        #expect(status.dropped <= 2 && status.total == 3)
    }

    @Test func bytesAreBoundedToo() async throws {
        let store = TroubledStore(.none)
        var queues = QueueConfiguration()
        (queues.byteCapacity, queues.batch, queues.overflow) = (10_000, 1, .dropNewest)
        let recorder = try ModelCallRecorder(store: store, queues: queues)
        try await recorder.enable(.everything)
        #expect(await recorder.flush())
        store.become(.hanging)
        try await blocked(recorder)
        let long = String(repeating: "x", count: 4_000)
        for _ in 0..<5 { _ = await recorder.record(ModelCall("A"), input: .text(long)) { "" } }
        #expect(recorder.status()?.dropped == 3)
        store.become(.none)
        try await recorder.disable(.everything)
    }

    @Test func aStoreThatHangsHoldsNobodyUp() async throws {
        let store = TroubledStore(.none)
        let recorder = try await recorder(store, .dropOldest, capacity: 100)
        try await recorder.enable(.everything)
        #expect(await recorder.flush())
        store.become(.hanging)
        for number in 0..<10 { try await call(recorder, "\(number)") }
        let status = try await recorder.disable(.everything, flushWithin: .milliseconds(100))
        // The row that says who switched it off waits too.
        #expect(status.unflushed == 11 && status.total == 10 && !status.isEnabled)
        // Switched on again, nothing is lost when the store comes back.
        store.become(.none)
        try await recorder.enable(.everything)
        try await call(recorder, "again")
        #expect(await recorder.flush())
        #expect(try await models(store).count == 11)
    }

    @Test func aStoreThatFailsIsCountedAndCallsGoOn() async throws {
        let store = TroubledStore(.failing)
        let recorder = try await recorder(store, .dropOldest, capacity: 1_000)
        let begun = try await recorder.enable(.everything)
        #expect(begun.sinkFailures == 1)
        try await call(recorder, "a")
        // Three attempts, with half a second between the last two.
        let status = try await recorder.disable(.everything, flushWithin: .seconds(20))
        #expect(status.total == 1 && status.successful == 1 && status.records == 0 && status.sinkFailures >= 2)
    }
}
