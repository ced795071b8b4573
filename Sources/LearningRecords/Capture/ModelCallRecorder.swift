public import Reasoning
internal import Synchronization
public import Telemetry
internal import TensorCore

/// Records model calls while a recording is switched on, and is out of the way while none is.
///
/// ```swift
/// let recorder = try ModelCallRecorder(store: store)
/// let recording = try await recorder.enable(.everything, .minimal)
/// let answer = try await recorder.record(ModelCall("TEXT_LARGE", provider: "acme"), input: .text(prompt)) {
///     try await client.complete(prompt)
/// } output: { .text($0) }
/// try await recorder.disable(.everything)
/// ```
///
/// Whatever happens to a record, the call's outcome is that of the closure: it is called once, its result is returned and its error
/// thrown as they are. Records go through bounded lines to the store and to files; where these do not keep up records are dropped and
/// counted. A call belongs to one recording: that of its subject, else that of its agent, else the one of everything; of those whose
/// sample does not choose it, the next wider is asked.
public final class ModelCallRecorder: Sendable {
    /// Where rows are kept.
    public let store: any RecordStore
    let clock: any ReasoningClock
    let reporting: Reporting
    private let queues: QueueConfiguration
    private let rows: RecordQueue<PendingRecord>
    private let files: RecordQueue<PendingRecord>
    /// Those that are going on, the narrowest first.
    private let active = Lock<[ActiveRecording]>([])
    /// Whether `active` holds any: what a call looks at first.
    private let isOn = Atomic<Bool>(false)
    /// Scopes that are being switched.
    private let switching = Lock<Set<RecordingScope>>([])

    /// A recorder with nothing switched on.
    ///
    /// - Parameters:
    ///   - store: Where rows are kept.
    ///   - queues: How many records wait for the store, and for files, at most.
    ///   - clock: Tells when calls begin.
    ///   - reporting: Where failures are told.
    /// - Throws: ``RecordError`` (`invalid`) for queues out of range.
    public init(
        store: any RecordStore, queues: QueueConfiguration = QueueConfiguration(),
        clock: any ReasoningClock = SystemClock(), reporting: Reporting = Reporting()
    ) throws(RecordError) {
        try queues.validate()
        (self.store, self.queues, self.clock, self.reporting) = (store, queues, clock, reporting)
        let (rows, files) = (RecordQueue<PendingRecord>(queues), RecordQueue<PendingRecord>(queues))
        (self.rows, self.files) = (rows, files)
        Task.detached(priority: .high) { await RecordSink.run(rows, into: store, reporting: reporting) }
        Task.detached { await RecordSink.run(files, reporting: reporting) }
    }

    deinit {
        rows.close()
        files.close()
    }

    // MARK: Switching

    /// Switches a recording on.
    ///
    /// - Parameters:
    ///   - by: Who does that, for the audit row.
    ///   - limit: How long to wait for the folder to be made, and then for the store to hear of it, after what waits for it already; the
    ///     recording goes on all the same.
    /// - Returns: The new recording.
    /// - Throws: ``RecordError``: `alreadyRecording` for a scope that is recorded; `invalid` for a sample or a name out of range. A store or a
    ///   folder that fails is told to `reporting` and counted (``RecordingStatus/sinkFailures``): calls go on.
    @discardableResult
    public func enable(
        _ scope: RecordingScope, _ configuration: RecordingConfiguration = .minimal, by actor: String? = nil,
        within limit: Duration = .seconds(1)
    ) async throws(RecordError) -> RecordingStatus {
        guard configuration.sample > 0, configuration.sample <= 1 else {
            throw RecordError(.invalid, "enable", "the sample \(configuration.sample) is not above 0 and at most 1")
        }
        try scope.check()
        try claim(scope, "enable")
        defer { release(scope) }
        guard recording(of: scope) == nil else {
            throw RecordError(
                .alreadyRecording, "enable", "calls of this scope are recorded already: switch that off first")
        }
        var record = RecordingRecord(id: RecordingRecord.newID(at: clock.now), scope: scope, startedAt: clock.now)
        record.description = configuration.description
        record.sample = configuration.sample
        var begun = (folder: String?.none, failures: 0)
        if let files = configuration.files { begun = await begin(record, files, within: limit) }
        let recording = ActiveRecording(record, configuration, folder: begun.folder)
        recording.count { $0.sinkFailures += begun.failures }
        active.withLock { active in
            active.append(recording)
            active.sort { $0.record.scope.breadth < $1.record.scope.breadth }
            isOn.store(true, ordering: .releasing)
        }
        audit("recording enabled", recording.record, by: actor, begins: recording)
        // A store that hangs holds nobody up: the recording begins there with its first record that is stored.
        _ = await rows.drain(within: limit)
        return recording.status(isEnabled: true)
    }

