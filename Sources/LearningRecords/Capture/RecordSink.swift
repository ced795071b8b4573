internal import Reasoning
internal import Telemetry

/// A record on its way, with the recording that it is counted in.
final class PendingRecord: Sendable {
    let span: SpanRecord
    /// `nil` for audit rows, which are no recording's.
    let recording: ActiveRecording?
    /// The recording that begins with it.
    let begins: ActiveRecording?

    init(_ span: SpanRecord, _ recording: ActiveRecording?, begins: ActiveRecording? = nil) {
        (self.span, self.recording, self.begins) = (span, recording, begins)
    }
}

/// What is tried again where it fails, since a store may be busy for a moment.
enum Attempts: Int, CaseIterable {
    case first = 0
    case second = 50
    case last = 500

    static var all: [Attempts] { allCases }
    var isLast: Bool { self == .last }

    func pause() async throws { if self != .first { try await Task.sleep(for: .milliseconds(rawValue)) } }
}

/// Takes records from a line and stores them, for as long as the line is open.
enum RecordSink {
    /// Into a store: three times where it throws, since it may be busy for a moment.
    static func run(
        _ queue: RecordQueue<PendingRecord>, into store: any RecordStore, reporting: Reporting
    ) async {
        while let batch = await queue.next() {
            var problem: (any Error)?
            var refused: [RefusedSpan] = []
            let recordings = recordings(of: batch)
            for attempt in Attempts.all {
                do {
                    try await attempt.pause()
                    for recording in recordings {
                        // One recording's trouble is not the others': in the end the store refuses what is of it.
                        do { try await recording.begin(in: store) } catch { if !attempt.isLast { throw error } }
                    }
                    refused = try await store.store(batch.map(\.span))
                    problem = nil
                    break
                } catch {
                    problem = error
                }
            }
            if problem == nil { await endAgain(recordings, in: store, reporting) }
            settle(batch, refused, problem, reporting)
            queue.settle()
        }
    }

    /// The recordings that a batch is of.
    private static func recordings(of batch: [PendingRecord]) -> [ActiveRecording] {
        var recordings: [ActiveRecording] = []
        for record in batch {
            // Those of one mostly follow each other.
            guard let recording = record.begins ?? record.recording, recording !== recordings.last,
                !recordings.contains(where: { $0 === recording })
            else { continue }
            recordings.append(recording)
        }
        return recordings
    }

    /// Those of calls that ended after their recording was switched off.
    private static func endAgain(
        _ recordings: [ActiveRecording], in store: any RecordStore, _ reporting: Reporting
    ) async {
        for recording in recordings {
            do {
                guard try await recording.endAgain(in: store) else { continue }
            } catch {
                recording.count { $0.sinkFailures += 1 }
                ModelCallRecorder.told(error, "a recording's end could not be stored", reporting)
            }
            await recording.summarizeAgain(reporting)
        }
    }

    private static func settle(
        _ batch: [PendingRecord], _ refused: [RefusedSpan], _ problem: (any Error)?, _ reporting: Reporting
    ) {
        if let problem {
            reporting.log(
                .error, "records could not be stored; the calls went on",
                ["records": "\(batch.count)", "error": "\(problem)"], source: "LearningRecords")
            reporting.count("attune_records_failed_total", by: batch.count)
        }
        for refusal in refused {
            reporting.log(.warning, "a record was refused", ["error": "\(refusal.error)"], source: "LearningRecords")
        }
        let places = Set(refused.map(\.place))
        if problem == nil { reporting.count("attune_records_stored_total", by: batch.count - places.count) }
        // Those of a recording mostly follow each other: they are counted together.
        var (recording, stored, failed) = (ActiveRecording?.none, 0, 0)
        func count() {
            recording?.count { counts in
                counts.stored += stored
                counts.sinkFailures += failed
            }
            (stored, failed) = (0, 0)
        }
        for (place, record) in batch.enumerated() {
            let hasFailed = problem != nil || places.contains(place)
            let its = record.recording ?? (hasFailed ? record.begins : nil)
            if its !== recording {
                count()
                recording = its
            }
            if hasFailed { failed += 1 } else { stored += 1 }
        }
        count()
    }

    /// Into files.
    static func run(_ queue: RecordQueue<PendingRecord>, reporting: Reporting) async {
        while let batch = await queue.next() {
            var late: [ActiveRecording] = []
            for record in batch {
                guard let recording = record.recording, let files = recording.configuration.files,
                    let folder = recording.folder
                else { continue }
                do throws(RecordError) {
                    try await files.write(record.span, to: folder)
                    if recording !== late.last { late.append(recording) }
                } catch {
                    reporting.log(
                        .error, "a record's file could not be written; the calls went on", ["error": "\(error)"],
                        source: "LearningRecords")
                    reporting.count("attune_record_files_failed_total")
                    recording.count { $0.fileFailures += 1 }
                }
            }
            for recording in late { await recording.summarizeAgain(reporting) }
            queue.settle()
        }
    }
}
