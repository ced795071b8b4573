internal import Reasoning
internal import Telemetry

/// A record on its way, with the recording that it is counted in; audit rows belong to none.
struct PendingRecord: Sendable {
    var span: SpanRecord
    var recording: ActiveRecording?
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
                    refused = try await store.store(batch.map(\.span))
                    problem = nil
                    break
                } catch {
                    problem = error
                }
            }
            if let problem {
                reporting.log(
                    .error, "records could not be stored; the calls went on",
                    ["records": "\(batch.count)", "error": "\(problem)"], source: "LearningRecords")
                reporting.count("attune_records_failed_total", by: batch.count)
                for record in batch { record.recording?.count { $0.sinkFailures += 1 } }
            } else {
                let places = Set(refused.map(\.place))
                for refusal in refused {
                    reporting.log(
                        .warning, "a record was refused", ["error": "\(refusal.error)"], source: "LearningRecords")
                }
                reporting.count("attune_records_stored_total", by: batch.count - places.count)
                for (place, record) in batch.enumerated() {
                    record.recording?.count { counts in
                        if places.contains(place) { counts.sinkFailures += 1 } else { counts.stored += 1 }
                    }
                }
            }
            queue.settle()
        }
    }

    /// Into files.
    static func run(_ queue: RecordQueue<PendingRecord>, reporting: Reporting) async {
        while let batch = await queue.next() {
            for record in batch {
                guard let recording = record.recording, let files = recording.configuration.files,
                    let folder = recording.folder
                else { continue }
                do throws(RecordError) {
                    try await files.write(record.span, to: folder)
                } catch {
                    reporting.log(
                        .error, "a record's file could not be written; the calls went on", ["error": "\(error)"],
                        source: "LearningRecords")
                    reporting.count("attune_record_files_failed_total")
                    recording.count { $0.sinkFailures += 1 }
                }
            }
            queue.settle()
        }
    }
}
