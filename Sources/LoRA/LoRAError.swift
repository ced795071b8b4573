/// Why an adapter could not be made, applied, updated or merged. The adapter is as it was before the call.
public struct LoRAError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case shapeMismatch, nonFinite, invalidShape, invalidConfiguration, invalidFeedback, unsupported
            case undefinedMerge, malformedSnapshot
        }
        private let kind: Kind

        /// A vector or adapter has another dimension, rank or layout than the operation needs.
        public static let shapeMismatch = Code(kind: .shapeMismatch)
        /// A number is NaN or infinite, or the arithmetic left the range of Float.
        public static let nonFinite = Code(kind: .nonFinite)
        /// A dimension, rank or scale outside the limits.
        public static let invalidShape = Code(kind: .invalidShape)
        /// A setting outside its range.
        public static let invalidConfiguration = Code(kind: .invalidConfiguration)
        /// A feedback that says something impossible: a rating above its scale, an item outside the catalogue.
        public static let invalidFeedback = Code(kind: .invalidFeedback)
        /// Two settings that do not work together.
        public static let unsupported = Code(kind: .unsupported)
        /// A merge without a value: no adapters, or weights that sum to zero where they must be normalised.
        public static let undefinedMerge = Code(kind: .undefinedMerge)

        /// Bytes that are no snapshot of an adapter, or a damaged one.
        public static let malformedSnapshot = Code(kind: .malformedSnapshot)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The operation that failed, for example `update`.
    public let operation: String
    /// What failed, on what, and what to do.
    public let message: String
    /// The index of the feedback, vector or adapter concerned, when there are several.
    public let position: Int?

    package init(_ code: Code, _ operation: String, _ message: String, position: Int? = nil) {
        self.code = code
        self.operation = operation
        self.message = message
        self.position = position
    }

    package static func length(_ what: String, _ operation: String, expected: Int, actual: Int, position: Int? = nil)
        -> LoRAError
    {
        LoRAError(
            .shapeMismatch, operation, "\(what) has \(actual) values where the adapter's dimension is \(expected)",
            position: position)
    }

    /// The same error about the sample, vector or adapter at `position`.
    package func at(_ position: Int) -> LoRAError { LoRAError(code, operation, message, position: position) }

    /// The operation, the position and the message; safe to show.
    public var description: String {
        position.map { "\(operation), number \($0): \(message)" } ?? "\(operation): \(message)"
    }
}
