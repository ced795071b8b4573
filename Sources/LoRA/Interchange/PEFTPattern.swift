/// A key of PEFT's `rank_pattern` or `alpha_pattern`: a regular expression for the end of a module's name.
///
/// PEFT takes the first key for which Python's `re.match(rf"(.*\.)?({key})$", name)` finds something. Evaluated here
/// are keys of letters, digits, `_`, `-`, `.` (any character), `.*` (any run), `\` before a character that is no letter
/// or digit, and a `^` at the front. That is what PEFT writes and what a module's name is; other expressions are
/// refused rather than guessed.
///
/// **Source.** PEFT 0.21.2, `peft/utils/other.py`, `get_pattern_key`.
struct PEFTPattern {
    private enum Token: Equatable {
        case literal(Unicode.Scalar)
        case any
        case run
    }

    private let tokens: [Token]
    private let isAnchored: Bool

    /// `nil` for an expression beyond those above.
    init?(_ key: String) {
        var rest = Substring(key).unicodeScalars
        isAnchored = rest.first == "^"
        if isAnchored { rest = rest.dropFirst() }
        var tokens: [Token] = []
        while let scalar = rest.popFirst() {
            switch scalar {
            case "." where rest.first == "*":
                rest = rest.dropFirst()
                tokens.append(.run)
            case ".": tokens.append(.any)
            case "\\":
                // A letter or digit would be a class, a boundary or a back reference.
                guard let escaped = rest.popFirst(), escaped.isASCII, escaped == "_" || !Self.isWord(escaped) else {
                    return nil
                }
                tokens.append(.literal(escaped))
            case _ where Self.isWord(scalar) || scalar == "-": tokens.append(.literal(scalar))
            default: return nil
            }
            // "*" and its like after anything else would repeat it.
            if let next = rest.first, "*+?{".unicodeScalars.contains(next) { return nil }
        }
        guard !tokens.isEmpty else { return nil }
        self.tokens = tokens
    }

    private static func isWord(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar {
        case "a"..."z", "A"..."Z", "0"..."9", "_": true
        default: false
        }
    }

    /// Whether PEFT applies the key to the module.
    ///
    /// - Complexity: O(name · key).
    func matches(_ name: String) -> Bool {
        // The places before which everything was matched: at first those where the key may begin.
        let scalars = Array(name.unicodeScalars)
        var places = [Bool](repeating: false, count: scalars.count + 1)
        places[0] = true
        if !isAnchored { for i in scalars.indices where scalars[i] == "." { places[i + 1] = true } }
        for token in tokens {
            var next = [Bool](repeating: false, count: places.count)
            for i in places.indices {
                switch token {
                case .run: next[i] = places[i] || (i > 0 && next[i - 1])
                case .any: next[i] = i > 0 && places[i - 1]
                case .literal(let scalar): next[i] = i > 0 && places[i - 1] && scalars[i - 1] == scalar
                }
            }
            places = next
        }
        return places[scalars.count]
    }
}
