/// Reads rows from the bytes of a CSV file as ``CSVWriter`` writes it, which come in pieces of any size.
///
/// ```swift
/// var reader = CSVReader(columns: columns)
/// while let piece = try file.read() {
///     reader.feed(piece)
///     while let row = try reader.next() { use(row) }
/// }
/// reader.finish()
/// while let row = try reader.next() { use(row) }
/// ```
///
/// Strict: whatever is not as it is written is an error, after which nothing more is read. Besides what a writer makes are
/// accepted: LF as the end of a line, a byte order mark, a last line without an end, columns in another order than asked for, and
/// columns that the file does not have, whose values are then NULL.
///
/// The file may be hostile: it costs the memory of the last piece, of one row up to the limits and of one value for each column,
/// and each byte is looked at once or twice.
public struct CSVReader: Sendable {
    private enum State: Sendable { case fieldStart, unquoted, quoted, quoteInQuoted, carriageReturn }

    /// The columns, in the order in which their values are given.
    public let columns: [TrainingColumn]
    /// Whether the file was written spreadsheet-safe: apostrophes before texts and JSON are taken away.
    public let isSpreadsheetSafe: Bool
    private let maximumFieldBytes: Int
    private let maximumRowBytes: Int
    private let places: [String: Int]

    private var input = ByteFeed()
    private var failure: TrainingFormatError?
    private var state = State.fieldStart
    /// The columns of the file's fields, as far as the header is read.
    private var header: [Int] = []
    private var isHeaderRead = false
    private var values: [TrainingValue]
    private var field: [UInt8] = []
    private var isQuoted = false
    private var fieldNumber = 0
    private var rowBytes = 0
    private var line = 1
    private var fieldLine = 1

    /// A reader of rows of these columns. No column, two of one name, or limits below 1, are a mistake of the caller.
    ///
    /// - Parameters:
    ///   - columns: What the file may have.
    ///   - isSpreadsheetSafe: As the writer was. What begins like a formula is an error then.
    ///   - maximumFieldBytes: The most bytes of a field, without its quotes.
    ///   - maximumRowBytes: The most bytes of a row's fields together, and of its commas.
    public init(
        columns: [TrainingColumn], isSpreadsheetSafe: Bool = false, maximumFieldBytes: Int = 128 << 20,
        maximumRowBytes: Int = 256 << 20
    ) {
        precondition(maximumFieldBytes > 0 && maximumRowBytes > 0, "the limits of a reader are 1 or more")
        places = TrainingColumn.places(columns)
        values = Array(repeating: .null, count: columns.count)
        (self.columns, self.isSpreadsheetSafe) = (columns, isSpreadsheetSafe)
        (self.maximumFieldBytes, self.maximumRowBytes) = (maximumFieldBytes, maximumRowBytes)
    }

    /// Gives the reader the next piece of the file. One after ``finish()`` is a mistake of the caller.
    ///
    /// Pieces that were not read yet are kept: ask ``next()`` for all rows before the next is given.
    public mutating func feed(_ bytes: [UInt8]) { if failure == nil { input.append(bytes) } }

    /// Tells the reader that the file has ended.
    public mutating func finish() { input.finish() }

    /// The next row: a value for each of ``columns``.
    ///
    /// - Returns: `nil` where more bytes are needed, and at the end of the file.
    /// - Throws: What is wrong with the file; the same again whenever it is asked.
    /// - Complexity: O(bytes).
    public mutating func next() throws(TrainingFormatError) -> [TrainingValue]? {
        if let failure { throw failure }
        do throws(TrainingFormatError) {
            return try row()
        } catch {
            failure = error
            (field, values) = ([], [])
            input.clear()
            throw error
        }
    }

    private mutating func row() throws(TrainingFormatError) -> [TrainingValue]? {
        guard input.skipByteOrderMark() else { throw error(.malformed, "the file begins with half a byte order mark") }
        while let byte = input.current {
            switch state {
            case .fieldStart:
                fieldLine = line
                isQuoted = byte == UInt8(ascii: "\"")
                state = isQuoted ? .quoted : .unquoted
                if isQuoted { input.skip() }
            case .quoted:
                try take { $0 == UInt8(ascii: "\"") }
                guard input.current != nil else { break }
                input.skip()
                state = .quoteInQuoted
            case .quoteInQuoted where byte == UInt8(ascii: "\""):
                try count(1)
                field.append(byte)
                input.skip()
                state = .quoted
            case .unquoted where byte == UInt8(ascii: "\""):
                throw error(
                    .malformed, "a quote stands in a field without quotes: put the field in quotes and double it")
            case .unquoted, .quoteInQuoted:
                switch byte {
                case UInt8(ascii: ","):
                    input.skip()
                    try endField()
                    state = .fieldStart
                case 0x0A:
                    input.skip()
                    if let row = try endRow() { return row }
                case 0x0D:
                    input.skip()
                    state = .carriageReturn
                default:
                    guard state == .unquoted else {
                        throw error(
                            .malformed, "text stands behind the quote that ends a field: double quotes inside it")
                    }
                    try take {
                        $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\"") || $0 == 0x0A || $0 == 0x0D
                    }
                }
            case .carriageReturn:
                guard byte == 0x0A else {
                    throw error(.malformed, "a carriage return stands alone: lines end in LF or CR LF")
                }
                input.skip()
                if let row = try endRow() { return row }
            }
        }
        return input.isFinished ? try lastRow() : nil
    }

    private mutating func lastRow() throws(TrainingFormatError) -> [TrainingValue]? {
        if state == .quoted {
            throw error(.unclosedQuote, "the file ends inside quotes: it was cut, or a quote is missing")
        }
        if state != .fieldStart || fieldNumber > 0, let row = try endRow() { return row }
        if !isHeaderRead {
            throw error(.missingHeader, "the file has no header: its first line names columns and their types")
        }
        return nil
    }

    private func error(_ code: TrainingFormatError.Code, _ message: String) -> TrainingFormatError {
        let column = isHeaderRead && fieldNumber < header.count ? columns[header[fieldNumber]].name : nil
        return TrainingFormatError(code, line: fieldLine, column: column, message)
    }

    private mutating func count(_ bytes: Int) throws(TrainingFormatError) {
        guard bytes <= maximumFieldBytes - field.count else {
            throw error(.limitExceeded, "a field has more than \(maximumFieldBytes) bytes: allow more or split it")
        }
        guard bytes <= maximumRowBytes - rowBytes else {
            throw error(.limitExceeded, "a row has more than \(maximumRowBytes) bytes: allow more or split it")
        }
        rowBytes += bytes
    }

    /// Takes bytes into the field up to one that may end it.
    private mutating func take(until isEnd: (UInt8) -> Bool) throws(TrainingFormatError) {
        let run = input.run(until: isEnd)
        try count(run.count)
        field += run
        if isQuoted { line += run.count { $0 == 0x0A } }
    }
}

