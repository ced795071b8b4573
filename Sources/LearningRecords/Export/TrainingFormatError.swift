/// Why rows of training data could not be written or read.
public struct TrainingFormatError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case malformed, unclosedQuote, notUTF8, missingHeader, unknownColumn, duplicateColumn, wrongColumnType,
                wrongFieldCount, wrongValue, notFinite, limitExceeded
        }
        private let kind: Kind

        /// The bytes are not of the format: a misplaced quote, a line that is no JSON object.
        public static let malformed = Code(kind: .malformed)
        /// The file ends inside a quoted field: it was cut.
        public static let unclosedQuote = Code(kind: .unclosedQuote)
        /// The bytes are not UTF-8.
        public static let notUTF8 = Code(kind: .notUTF8)
        /// A CSV file without a header.
        public static let missingHeader = Code(kind: .missingHeader)
        /// A field of the header, or a member of an object, that no column is called.
        public static let unknownColumn = Code(kind: .unknownColumn)
        /// A column that stands twice in the header, or in an object.
        public static let duplicateColumn = Code(kind: .duplicateColumn)
        /// A field of the header without a type, or with another than the column has.
        public static let wrongColumnType = Code(kind: .wrongColumnType)
        /// A row with more or fewer fields than there are columns.
        public static let wrongFieldCount = Code(kind: .wrongFieldCount)
        /// A value that is not of its column's type.
        public static let wrongValue = Code(kind: .wrongValue)
        /// A number that is infinite or none.
        public static let notFinite = Code(kind: .notFinite)
        /// A field, row or line beyond the limits.
        public static let limitExceeded = Code(kind: .limitExceeded)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The line of the file, from 1, on which the field in question begins; none in writing.
    public let line: Int?
    /// The column's name, where it is one that is known.
    public let column: String?
    /// What is wrong and what to do. It holds nothing of what was written or read.
    public let message: String

    /// An error.
    public init(_ code: Code, line: Int? = nil, column: String? = nil, _ message: String) {
        (self.code, self.line, self.column, self.message) = (code, line, column, message)
    }

    /// Line, column and message.
    public var description: String {
        let place = [line.map { "line \($0)" }, column.map { "column '\($0)'" }].compactMap(\.self)
        return place.isEmpty ? message : place.joined(separator: ", ") + ": " + message
    }
}
