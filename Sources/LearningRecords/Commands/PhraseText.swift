/// A text cut into sentences, clauses and words.
struct PhraseText {
    struct Sentence {
        /// Words in lower case. A sign that is no punctuation is a word too, which no phrase has.
        var clauses: [[String]] = [[]]
        var isQuestion = false
    }

    private(set) var sentences = [Sentence()]
    /// Whether some of it may be the words of somebody else.
    private(set) var isQuoting = false
    private var word = ""

    /// - Complexity: O(bytes of the text).
    init(_ text: String) {
        let characters = Array(text)
        for (i, character) in characters.enumerated() {
            if Self.apostrophes.contains(character) {
                word.append("'")
                continue
            }
            if character.isLetter || character.isNumber {
                word.append(character)
                continue
            }
            endWord()
            let next = i + 1 < characters.count ? characters[i + 1] : " "
            switch character {
            case ".":
                // Several are a pause, and one within a word is no punctuation: "trainer.start".
                if next == "." || (i > 0 && characters[i - 1] == ".") {
                    endClause()
                } else if next.isWhitespace {
                    endSentence()
                } else {
                    add(".")
                }
            case "!", ";": endSentence()
            case "?": endSentence(isQuestion: true)
            case ",", ":", "&", "…": endClause()
            default:
                if Self.quotationMarks.contains(character) { isQuoting = true }
                if !character.isWhitespace, !character.joinsWords { add(String(character)) }
            }
        }
        endWord()
    }

    private static let apostrophes: Set<Character> = ["'", "’", "‘", "ʼ"]
    private static let quotationMarks: Set<Character> = ["\"", "“", "”", "„", "«", "»", "‹", "›", "`", ">"]
    private static let conjunctions: Set<String> = ["and", "or", "but", "then"]

    private mutating func add(_ word: String) {
        sentences[sentences.count - 1].clauses[sentences[sentences.count - 1].clauses.count - 1].append(word)
    }

    private mutating func endWord() {
        guard !word.isEmpty else { return }
        let lowercased = word.lowercased()
        word = ""
        if Self.conjunctions.contains(lowercased) { endClause() } else { add(lowercased) }
    }

    private mutating func endClause() {
        sentences[sentences.count - 1].clauses.append([])
    }

    private mutating func endSentence(isQuestion: Bool = false) {
        if isQuestion { sentences[sentences.count - 1].isQuestion = true }
        sentences.append(Sentence())
    }
}

extension Character {
    /// A hyphen, a dash or an underscore: "re-enable", "ENABLE_ENHANCED_REASONING".
    fileprivate var joinsWords: Bool {
        guard unicodeScalars.count == 1, let category = unicodeScalars.first?.properties.generalCategory else {
            return false
        }
        return category == .dashPunctuation || category == .connectorPunctuation
    }
}