    /// Switches a recording off: what waits is stored, then totals and summary are written. Where that takes longer than the limit it
    /// is done behind the caller's back, as soon as store and folder take it.
    ///
    /// - Parameters:
    ///   - limit: How long to wait for the store, and then for files.
    ///   - by: Who does that, for the audit row.
    /// - Returns: What the recording did.
    /// - Throws: ``RecordError`` (`notRecording`).
    @discardableResult
    public func disable(
        _ scope: RecordingScope, flushWithin limit: Duration = .seconds(5), by actor: String? = nil
    ) async throws(RecordError) -> RecordingStatus {
        try claim(scope, "disable")
        defer { release(scope) }
        let found = active.withLock { active -> ActiveRecording? in
            guard let place = active.firstIndex(where: { $0.record.scope == scope }) else { return nil }
            let found = active.remove(at: place)
            isOn.store(!active.isEmpty, ordering: .releasing)
            return found
        }
        found?.stop()
        guard let recording = found else {
            throw RecordError(.notRecording, "disable", "nothing of this scope is recorded")
        }
        audit("recording disabled", recording.record, by: actor)
        let ending = RecordingEnding(recording, rows, files, store, reporting, at: clock.now)
        let isFlushed = await ending.wait(limit)
        let unflushed = isFlushed ? 0 : rows.waiting + files.waiting
        return recording.status(isEnabled: false, unflushed: unflushed)
    }

    /// What the recording of a scope has done so far; `nil` where there is none.
    public func status(_ scope: RecordingScope = .everything) -> RecordingStatus? {
        recording(of: scope)?.status(isEnabled: true)
    }

    /// What all recordings that are going on have done so far.
    public func statuses() -> [RecordingStatus] { active.withLock { $0 }.map { $0.status(isEnabled: true) } }

    /// Waits until what was recorded so far is stored, at most so long; says whether it is.
    @discardableResult
    public func flush(within limit: Duration = .seconds(5)) async -> Bool {
        let (rows, files) = (rows, files)
        async let first = rows.drain(within: limit)
        async let second = files.drain(within: limit)
        return await [first, second].allSatisfy { $0 }
    }

    private func recording(of scope: RecordingScope) -> ActiveRecording? {
        active.withLock { active in active.first { $0.record.scope == scope } }
    }

    /// Makes the folder of a session. On a disk that takes longer it is made behind the caller's back, before anything is written there.
    private func begin(
        _ record: RecordingRecord, _ files: RecordFiles, within limit: Duration
    ) async -> (folder: String?, failures: Int) {
        let reporting = reporting
        let result = Shared<Result<String, RecordError>?>(nil)
        Task.detached {
            do throws(RecordError) {
                let folder = try await files.begin(record)
                result.value.withLock { $0 = .success(folder) }
            } catch {
                Self.told(error, "the folder of a recording could not be made; calls go on", reporting)
                result.value.withLock { $0 = .failure(error) }
            }
        }
        _ = await Waiting.until(limit) { result.value.withLock { $0 != nil } }
        return switch result.value.withLock({ $0 }) {
        case .success(let folder): (folder, 0)
        case .failure: (nil, 1)
        case nil: (files.path(of: record), 0)
        }
    }

