internal import Reasoning
internal import TensorCore
internal import Telemetry

/// What is left to do for a recording that was switched off: its totals when the rows that wait are stored, its summary when the files
/// are written. It is done however long that takes; who switched it off waits only for a while.
struct RecordingEnding: Sendable {
    private struct State {
        var (rowsAreDone, filesAreDone) = (false, false)
        /// Whether nobody waits for the rows any more.
        var isLate = false
    }
    /// Shared with the tasks that do it.
    private let progress = Shared(State())

    init(
        _ recording: ActiveRecording, _ rows: RecordQueue<PendingRecord>, _ files: RecordQueue<PendingRecord>,
        _ store: any RecordStore, _ reporting: Reporting, at moment: Timestamp
    ) {
        let progress = progress
        Task.detached {
            _ = await rows.drain(within: Self.ever)
            for attempt in Attempts.all {
                do {
                    try await attempt.pause()
                    try await recording.begin(in: store)
                    try await recording.end(in: store, at: moment)
                    break
                } catch  where !attempt.isLast {
                    continue
                } catch {
                    recording.count { $0.sinkFailures += 1 }
                    ModelCallRecorder.told(error, "a recording's end could not be stored", reporting)
                }
            }
            let isLate = progress.value.withLock { state in
                state.rowsAreDone = true
                return state.isLate
            }
            // The summary may have been written without the totals.
            if isLate { await recording.summarizeAgain(reporting) }
        }
        Task.detached {
            _ = await files.drain(within: Self.ever)
            // The totals, where the store does not hang.
            _ = await Waiting.until(Self.ever) { progress.value.withLock { $0.rowsAreDone || $0.isLate } }
            await recording.summarize(at: moment, reporting)
            progress.value.withLock { $0.filesAreDone = true }
        }
    }

    /// Waits for the store, then for files, each at most so long; says whether all is done.
    func wait(_ limit: Duration) async -> Bool {
        let progress = progress
        let rows = await Waiting.until(limit) { progress.value.withLock { $0.rowsAreDone } }
        progress.value.withLock { $0.isLate = true }
        let files = await Waiting.until(limit) { progress.value.withLock { $0.filesAreDone } }
        return rows && files
    }

    private static let ever = Duration.seconds(86_400 * 365)
}
