/// A line of JSON Lines on its way to values.
struct JSONLine {
    private var tokens: JSONTokens
    private let line: Int

    /// The bytes of a line without its end, and its number.
    init(_ bytes: [UInt8], line: Int) {
        tokens = JSONTokens(bytes)
        self.line = line
    }

    /// The values of the object that is all of the line, one for each column.
    ///
    /// - Parameter places: The places of the columns by name.
    /// - Throws: `malformed`, `unknownColumn`, `duplicateColumn`, `wrongValue`, `notUTF8`.
    /// - Complexity: O(bytes + columns).
    mutating func values(
        _ columns: [TrainingColumn], _ places: [String: Int]
    ) throws(TrainingFormatError) -> [TrainingValue] {
        var values = [TrainingValue](repeating: .null, count: columns.count)
        var isThere = [Bool](repeating: false, count: columns.count)
        try take("{", "the line should begin with '{'")
        tokens.skipSpace()
        var member = 0
        while member > 0 || tokens.current != UInt8(ascii: "}") {
            member += 1
            tokens.skipSpace()
            guard let name = String(validating: try string(), as: UTF8.self), let place = places[name] else {
                throw TrainingFormatError(
                    .unknownColumn, line: line, "member \(member) is called as no column that is known here")
            }
            guard !isThere[place] else {
                throw columns[place].error(.duplicateColumn, line: line, "member \(member) is there already")
            }
            isThere[place] = true
            try take(":", "a colon should stand behind the name of member \(member)")
            values[place] = try value(columns[place])
            tokens.skipSpace()
            guard tokens.take(",") else { break }
        }
        try take("}", "a comma or '}' should stand behind member \(member)")
        tokens.skipSpace()
        guard tokens.current == nil else { throw malformed("something stands behind the object") }
        return values
    }

    private mutating func value(_ column: TrainingColumn) throws(TrainingFormatError) -> TrainingValue {
        tokens.skipSpace()
        if tokens.current == UInt8(ascii: "\""), column.type == .text || column.type == .timestamp {
            let bytes = try string()
            guard column.type == .text || TrainingColumn.isTimestamp(bytes) else {
                throw column.wrongValue(line: line)
            }
            return .text(try text(column, bytes))
        }
        var token: [UInt8] = []
        do throws(JSONTokens.Fault) { try tokens.value(&token) } catch { throw malformed(error.message) }
        if token.elementsEqual("null".utf8) { return .null }
        switch column.type {
        case .text, .timestamp: break
        case .json: return .json(try text(column, token))
        case .integer: if let number = TrainingColumn.integer(token) { return .integer(number) }
        case .real: if let number = TrainingColumn.real(token) { return .real(number) }
        case .boolean:
            if token.elementsEqual("true".utf8) { return .boolean(true) }
            if token.elementsEqual("false".utf8) { return .boolean(false) }
        }
        throw column.wrongValue(line: line)
    }

    private mutating func string() throws(TrainingFormatError) -> [UInt8] {
        do throws(JSONTokens.Fault) { return try tokens.string() } catch { throw malformed(error.message) }
    }

    private mutating func take(_ character: Unicode.Scalar, _ message: String) throws(TrainingFormatError) {
        tokens.skipSpace()
        guard tokens.take(character) else { throw malformed(message) }
    }

    private func text(_ column: TrainingColumn, _ bytes: [UInt8]) throws(TrainingFormatError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw column.error(.notUTF8, line: line, "the value is not UTF-8: convert the file")
        }
        return text
    }

    private func malformed(_ message: String) -> TrainingFormatError {
        TrainingFormatError(.malformed, line: line, "\(message): each line should be one JSON object")
    }
}
