public import LearningRecords
public import Personalization

/// What was erased of a subject, everywhere.
public struct ErasureReceipt: Sendable {
    /// In the store of records: contents, messages, scores' comments, embeddings, workflows' states, consents.
    public var records: RecordErasure
    /// Files of records that were deleted; their sessions' summaries were written again without them.
    public var files: Int
    /// The adapter with its journal, and what the connected bank had of them: episodes, and skills that were made again without them.
    public var adapter: ForgettingReceipt
}

extension PersonalizationEngine {
    /// Erases a subject in records, in files of records, and here: ``forget(_:)``.
    ///
    /// Records come first and the adapter last: where a step throws, what was erased stays erased, and it is called again. What waits in a
    /// recorder is stored afterwards: flush it before. Exports and backups are not reached.
    ///
    /// - Parameters:
    ///   - subject: Whom: ``SpanContext/entity`` of their records, the user's id here.
    ///   - records: Where their records are.
    ///   - files: The folders of files of records.
    /// - Throws: What the store throws; ``RecordError`` (`files`); what ``forget(_:)`` throws.
    @discardableResult
    public func erase(
        _ subject: String, in records: any TrainingDataStore, files: [RecordFiles] = []
    ) async throws -> ErasureReceipt {
        let erased = try await records.erase(subject)
        var count = 0
        for folder in files { count += try await folder.erase(subject) }
        return ErasureReceipt(records: erased, files: count, adapter: try await forget(subject))
    }
}
