internal import Reasoning
internal import TensorCore

/// A stream of a model's answer that is recorded while it is read: it gives what the stream below it gives.
public struct RecordedStream<Base: AsyncSequence>: AsyncSequence {
    /// A piece of the stream below.
    public typealias Element = Base.Element
    /// What the stream below throws.
    public typealias Failure = Base.Failure

    let base: Base
    let pass: StreamPass?
    let chunk: @Sendable (Base.Element) -> ModelChunk

    /// Reads the stream below; the first pass is recorded.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(base: base.makeAsyncIterator(), pass: pass?.begin() == true ? pass : nil, chunk: chunk)
    }

    /// Reads the stream below, and records what comes.
    public struct AsyncIterator: AsyncIteratorProtocol {
        var base: Base.AsyncIterator
        let pass: StreamPass?
        let chunk: @Sendable (Base.Element) -> ModelChunk

        /// The next piece, as the stream below gives it.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(Base.Failure) -> Base.Element? {
            guard let pass else { return try await base.next(isolation: actor) }
            let element: Base.Element?
            do throws(Base.Failure) { element = try await base.next(isolation: actor) } catch {
                await pass.end(error)
                throw error
            }
            if let element { pass.add(chunk(element)) } else { await pass.end(nil) }
            return element
        }

        /// The same, for callers without isolation.
        public mutating func next() async throws -> Base.Element? {
            try await next(isolation: nil)
        }
    }
}

extension RecordedStream: Sendable where Base: Sendable {}

/// What is known so far of a stream that is read; the record is made when it ends or is let go of.
final class StreamPass: Sendable {
    private struct State {
        var text = ""
        var firstChunk: Int64?
        var output = ModelOutput(nil)
        var hasBegun = false
        var hasEnded = false
    }

    private let recorder: ModelCallRecorder
    private let open: OpenCall
    private let input: RecordContent?
    private let state = Lock<State>(State())

    init(_ recorder: ModelCallRecorder, _ open: OpenCall, _ input: RecordContent?) {
        (self.recorder, self.open, self.input) = (recorder, open, input)
    }

    deinit {
        // Nobody read it to its end.
        if let record = record(CancellationError(), isDropped: true) { recorder.takeNow(record) }
    }

    /// Whether this is the first pass.
    func begin() -> Bool {
        state.withLock { state in
            defer { state.hasBegun = true }
            return !state.hasBegun
        }
    }

    func add(_ chunk: ModelChunk) {
        let elapsed = open.elapsed
        state.withLock { state in
            if state.firstChunk == nil { state.firstChunk = elapsed }
            if open.recording.configuration.keepsContents, state.text.utf8.count < SpanRecord.largestContent {
                state.text += chunk.text
            }
            state.output.model = chunk.model ?? state.output.model
            state.output.inputTokens = chunk.inputTokens ?? state.output.inputTokens
            state.output.outputTokens = chunk.outputTokens ?? state.output.outputTokens
        }
    }

    func end(_ error: (any Error)?) async {
        // A stream that only ends when its task is cancelled was not read to its end.
        let isCancelled = error == nil && Task.isCancelled
        if let record = record(isCancelled ? CancellationError() : error, isDropped: false) {
            await recorder.take(record)
        }
    }

    private func record(_ error: (any Error)?, isDropped: Bool) -> PendingRecord? {
        let state = state.withLock { state -> State? in
            defer { state.hasEnded = true }
            return state.hasEnded ? nil : state
        }
        guard let state else { return nil }
        var output = state.output
        output.content = .text(state.text)
        return open.finished(
            after: open.elapsed, input: input, output: output, error: error,
            status: error.map(ModelCallRecorder.status(of:)) ?? .completed, firstChunk: state.firstChunk)
    }
}
