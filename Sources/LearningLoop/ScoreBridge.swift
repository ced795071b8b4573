public import LearningRecords
internal import LoRA
public import Personalization
public import Reasoning

/// Turns scores of what was made for a subject into feedback that their adapter learns from: each once.
///
/// ```swift
/// try await records.keep(embedding: query, .input, of: span)
/// try await records.keep(embedding: answer, .output, of: span)
/// try await records.setConsent(true, of: "ada", to: .personalLearning)
/// try await records.store([Score(.thumbs, 1, of: span, at: now)])
/// let report = try await ScoreBridge(records, engine).run()
/// ```
///
/// A score of a span is a reward (``Score/reward``) for the span's output, in the context of its input: the feedback
/// `reward(_, for: output)` about the embedding of the input, of the user that the span is about (``SpanContext/entity``).
///
/// **Once.** The engine's journal keeps in one transaction what an adapter has learned of a score, how far the bridge has come
/// (``StreamPosition``), and the score's identifier, under which nothing is learned again. So the engine has to have a journal. Afterwards
/// the store is told how far that was, for its retention. The bridge begins where the one that knows less says: an engine or a
/// store that was restored from a backup is told again what it may have lost, as far as the store still has the messages, and changes
/// nothing for what it has. (Restore both from one backup rather than one after the other: what an outbox has numbered twice is not told
/// apart.)
///
/// **Consent.** Nothing is learned of subjects who do not agree (``ConsentPurpose/personalLearning``, which is off unless granted), nor of
/// scores from before they did: those are passed over for good.
public struct ScoreBridge: Sendable {
    private let store: any TrainingDataStore
    private let engine: PersonalizationEngine
    private let consumer: String
    private let stream: String
    private let patience: Duration
    private let clock: any ReasoningClock

    /// A bridge from a store to an engine.
    ///
    /// - Parameters:
    ///   - consumer: Under which name it is remembered how far it has come. Stores that teach one engine each need their own.
    ///   - patience: How long a score of a span that is not embedded yet is waited for; those behind it wait too.
    /// - Throws: ``RecordError`` (`invalid`) for an engine without a journal, and for a consumer's name that is empty or too long.
    public init(
        _ store: any TrainingDataStore, _ engine: PersonalizationEngine, consumer: String = "personalization",
        patience: Duration = .seconds(60), clock: any ReasoningClock = SystemClock()
    ) throws(RecordError) {
        guard engine.hasJournal else {
            throw RecordError(
                .invalid, "bridge",
                "the engine has no journal, without which a score could be learned twice: give it one")
        }
        let topic = "\(TrainingTopic.scores.rawValue)/"
        let longest = StreamPosition.longestName - topic.utf8.count
        guard (1...longest).contains(consumer.utf8.count), SpanRecord.fitting(consumer) == consumer else {
            throw RecordError(
                .invalid, "bridge", "a consumer's name has 1...\(longest) bytes, none of them 0")
        }
        stream = topic + consumer
        (self.store, self.engine, self.consumer) = (store, engine, consumer)
        (self.patience, self.clock) = (patience, clock)
    }

    /// Learns from the scores that were stored since the last time.
    ///
    /// - Returns: What became of them.
    /// - Throws: What the store throws, and the engine for other reasons than the feedback itself: what was learned stays so, and the rest is
    ///   learned the next time.
    @discardableResult
    public func run() async throws -> ScoreReport {
        var report = ScoreReport()
        var position = min(
            try await engine.position(in: stream), try await store.position(of: consumer, in: .scores))
        while true {
            let messages = try await store.messages(.scores, after: position, limit: 256)
            if messages.isEmpty { return report }
            for message in messages {
                try Task.checkCancellation()
                guard try await learn(message, &report) else {
                    try await advance(to: position)
                    return report
                }
                position = message.sequence
            }
            try await advance(to: position)
        }
    }

    /// Remembers how far the bridge has come, past what nobody has learned from: the journal first, since a store may delete what
    /// its consumers have passed.
    private func advance(to position: Int64) async throws {
        try await engine.record(StreamPosition(stream: stream, sequence: position))
        try await store.advance(consumer, in: .scores, to: position)
    }

    /// Learns from a score; `false` where it is too early for that.
    private func learn(_ message: OutboxMessage, _ report: inout ScoreReport) async throws -> Bool {
        guard let score = Score(message: message.payload), let reward = score.reward else {
            report.others += 1
            return true
        }
        guard let span = try await store.span(score.span), let subject = span.context.entity else {
            report.withoutSubject += 1
            return true
        }
        // From before the consent: what is told again must not be judged otherwise than the first time.
        let agreed = try await store.consent(of: subject, to: .personalLearning)
        guard let agreed, agreed <= message.committedAt else {
            report.withoutConsent += 1
            return true
        }
        guard let input = try await store.embedding(.input, of: score.span),
            let output = try await store.embedding(.output, of: score.span)
        else {
            if .seconds(clock.now.seconds(since: message.committedAt)) < patience { return false }
            report.withoutEmbedding += 1
            return true
        }
        let feedback = Feedback(embedding: input, signal: .reward(Float(reward), for: .vector(output)))
        do {
            let update = try await engine.updateAdapter(
                for: subject, with: [feedback], id: score.feedbackID,
                position: StreamPosition(stream: stream, sequence: message.sequence))
            if update.samples > 0 { report.learned += 1 } else { report.known += 1 }
        } catch let error as EngineError where Self.isOfUser(error.code) {
            // Told again it would be refused again, and nobody else's fault it is.
            report.refused += 1
        }
        return true
    }

    /// Whether an error is of one user or their feedback, and neither of the place where all are kept nor of the engine's settings, which
    /// somebody has to mend before any score is learned from.
    private static func isOfUser(_ code: EngineError.Code) -> Bool {
        switch code {
        case .refusedFeedback, .refusedEmbedding, .invalidUser, .unknownUser, .forgottenUser, .damagedAdapter,
            .damagedJournal:
            true
        default: false
        }
    }
}

/// What became of scores.
public struct ScoreReport: Sendable, Hashable {
    /// An adapter learned from them.
    public var learned = 0
    /// An adapter had learned from them already.
    public var known = 0
    /// Of a subject who did not agree, or not before the score.
    public var withoutConsent = 0
    /// Of spans that are about nobody, or are gone.
    public var withoutSubject = 0
    /// Of spans whose input or output was not embedded.
    public var withoutEmbedding = 0
    /// Refused by the engine: embeddings of another dimension, a user who was forgotten or whose adapter is damaged.
    public var refused = 0
    /// Of kinds that say nothing to an adapter.
    public var others = 0

    /// None.
    public init() {}
}

extension Score {
    /// The name under which an adapter learns from it once.
    package var feedbackID: FeedbackID { FeedbackID("score \(id)") }
}
