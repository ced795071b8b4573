/// How far a stream was read that feedback comes from: an outbox, a topic of a message queue, a file.
///
/// A journal keeps it in the transaction that keeps what was learned up to there, so that the two are never apart: after a crash, and in a
/// file that was restored from a backup. Whoever learns from a stream one piece after the other, stops at the first that fails, and reads on
/// from ``PersonalizationEngine/position(in:)`` loses none and learns none twice. Give each piece an id too (``FeedbackID``), by which it is
/// known where a stream is read from an earlier place.
public struct StreamPosition: Sendable, Hashable {
    /// Which stream, as whom: 1 to ``longestName`` bytes of UTF-8, by which it is told from others of the journal.
    public var stream: String
    /// The number of the last that was read; numbers rise in a stream, from above 0.
    public var sequence: Int64

    /// A position.
    public init(stream: String, sequence: Int64) { (self.stream, self.sequence) = (stream, sequence) }

    /// The most bytes of a stream's name.
    public static let longestName = 1024

    /// - Throws: ``EngineError`` (`invalidStream`) for a name that is empty or too long.
    static func check(_ stream: String, _ operation: String) throws(EngineError) {
        let bytes = stream.utf8.count
        guard (1...longestName).contains(bytes) else {
            throw EngineError(
                .invalidStream, operation, "a stream's name has 1 to \(longestName) bytes; this one has \(bytes)")
        }
    }
}

/// Where feedback comes from.
struct FeedbackOrigin: Sendable {
    /// What the application calls it.
    var id: FeedbackID?
    /// How far its stream has been read with it.
    var position: StreamPosition?
}

extension PersonalizationEngine {
    /// How far a stream was read whose feedback was learned: what an update was given as its position, or ``record(_:)``.
    ///
    /// - Returns: 0 where nobody has said so, as always without a journal.
    /// - Throws: ``EngineError``: `invalidStream`; `journalFailed`.
    public func position(in stream: String) async throws -> Int64 {
        try StreamPosition.check(stream, "position")
        guard let hub = journalHub, isJournalling else { return 0 }
        return try await journalling("position", nil) { try await hub.journal.position(in: stream) }
    }

    /// Remembers how far a stream was read in which there was nothing more to learn, or from where it is to be read again. Without a
    /// journal it has no effect.
    ///
    /// - Throws: ``EngineError``: `invalidStream`; `journalFailed`.
    public func record(_ position: StreamPosition) async throws {
        try StreamPosition.check(position.stream, "record")
        guard let hub = journalHub, isJournalling else { return }
        try await journalling("record", nil) {
            try await hub.journal.record(position, durability: hub.durability)
        }
    }
}
