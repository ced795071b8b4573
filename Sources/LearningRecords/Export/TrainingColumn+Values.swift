/// Checks and conversions of single values, the same for all formats.
extension TrainingColumn {
    /// The most bytes of a number of an integer or real column.
    static let longestNumber = 1_024

    /// An error about this column.
    func error(_ code: TrainingFormatError.Code, line: Int? = nil, _ message: String) -> TrainingFormatError {
        TrainingFormatError(code, line: line, column: name, message)
    }

    /// An error for a value that is not of the column's type.
    func wrongValue(line: Int? = nil) -> TrainingFormatError {
        let wanted =
            switch type {
            case .text: "a text should stand here"
            case .integer: "a whole number from \(Int64.min) to \(Int64.max), in digits, should stand here"
            case .real: "a finite number as in JSON, of at most \(Self.longestNumber) bytes, should stand here"
            case .json:
                "a JSON text (RFC 8259), nested at most \(JSONTokens.maximumDepth) levels, should stand here"
            case .boolean: "true or false should stand here"
            case .timestamp: "a moment such as 2026-11-27 05:31:12.123456 should stand here"
            }
        return error(.wrongValue, line: line, wanted + ", or nothing for NULL")
    }

    /// Refuses what may not be written in this column.
    ///
    /// - Throws: `wrongValue`, `notFinite`.
    /// - Complexity: O(length).
    func check(_ value: TrainingValue) throws(TrainingFormatError) {
        switch (type, value) {
        case (_, .null), (.text, .text), (.integer, .integer), (.boolean, .boolean): return
        case (.real, .real(let number)):
            guard number.isFinite else {
                throw error(.notFinite, "\(number) cannot be written: give NULL for what is unknown")
            }
        case (.json, .json(let text)): guard JSONTokens.isValid(Array(text.utf8)) else { throw wrongValue() }
        case (.timestamp, .text(let text)): guard Self.isTimestamp(Array(text.utf8)) else { throw wrongValue() }
        default: throw wrongValue()
        }
    }

    /// Refuses a row with another number of values than there are columns.
    static func checkCount(_ values: Int, _ columns: Int) throws(TrainingFormatError) {
        guard values == columns else {
            throw TrainingFormatError(
                .wrongFieldCount, "\(values) values for \(columns) columns: give one for each, NULL for none")
        }
    }

    /// The whole number that digits spell, with a sign or without.
    static func integer(_ bytes: [UInt8]) -> Int64? {
        let digits = bytes.first == UInt8(ascii: "-") ? bytes.dropFirst() : bytes[...]
        guard bytes.count <= longestNumber, digits.allSatisfy(\.isDigitOfJSON), JSONTokens.isNumber(bytes) else {
            return nil
        }
        return Int64(String(decoding: bytes, as: UTF8.self))
    }

    /// The finite number that a text spells, as JSON writes numbers. What is too small for a Double is 0.
    static func real(_ bytes: [UInt8]) -> Double? {
        guard bytes.count <= longestNumber, JSONTokens.isNumber(bytes),
            let number = Double(String(decoding: bytes, as: UTF8.self)), number.isFinite
        else { return nil }
        return number
    }

    /// Whether a text is a moment of the proleptic Gregorian calendar in the one form that there is.
    static func isTimestamp(_ bytes: [UInt8]) -> Bool {
        let form = Array("0000-00-00 00:00:00.000000".utf8)
        guard bytes.count == form.count else { return false }
        for (byte, wanted) in zip(bytes, form) {
            guard wanted.isDigitOfJSON ? byte.isDigitOfJSON : byte == wanted else { return false }
        }
        func number(_ range: Range<Int>) -> Int { bytes[range].reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) } }
        let (year, month, day) = (number(0..<4), number(5..<7), number(8..<10))
        guard (1...12).contains(month), number(11..<13) < 24, number(14..<16) < 60, number(17..<19) < 60 else {
            return false
        }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        return (1...days[month - 1]).contains(day)
    }
}

extension UInt8 {
    /// Whether the byte is one of 0...9.
    var isDigitOfJSON: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
}
