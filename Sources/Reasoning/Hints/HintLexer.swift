/// A piece of a text.
struct HintToken: Sendable {
    enum Kind: Sendable, Equatable {
        case word(HintWord)
        /// A decimal number. It may be infinite or 0 where it is written as finite and not 0: that is for its bounds to say.
        case number(Double)
        /// What begins like a number and is none, or can be read in several ways.
        case unreadable
        /// A word with letters, or digits, beyond ASCII.
        case foreign
        case colon, equals, comma, semicolon, percent
        /// "×".
        case times
        /// Brackets, quotation marks, "~": no more than a filler.
        case bracket
        /// Any other sign: what stands before it has nothing to do with what stands behind.
        case sign
        case end
        /// The end of a question.
        case question
    }
    var kind: Kind
    /// Where it begins, in bytes.
    var start: Int
    /// Where it has ended, in bytes.
    var end: Int
    /// Of a number: whether "+" or "-" stands before it.
    var isSigned = false
    /// Of a number: whether "x" or "×" stands behind it.
    var isMultiple = false
}

/// Cuts the bytes of a text into tokens, each byte once.
struct HintLexer {
    /// Numbers of more bytes are not read.
    static let longestNumber = 64

    private let bytes: [UInt8]
    private(set) var position = 0
    /// How many bytes were looked at, some more than once.
    private(set) var steps = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The next token; `nil` at the end.
    mutating func next() -> HintToken? {
        while position < bytes.count {
            steps += 1
            let byte = bytes[position]
            if byte == newline {
                if let end = lineBreak() { return end }
                continue
            }
            let space = spaceLength(at: position)
            if space > 0 {
                position += space
                continue
            }
            if byte.isASCIILetter { return word() }
            if byte.isASCIIDigit { return number() }
            switch byte {
            case dot:
                if isDigit(at: position + 1) { return number() }
                if endsSentence(position) { return mark(.end) }
                position += 1
            case plus, minus:
                if startsNumber(position + 1) { return number() }
                // Between letters it joins the words of one name.
                if byte == minus, position > 0, isLetter(at: position - 1), isLetter(at: position + 1) {
                    position += 1
                    continue
                }
                return mark(.sign)
            case UInt8(ascii: "_"): position += 1
            case UInt8(ascii: ":"): return mark(.colon)
            case UInt8(ascii: "="): return mark(.equals)
            case comma: return mark(.comma)
            case UInt8(ascii: ";"): return mark(.semicolon)
            case UInt8(ascii: "%"): return mark(.percent)
            case UInt8(ascii: "!"): return mark(.end)
            case UInt8(ascii: "?"): return mark(.question)
            case UInt8(ascii: "*"):
                // Two are emphasis.
                if byteAt(position + 1) == byte || (position > 0 && bytes[position - 1] == byte) {
                    return mark(.bracket)
                }
                return mark(.sign)
            case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"),
                UInt8(ascii: "}"), UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "`"), UInt8(ascii: "~"):
                return mark(.bracket)
            case 0..<0x80: return mark(.sign)
            default: return beyondASCII()
            }
        }
        return nil
    }

    private mutating func mark(_ kind: HintToken.Kind, length: Int = 1) -> HintToken {
        position += length
        return HintToken(kind: kind, start: position - length, end: position)
    }

    private mutating func beyondASCII() -> HintToken {
        if minusLength(at: position) == 3, startsNumber(position + 3) { return number() }
        if has(0xC3, 0x97, at: position) { return mark(.times, length: 2) }  // ×
        if has(0xE2, 0x89, 0x88, at: position) { return mark(.bracket, length: 3) }  // ≈
        // Quotation marks “ ” ‘ ’, dashes – and —, and a minus before no number.
        if has(0xE2, 0x80, at: position), let last = byteAt(position + 2) {
            if (0x98...0x9F).contains(last) { return mark(.bracket, length: 3) }
            if (0x90...0x95).contains(last) { return mark(.sign, length: 3) }
        }
        if minusLength(at: position) == 3 { return mark(.sign, length: 3) }
        return word()
    }

    /// A line's end. It is that of a sentence too if the next line is empty or the item of a list; otherwise the sentence
    /// goes on, so that a "do not" at a line's end still counts.
    private mutating func lineBreak() -> HintToken? {
        let start = position
        position += 1
        while position < bytes.count {
            steps += 1
            let length = bytes[position] == newline ? 0 : spaceLength(at: position)
            if length == 0 { break }
            position += length
        }
        var item = position
        switch byteAt(position) {
        case newline: return HintToken(kind: .end, start: start, end: position)
        case minus, UInt8(ascii: "*"): item += 1
        case 0xE2 where has(0xE2, 0x80, 0xA2, at: position): item += 3  // •
        default:
            while isDigit(at: item), item < position + 3 { item += 1 }
            guard item > position, let mark = byteAt(item), mark == dot || mark == UInt8(ascii: ")") else { return nil }
            item += 1
        }
        steps += item - position
        guard item < bytes.count, spaceLength(at: item) > 0 else { return nil }
        position = item
        return HintToken(kind: .end, start: start, end: position)
    }

    /// Letters, digits, apostrophes and whatever is beyond ASCII, up to a space or a sign.
    private mutating func word() -> HintToken {
        let start = position
        var hash = HintVocabulary.emptyHash
        var length = 0
        // The last three bytes, for "n't".
        var tail: UInt32 = 0
        var isForeign = false
        while position < bytes.count {
            steps += 1
            var byte = bytes[position]
            var width = 1
            if byte.isASCIILetter {
                byte |= 0x20
            } else if byte == UInt8(ascii: "'") || has(0xE2, 0x80, 0x99, at: position) {
                width = byte == UInt8(ascii: "'") ? 1 : 3
                // At the end of a word it is a quotation mark.
                guard isLetter(at: position + width) else { break }
                byte = UInt8(ascii: "'")
            } else if byte >= 0x80 {
                if spaceLength(at: position) > 0 || has(0xE2, 0x80, at: position) || has(0xC3, 0x97, at: position) {
                    if position > start { break }
                }
                isForeign = true
            } else if !byte.isASCIIDigit {
                break
            }
            hash = HintVocabulary.hash(hash, byte)
            tail = (tail << 8 | UInt32(byte)) & 0xFF_FFFF
            length += 1
            position += width
        }
        let known = length <= HintVocabulary.longestWord ? HintVocabulary.word(hash) : .other
        if known != .other { return HintToken(kind: .word(known), start: start, end: position) }
        if isForeign { return HintToken(kind: .foreign, start: start, end: position) }
        // n ' t
        let isNegated = tail == 0x6E_2774
        return HintToken(kind: .word(isNegated ? .not : .other), start: start, end: position)
    }

    /// A sign, digits, a fraction, an exponent; then nothing that could make another number of it.
    private mutating func number() -> HintToken {
        var token = HintToken(kind: .unreadable, start: position, end: position)
        var text: [UInt8] = []
        let sign = signLength(at: position)
        if sign > 0 {
            token.isSigned = true
            if bytes[position] != plus { text.append(minus) }
            position += sign
        }
        takeDigits(into: &text)
        if byteAt(position) == dot, isDigit(at: position + 1) {
            text.append(dot)
            position += 1
            takeDigits(into: &text)
        }
        if let byte = byteAt(position), byte | 0x20 == UInt8(ascii: "e") {
            let sign = signLength(at: position + 1)
            if isDigit(at: position + 1 + sign) {
                text.append(byte)
                if sign > 0 { text.append(bytes[position + 1] == plus ? plus : minus) }
                position += 1 + sign
                takeDigits(into: &text)
            }
        }
        if let byte = byteAt(position), byte | 0x20 == UInt8(ascii: "x"), endsNumber(position + 1) {
            token.isMultiple = true
            position += 1
        } else if has(0xC3, 0x97, at: position), endsNumber(position + 2) {
            token.isMultiple = true
            position += 2
        }
        if endsNumber(position), text.count <= Self.longestNumber,
            let value = Double(String(decoding: text, as: UTF8.self))
        {
            token.kind = .number(value)
        } else {
            while position < bytes.count, bytes[position] != newline, spaceLength(at: position) == 0 {
                steps += 1
                position += 1
            }
        }
        token.end = position
        return token
    }

    private mutating func takeDigits(into text: inout [UInt8]) {
        while position < bytes.count, bytes[position].isASCIIDigit {
            steps += 1
            // One too many tells that it is too long.
            if text.count <= Self.longestNumber { text.append(bytes[position]) }
            position += 1
        }
    }

    /// Whether a number may end before the byte at `position`: not before a letter, a digit, "/", "^", "±" or a comma with
    /// digits behind it, which is a decimal comma to some and a thousands separator to others.
    private func endsNumber(_ position: Int) -> Bool {
        guard let byte = byteAt(position) else { return true }
        switch byte {
        case newline, UInt8(ascii: "%"), UInt8(ascii: ";"), UInt8(ascii: ":"), UInt8(ascii: "!"), UInt8(ascii: "?"),
            UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"), UInt8(ascii: "\""),
            UInt8(ascii: "'"), UInt8(ascii: "`"):
            return true
        case UInt8(ascii: "*"): return byteAt(position + 1) == byte
        case comma: return !startsNumber(position + 1)
        case dot: return !isWordByte(at: position + 1) && byteAt(position + 1) != dot
        case 0xE2: return spaceLength(at: position) > 0 || isClosingQuote(at: position)
        default: return spaceLength(at: position) > 0
        }
    }

    /// Whether the dot at `position` ends its sentence: not where a small letter follows, as in "e.g. for".
    private func endsSentence(_ position: Int) -> Bool {
        var next = position + 1
        if let byte = byteAt(next),
            [UInt8(ascii: ")"), UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "*")].contains(byte)
        {
            next += 1
        }
        guard let byte = byteAt(next) else { return true }
        if byte == newline { return !(isSmallLetter(at: next + 1)) }
        let space = spaceLength(at: next)
        return space > 0 && !isSmallLetter(at: next + space)
    }
}

