extension RedactionScanner {
    private static let longestLocalPart = 64
    private static let longestDomain = 255

    /// The address around an "@".
    mutating func email(at position: Int) -> RedactionMatch? {
        guard let start = localPart(before: position), let end = domain(from: position + 1) else { return nil }
        return RedactionMatch(start: start, end: end, rule: .email)
    }

    /// Where the local part before an "@" begins.
    private mutating func localPart(before at: Int) -> Int? {
        guard byte(at - 1) != UInt8(ascii: ".") else { return nil }
        var start = at
        while let previous = characterStart(before: start, also: Self.isLocal) {
            // Two dots are the end of something else.
            if bytes[previous] == UInt8(ascii: "."), byte(start) == UInt8(ascii: ".") { break }
            start = previous
            if at - start > Self.longestLocalPart { return nil }
        }
        // Signs before the first letter belong to the text around: quotation marks, bullets.
        while start < at, bytes[start] < 0x80, !bytes[start].isWord { start += 1 }
        return start < at ? start : nil
    }

    private static func isLocal(_ byte: UInt8) -> Bool {
        if byte.isWord { return true }
        switch byte {
        case UInt8(ascii: "."), UInt8(ascii: "%"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "'"),
            UInt8(ascii: "~"),
            UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "*"), UInt8(ascii: "^"):
            return true
        default: return false
        }
    }

    /// Where the character before a position begins, if it is a letter beyond ASCII or of a kind.
    private mutating func characterStart(before position: Int, also belongs: (UInt8) -> Bool) -> Int? {
        var start = position - 1
        let last = byte(start)
        if last < 0x80 { return belongs(last) ? start : nil }
        // Bytes 10xxxxxx continue a character, of four bytes at most.
        while byte(start) & 0xC0 == 0x80, position - start < 4 { start -= 1 }
        return letterLength(start) == position - start ? start : nil
    }

    /// How many bytes a letter beyond ASCII has; 0 for punctuation, spaces, and where none begins.
    private mutating func letterLength(_ position: Int) -> Int {
        let (lead, next) = (byte(position), byte(position + 1))
        switch lead {
        // U+0080...U+00BF
        case 0xC2: return 0
        case 0xC3...0xDF: return 2
        // General punctuation, that of CJK, and full-width forms.
        case 0xE2: return next == 0x80 || next == 0x81 ? 0 : 3
        case 0xE3: return next == 0x80 ? 0 : 3
        case 0xEF: return next >= 0xBB ? 0 : 3
        case 0xE0...0xEF: return 3
        case 0xF0...0xF4: return 4
        default: return 0
        }
    }

    /// Where the name of a host with a dot in it has ended.
    private mutating func domain(from start: Int) -> Int? {
        var result: Int?
        var position = start
        while true {
            if position > start, let end = topLevelName(position), end - start <= Self.longestDomain { result = end }
            let labelStart = position
            var hasHyphen = true
            while position - start < Self.longestDomain {
                let next = byte(position)
                let length = next < 0x80 ? 1 : letterLength(position)
                guard next >= 0x80 || next.isAlphanumeric || next == UInt8(ascii: "-") && position > labelStart,
                    length > 0
                else { break }
                position += length
                hasHyphen = next == UInt8(ascii: "-")
            }
            guard !hasHyphen, byte(position) == UInt8(ascii: ".") else { return result }
            position += 1
        }
    }

    /// Where the last label of a host's name has ended: letters of ASCII, or letters beyond it, or such in Punycode.
    private mutating func topLevelName(_ start: Int) -> Int? {
        if has("xn--", at: start) {
            var end = start + 4
            while end - start < 63, byte(end).isAlphanumeric || byte(end) == UInt8(ascii: "-") { end += 1 }
            while byte(end - 1) == UInt8(ascii: "-") { end -= 1 }
            return end > start + 4 ? end : nil
        }
        var end = start
        if byte(start) >= 0x80 {
            while end - start < 63, byte(end) >= 0x80, case let length = letterLength(end), length > 0 { end += length }
            return end > start ? end : nil
        }
        while end - start < 63, byte(end).isLetter { end += 1 }
        return end - start >= 2 && !isDigit(end) ? end : nil
    }
}
