/// JSON documents: each literal is a text of its own, with its escapes decoded; numbers are looked at only as a whole.
extension RedactionScanner {
    /// Finds what is in a JSON document. One that is not valid is read as far as its quotes go.
    mutating func scanJSON() {
        let count = bytes.count
        steps += count
        var position = 0
        var name = SecretName.none
        while position < count {
            let next = bytes[position]
            if next == UInt8(ascii: "\"") {
                let literal = literal(from: position + 1)
                position = min(literal.end + 1, count)
                if isName(before: position) {
                    name = scanLiteral(literal, isName: true)
                } else {
                    (floor, end) = (literal.start, literal.end)
                    if name != .none, isSecret(literal.start, literal.end, name) {
                        matches.append(RedactionMatch(start: literal.start, end: literal.end, rule: .key))
                    } else {
                        _ = scanLiteral(literal, isName: false)
                    }
                    name = .none
                }
            } else if next.isDigit || next == UInt8(ascii: "-") {
                position = scanNumber(position, name)
                name = .none
            } else {
                // Spaces and the colon stand between a name and its value.
                if next > 0x20, next != UInt8(ascii: ":") { name = .none }
                position += 1
            }
        }
    }

    private struct Literal {
        var start: Int
        /// Where the quote at its end stands, or the text has ended.
        var end: Int
        /// Whether ``backslashes`` holds where its escapes begin.
        var hasEscapes: Bool
    }

    private mutating func literal(from start: Int) -> Literal {
        // Not in place, as the bytes are lent meanwhile.
        var backslashes: [Int] = []
        swap(&backslashes, &self.backslashes)
        backslashes.removeAll(keepingCapacity: true)
        let end = Self.endOfLiteral(bytes.span, start, &backslashes)
        swap(&backslashes, &self.backslashes)
        return Literal(start: start, end: end, hasEscapes: !self.backslashes.isEmpty)
    }

    private static func endOfLiteral(_ bytes: Span<UInt8>, _ start: Int, _ backslashes: inout [Int]) -> Int {
        let words = unsafe bytes.bytes
        let count = bytes.count
        var position = start
        while position < count {
            // Eight bytes at once as long as none is a quote or a backslash.
            while position &+ 8 <= count {
                // Any eight bytes are a number; the span checks that it has them.
                let word = unsafe words.unsafeLoadUnaligned(fromByteOffset: position, as: UInt64.self)
                if hasByte(word, 0x22) || hasByte(word, 0x5C) { break }
                position &+= 8
            }
            while position < count {
                let next = bytes[position]
                if next == UInt8(ascii: "\"") { return position }
                position &+= 1
                if next == UInt8(ascii: "\\") {
                    backslashes.append(position &- 1)
                    position &+= 1
                    break
                }
            }
        }
        return count
    }

    /// Whether one of eight bytes has a value: where it has, the exclusive or has a byte 0, and only from such a byte
    /// on can taking 1 from each byte set a highest bit that was not set.
    private static func hasByte(_ word: UInt64, _ value: UInt64) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let zeros = word ^ (ones &* value)
        return (zeros &- ones) & ~zeros & (ones &* 0x80) != 0
    }

    /// Whether a colon stands behind a literal.
    private mutating func isName(before position: Int) -> Bool {
        var position = position
        while position < bytes.count, bytes[position] <= 0x20 {
            steps += 1
            position += 1
        }
        return position < bytes.count && bytes[position] == UInt8(ascii: ":")
    }

    /// Finds what is in a literal; for a name, says what it tells about its value.
    private mutating func scanLiteral(_ literal: Literal, isName: Bool) -> SecretName {
        let wantsName = isName && selection.contains(.key)
        guard literal.hasEscapes else {
            (floor, end) = (literal.start, literal.end)
            let name = wantsName ? secretName(before: literal.end) : .none
            scan(literal.start..<literal.end)
            return name
        }
        let decoded = DecodedLiteral(bytes, literal.start..<literal.end, backslashes)
        var inner = RedactionScanner(decoded.bytes, selection)
        inner.end = decoded.bytes.count
        let name = wantsName ? inner.secretName(before: inner.end) : .none
        inner.scan(0..<decoded.bytes.count)
        steps += inner.steps + literal.end - literal.start
        var escape = 0
        for match in inner.matches {
            let start = decoded.source(of: match.start, isEnd: false, &escape)
            let end = decoded.source(of: match.end, isEnd: true, &escape)
            matches.append(RedactionMatch(start: start, end: end, rule: match.rule))
        }
        return name
    }

    /// Looks at a number; returns where it has ended.
    private mutating func scanNumber(_ start: Int, _ name: SecretName) -> Int {
        let digits = bytes[start] == UInt8(ascii: "-") ? start + 1 : start
        let number = number(from: digits)
        guard number.end > digits else { return number.end }
        (floor, end) = (start, number.end)
        if name == .strong || name == .authorization {
            matches.append(RedactionMatch(start: start, end: end, rule: .key, isBare: true))
        } else if number.isWhole, (13...19).contains(end - digits), selection.contains(.card),
            card(at: digits, runEnd: end) != nil
        {
            matches.append(RedactionMatch(start: start, end: end, rule: .card, isBare: true))
        }
        return number.end
    }

    private func number(from start: Int) -> (end: Int, isWhole: Bool) {
        let span = bytes.span
        var position = start
        var isWhole = true
        while position < span.count {
            switch span[position] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): break
            case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"), UInt8(ascii: "-"):
                isWhole = false
            default: return (position, isWhole)
            }
            position += 1
        }
        return (position, isWhole)
    }
}

