/// Keys that are told by how they begin, tokens, and private keys.
extension RedactionScanner {
    /// What is found at one of the bytes of which keys have one near their beginning.
    mutating func key(at anchor: Int) -> RedactionMatch? {
        switch bytes[anchor] {
        case UInt8(ascii: "-"): hyphenKey(anchor)
        case UInt8(ascii: "_"): underscoreKey(anchor)
        case UInt8(ascii: "A"): capitalKey(anchor)
        case UInt8(ascii: "J"): webToken(anchor)
        case UInt8(ascii: "B"), UInt8(ascii: "b"): bearer(anchor) ?? privateKey(anchor)
        case UInt8(ascii: ":"), UInt8(ascii: "="): assignment(at: anchor)
        default: nil
        }
    }

    private func found(_ start: Int, _ end: Int) -> RedactionMatch {
        RedactionMatch(start: start, end: end, rule: .key)
    }

    /// `sk-…`, `xoxb-…`, `glpat-…`.
    private mutating func hyphenKey(_ hyphen: Int) -> RedactionMatch? {
        let before = byte(hyphen - 1)
        if before == UInt8(ascii: "k"), byte(hyphen - 2) == UInt8(ascii: "s"), !byte(hyphen - 3).isToken {
            return skKey(hyphen + 1).map { found(hyphen - 2, $0) }
        }
        var start: Int?
        switch before {
        case UInt8(ascii: "t"): if has("glpat", at: hyphen - 5) { start = hyphen - 5 }
        case UInt8(ascii: "p"), UInt8(ascii: "a"), UInt8(ascii: "b"), UInt8(ascii: "r"), UInt8(ascii: "s"):
            if has("xox", at: hyphen - 4) || has("xapp", at: hyphen - 4) { start = hyphen - 4 }
        default: break
        }
        guard let start, !byte(start - 1).isToken else { return nil }
        let end = run(hyphen + 1) { $0.isToken }
        return end - hyphen > 10 ? found(start, end) : nil
    }

    /// OpenAI, Anthropic and who follows them. Without a further prefix a key has a long run with a digit, which names
    /// of classes ("sk-fading-circle-2") have not.
    private mutating func skKey(_ start: Int) -> Int? {
        var longest = 0
        var length = 0
        var hasDigit = false
        let end = run(start) { byte in
            guard byte.isToken else { return false }
            length = byte == UInt8(ascii: "-") ? 0 : length + 1
            longest = max(longest, length)
            if byte.isDigit { hasDigit = true }
            return true
        }
        if longest >= 16, hasDigit { return end }
        let isNamed = has("proj-", at: start) || has("ant-", at: start) || has("svcacct-", at: start)
        return isNamed && end - start >= 16 ? end : nil
    }

    /// `ghp_…`, `github_pat_…`, `sk_live_…`, `hf_…`.
    private mutating func underscoreKey(_ underscore: Int) -> RedactionMatch? {
        let next = underscore + 1
        var start = underscore - 2
        let end: Int
        switch byte(underscore - 1) {
        case UInt8(ascii: "k"):
            let first = byte(start)
            guard first == UInt8(ascii: "s") || first == UInt8(ascii: "r"), !byte(start - 1).isWord,
                has("live_", at: next) || has("test_", at: next)
            else { return nil }
            end = run(next + 5) { $0.isAlphanumeric }
            return end - next >= 5 + 16 ? found(start, end) : nil
        case UInt8(ascii: "b"):
            start = underscore - 6
            guard has("github_pat_", at: start), !byte(start - 1).isWord else { return nil }
            end = run(next) { $0.isWord }
            return end - next >= 4 + 22 ? found(start, end) : nil
        case UInt8(ascii: "f"):
            guard byte(start) == UInt8(ascii: "h"), !byte(start - 1).isWord else { return nil }
            end = run(next) { $0.isAlphanumeric }
            return end - next >= 24 ? found(start, end) : nil
        case UInt8(ascii: "p"), UInt8(ascii: "o"), UInt8(ascii: "u"), UInt8(ascii: "s"), UInt8(ascii: "r"):
            start = underscore - 3
            guard has("gh", at: start), !byte(start - 1).isWord else { return nil }
            end = run(next) { $0.isAlphanumeric }
            return end - next >= 20 ? found(start, end) : nil
        default: return nil
        }
    }

    /// `AKIA…`, `ASIA…`, `AIza…`.
    private mutating func capitalKey(_ start: Int) -> RedactionMatch? {
        let second = byte(start + 1)
        if second == UInt8(ascii: "I"), has("za", at: start + 2), !byte(start - 1).isWord {
            let end = run(start + 4) { $0.isToken }
            return end - start >= 4 + 35 ? found(start, end) : nil
        }
        guard second == UInt8(ascii: "K") || second == UInt8(ascii: "S"), has("IA", at: start + 2),
            !byte(start - 1).isWord
        else { return nil }
        var end = start + 4
        while end < start + 20, case let next = byte(end), next.isDigit || next.isLetter && next < 0x60 { end += 1 }
        return end == start + 20 && !byte(end).isWord ? found(start, end) : nil
    }

