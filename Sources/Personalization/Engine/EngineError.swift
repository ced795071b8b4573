package import LoRA

/// Why the engine refused or failed. Nothing was changed.
public struct EngineError: Error, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case invalidConfiguration, invalidUser, unknownUser, refusedFeedback, refusedEmbedding, shapeMismatch
            case modelMismatch, storeFailed, staleVersion, refusedMerge, damagedJournal, numericsMismatch
            case forgottenUser, journalFailed, notRetained, unknownFeedback, damagedAdapter
            case stalePrior, invalidStream
        }
        private let kind: Kind

        /// A setting outside its range, or settings that do not work together.
        public static let invalidConfiguration = Code(kind: .invalidConfiguration)
        /// A user id that is empty or longer than 1,024 bytes.
        public static let invalidUser = Code(kind: .invalidUser)
        /// A stream's name (``StreamPosition``) that is empty or too long.
        public static let invalidStream = Code(kind: .invalidStream)
        /// The user has no adapter, and the operation or ``EngineConfiguration/isStrict`` asks for one.
        public static let unknownUser = Code(kind: .unknownUser)
        /// The feedback cannot be learned from; ``EngineError/cause`` says why and where.
        public static let refusedFeedback = Code(kind: .refusedFeedback)
        /// The embedding cannot be personalized; ``EngineError/cause`` says why.
        public static let refusedEmbedding = Code(kind: .refusedEmbedding)
        /// The stored adapter has another dimension, rank or map than the engine's; the message names both.
        public static let shapeMismatch = Code(kind: .shapeMismatch)
        /// The stored adapter belongs to another embedding model than the engine's; the message names both.
        public static let modelMismatch = Code(kind: .modelMismatch)
        /// The store threw; ``EngineError/cause`` is its error.
        public static let storeFailed = Code(kind: .storeFailed)
        /// A store holds a newer version of the adapter than the one to be saved.
        public static let staleVersion = Code(kind: .staleVersion)
        /// The adapters cannot be merged; ``EngineError/cause`` says why.
        public static let refusedMerge = Code(kind: .refusedMerge)

        /// The prior contains what was forgotten since it was merged: merge again.
        public static let stalePrior = Code(kind: .stalePrior)

        /// The journal threw: the update was not made; ``EngineError/cause`` is its error.
        public static let journalFailed = Code(kind: .journalFailed)
        /// The stored adapter is damaged: its bytes are not those that were saved. An engine with a journal makes it again.
        public static let damagedAdapter = Code(kind: .damagedAdapter)
        /// What the journal holds cannot be replayed: it is damaged, or something that it names is missing.
        public static let damagedJournal = Code(kind: .damagedJournal)
        /// The journal was written under other rules of arithmetic (``Numerics``).
        public static let numericsMismatch = Code(kind: .numericsMismatch)
        /// The user was forgotten, and not readmitted since.
        public static let forgottenUser = Code(kind: .forgottenUser)
        /// The journal no longer reaches back to the feedback to be forgotten.
        public static let notRetained = Code(kind: .notRetained)
        /// No feedback of the user has this id.
        public static let unknownFeedback = Code(kind: .unknownFeedback)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The operation that failed.
    public let operation: String
    /// What failed and what to do. Safe to show: it names no user.
    public let message: String
    /// The user concerned.
    public let user: String?
    /// The index of the feedback, embedding or request concerned, when there are several.
    public let position: Int?
    /// The error below this one.
    public let cause: (any Error)?

    package init(
        _ code: Code, _ operation: String, _ message: String, user: String? = nil, position: Int? = nil,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.operation = operation
        self.message = message
        self.user = user
        self.position = position
        self.cause = cause
    }

    package init(_ code: Code, _ operation: String, user: String? = nil, position: Int? = nil, cause: LoRAError) {
        self.init(
            code, operation, cause.message, user: user, position: position ?? cause.position, cause: cause)
    }

    /// That a storage keeps nothing of a user who was forgotten.
    package static func forgotten(_ user: String, _ operation: String) -> EngineError {
        EngineError(.forgottenUser, operation, "the user was forgotten: readmit them first", user: user)
    }

    /// The same error about the request at `position`.
    func at(_ position: Int) -> EngineError {
        EngineError(code, operation, message, user: user, position: position, cause: cause)
    }

    /// The same error, of a user.
    func naming(_ user: String) -> EngineError {
        EngineError(code, operation, message, user: user, position: position, cause: cause)
    }

    /// Operation, position and message, without the user.
    public var description: String {
        position.map { "\(operation), number \($0): \(message)" } ?? "\(operation): \(message)"
    }

    /// The same with the user and the cause.
    public var debugDescription: String {
        "\(description) [\(code)\(user.map { ", user \($0)" } ?? "")\(cause.map { ", cause: \($0)" } ?? "")]"
    }
}