    /// One switches a scope at a time.
    private func claim(_ scope: RecordingScope, _ operation: String) throws(RecordError) {
        guard switching.withLock({ $0.insert(scope).inserted }) else {
            throw RecordError(
                operation == "enable" ? .alreadyRecording : .notRecording, operation,
                "somebody else is switching this scope: ask for its status")
        }
    }

    private func release(_ scope: RecordingScope) { switching.withLock { _ = $0.remove(scope) } }

    static func told(_ error: any Error, _ message: String, _ reporting: Reporting) {
        reporting.log(.error, message, ["error": "\(error)"], source: "LearningRecords")
        reporting.count("attune_recordings_failed_total")
    }

    /// A row that says who switched what.
    func audit(
        _ name: String, _ recording: RecordingRecord?, by actor: String?, said: String? = nil,
        begins: ActiveRecording? = nil
    ) {
        let now = clock.now
        var span = SpanRecord(id: RecordID(at: now), trace: RecordID(at: now), kind: .event, name: name, startedAt: now)
        (span.status, span.isPublished) = (.completed, true)
        span.duration = 0
        // No recording's: its totals count calls.
        if case .agent(let agent)? = recording?.scope { span.context.agent = agent }
        if case .subject(let subject)? = recording?.scope { span.context.entity = subject }
        var json = JSONOutput()
        json.beginObject()
        json.member("recording", recording?.id)
        json.member("by", actor)
        if let said { json.member("said", said) }
        json.endObject()
        span.attributes = String(decoding: json.bytes, as: UTF8.self)
        let record = PendingRecord(span, nil, begins: begins)
        // What anybody may cause as often as they like is a record like others.
        if recording == nil { takeNow(record) } else { rows.appendUrgent(record) }
    }
}

// MARK: - On the path of calls

extension ModelCallRecorder {
    /// Who records a call; `nil` where nobody does.
    func recording(for call: ModelCall, _ trace: RecordID) -> ActiveRecording? {
        active.withLock { active in active.first { $0.takes(call.context, trace) } }
    }

    /// Whether anything is switched on.
    @usableFromInline
    var isRecording: Bool { isOn.load(ordering: .relaxed) }

    /// Puts a finished call in line; the caller may wait as the policy says.
    func take(_ record: PendingRecord) async {
        guard case .block(let limit) = queues.overflow else { return takeNow(record) }
        let bytes = Self.bytes(record)
        count(await wait(limit, for: rows, record, bytes), \.dropped)
        if record.recording?.folder != nil { count(await wait(limit, for: files, record, bytes), \.fileFailures) }
    }

    private func wait(
        _ limit: Duration, for queue: RecordQueue<PendingRecord>, _ record: PendingRecord, _ bytes: Int
    ) async -> RecordQueue<PendingRecord>.Arrival {
        var arrival = queue.append(record, bytes: bytes, mayWait: true)
        if case .full = arrival {
            let deadline = ContinuousClock.now + limit
            // A task that was cancelled waits for nothing.
            while case .full = arrival, ContinuousClock.now < deadline, !Task.isCancelled {
                do { try await Task.sleep(for: .milliseconds(2)) } catch { break }
                arrival = queue.append(record, bytes: bytes, mayWait: true)
            }
            if case .full = arrival { arrival = queue.append(record, bytes: bytes) }
        }
        return arrival
    }

    /// The same at once.
    func takeNow(_ record: PendingRecord) {
        let bytes = Self.bytes(record)
        count(rows.append(record, bytes: bytes), \.dropped)
        if record.recording?.folder != nil { count(files.append(record, bytes: bytes), \.fileFailures) }
    }

    private func count(
        _ arrival: RecordQueue<PendingRecord>.Arrival, _ what: WritableKeyPath<ActiveRecording.Counts, Int>
    ) {
        guard case .dropped(let gone) = arrival else { return }
        for record in gone { record.recording?.count { $0[keyPath: what] += 1 } }
        reporting.count("attune_records_dropped_total", by: gone.count)
    }

    private static func bytes(_ record: PendingRecord) -> Int {
        record.span.contents.reduce(512) { $0 + $1.value.byteCount }
    }
}
