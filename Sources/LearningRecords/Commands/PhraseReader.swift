/// Reads clauses: covers them with phrases, at each place with the longest.
struct PhraseReader {
    /// What a clause says.
    struct Reading {
        /// None when the clause is not understood.
        var commands: Set<RecordingCommand> = []
        /// Whether phrases cover all of it.
        var isUnderstood = true
        /// Whether it asks for something to be done: then a question mark does not matter.
        var isRequest = false
        /// Whether it could take back a command before it.
        var takesBack = false
    }

    /// How often a word was compared.
    private(set) var steps = 0

    /// - Complexity: O(words of the clause): from each, no more words are looked at than a phrase has.
    mutating func read(_ clause: [String]) -> Reading {
        var reading = Reading()
        var position = 0
        while position < clause.count {
            guard let (role, end) = longestPhrase(in: clause, from: position) else {
                reading.isUnderstood = false
                position += 1
                continue
            }
            switch role {
            case .says(let commands): reading.commands.formUnion(commands)
            case .request: reading.isRequest = true
            case .courtesy: break
            case .aside: if end - position < clause.count { reading.isUnderstood = false }
            }
            position = end
        }
        let negations = clause.count { Self.isNegation($0) }
        if !reading.isUnderstood, !reading.commands.isEmpty {
            // Twice negated it may be meant.
            reading.commands = negations > 1 ? [.enable, .disable] : []
        }
        reading.takesBack =
            reading.commands.isEmpty && (negations > 0 || clause.contains { Self.retractions.contains($0) })
        return reading
    }

    private mutating func longestPhrase(
        in clause: [String], from start: Int
    ) -> (role: PhrasePattern.Role, end: Int)? {
        var longest: (role: PhrasePattern.Role, end: Int)?
        for pattern in PhrasePattern.byFirstWord[clause[start]] ?? [] {
            guard let end = end(of: pattern.parts[...], in: clause, from: start) else { continue }
            if end > longest?.end ?? start { longest = (pattern.role, end) }
        }
        return longest
    }

    /// Where `parts` end that begin at `start`, as far as possible; `nil` when they do not match.
    private mutating func end(of parts: ArraySlice<PhrasePattern.Part>, in clause: [String], from start: Int) -> Int? {
        guard let part = parts.first else { return start }
        var longest = part.isOptional ? end(of: parts.dropFirst(), in: clause, from: start) : nil
        for words in part.alternatives where has(words, in: clause, at: start) {
            if let end = end(of: parts.dropFirst(), in: clause, from: start + words.count), end > longest ?? -1 {
                longest = end
            }
        }
        return longest
    }

    private mutating func has(_ words: [String], in clause: [String], at start: Int) -> Bool {
        steps += 1
        guard start + words.count <= clause.count else { return false }
        for i in words.indices where words[i] != clause[start + i] { return false }
        return true
    }

    // No phrase that goes with a command has one of these, so a negated clause with a command is not understood. They
    // are listed only to find double negations, and what takes a command back.
    private static func isNegation(_ word: String) -> Bool { word.hasSuffix("n't") || negations.contains(word) }

    private static let negations: Set<String> = [
        "no", "not", "never", "nevermind", "without", "neither", "nor", "none", "cannot", "nope", "nah",
        "dont", "cant", "wont", "shouldnt",
    ]

    private static let retractions: Set<String> = [
        "stop", "wait", "cancel", "abort", "undo", "revert", "forget", "ignore", "scratch", "actually",
        "only", "if", "unless", "until", "when",
    ]
}
