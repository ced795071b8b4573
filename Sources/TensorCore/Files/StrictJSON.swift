/// A JSON value (RFC 8259) with its place in the text.
package struct JSONValue: Sendable {
    package enum Content: Sendable {
        case null
        case boolean(Bool)
        /// A number written with digits only that fits 64 bits.
        case integer(UInt64)
        /// Any other number.
        case number(Double)
        case string(String)
        case array([JSONValue])
        case object([Member])
    }

    package struct Member: Sendable {
        package let key: String
        package let value: JSONValue
    }

    package let content: Content
    /// The byte at which the value starts.
    package let offset: Int
}

/// What an untrusted JSON text may cost.
package struct JSONLimits: Sendable {
    package var maximumBytes = 16 << 20
    /// Arrays and objects inside each other.
    package var maximumDepth = 16
    /// Values of all kinds; each takes some 40 bytes of memory and may take only two of text.
    package var maximumValues = 1 << 20

    package init() {}
}

/// Why a JSON text was refused.
package struct JSONError: Error, Sendable, Equatable {
    package enum Reason: Sendable { case syntax, duplicateKey, limit }
    package let reason: Reason
    /// The byte at which it was noticed.
    package let offset: Int
    package let message: String
}

/// A reader of untrusted JSON: strict, bounded, and it tells where.
///
/// Refuses duplicate keys (which Foundation's decoder resolves silently, so that two readers may see different files), text
/// after the value, invalid UTF-8, lone surrogates, and everything else RFC 8259 does not allow. Two keys are duplicates when
/// they are equal as Swift strings, that is canonically equivalent: stricter than byte by byte, and no dictionary made of them
/// can lose one.
package struct StrictJSON {
    private let bytes: [UInt8]
    private let limits: JSONLimits
    private var position = 0
    private var values = 0

    /// The value that the whole of `bytes` spells.
    package static func parse(_ bytes: [UInt8], limits: JSONLimits = JSONLimits()) throws(JSONError) -> JSONValue {
        guard bytes.count <= limits.maximumBytes else {
            throw JSONError(
                reason: .limit, offset: 0,
                message: "\(bytes.count) bytes of JSON exceed the limit of \(limits.maximumBytes)")
        }
        var parser = StrictJSON(bytes: bytes, limits: limits)
        parser.skipSpace()
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.syntax("unexpected text after the JSON value") }
        return value
    }

    private init(bytes: [UInt8], limits: JSONLimits) {
        self.bytes = bytes
        self.limits = limits
    }

    private func syntax(_ message: String) -> JSONError {
        JSONError(reason: .syntax, offset: position, message: message)
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard current == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func takeWord(_ word: StaticString) -> Bool {
        guard bytes.count - position >= word.utf8CodeUnitCount else { return false }
        let matches = word.withUTF8Buffer { unsafe $0.elementsEqual(bytes[position..<position + $0.count]) }
        if matches { position += word.utf8CodeUnitCount }
        return matches
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        let offset = position
        values += 1
        guard values <= limits.maximumValues else {
            throw JSONError(reason: .limit, offset: offset, message: "more than \(limits.maximumValues) JSON values")
        }
        guard let byte = current else { throw syntax("the JSON text ends where a value should stand") }
        let content: JSONValue.Content
        switch byte {
        case UInt8(ascii: "{"):
            try enter(depth)
            content = .object(try members(depth: depth + 1))
        case UInt8(ascii: "["):
            try enter(depth)
            content = .array(try elements(depth: depth + 1))
        case UInt8(ascii: "\""): content = .string(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): content = try number()
        default:
            if takeWord("true") {
                content = .boolean(true)
            } else if takeWord("false") {
                content = .boolean(false)
            } else if takeWord("null") {
                content = .null
            } else {
                throw syntax("a JSON value should stand here")
            }
        }
        return JSONValue(content: content, offset: offset)
    }

    /// Past the bracket, if it may be opened.
    private mutating func enter(_ depth: Int) throws(JSONError) {
        guard depth < limits.maximumDepth else {
            throw JSONError(
                reason: .limit, offset: position, message: "JSON nested deeper than \(limits.maximumDepth) levels")
        }
        position += 1
        skipSpace()
    }

    private mutating func elements(depth: Int) throws(JSONError) -> [JSONValue] {
        var result: [JSONValue] = []
        if take("]") { return result }
        while true {
            result.append(try value(depth: depth))
            skipSpace()
            if take("]") { return result }
            guard take(",") else { throw syntax("a comma or ']' should stand here") }
            skipSpace()
        }
    }

    private mutating func members(depth: Int) throws(JSONError) -> [JSONValue.Member] {
        var result: [JSONValue.Member] = []
        var keys = Set<String>()
        if take("}") { return result }
        while true {
            let offset = position
            guard current == UInt8(ascii: "\"") else { throw syntax("a key in quotation marks should stand here") }
            let key = try string()
            guard keys.insert(key).inserted else {
                throw JSONError(
                    reason: .duplicateKey, offset: offset,
                    message: "the key \(TensorFileError.quoted(key)) stands here again")
            }
            skipSpace()
            guard take(":") else { throw syntax("a colon should stand here") }
            skipSpace()
            result.append(JSONValue.Member(key: key, value: try value(depth: depth)))
            skipSpace()
            if take("}") { return result }
            guard take(",") else { throw syntax("a comma or '}' should stand here") }
            skipSpace()
        }
    }
}

