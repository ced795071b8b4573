/// What went wrong in a routine on vectors or matrices. Nothing was changed.
public struct TensorError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case shapeMismatch, invalidArgument, notPositiveDefinite, notConverged, rankDeficient
        }
        private let kind: Kind

        /// Two shapes that must agree do not.
        public static let shapeMismatch = Code(kind: .shapeMismatch)
        /// An argument is outside what the routine is defined for.
        public static let invalidArgument = Code(kind: .invalidArgument)
        /// A Cholesky factorisation met a pivot that is not positive.
        public static let notPositiveDefinite = Code(kind: .notPositiveDefinite)
        /// An iterative factorisation (SVD, eigenvalues) did not converge.
        public static let notConverged = Code(kind: .notConverged)
        /// A least-squares matrix has linearly dependent columns.
        public static let rankDeficient = Code(kind: .rankDeficient)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The routine that failed.
    public let operation: String
    /// What failed, on what, and what to do.
    public let message: String

    package init(_ code: Code, _ operation: String, _ message: String) {
        self.code = code
        self.operation = operation
        self.message = message
    }

    package static func shapeMismatch(_ operation: String, expected: [Int], actual: [Int]) -> TensorError {
        TensorError(.shapeMismatch, operation, "expected shape \(expected), got \(actual)")
    }

    /// The operation and the message; safe to show.
    public var description: String { "\(operation): \(message)" }
}
