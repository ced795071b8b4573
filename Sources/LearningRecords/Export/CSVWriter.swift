/// Writes rows as CSV (RFC 4180) from which ``CSVReader`` gives them back: texts to the byte, numbers to the bit.
///
/// Lines end in CR LF. The first names the columns with their types: `event_id:text,execution_time_ms:real`. NULL is an empty
/// field without quotes and the empty text is `""`, as PostgreSQL has it; a reader that does not tell them apart takes both for
/// empty. Numbers are written in the shortest form that reads back as the same; JSON as its text; yes and no as `true` and
/// `false`.
///
/// ## For spreadsheets
///
/// A spreadsheet may take a field for a formula and run it. A writer that is spreadsheet-safe puts an apostrophe before each value
/// of a text or JSON column that begins with `=`, `+`, `-`, `@`, a tab, CR, LF, a character of number 0, one of the full-width
/// forms `＝＋－＠`, or with an apostrophe. To have the values back, take away the first character of each text and JSON field that
/// begins with an apostrophe, and nothing else; a ``CSVReader`` does so when it is told. Nothing in the file tells that it was
/// written so. It is safe when opened with the comma as what separates fields.
///
/// **Source.** OWASP, *CSV Injection*; OWASP ASVS 5.0, 1.2.10.
public struct CSVWriter: Sendable {
    /// The columns, in their order.
    public let columns: [TrainingColumn]
    /// Whether apostrophes keep a spreadsheet from taking fields for formulas.
    public let isSpreadsheetSafe: Bool

    /// A writer of rows of these columns. No column, or two of one name, are a mistake of the caller.
    public init(columns: [TrainingColumn], isSpreadsheetSafe: Bool) {
        _ = TrainingColumn.places(columns)
        (self.columns, self.isSpreadsheetSafe) = (columns, isSpreadsheetSafe)
    }

    /// Appends the line that names the columns.
    public func header(into bytes: inout [UInt8]) {
        bytes += columns.map(\.headerField).joined(separator: [UInt8(ascii: ",")])
        bytes += [0x0D, 0x0A]
    }

    /// Appends a row.
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
            if place > 0 { bytes.append(UInt8(ascii: ",")) }
            switch value {
            case .null: break
            case .integer(let number): bytes += "\(number)".utf8
            case .real(let number): bytes += "\(number)".utf8
            case .boolean(let flag): bytes += (flag ? "true" : "false").utf8
            case .text(let text), .json(let text): append(Array(text.utf8), to: &bytes)
            }
        }
        bytes += [0x0D, 0x0A]
    }

    private func append(_ text: [UInt8], to bytes: inout [UInt8]) {
        let isMarked = isSpreadsheetSafe && Self.needsApostrophe(text)
        guard Self.needsQuotes(text) else {
            if isMarked { bytes.append(UInt8(ascii: "'")) }
            bytes += text
            return
        }
        bytes.append(UInt8(ascii: "\""))
        if isMarked { bytes.append(UInt8(ascii: "'")) }
        for byte in text {
            if byte == UInt8(ascii: "\"") { bytes.append(byte) }
            bytes.append(byte)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Whether a text must stand in quotes, or might be taken for something else without.
    private static func needsQuotes(_ text: [UInt8]) -> Bool {
        guard let first = text.first, let last = text.last else { return true }
        // Spaces at the ends are dropped by some readers, and PostgreSQL takes "\." for the end of the file.
        if first == 0x20 || last == 0x20 { return true }
        return text.contains {
            switch $0 {
            case 0..<0x20, UInt8(ascii: "\""), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "\\"): true
            default: false
            }
        }
    }

    /// Whether a text begins as a formula may, or with the apostrophe that marks those.
    static func needsApostrophe(_ text: [UInt8]) -> Bool {
        guard let first = text.first else { return false }
        switch first {
        case UInt8(ascii: "="), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "@"), UInt8(ascii: "'"), 0x00, 0x09,
            0x0A, 0x0D:
            return true
        case 0xEF: return ["＝", "＋", "－", "＠"].contains { text.starts(with: $0.utf8) }
        default: return false
        }
    }
}
