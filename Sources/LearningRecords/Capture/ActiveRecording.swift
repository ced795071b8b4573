internal import Reasoning
internal import Synchronization
internal import Telemetry
internal import TensorCore

/// A recording that is going on, and what it counts.
final class ActiveRecording: Sendable {
    struct Counts: Sendable {
        var (successful, failed) = (0, 0)
        var (stored, dropped, sinkFailures, fileFailures, redactionFailures) = (0, 0, 0, 0, 0)
        var latencies = LatencyHistogram()
    }

    let record: RecordingRecord
    let configuration: RecordingConfiguration
    /// The session's folder, if it writes files.
    let folder: String?
    let startedAt: ContinuousClock.Instant
    private let counts = Lock<Counts>(Counts())
    /// Whether the store has it.
    private let hasBegun = Atomic<Bool>(false)

    init(_ record: RecordingRecord, _ configuration: RecordingConfiguration, folder: String?) {
        (self.record, self.configuration, self.folder) = (record, configuration, folder)
        startedAt = .now
    }

    /// Tells the store that it begins, unless that is done: a store that failed then may take it later.
    func begin(in store: any RecordStore) async throws {
        if hasBegun.load(ordering: .relaxed) { return }
        do { try await store.begin(record) } catch let error as RecordError where error.code == .duplicate {
            // An attempt that seemed to fail had succeeded.
        }
        hasBegun.store(true, ordering: .relaxed)
    }

    private struct Ending {
        var stoppedAt: ContinuousClock.Instant?
        /// When it was switched off, once its totals are written: those of calls that end later are counted anew.
        var totalsAt: Timestamp?
        /// The same of its summary.
        var summaryAt: Timestamp?
        var record: RecordingRecord?
    }
    private let ending = Lock<Ending>(Ending())

    /// It takes no more calls.
    func stop() { ending.withLock { $0.stoppedAt = .now } }

    /// Writes its totals.
    func end(in store: any RecordStore, at moment: Timestamp) async throws {
        ending.withLock { $0.totalsAt = moment }
        let ended = try await store.end(record.id, dropped: status(isEnabled: false).dropped, at: moment)
        ending.withLock { $0.record = ended }
    }

    /// Writes its totals again, where they were written; says whether they were.
    func endAgain(in store: any RecordStore) async throws -> Bool {
        guard let moment = ending.withLock({ $0.totalsAt }) else { return false }
        try await end(in: store, at: moment)
        return true
    }

    /// Writes its summary, if it has files.
    func summarize(at moment: Timestamp, _ reporting: Reporting) async {
        guard let files = configuration.files, let folder else { return }
        ending.withLock { $0.summaryAt = moment }
        do throws(RecordError) {
            try await files.end(record, at: moment, in: folder) { [self] in
                (ending.withLock { $0.record } ?? record, status(isEnabled: false))
            }
        } catch {
            count { $0.fileFailures += 1 }
            ModelCallRecorder.told(error, "the summary of a recording could not be written", reporting)
        }
    }

    /// Writes its summary again, where it was written.
    func summarizeAgain(_ reporting: Reporting) async {
        if let moment = ending.withLock({ $0.summaryAt }) { await summarize(at: moment, reporting) }
    }

    func count(_ body: (inout Counts) -> Void) { counts.withLock { body(&$0) } }

    /// Whether it takes a call: its scope, and its share of all.
    func takes(_ context: SpanContext, _ trace: RecordID) -> Bool {
        switch record.scope {
        case .everything: break
        case .agent(let agent): if context.agent != agent { return false }
        case .subject(let subject): if context.entity != subject { return false }
        }
        if record.sample >= 1 { return true }
        var hash = StableHash()
        if let entity = context.entity {
            hash.combine(entity)
        } else {
            hash.combine(trace.high)
            hash.combine(trace.low)
        }
        return Double(hash.finalized() >> 11) * 0x1p-53 < record.sample
    }

    func status(isEnabled: Bool, unflushed: Int = 0) -> RecordingStatus {
        let counts = counts.withLock { $0 }
        return RecordingStatus(
            isEnabled: isEnabled, id: record.id, scope: record.scope, startedAt: record.startedAt,
            duration: (ending.withLock { $0.stoppedAt } ?? .now) - startedAt, total: counts.successful + counts.failed,
            successful: counts.successful,
            failed: counts.failed, medianLatency: counts.latencies.percentile(0.5),
            latency95: counts.latencies.percentile(0.95), latency99: counts.latencies.percentile(0.99),
            records: counts.stored, dropped: counts.dropped, sinkFailures: counts.sinkFailures,
            fileFailures: counts.fileFailures,
            redactionFailures: counts.redactionFailures, unflushed: unflushed, folder: folder)
    }
}

extension RecordingScope {
    func check() throws(RecordError) {
        switch self {
        case .everything: return
        case .agent(let name), .subject(let name):
            guard (1...SpanRecord.longestName).contains(name.utf8.count), !name.utf8.contains(0) else {
                throw RecordError(
                    .invalid, "enable",
                    "the name of an agent or a subject has 1...\(SpanRecord.longestName) bytes, none of them 0")
            }
        }
    }

    /// Narrower ones come first.
    var breadth: Int {
        switch self {
        case .subject: 0
        case .agent: 1
        case .everything: 2
        }
    }
}
