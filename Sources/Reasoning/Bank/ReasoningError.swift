/// Why a bank, or what asks one, refused or failed.
public struct ReasoningError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case invalidQuery, invalidPolicy, invalidEpisode, invalidConfiguration, malformedAnswer, timedOut, busy,
                forgottenUser
        }
        private let kind: Kind

        /// A query that contradicts itself or is out of range.
        public static let invalidQuery = Code(kind: .invalidQuery)
        /// A policy out of range.
        public static let invalidPolicy = Code(kind: .invalidPolicy)
        /// An episode that holds a number that is not finite, or a taste of another length than 64.
        public static let invalidEpisode = Code(kind: .invalidEpisode)
        /// A setting out of range.
        public static let invalidConfiguration = Code(kind: .invalidConfiguration)
        /// A bank's answer that cannot be; the message says what is wrong with it.
        public static let malformedAnswer = Code(kind: .malformedAnswer)
        /// The bank did not answer in time.
        public static let timedOut = Code(kind: .timedOut)
        /// Too many calls to the bank have not come back: it is not asked until one does.
        public static let busy = Code(kind: .busy)

        /// An episode of a user who was forgotten.
        public static let forgottenUser = Code(kind: .forgottenUser)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The operation that failed.
    public let operation: String
    /// What failed and what to do; names no user.
    public let message: String

    /// A failure.
    public init(_ code: Code, _ operation: String, _ message: String) {
        self.code = code
        self.operation = operation
        self.message = message
    }

    /// Operation and message.
    public var description: String { "\(operation): \(message)" }
}
