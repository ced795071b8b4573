internal import Reasoning

/// A call that has begun, and what becomes its record.
struct OpenCall: Sendable {
    let recording: ActiveRecording
    private let call: ModelCall
    private let (id, trace): (RecordID, RecordID)
    private let startedAt: Timestamp
    private let start: ContinuousClock.Instant

    init(_ call: ModelCall, _ trace: RecordID, id: RecordID, _ recording: ActiveRecording, at moment: Timestamp) {
        (self.recording, self.call, self.id, self.trace, startedAt) = (recording, call, id, trace, moment)
        start = .now
    }

    /// Microseconds since the beginning.
    var elapsed: Int64 {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    }

    /// The record of a call that has ended; redacted, since it leaves the call here.
    func finished(
        after duration: Int64, input: RecordContent?, output: ModelOutput?, error: (any Error)?, status: SpanStatus,
        firstChunk: Int64? = nil
    ) -> PendingRecord {
        var span = SpanRecord(id: id, trace: trace, kind: .modelCall, name: call.modelType, startedAt: startedAt)
        span.parent = call.parent
        span.recording = recording.record.id
        span.provider = call.provider
        span.requestModel = call.model
        span.context = call.context
        span.externalID = call.externalID
        span.isPublished = recording.configuration.fillsOutbox
        span.duration = duration
        span.timeToFirstChunk = firstChunk
        span.status = status
        span.severity = status == .failed ? .error : .info
        if let output {
            span.responseModel = output.model
            (span.inputTokens, span.outputTokens, span.cost) = (output.inputTokens, output.outputTokens, output.cost)
        }
        recording.count { counts in
            if status == .completed { counts.successful += 1 } else { counts.failed += 1 }
            counts.latencies.add(duration)
        }
        // The type tells nothing of what was said; the words may.
        if let error { span.failure = SpanRecord.Failure(type: "\(type(of: error))", message: "") }
        do {
            let redaction = recording.configuration.redaction
            if let error {
                // Cut after that: half a number is none to the rules.
                let words = try redaction.text(String("\(error)".prefix(16 * Self.longestMessage)))
                span.failure?.message = String(words.prefix(Self.longestMessage))
            }
            if recording.configuration.keepsContents {
                if let input { span.contents[.input] = try redaction.content(input) }
                if let content = output?.content { span.contents[.output] = try redaction.content(content) }
            }
        } catch {
            recording.count { $0.redactionFailures += 1 }
            span.contents = [:]
        }
        span.mend()
        return PendingRecord(span, recording)
    }

    /// The most characters of an error's words that are kept.
    private static let longestMessage = 4_096
}
