/// How much a name says about its value.
enum SecretName {
    case none
    /// Most values are no secrets: `token`.
    case weak
    case strong
    /// Of an HTTP header, whose value has two words.
    case authorization
}

/// What is assigned to a name: `password = "…"`, `api_key: …`.
extension RedactionScanner {
    /// What the name says that ends at a position. Case does not count, nor do "_", "-" and a space between words, nor
    /// what stands before: `DB_PASSWORD`, `x-api-key`, `API key`.
    mutating func secretName(before position: Int) -> SecretName {
        // The last letters tell most other names apart: "rd", "wd", "se", "de", "et", "key", "ken", "ion".
        let (third, second) = (byte(position - 3) | 0x20, byte(position - 2) | 0x20)
        switch byte(position - 1) | 0x20 {
        case UInt8(ascii: "d"):
            guard second == UInt8(ascii: "r") || second == UInt8(ascii: "w") else { return .none }
            if endsWith("password", position) || endsWith("passwd", position) { return .strong }
            return endsWith("pwd", position) ? .weak : .none
        case UInt8(ascii: "e"):
            guard second == UInt8(ascii: "s") || second == UInt8(ascii: "d") else { return .none }
            return endsWith("passphrase", position) || endsWith("passcode", position) ? .strong : .none
        case UInt8(ascii: "t"):
            return second == UInt8(ascii: "e") && endsWith("secret", position) ? .strong : .none
        case UInt8(ascii: "y"):
            guard second == UInt8(ascii: "e"), third == UInt8(ascii: "k"), isCompound(position - 3) else {
                return .none
            }
            for name in ["apikey", "secretkey", "accesskey", "privatekey", "accountkey", "encryptionkey", "signingkey"]
            where endsWith(name, position) { return .strong }
            return .none
        case UInt8(ascii: "n"):
            if second == UInt8(ascii: "o"), third == UInt8(ascii: "i") {
                return endsWith("authorization", position) ? .authorization : .none
            }
            guard second == UInt8(ascii: "e"), third == UInt8(ascii: "k"), endsWith("token", position) else {
                return .none
            }
            guard isCompound(position - 5) else { return .weak }
            for name in ["accesstoken", "refreshtoken", "authtoken", "idtoken", "sessiontoken", "apitoken"]
            where endsWith(name, position) { return .strong }
            return .weak
        default: return .none
        }
    }

    /// Whether a name ends with one in small letters.
    private mutating func endsWith(_ name: String, _ end: Int) -> Bool {
        var position = end - 1
        for letter in name.utf8.reversed() {
            if byte(position) | 0x20 != letter {
                guard position < end - 1, Self.joinsWords(byte(position)) else { return false }
                position -= 1
                if byte(position) | 0x20 != letter { return false }
            }
            position -= 1
        }
        return true
    }

    /// Whether a word stands before another: in "api_key", not in "key".
    private mutating func isCompound(_ position: Int) -> Bool {
        let before = byte(position - 1)
        return before.isLetter || Self.joinsWords(before) && byte(position - 2).isLetter
    }