extension StrictJSON {
    private mutating func number() throws(JSONError) -> JSONValue.Content {
        let start = position
        let negative = take("-")
        let integerStart = position
        guard digits() > 0 else { throw syntax("a digit should stand here") }
        if bytes[integerStart] == UInt8(ascii: "0"), position > integerStart + 1 {
            position = integerStart
            throw syntax("a number must not start with 0")
        }
        var whole = !negative
        if take(".") {
            whole = false
            guard digits() > 0 else { throw syntax("a digit should stand here") }
        }
        if take("e") || take("E") {
            whole = false
            if !take("+") { _ = take("-") }
            guard digits() > 0 else { throw syntax("a digit should stand here") }
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if whole, let value = UInt64(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else {
            position = start
            throw syntax("a number too large for Double")
        }
        return .number(value)
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = current, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { position += 1 }
        return position - start
    }

    /// The string whose opening quotation mark is the current byte.
    private mutating func string() throws(JSONError) -> String {
        let start = position
        position += 1
        var text: [UInt8] = []
        var plain = position  // start of the run of bytes that stand for themselves
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                text += bytes[plain..<position]
                position += 1
                guard let result = String(validating: text, as: UTF8.self) else {
                    throw JSONError(reason: .syntax, offset: start, message: "a string that is not UTF-8")
                }
                return result
            case UInt8(ascii: "\\"):
                text += bytes[plain..<position]
                position += 1
                text += String(try escaped()).utf8
                plain = position
            case 0..<0x20: throw syntax("a control character must be written as an escape")
            default: position += 1
            }
        }
        throw syntax("the JSON text ends inside the string that starts at byte \(start)")
    }

    private mutating func escaped() throws(JSONError) -> Unicode.Scalar {
        guard let byte = current else { throw syntax("the JSON text ends inside an escape") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try hexadecimal()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            // A surrogate: only the high one of a pair is right here.
            guard unit < 0xDC00, takeWord("\\u") else { throw syntax("a lone surrogate is no character") }
            let low = try hexadecimal()
            guard low >= 0xDC00, low < 0xE000,
                let scalar = Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
            else { throw syntax("a lone surrogate is no character") }
            return scalar
        default:
            position -= 1
            throw syntax("an escape that JSON does not have")
        }
    }

    private mutating func hexadecimal() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw syntax("four hexadecimal digits should stand here")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