private let newline = UInt8(ascii: "\n")
private let dot = UInt8(ascii: ".")
private let comma = UInt8(ascii: ",")
private let plus = UInt8(ascii: "+")
private let minus = UInt8(ascii: "-")

extension UInt8 {
    fileprivate var isASCIILetter: Bool { (0x61...0x7A).contains(self | 0x20) }
    fileprivate var isASCIIDigit: Bool { (0x30...0x39).contains(self) }
}

extension HintLexer {
    fileprivate func byteAt(_ position: Int) -> UInt8? { position < bytes.count ? bytes[position] : nil }
    fileprivate func isLetter(at position: Int) -> Bool {
        position < bytes.count && bytes[position].isASCIILetter
    }
    fileprivate func isSmallLetter(at position: Int) -> Bool { isLetter(at: position) && bytes[position] & 0x20 != 0 }
    fileprivate func isDigit(at position: Int) -> Bool { position < bytes.count && bytes[position].isASCIIDigit }
    fileprivate func isWordByte(at position: Int) -> Bool {
        isLetter(at: position) || isDigit(at: position) || (byteAt(position) ?? 0) >= 0x80
    }

    fileprivate func has(_ first: UInt8, _ second: UInt8, at position: Int) -> Bool {
        position + 1 < bytes.count && bytes[position] == first && bytes[position + 1] == second
    }

