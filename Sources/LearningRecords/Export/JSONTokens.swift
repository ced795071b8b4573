/// Goes through a JSON text (RFC 8259) token by token, without making values of it: numbers keep their text.
///
/// Refuses what RFC 8259 does not allow, lone surrogates and what is nested too deep. Duplicate keys of objects are not looked
/// for, and bytes outside ASCII are let pass: who needs to know validates the whole.
///
/// - Complexity: O(bytes), in memory of one byte for each level besides what is copied.
struct JSONTokens {
    /// What is wrong with a text; quotes nothing of it.
    struct Fault: Error {
        var message: String
    }

    /// Arrays and objects inside each other.
    static let maximumDepth = 512

    private let bytes: [UInt8]
    /// The byte at which the next token is looked for.
    private(set) var position = 0

    /// Begins at the first byte.
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The next byte, unless the text has ended.
    var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    /// Goes past the white space between tokens.
    mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    /// Goes past a byte, if it is the next.
    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard current == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    /// Goes past the value that begins at the next byte.
    ///
    /// - Parameter copy: Gets the value without white space between its tokens, behind what is there.
    mutating func value(_ copy: inout [UInt8]) throws(Fault) {
        var open: [Bool] = []  // whether it is an object
        next: while true {
            skipSpace()
            let start = position
            switch current {
            case UInt8(ascii: "{")?, UInt8(ascii: "[")?:
                guard open.count < Self.maximumDepth else {
                    throw Fault(message: "JSON nested deeper than \(Self.maximumDepth) levels")
                }
                open.append(bytes[start] == UInt8(ascii: "{"))
                position += 1
                copy.append(bytes[start])
                skipSpace()
                if current != (bytes[start] == UInt8(ascii: "{") ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
                    if bytes[start] == UInt8(ascii: "{") { try key(&copy) }
                    continue next
                }
            case UInt8(ascii: "\"")?:
                _ = try string()
                copy += bytes[start..<position]
            case UInt8(ascii: "t")?: try word("true", &copy)
            case UInt8(ascii: "f")?: try word("false", &copy)
            case UInt8(ascii: "n")?: try word("null", &copy)
            default:
                try number()
                copy += bytes[start..<position]
            }
            // A value has ended, and so may those that it stands in.
            while let isObject = open.last {
                skipSpace()
                guard let byte = current else { throw Fault(message: "the JSON text ends inside a value") }
                position += 1
                copy.append(byte)
                if byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
                    open.removeLast()
                } else if byte == UInt8(ascii: ",") {
                    if isObject { try key(&copy) }
                    continue next
                } else {
                    throw Fault(message: "a comma or the end of a list or an object should stand in the JSON text")
                }
            }
            return
        }
    }

    private mutating func key(_ copy: inout [UInt8]) throws(Fault) {
        skipSpace()
        let start = position
        _ = try string()
        copy += bytes[start..<position]
        skipSpace()
        guard take(":") else { throw Fault(message: "a colon should stand behind a key") }
        copy.append(UInt8(ascii: ":"))
    }

    private mutating func word(_ word: String, _ copy: inout [UInt8]) throws(Fault) {
        guard bytes[position...].starts(with: word.utf8) else { throw Fault(message: "a JSON value should stand here") }
        position += word.utf8.count
        copy += word.utf8
    }

    private mutating func number() throws(Fault) {
        _ = take("-")
        let start = position
        guard digits() > 0 else { throw Fault(message: "a JSON value should stand here") }
        if bytes[start] == UInt8(ascii: "0"), position > start + 1 {
            throw Fault(message: "a number must not start with 0")
        }
        if take("."), digits() == 0 { throw Fault(message: "a digit should stand behind the point") }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            guard digits() > 0 else { throw Fault(message: "a digit should stand in an exponent") }
        }
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = current, byte.isDigitOfJSON { position += 1 }
        return position - start
    }
}

extension JSONTokens {
    /// Goes past the string that begins at the next byte.
    ///
    /// - Returns: What stands for itself or is escaped in it, not looked at for whether it is UTF-8.
    mutating func string() throws(Fault) -> [UInt8] {
        guard take("\"") else { throw Fault(message: "a text in quotation marks should stand here") }
        var text: [UInt8] = []
        var plain = position
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                text += bytes[plain..<position]
                position += 1
                return text
            case UInt8(ascii: "\\"):
                text += bytes[plain..<position]
                position += 1
                text += String(try escaped()).utf8
                plain = position
            case 0..<0x20: throw Fault(message: "a control character in a text must be written as an escape")
            default: position += 1
            }
        }
        throw Fault(message: "the JSON text ends inside a text in quotation marks")
    }

    private mutating func escaped() throws(Fault) -> Unicode.Scalar {
        guard let byte = current else { throw Fault(message: "the JSON text ends inside an escape") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try hexadecimal()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            guard unit < 0xDC00, take("\\"), take("u") else { throw Fault(message: "a lone surrogate is no character") }
            let low = try hexadecimal()
            guard low >= 0xDC00, low < 0xE000,
                let scalar = Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
            else { throw Fault(message: "a lone surrogate is no character") }
            return scalar
        default: throw Fault(message: "an escape that JSON does not have")
        }
    }

    private mutating func hexadecimal() throws(Fault) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = current else { throw Fault(message: "the JSON text ends inside an escape") }
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): unit = unit << 4 | UInt32(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): unit = unit << 4 | UInt32(byte - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): unit = unit << 4 | UInt32(byte - UInt8(ascii: "A") + 10)
            default: throw Fault(message: "four hexadecimal digits should stand in an escape")
            }
            position += 1
        }
        return unit
    }
}

extension JSONTokens {
    /// Appends a JSON text without white space between its tokens; numbers and strings stay as they are written.
    ///
    /// - Returns: Whether all of it is one JSON value; where not, what was appended is of no use.
    static func compact(_ text: [UInt8], to bytes: inout [UInt8]) -> Bool {
        var tokens = JSONTokens(text)
        do throws(Fault) { try tokens.value(&bytes) } catch { return false }
        tokens.skipSpace()
        return tokens.position == text.count
    }

    /// Whether all of a text is one JSON value.
    static func isValid(_ text: [UInt8]) -> Bool {
        var copy: [UInt8] = []
        copy.reserveCapacity(text.count)
        return compact(text, to: &copy)
    }

    /// Whether all of a text is one number.
    static func isNumber(_ text: [UInt8]) -> Bool {
        var tokens = JSONTokens(text)
        do throws(Fault) { try tokens.number() } catch { return false }
        return tokens.position == text.count
    }
}