/// The text of a JSON literal, and where its bytes come from.
struct DecodedLiteral {
    private(set) var bytes: [UInt8] = []
    private let start: Int
    private var escapes: [Escape] = []

    private struct Escape {
        /// Where what it stands for begins and has ended in the decoded text.
        var start: Int
        var end: Int
        /// Where it has ended in the document, and how long it is there.
        var sourceEnd: Int
        var sourceLength: Int
    }

    /// Decodes a part of a document. What is no escape stands for itself, and half a surrogate pair for U+FFFD.
    ///
    /// - Parameter backslashes: Where escapes begin.
    init(_ source: [UInt8], _ range: Range<Int>, _ backslashes: [Int]) {
        start = range.lowerBound
        bytes.reserveCapacity(range.count)
        escapes.reserveCapacity(backslashes.count)
        var kept = range.lowerBound
        // One may be the second half of the pair before it, or the last byte of a document that was cut.
        for position in backslashes where position >= kept && position + 1 < range.upperBound {
            bytes.append(contentsOf: source[kept..<position])
            let decodedStart = bytes.count
            let length = decode(source[position..<range.upperBound])
            kept = position + length
            escapes.append(Escape(start: decodedStart, end: bytes.count, sourceEnd: kept, sourceLength: length))
        }
        bytes.append(contentsOf: source[kept..<range.upperBound])
    }

    /// Appends what the escape at the beginning stands for; returns its length.
    private mutating func decode(_ source: ArraySlice<UInt8>) -> Int {
        let next = source[source.startIndex + 1]
        switch next {
        case UInt8(ascii: "n"): bytes.append(0x0A)
        case UInt8(ascii: "r"): bytes.append(0x0D)
        case UInt8(ascii: "t"): bytes.append(0x09)
        case UInt8(ascii: "b"): bytes.append(0x08)
        case UInt8(ascii: "f"): bytes.append(0x0C)
        case UInt8(ascii: "u"):
            guard let unit = Self.unit(source) else { fallthrough }
            if UTF16.isLeadSurrogate(unit), let trail = Self.unit(source.dropFirst(6)), UTF16.isTrailSurrogate(trail) {
                append(0x1_0000 + (UInt32(unit) - 0xD800) << 10 + (UInt32(trail) - 0xDC00))
                return 12
            }
            append(UInt32(unit))
            return 6
        default:
            // A character beyond ASCII begins here at most: the rest of it follows as it is.
            bytes.append(next)
        }
        return 2
    }

    private mutating func append(_ scalar: UInt32) {
        bytes.append(contentsOf: String(Unicode.Scalar(scalar) ?? "\u{FFFD}").utf8)
    }

    /// The four hexadecimal digits of "\uXXXX".
    private static func unit(_ source: ArraySlice<UInt8>) -> UInt16? {
        guard source.count >= 6, source[source.startIndex] == UInt8(ascii: "\\"),
            source[source.startIndex + 1] == UInt8(ascii: "u")
        else { return nil }
        var unit: UInt16 = 0
        for byte in source[(source.startIndex + 2)..<(source.startIndex + 6)] {
            guard byte.isDigit || byte.isLetter && byte | 0x20 <= UInt8(ascii: "f") else { return nil }
            unit = unit << 4 | UInt16(byte.isDigit ? byte - 0x30 : (byte | 0x20) - 0x61 + 10)
        }
        return unit
    }

    /// Where a place in the decoded text is in the document.
    ///
    /// - Parameter escape: How many escapes begin before the place that was asked for last; places are asked for in
    ///   order.
    func source(of place: Int, isEnd: Bool, _ escape: inout Int) -> Int {
        while escape < escapes.count, escapes[escape].start < place || !isEnd && escapes[escape].start == place {
            escape += 1
        }
        guard escape > 0 else { return start + place }
        let last = escapes[escape - 1]
        if isEnd { return place <= last.end ? last.sourceEnd : last.sourceEnd + place - last.end }
        return place < last.end ? last.sourceEnd - last.sourceLength : last.sourceEnd + place - last.end
    }
}
