/// Why a text could not be redacted. What was to be redacted must then not be kept.
public struct RedactionError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String { case textTooLong, customFunctionFailed }
        private let kind: Kind

        /// The text is longer than ``Redaction/maximumLength``.
        public static let textTooLong = Code(kind: .textTooLong)
        /// The user's function threw; ``RedactionError/cause`` is what it threw.
        public static let customFunctionFailed = Code(kind: .customFunctionFailed)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// What failed and what to do; quotes nothing of the text.
    public let message: String
    /// What the user's function threw. It may quote the text: log it only where the text may be logged.
    public let cause: (any Error)?

    /// A failure.
    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// The message, without the cause.
    public var description: String { "redaction: \(message)" }
}

extension RedactionError: CustomDebugStringConvertible {
    /// The message with the type of the cause, whose own words may quote the text.
    public var debugDescription: String {
        guard let cause else { return description }
        return "\(description) (\(type(of: cause)))"
    }
}
