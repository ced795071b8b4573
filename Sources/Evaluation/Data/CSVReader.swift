/// Splits the bytes of a CSV file (RFC 4180) into rows and fields, one row at a time, without copying them.
///
/// Accepted: LF and CRLF line ends, mixed too; a byte-order mark; quoted fields with doubled quotes, commas and line
/// breaks inside; a last row without a line end. Rows without a byte are skipped. Refused, row by row: a quote inside
/// an unquoted field, text after a closing quote, a quote that never closes, a carriage return on its own, a field or
/// row beyond the limits, bytes that are not UTF-8. After a refused row reading goes on at the next line end behind the
/// fault, so each byte is looked at a bounded number of times.
///
/// - Complexity: O(bytes) for the whole file.
struct CSVReader {
    /// A field's bytes: without the enclosing quotes, doubled quotes still doubled.
    struct Field {
        var start: Int
        var end: Int
        var hasDoubledQuotes: Bool
    }

    /// What is wrong with a row, and in which field (from 0).
    struct Fault: Equatable {
        var code: DataError.Code
        var field: Int
        var message: String
    }

    enum Outcome: Equatable {
        case row
        case fault(Fault)
        case end
    }

    let bytes: [UInt8]
    let limits: DataLimits
    /// The fields of the current row; valid after ``next()`` returned `.row`.
    private(set) var fields: [Field] = []
    /// The line on which the current row begins, from 1.
    private(set) var line = 1
    private var nextLine = 1
    private var position = 0
    private var hasHighBytes = false

    init(bytes: [UInt8], limits: DataLimits = DataLimits()) {
        self.bytes = bytes
        self.limits = limits
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    }

    /// Reads the next row into ``fields``.
    mutating func next() -> Outcome {
        let count = bytes.count
        while position < count {
            // A line without a byte is no row.
            if bytes[position] == Self.lineFeed {
                position += 1
                nextLine += 1
            } else if bytes[position] == Self.carriageReturn, position + 1 < count,
                bytes[position + 1] == Self.lineFeed
            {
                position += 2
                nextLine += 1
            } else {
                break
            }
        }
        guard position < count else { return .end }
        line = nextLine
        fields.removeAll(keepingCapacity: true)
        hasHighBytes = false
        while true {
            if fields.count == limits.columns {
                return fail(.limitExceeded, "more than \(limits.columns) fields in a row")
            }
            switch readField() {
            case .failure(let fault): return fault
            case .more: continue
            case .last:
                if hasHighBytes, let bad = fields.firstIndex(where: { !isValidUTF8($0) }) {
                    return .fault(Fault(code: .invalidEncoding, field: bad, message: "not UTF-8"))
                }
                return .row
            }
        }
    }

    /// The text of field `i` of the current row, quotes undone.
    func text(_ i: Int) -> String {
        let field = fields[i]
        if !field.hasDoubledQuotes { return String(decoding: bytes[field.start..<field.end], as: UTF8.self) }
        var result: [UInt8] = []
        result.reserveCapacity(field.end - field.start)
        var k = field.start
        while k < field.end {
            result.append(bytes[k])
            k += bytes[k] == Self.quote ? 2 : 1
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Whether field `i` of the current row has the same bytes as `other`, a field of an earlier row.
    func field(_ i: Int, equals other: Field) -> Bool {
        let field = fields[i]
        guard field.end - field.start == other.end - other.start else { return false }
        for k in 0..<(field.end - field.start) where bytes[field.start + k] != bytes[other.start + k] { return false }
        return field.hasDoubledQuotes == other.hasDoubledQuotes
    }

    /// The finite decimal number in field `i`, or nil: `-12`, `4.5`, `1.26e9`; no spaces, no `nan`, no hexadecimal.
    func number(_ i: Int) -> Double? {
        let field = fields[i]
        var k = field.start
        let isNegative = k < field.end && bytes[k] == UInt8(ascii: "-")
        if isNegative { k += 1 }
        var digits = 0
        var integer: UInt64 = 0
        while k < field.end, digits < 18, case let digit = bytes[k] &- 48, digit < 10 {
            integer = integer &* 10 &+ UInt64(digit)
            digits += 1
            k += 1
        }
        // Integers that a Double holds exactly need no general parser.
        if k == field.end, digits > 0, integer <= 1 << 53 { return isNegative ? -Double(integer) : Double(integer) }
        guard field.end - field.start <= 400 else { return nil }
        for k in field.start..<field.end {
            switch bytes[k] {
            case 48...57, UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
                continue
            default: return nil
            }
        }
        guard let value = Double(text(i)), value.isFinite else { return nil }
        return value
    }

    private enum FieldOutcome {
        case more
        case last
        case failure(Outcome)
    }

    private static let quote = UInt8(ascii: "\"")
    private static let comma = UInt8(ascii: ",")
    private static let lineFeed = UInt8(ascii: "\n")
    private static let carriageReturn = UInt8(ascii: "\r")

    private mutating func readField() -> FieldOutcome {
        if position < bytes.count, bytes[position] == Self.quote { return readQuotedField() }
        let start = position
        while position < bytes.count {
            let byte = bytes[position]
            if byte == Self.comma || byte == Self.lineFeed || byte == Self.carriageReturn { break }
            if byte == Self.quote { return .failure(fail(.malformedRow, "a quote inside an unquoted field")) }
            if byte >= 0x80 { hasHighBytes = true }
            position += 1
        }
        return finishField(Field(start: start, end: position, hasDoubledQuotes: false))
    }

    private mutating func readQuotedField() -> FieldOutcome {
        let start = position + 1
        var hasDoubledQuotes = false
        position = start
        while position < bytes.count {
            let byte = bytes[position]
            if byte == Self.quote {
                guard position + 1 < bytes.count, bytes[position + 1] == Self.quote else { break }
                hasDoubledQuotes = true
                position += 2
                continue
            }
            if byte == Self.lineFeed { nextLine += 1 }
            if byte >= 0x80 { hasHighBytes = true }
            position += 1
        }
        guard position < bytes.count else {
            return .failure(fail(.malformedRow, "a quoted field that never closes; the file was read up to here"))
        }
        let field = Field(start: start, end: position, hasDoubledQuotes: hasDoubledQuotes)
        position += 1
        return finishField(field)
    }

    /// Takes the comma or line end behind a field.
    private mutating func finishField(_ field: Field) -> FieldOutcome {
        guard field.end - field.start <= limits.fieldBytes else {
            return .failure(fail(.limitExceeded, "a field of more than \(limits.fieldBytes) bytes"))
        }
        if position < bytes.count {
            switch bytes[position] {
            case Self.comma:
                fields.append(field)
                position += 1
                return .more
            case Self.lineFeed:
                position += 1
                nextLine += 1
            case Self.carriageReturn:
                guard position + 1 == bytes.count || bytes[position + 1] == Self.lineFeed else {
                    return .failure(fail(.malformedRow, "a carriage return without a line feed"))
                }
                position = min(position + 2, bytes.count)
                nextLine += 1
            default: return .failure(fail(.malformedRow, "text behind a closing quote"))
            }
        }
        fields.append(field)
        return .last
    }

    /// Refuses the row and moves behind the next line end.
    private mutating func fail(_ code: DataError.Code, _ message: String) -> Outcome {
        while position < bytes.count {
            position += 1
            if bytes[position - 1] == Self.lineFeed {
                nextLine += 1
                break
            }
        }
        return .fault(Fault(code: code, field: fields.count, message: message))
    }

    private func isValidUTF8(_ field: Field) -> Bool {
        String(validating: bytes[field.start..<field.end], as: UTF8.self) != nil
    }
}
