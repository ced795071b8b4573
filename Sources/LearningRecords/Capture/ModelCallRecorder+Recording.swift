internal import Reasoning

extension ModelCallRecorder {
    /// Makes a call, and records it where it is to be.
    ///
    /// - Parameters:
    ///   - call: What is known of it. A value and no closure: with one, a release build (Swift 6.3) gave damaged records.
    ///   - input: What goes in; not even made where nothing is recorded.
    ///   - body: Makes the call. It is called once, whatever becomes of the record.
    ///   - output: What a result holds; called where the call is recorded.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws, as it is.
    /// - Complexity: Where nothing is switched on the closure is called, and nothing else done. Else O(bytes) for the redaction of
    ///   contents, which is the larger part; JSON is made elsewhere. With ``OverflowPolicy/block(upTo:)`` the return may wait.
    @inlinable
    public func record<Output, Failure: Error>(
        _ call: ModelCall, input: @autoclosure () -> RecordContent?,
        _ body: () async throws(Failure) -> Output, output: (Output) -> ModelOutput
    ) async throws(Failure) -> Output {
        guard isRecording else { return try await body() }
        return try await recordIfTaken(call, input, body, output)
    }

    /// The same where something is switched on.
    @usableFromInline
    func recordIfTaken<Output, Failure: Error>(
        _ call: ModelCall, _ input: () -> RecordContent?, _ body: () async throws(Failure) -> Output,
        _ output: (Output) -> ModelOutput
    ) async throws(Failure) -> Output {
        guard let (open, input) = opened(call, input) else { return try await body() }
        let result: Output
        do throws(Failure) { result = try await body() } catch {
            let failed = open.finished(
                after: open.elapsed, input: input, output: nil, error: error, status: Self.status(of: error))
            await take(failed)
            throw error
        }
        // Before it is written down, which is no part of the call.
        let duration = open.elapsed
        await take(
            open.finished(after: duration, input: input, output: output(result), error: nil, status: .completed))
        return result
    }

    /// The same for a model that answers in words.
    @inlinable
    public func record<Failure: Error>(
        _ call: ModelCall, input: @autoclosure () -> RecordContent?,
        _ body: () async throws(Failure) -> String
    ) async throws(Failure) -> String {
        try await record(call, input: input(), body, output: { ModelOutput.text($0) })
    }

    /// Makes a call that answers with a stream, which is passed through untouched and recorded when it ends: with its text, the time
    /// to its first piece, and tokens. One that is let go of before its end, or whose task is cancelled, is recorded as cancelled
    /// with what came until then.
    ///
    /// - Parameters:
    ///   - body: Opens the stream; called once.
    ///   - chunk: What a piece adds.
    /// - Returns: The stream. Its first pass is recorded.
    /// - Throws: What `body` throws, as it is.
    public func recordStream<Base: AsyncSequence, Failure: Error>(
        _ call: ModelCall, input: @autoclosure () -> RecordContent?,
        _ body: () async throws(Failure) -> Base, chunk: @escaping @Sendable (Base.Element) -> ModelChunk
    ) async throws(Failure) -> RecordedStream<Base> {
        guard isRecording, let (open, input) = opened(call, input) else {
            return RecordedStream(base: try await body(), pass: nil, chunk: chunk)
        }
        let base: Base
        do throws(Failure) { base = try await body() } catch {
            let failed = open.finished(
                after: open.elapsed, input: input, output: nil, error: error, status: Self.status(of: error))
            await take(failed)
            throw error
        }
        return RecordedStream(base: base, pass: StreamPass(self, open, input), chunk: chunk)
    }

    private func opened(_ call: ModelCall, _ input: () -> RecordContent?) -> (OpenCall, RecordContent?)? {
        let now = clock.now
        let id = RecordID(at: now)
        let trace = call.trace ?? id
        guard let recording = recording(for: call, trace) else { return nil }
        // Before the clock runs: to write the input down is no part of the call.
        let content = recording.configuration.keepsContents ? input() : nil
        return (OpenCall(call, trace, id: id, recording, at: now), content)
    }

    /// How a call ended that threw.
    static func status(of error: any Error) -> SpanStatus { error is CancellationError ? .cancelled : .failed }
}
