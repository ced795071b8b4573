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

/// Takes records from a line and stores them, for as long as the line is open.
enum RecordSink {
    /// Into a store: three times where it throws, since it may be busy for a moment.
    static func run(
        _ queue: RecordQueue<PendingRecord>, into store: any RecordStore, reporting: Reporting
    ) async {
        while let batch = await queue.next() {
            var problem: (any Error)?
            var refused: [RefusedSpan] = []
            for pause in [0, 50, 500] {
                do {
                    if pause > 0 { try await Task.sleep(for: .milliseconds(pause)) }
                    // Those of a recording mostly follow each other.
                    var recordings: [ActiveRecording] = []
                    for record in batch {
                        guard let recording = record.begins ?? record.recording, recording !== recordings.last else {
                            continue
                        }
                        try await recording.begin(in: store)
                        recordings.append(recording)
                    }
                    refused = try await store.store(batch.map(\.span))
                    problem = nil
                    await Self.endAgain(recordings, in: store, reporting)
                    break
                } catch {
                    problem = error
                }
            }
            settle(batch, refused, problem, reporting)
            queue.settle()
        }
    }

    /// Those of calls that ended after their recording was switched off.
    private static func endAgain(
        _ recordings: [ActiveRecording], in store: any RecordStore, _ reporting: Reporting
    ) async {
        for recording in recordings {
            do { try await recording.endAgain(in: store) } catch {
                recording.count { $0.sinkFailures += 1 }
                ModelCallRecorder.told(error, "a recording's end could not be stored", reporting)
            }
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
            for recording in late {
                do throws(RecordError) { try await recording.summarizeAgain() } catch {
                    recording.count { $0.fileFailures += 1 }
                    ModelCallRecorder.told(error, "the summary of a recording could not be written", reporting)
                }
            }
            queue.settle()
        }
    }
}
