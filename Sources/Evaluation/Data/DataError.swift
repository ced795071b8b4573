/// Why a data folder cannot be used: which file, which row, which column, and how many more rows are bad.
///
/// ``description`` names places and columns only and is safe to log; ``debugDescription`` adds the offending value, cut
/// to 60 characters and with control characters escaped.
public struct DataError: Error, Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case unreadable, missingFile, missingColumn, malformedRow, invalidEncoding, invalidNumber, unknownItem
            case duplicateItem, emptyIdentifier, embeddings, limitExceeded, notEnoughData, invalidConfiguration
            case malformedRecord, incomparable, malformedGrid, inUse, cannotWrite
        }
        private let kind: Kind

        /// The operating system refused to read the file.
        public static let unreadable = Code(kind: .unreadable)
        /// A file that the folder must have is not there.
        public static let missingFile = Code(kind: .missingFile)
        /// The header lacks a column, or names one twice.
        public static let missingColumn = Code(kind: .missingColumn)
        /// A row with too few or too many fields, or with misplaced or unbalanced quotes.
        public static let malformedRow = Code(kind: .malformedRow)
        /// Bytes that are not UTF-8.
        public static let invalidEncoding = Code(kind: .invalidEncoding)
        /// A rating or timestamp that is not a finite decimal number.
        public static let invalidNumber = Code(kind: .invalidNumber)
        /// An interaction with an item that `items.csv` does not list.
        public static let unknownItem = Code(kind: .unknownItem)
        /// `items.csv` lists an item twice.
        public static let duplicateItem = Code(kind: .duplicateItem)
        /// A user or item id without a character.
        public static let emptyIdentifier = Code(kind: .emptyIdentifier)
        /// An embedding file of the wrong format, shape or content.
        public static let embeddings = Code(kind: .embeddings)
        /// More rows, bytes or dimensions than ``DataLimits`` allows.
        public static let limitExceeded = Code(kind: .limitExceeded)
        /// Too few users with enough likes to tune on or to evaluate.
        public static let notEnoughData = Code(kind: .notEnoughData)
        /// A setting of a synthetic population or of an evaluation outside its range.
        public static let invalidConfiguration = Code(kind: .invalidConfiguration)

        /// A benchmark's record that is none.
        public static let malformedRecord = Code(kind: .malformedRecord)
        /// Two benchmarks of other data or other users.
        public static let incomparable = Code(kind: .incomparable)
        /// A grid of settings that is no JSON, or whose variants, settings or values are not what they may be.
        public static let malformedGrid = Code(kind: .malformedGrid)
        /// Another run writes to the same folder of results.
        public static let inUse = Code(kind: .inUse)
        /// The operating system refused to write a file.
        public static let cannotWrite = Code(kind: .cannotWrite)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The name of the file inside the folder, without its path; empty when no single file is at fault.
    public let file: String
    /// The line on which the first bad row begins, or the bad row of an embedding file; from 1.
    public let line: Int?
    /// The column of the first bad field, from 1.
    public let column: Int?
    /// The header's name of that column.
    public let columnName: String?
    /// How many more rows of the same file are bad.
    public internal(set) var moreBadRows: Int
    /// What is wrong and what to do.
    public let message: String
    /// The offending text, when there is one: cut to 60 characters, control characters escaped.
    public let value: String?

    package init(
        _ code: Code, file: String = "", line: Int? = nil, column: Int? = nil, columnName: String? = nil,
        moreBadRows: Int = 0, value: String? = nil, _ message: String
    ) {
        self.code = code
        self.file = file
        self.line = line
        self.column = column
        self.columnName = columnName.map(Self.shown)
        self.moreBadRows = moreBadRows
        self.message = message
        self.value = value.map(Self.shown)
    }

    /// File, line, column and message, and how many more rows are bad.
    public var description: String { text(showsValue: false) }

    /// The ``description`` with the offending value.
    public var debugDescription: String { text(showsValue: true) }

    private func text(showsValue: Bool) -> String {
        var place: [String] = []
        if !file.isEmpty { place.append(file) }
        if let line { place.append("\(file.hasSuffix(".npy") ? "row" : "line") \(line)") }
        if let column { place.append("column \(column)" + (columnName.map { " (\($0))" } ?? "")) }
        var text = place.isEmpty ? message : place.joined(separator: ", ") + ": " + message
        if showsValue, let value { text += " (found \"\(value)\")" }
        if moreBadRows == 1 { text += "; 1 more bad row" }
        if moreBadRows > 1 { text += "; \(moreBadRows) more bad rows" }
        return text
    }

    /// At most 60 characters with nothing that could move a terminal's cursor.
    private static func shown(_ text: String) -> String {
        var result = ""
        for (i, scalar) in text.unicodeScalars.enumerated() {
            if i == 60 { return result + "…" }
            let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
            // Bidirectional overrides and line separators can falsify a log line.
            let isLayout = (0x200E...0x200F).contains(scalar.value) || (0x2028...0x202E).contains(scalar.value)
            if isControl || isLayout || (0x2066...0x2069).contains(scalar.value) {
                result += "\\u{" + String(scalar.value, radix: 16) + "}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}

/// How large the files of a data folder may be. What exceeds a limit is refused with ``DataError`` (`limitExceeded`)
/// before memory is spent on it.
public struct DataLimits: Sendable, Hashable {
    /// The most bytes in one file.
    public var fileBytes = 4 << 30
    /// The most rows in `interactions.csv`.
    public var interactions = 100_000_000
    /// The most rows in `items.csv`.
    public var items = 5_000_000
    /// The most bytes in one field of a row.
    public var fieldBytes = 1 << 20
    /// The most columns in a header.
    public var columns = 256
    /// The largest dimension of an embedding, as in the engine.
    public var dimension = 65_536

    /// The default limits.
    public init() {}
}