    fileprivate func has(_ first: UInt8, _ second: UInt8, _ third: UInt8, at position: Int) -> Bool {
        has(first, second, at: position) && byteAt(position + 2) == third
    }

    /// Digits, or a dot and digits.
    fileprivate func startsNumber(_ position: Int) -> Bool {
        isDigit(at: position) || (byteAt(position) == dot && isDigit(at: position + 1))
    }

    fileprivate func isClosingQuote(at position: Int) -> Bool {
        has(0xE2, 0x80, 0x99, at: position) || has(0xE2, 0x80, 0x9D, at: position)
    }

    /// The length of "-" or of "−" (U+2212); 0 where there is neither.
    fileprivate func minusLength(at position: Int) -> Int {
        if byteAt(position) == minus { return 1 }
        return has(0xE2, 0x88, 0x92, at: position) ? 3 : 0
    }

    fileprivate func signLength(at position: Int) -> Int { byteAt(position) == plus ? 1 : minusLength(at: position) }

    /// The length of a space, which a line's end is too; 0 where there is none. Of those beyond ASCII: no-break spaces,
    /// U+2000…U+200A, and the byte order mark.
    fileprivate func spaceLength(at position: Int) -> Int {
        guard let byte = byteAt(position) else { return 0 }
        if byte == 0x20 || (0x09...0x0D).contains(byte) { return 1 }
        guard byte >= 0xC2 else { return 0 }
        if has(0xC2, 0xA0, at: position) || has(0xE2, 0x80, 0xAF, at: position) { return byte == 0xC2 ? 2 : 3 }
        if has(0xE2, 0x80, at: position), let last = byteAt(position + 2), (0x80...0x8A).contains(last) { return 3 }
        return has(0xEF, 0xBB, 0xBF, at: position) ? 3 : 0
    }
}
