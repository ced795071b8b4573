/// Writes rows as JSON Lines: each an object on a line of its own, with the columns' names in their order.
///
/// Texts are JSON strings and come back to the byte; numbers are written in the shortest form that reads back as the same; NULL
/// is `null`. JSON values stand in the object as they are, but for the white space between their tokens, which is left out. The
/// JSON text `null` therefore comes back as NULL.
public struct JSONLinesWriter: Sendable {
    /// The columns, in their order.
    public let columns: [TrainingColumn]
    private let keys: [[UInt8]]

    /// A writer of rows of these columns. No column, or two of one name, are a mistake of the caller.
    public init(columns: [TrainingColumn]) {
        _ = TrainingColumn.places(columns)
        self.columns = columns
        keys = columns.map { Array("\"\($0.name)\":".utf8) }
    }

    /// Appends a row with LF at its end.
    ///
    /// - Parameters:
    ///   - values: One for each column.
    ///   - bytes: Gets the row behind what is there; stays as it is where an error is thrown.
    /// - Throws: `wrongFieldCount`, `wrongValue`, `notFinite`.
    /// - Complexity: O(bytes that are written).
    public func row(_ values: [TrainingValue], into bytes: inout [UInt8]) throws(TrainingFormatError) {
        try TrainingColumn.checkCount(values.count, columns.count)
        for (column, value) in zip(columns, values) { try column.check(value) }
        for (place, value) in values.enumerated() {
            bytes.append(UInt8(ascii: place == 0 ? "{" : ","))
            bytes += keys[place]
            switch value {
            case .null: bytes += "null".utf8
            case .integer(let number): bytes += "\(number)".utf8
            case .real(let number): bytes += "\(number)".utf8
            case .boolean(let flag): bytes += (flag ? "true" : "false").utf8
            case .text(let text): JSONOutput.append(text, to: &bytes)
            case .json(let text):
                let isValid = JSONTokens.compact(Array(text.utf8), to: &bytes)
                assert(isValid, "what was checked is JSON")
            }
        }
        bytes += [UInt8(ascii: "}"), 0x0A]
    }
}
