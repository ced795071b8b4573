import LearningRecords
import Testing

@Suite("Commands to the recording, in words in any order")
struct RecordingPhraseFuzzTests {
    @Test("are never read where a negation or the opposite is near", arguments: 1...8 as ClosedRange<UInt64>)
    func areNeverReadWhereANegationIsNear(seed: UInt64) {
        var random = Xorshift(seed: seed)
        var found: [PhraseRow.Meaning: Int] = [:]
        for i in 0..<4_000 {
            let words = (0..<1 + random.below(9)).map { _ in Words.all[random.below(Words.all.count)] }
            let meaning = kind(RecordingPhrase.meaning(of: words.joined(separator: " ")))
            found[meaning, default: 0] += 1
            if let fault = Words.fault(of: words, meaning) {
                Issue.record("seed \(seed), text \(i): \(words.joined(separator: " ")): \(meaning), but \(fault)")
                return
            }
        }
        for meaning in [PhraseRow.Meaning.enable, .disable, .status, .question] {
            #expect(found[meaning, default: 0] > 0, "seed \(seed): \(found)")
        }
    }

    @Test("are never read from three words where one of them negates")
    func areNeverReadFromThreeWords() {
        var commands = 0
        for first in Words.all {
            for second in Words.all {
                for third in Words.objects {
                    let words = [first, second, third]
                    let meaning = kind(RecordingPhrase.meaning(of: words.joined(separator: " ")))
                    if let fault = Words.fault(of: words, meaning) {
                        Issue.record("\(words): \(meaning), but \(fault)")
                    }
                    if meaning == .enable { commands += 1 }
                }
            }
        }
        #expect(commands > 0)
    }

    @Test("lose their meaning when a negation is put anywhere into their clause")
    func loseTheirMeaningWhenNegated() {
        for text in PhraseRow.enabling + PhraseRow.disabling {
            let words = text.split(separator: " ")
            // In a text of one clause every place is in it.
            guard !text.contains(where: { ".,;:!?—&".contains($0) }), !words.contains("and"), !words.contains("then")
            else { continue }
            for negation in Words.negations {
                for place in 0...words.count {
                    let negated = words[..<place] + [negation[...]] + words[place...]
                    let meaning = RecordingPhrase.meaning(of: negated.joined(separator: " "))
                    #expect(meaning == .none, "\(negated.joined(separator: " "))")
                }
            }
        }
    }

    @Test("are read from no random bytes or scalars, and none are fatal", arguments: 1...4 as ClosedRange<UInt64>)
    func areReadFromNoRandomText(seed: UInt64) {
        var random = Xorshift(seed: seed)
        for i in 0..<2_000 {
            let length = i % 200 == 0 ? 1_000 : random.below(60)
            let bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            let scalars = (0..<length).compactMap { _ in Unicode.Scalar(UInt32(random.below(0x11_0000))) }
            for text in [String(decoding: bytes, as: UTF8.self), String(String.UnicodeScalarView(scalars))] {
                #expect(RecordingPhrase.meaning(of: text) == .none, "seed \(seed), text \(i): \(text.debugDescription)")
            }
        }
    }

    @Test("with some bytes changed are never the opposite", arguments: 1...4 as ClosedRange<UInt64>)
    func withSomeBytesChangedAreNeverTheOpposite(seed: UInt64) {
        var random = Xorshift(seed: seed)
        for i in 0..<4_000 {
            let row = PhraseRow.all[random.below(PhraseRow.all.count)]
            guard row.meaning == .enable || row.meaning == .disable, !row.text.contains("dog") else { continue }
            var bytes = Array(row.text.utf8)
            for _ in 0...random.below(3) where !bytes.isEmpty {
                let place = random.below(bytes.count)
                switch random.below(3) {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.remove(at: place)
                default: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            let meaning = kind(RecordingPhrase.meaning(of: text))
            let opposite: PhraseRow.Meaning = row.meaning == .enable ? .disable : .enable
            #expect(meaning != opposite, "seed \(seed), text \(i): \(text.debugDescription)")
        }
    }
}

/// Words to make texts of, and what must hold for them: written without a look at the tables of the library.
private enum Words {
    static let negations = ["don't", "not", "never", "no", "without", "doesn't", "dont", "cannot"]
    static let enabling = ["start", "enable", "activate", "begin"]
    static let disabling = ["stop", "disable", "deactivate", "off"]
    static let unclear = ["restart", "toggle", "pause"]
    static let objects = ["training", "reasoning", "recording"]
    /// End a sentence.
    static let ends = [".", "!", "?", ";"]
    /// End a clause.
    static let pauses = [",", "and", "but", "then"]
    static let others = [
        "turn", "on", "status", "check", "is", "what", "the", "enhanced", "mode", "session", "please", "can", "you",
        "now", "mind", "again", "dog", "starting", "I", "this", "was", "if", "enabled",
    ]
    // Verbs and objects twice, for more commands.
    static let all =
        negations + enabling + enabling + disabling + disabling + unclear + objects + objects + objects + ends + pauses
        + others

    /// What is wrong with a meaning.
    static func fault(of words: [String], _ meaning: PhraseRow.Meaning) -> String? {
        switch meaning {
        case .enable: fault(of: words, verbs: enabling + ["on"], opposite: disabling)
        case .disable: fault(of: words, verbs: disabling, opposite: enabling)
        case .status, .question, .none: nil
        }
    }

    private static func fault(of words: [String], verbs: [String], opposite: [String]) -> String? {
        let sentences = words.split(whereSeparator: { ends.contains($0) })
        let isCommanded = sentences.contains { sentence in
            var isCommanded = false
            for clause in sentence.split(whereSeparator: { pauses.contains($0) }) {
                func has(_ words: [String]) -> Bool { clause.contains { words.contains($0) } }
                // Before the command a mere "no" or "never mind" is no negation of it.
                if !isCommanded, clause == ["no"] || clause == ["never", "mind"] { continue }
                if has(negations) || has(opposite) || has(unclear) { return false }
                if has(verbs), has(objects), !has(["dog", "I", "was", "if"]) { isCommanded = true }
            }
            // Nor is it taken back later.
            return isCommanded && !words[sentence.endIndex...].contains { negations.contains($0) }
        }
        return isCommanded ? nil : "no sentence commands it"
    }
}
