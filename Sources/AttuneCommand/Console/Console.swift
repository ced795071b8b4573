import TensorCore

/// The two streams that the commands print to, and the progress line.
///
/// Writing never throws: the first failure of standard output is kept, later output is dropped, and ``App`` turns the
/// failure into the exit code when the command is done. A reader that closes the pipe early so ends neither the job nor
/// its files. Safe to use from any task.
final class Console: Sendable {
    private struct State {
        var failure: OutputFailure?
        var progress: ProgressLine?
        var isLineDrawn = false
    }

    private let output: any TextSink
    private let errors: any TextSink
    /// Time since some fixed moment; passed in so that a test can set it.
    private let now: @Sendable () -> Duration
    private let state = Lock(State())

    init(output: any TextSink, errors: any TextSink, now: @escaping @Sendable () -> Duration) {
        self.output = output
        self.errors = errors
        self.now = now
    }

    /// The process's own streams.
    static func standard() -> Console {
        let start = ContinuousClock.now
        return Console(
            output: FileDescriptorSink(descriptor: 1), errors: FileDescriptorSink(descriptor: 2),
            now: { ContinuousClock.now - start })
    }

    /// The first failure of standard output.
    var failure: OutputFailure? { state.withLock { $0.failure } }

    /// Whether standard output is a terminal.
    var isTerminal: Bool { output.isTerminal }

    /// Writes to standard output; ends no line by itself.
    func write(_ text: String) {
        state.withLock { state in
            eraseLine(&state)
            guard state.failure == nil else { return }
            state.failure = output.write(Array(text.utf8))
        }
    }

    /// Writes to standard error; ends no line by itself. A failure is ignored: there is nowhere left to report it.
    func writeError(_ text: String) {
        state.withLock { state in
            eraseLine(&state)
            _ = errors.write(Array(text.utf8))
        }
    }
}

// MARK: Progress

extension Console {
    /// Begins a piece of work of `total` steps. Nothing is drawn unless standard error is a terminal and the work takes
    /// over two seconds.
    func beginProgress(_ label: String, total: Int) {
        guard errors.isTerminal else { return }
        let start = now()
        state.withLock { state in
            eraseLine(&state)
            state.progress = ProgressLine(label: label, total: total, start: start)
        }
    }

    /// Says how many steps are done. Cheap enough to call after each one; calls may arrive out of order.
    func advanceProgress(to done: Int) {
        guard errors.isTerminal else { return }
        let time = now()
        state.withLock { state in
            guard let text = state.progress?.advance(to: done, at: time) else { return }
            _ = errors.write(Array("\r\(text)\u{1B}[K".utf8))
            state.isLineDrawn = true
        }
    }

    /// Ends the work and takes its line away.
    func endProgress() {
        state.withLock { state in
            eraseLine(&state)
            state.progress = nil
        }
    }

    private func eraseLine(_ state: inout State) {
        guard state.isLineDrawn else { return }
        _ = errors.write(Array("\r\u{1B}[K".utf8))
        state.isLineDrawn = false
    }
}