    private static func joinsWords(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: " ")
    }

    /// The value behind ":" or "=", if the name before it says that it is secret.
    mutating func assignment(at sign: Int) -> RedactionMatch? {
        var nameEnd = sign
        while byte(nameEnd - 1).isBlank, sign - nameEnd < 4 { nameEnd -= 1 }
        if byte(nameEnd - 1).isQuote {
            nameEnd -= 1
            while byte(nameEnd - 1) == UInt8(ascii: "\\"), sign - nameEnd < 12 { nameEnd -= 1 }
        }
        let name = secretName(before: nameEnd)
        guard name != .none else { return nil }
        // ":=", "=>", "=="
        var position = sign + 1
        while position < sign + 3, byte(position) == UInt8(ascii: "=") || byte(position) == UInt8(ascii: ">") {
            position += 1
        }
        let signEnd = position
        while byte(position).isBlank, position - signEnd < 8 { position += 1 }
        var slashes = 0
        while byte(position) == UInt8(ascii: "\\"), slashes < 8 {
            slashes += 1
            position += 1
        }
        let quote = byte(position)
        if quote.isQuote { return quoted(position + 1, quote, isEscaped: slashes > 0, name) }
        guard slashes == 0 else { return nil }
        return bare(position, name, isLoose: bytes[sign] == UInt8(ascii: ":") && position > signEnd)
    }

    /// A value in quotes, up to the same quote or the line's end.
    private mutating func quoted(_ start: Int, _ quote: UInt8, isEscaped: Bool, _ name: SecretName) -> RedactionMatch? {
        var position = start
        while position < end {
            let next = byte(position)
            if next == quote || next == UInt8(ascii: "\n") || next == UInt8(ascii: "\r") { break }
            if next == UInt8(ascii: "\\") {
                // In a text within a literal the quote has a backslash too.
                if isEscaped { break }
                position += 1
                if position == end { break }
            }
            position += 1
        }
        position = min(position, end)
        // A backslash before the line's end was none of an escape.
        return isSecret(start, position, name) ? RedactionMatch(start: start, end: position, rule: .key) : nil
    }

    /// Whether a value in quotes is one to a name.
    mutating func isSecret(_ start: Int, _ end: Int, _ name: SecretName) -> Bool {
        guard end > start, !isMark(start) else { return false }
        return name != .weak || looksLikeToken(start, end)
    }

    /// Eight bytes or more, without spaces and with a digit, as far as the first 64 tell.
    private mutating func looksLikeToken(_ start: Int, _ end: Int) -> Bool {
        guard end - start >= 8 else { return false }
        var hasDigit = false
        for position in start..<min(end, start + 64) {
            let next = byte(position)
            if next <= 0x20 || next == UInt8(ascii: "[") { return false }
            if next.isDigit { hasDigit = true }
        }
        return hasDigit
    }

    /// Whether what stands here was put there by a redaction.
    private mutating func isMark(_ position: Int) -> Bool {
        guard byte(position) == UInt8(ascii: "[") else { return false }
        for rule in Redaction.Rule.allCases where has(rule.mark, at: position) { return true }
        return false
    }

    /// A value without quotes, up to a space or a sign that ends values.
    ///
    /// - Parameter isLoose: Whether it stands behind ": ", where it may as well be a sentence.
    private mutating func bare(_ start: Int, _ name: SecretName, isLoose: Bool) -> RedactionMatch? {
        switch byte(start) {
        case UInt8(ascii: "["), UInt8(ascii: "{"), UInt8(ascii: "("): return nil
        case UInt8(ascii: "$"):
            // ${VARIABLE}, $(command)
            let next = byte(start + 1)
            if next == UInt8(ascii: "{") || next == UInt8(ascii: "(") { return nil }
        default: break
        }
        // As far as it takes to tell whether it is one.
        var limit = start
        while limit - start < 64, Self.isValue(byte(limit)) { limit += 1 }
        guard limit > start, !isLiteral(start, limit) else { return nil }
        switch name {
        case .none: return nil
        case .weak: guard looksLikeToken(start, limit) else { return nil }
        case .authorization:
            // The scheme, then what is secret.
            guard byte(limit) == UInt8(ascii: " ") else { break }
            let credentials = limit + 1
            guard !isMark(credentials) else { return nil }
            let end = run(credentials) { Self.isValue($0) }
            return end - credentials >= 8 ? RedactionMatch(start: credentials, end: end, rule: .key) : nil
        case .strong: guard !isLoose || !isProse(start, limit) else { return nil }
        }
        let end = run(limit) { Self.isValue($0) }
        return RedactionMatch(start: start, end: end, rule: .key)
    }

    private static func isValue(_ byte: UInt8) -> Bool {
        guard byte > 0x20, !byte.isQuote else { return false }
        switch byte {
        case UInt8(ascii: "\\"), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "}"), UInt8(ascii: "]"),
            UInt8(ascii: ")"), UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"):
            return false
        default: return true
        }
    }

    /// Whether a value is a word of letters with a further word behind it: "Password: must have…".
    private mutating func isProse(_ start: Int, _ end: Int) -> Bool {
        guard byte(end) == UInt8(ascii: " "), byte(end + 1).isLetter else { return false }
        for position in start..<end where !byte(position).isLetter { return false }
        return true
    }

    private mutating func isLiteral(_ start: Int, _ end: Int) -> Bool {
        switch end - start {
        case 3: has("nil", at: start)
        case 4: has("null", at: start) || has("None", at: start) || has("true", at: start)
        case 5: has("false", at: start)
        case 9: has("undefined", at: start)
        default: false
        }
    }
}