extension CSVReader {
    private mutating func endField() throws(TrainingFormatError) {
        defer {
            field.removeAll(keepingCapacity: true)
            fieldNumber += 1
            (isQuoted, fieldLine) = (false, line)
        }
        guard isHeaderRead else { return header.append(try headerField()) }
        guard fieldNumber < header.count else {
            throw error(.wrongFieldCount, "the row has more fields than the header, which has \(header.count)")
        }
        values[header[fieldNumber]] = try value(columns[header[fieldNumber]])
        // For the comma, which takes no part in a field.
        rowBytes += 1
    }

    private mutating func endRow() throws(TrainingFormatError) -> [TrainingValue]? {
        try endField()
        line += 1
        defer {
            (state, fieldNumber, rowBytes) = (.fieldStart, 0, 0)
            isHeaderRead = true
        }
        guard isHeaderRead else { return nil }
        guard fieldNumber == header.count else {
            throw error(.wrongFieldCount, "the row has \(fieldNumber) fields and the header \(header.count)")
        }
        return values
    }

    /// The place of the column that a field of the header names.
    private func headerField() throws(TrainingFormatError) -> Int {
        let number = fieldNumber + 1
        let name = field.prefix { $0 != UInt8(ascii: ":") }
        guard let place = places[String(decoding: name, as: UTF8.self)] else {
            throw error(.unknownColumn, "field \(number) of the header names no column that is known here")
        }
        let column = columns[place]
        guard !header.contains(place) else {
            throw column.error(.duplicateColumn, line: fieldLine, "field \(number) of the header names it again")
        }
        guard field.elementsEqual(column.headerField) else {
            throw column.error(
                .wrongColumnType, line: fieldLine,
                "field \(number) of the header should be '\(String(decoding: column.headerField, as: UTF8.self))'")
        }
        return place
    }

    private func value(_ column: TrainingColumn) throws(TrainingFormatError) -> TrainingValue {
        if field.isEmpty, !isQuoted { return .null }
        switch column.type {
        case .text: return .text(try text(column, unmarked(column)))
        case .json:
            let bytes = try unmarked(column)
            let json = try text(column, bytes)
            guard JSONTokens.isValid(bytes) else { throw column.wrongValue(line: fieldLine) }
            return .json(json)
        case .timestamp:
            guard TrainingColumn.isTimestamp(field) else { throw column.wrongValue(line: fieldLine) }
            return .text(String(decoding: field, as: UTF8.self))
        case .integer:
            guard let number = TrainingColumn.integer(field) else { throw column.wrongValue(line: fieldLine) }
            return .integer(number)
        case .real:
            guard let number = TrainingColumn.real(field) else { throw column.wrongValue(line: fieldLine) }
            return .real(number)
        case .boolean:
            if field.elementsEqual("true".utf8) { return .boolean(true) }
            guard field.elementsEqual("false".utf8) else { throw column.wrongValue(line: fieldLine) }
            return .boolean(false)
        }
    }

    /// The field without the apostrophe that marks what begins like a formula.
    private func unmarked(_ column: TrainingColumn) throws(TrainingFormatError) -> [UInt8] {
        guard isSpreadsheetSafe, CSVWriter.needsApostrophe(field) else { return field }
        guard field.first == UInt8(ascii: "'") else {
            throw column.error(
                .wrongValue, line: fieldLine,
                "the field begins like a formula: put an apostrophe before it, or read the file as not spreadsheet-safe"
            )
        }
        return Array(field.dropFirst())
    }

    private func text(_ column: TrainingColumn, _ bytes: [UInt8]) throws(TrainingFormatError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw column.error(.notUTF8, line: fieldLine, "the field is not UTF-8: convert the file")
        }
        return text
    }
}