    /// A JSON web token (RFC 7519), signed or encrypted: `eyJ…` and two or more parts behind it; without the last where
    /// the second begins like the first.
    private mutating func webToken(_ capital: Int) -> RedactionMatch? {
        let start = capital - 2
        guard byte(capital - 1) == UInt8(ascii: "y"), byte(start) == UInt8(ascii: "e"), !byte(start - 1).isToken else {
            return nil
        }
        let header = run(capital + 1) { $0.isToken }
        guard header - start >= 10, byte(header) == UInt8(ascii: ".") else { return nil }
        var end = header
        var parts = 1
        while parts < 5, byte(end) == UInt8(ascii: ".") {
            let next = run(end + 1) { $0.isToken }
            // The key's part of an encrypted token may be empty.
            if next == end + 1, parts > 1 || byte(next) != UInt8(ascii: ".") { break }
            end = next
            parts += 1
        }
        return parts > 2 || parts == 2 && has("eyJ", at: header + 1) ? found(start, end) : nil
    }

    /// The token behind "Bearer".
    private mutating func bearer(_ start: Int) -> RedactionMatch? {
        guard byte(start + 1) | 0x20 == UInt8(ascii: "e"), byte(start + 2) | 0x20 == UInt8(ascii: "a"),
            byte(start + 3) | 0x20 == UInt8(ascii: "r"), byte(start + 4) | 0x20 == UInt8(ascii: "e"),
            byte(start + 5) | 0x20 == UInt8(ascii: "r"), byte(start + 6).isBlank, !byte(start - 1).isWord
        else { return nil }
        let token = byte(start + 7).isBlank ? start + 8 : start + 7
        var hasDigit = false
        let end = run(token) { byte in
            if byte.isDigit { hasDigit = true }
            return byte.isToken || (UInt8(ascii: "+")...UInt8(ascii: "/")).contains(byte) && byte != UInt8(ascii: ",")
                || byte == UInt8(ascii: "~") || byte == UInt8(ascii: "=")
        }
        // No "bearer responsibilities".
        return end - token >= (hasDigit ? 8 : 20) ? found(token, end) : nil
    }
}

// MARK: - PEM

extension RedactionScanner {
    /// A private key, from "-----BEGIN" to its end (RFC 7468); without an end, what may belong to it.
    private mutating func privateKey(_ capital: Int) -> RedactionMatch? {
        guard byte(capital) == UInt8(ascii: "B"), has("EGIN ", at: capital + 1), has("-----", at: capital - 5) else {
            return nil
        }
        let label = capital + 6
        var labelEnd = label
        while labelEnd - label < 40, case let next = byte(labelEnd),
            next == UInt8(ascii: " ") || next.isAlphanumeric && !(next.isLetter && next > 0x60)
        {
            labelEnd += 1
        }
        let isKey = has("PRIVATE KEY", at: labelEnd - 11) || has("PRIVATE KEY BLOCK", at: labelEnd - 17)
        guard isKey, has("-----", at: labelEnd) else { return nil }
        let start = capital - 5
        let body = labelEnd + 5
        if let end = endOfPEM(body) { return found(start, end) }
        // It was cut.
        var end = body
        while true {
            let next = byte(end)
            if next == UInt8(ascii: "\\") {
                let escaped = byte(end + 1)
                guard escaped == UInt8(ascii: "n") || escaped == UInt8(ascii: "r") else { break }
                end += 2
            } else if next.isAlphanumeric || (UInt8(ascii: "+")...UInt8(ascii: "/")).contains(next)
                || (0x09...0x0D).contains(next) || next == UInt8(ascii: " ") || next == UInt8(ascii: "=")
                || next == UInt8(ascii: ":")
            {
                end += 1
            } else {
                break
            }
        }
        while bytes[end - 1] <= 0x20 { end -= 1 }
        return found(start, end)
    }

    /// Where the line "-----END …-----" has ended, if it stands before the next "-----BEGIN".
    private mutating func endOfPEM(_ body: Int) -> Int? {
        var position = body
        while position < end {
            let dashes = run(position) { $0 == UInt8(ascii: "-") }
            let isLine = dashes - position >= 5
            position = max(dashes, position + 1)
            guard isLine else { continue }
            if has("BEGIN ", at: position) { return nil }
            guard has("END ", at: position) else { continue }
            position += 4
            var labelEnd = position
            while labelEnd - position < 40, case let next = byte(labelEnd),
                next.isAlphanumeric || next == UInt8(ascii: " ")
            {
                labelEnd += 1
            }
            return has("-----", at: labelEnd) ? labelEnd + 5 : labelEnd
        }
        return nil
    }
}
