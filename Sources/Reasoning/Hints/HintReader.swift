/// What a sentence says of a setting.
struct HintCandidate {
    var setting: HintSetting?
    /// `nil` when it is not to be followed.
    var adjustment: Adjustment?
    /// Whether a number stands there, not a verb alone.
    var isExplicit = false
    /// Why it is not followed, or not as it stands there.
    var reason: IgnoredHint.Reason?
    /// Where it stands, in bytes.
    var range: Range<Int>
}

/// Reads tokens, sentence by sentence: a state machine that takes each token once.
///
/// A sentence is a row of verbs, settings and numbers with other words between them. A number belongs to the setting before
/// it if nothing but linking words stand between ("of", "is", ":"), or if a verb governs the setting and "to" or "by" leads
/// to the number. In doubt nothing is followed: a hint that is lost costs little, one that was not meant may cost much.
struct HintReader {
    struct Subject {
        var setting: HintSetting
        var verb: HintVerb?
        var isNegated: Bool
        var range: Range<Int>
    }
    struct Governing {
        var verb: HintVerb
        var start: Int
        /// Whether it has found what it governs.
        var hasObject = false
        /// The unknown words between it and the first thing that it governs.
        var unknownWords = 0
    }
    /// What leads from the setting to the next token.
    enum Link { case none, direct, linked, to, by, from }
    enum Negation { case none, toComma, toEnd }

    var candidates: [HintCandidate] = []
    /// How many tokens were looked at, some more than once.
    private(set) var steps = 0

    let tokens: [HintToken]
    var index = 0
    // Of the sentence:
    var sentenceStart = 0
    var isConditional = false
    var negation = Negation.none
    /// Where the candidates of the clause begin.
    var clauseStart = 0
    // Of the phrase:
    var verb: Governing?
    /// The settings that wait for a number or for the end of the phrase; all are governed by one verb, or by none.
    var subjects: [Subject] = []
    var link = Link.none
    /// Whether only "and", "," and the like have stood since the last setting or number.
    var isInList = false
    var hasCommaSinceSubject = false
    var isFactor = false
    /// Where the name of something that is not a setting began.
    var unknownStart: Int?
    /// What the last number was for, as long as only "or", "to" and the like follow.
    var lastNumbered: HintSetting?
    var previous = HintToken.Kind.end

    var token: HintToken { tokens[index] }
    var next: HintToken? { index + 1 < tokens.count ? tokens[index + 1] : nil }
    /// Where the token begins, or the text ends.
    var position: Int { index < tokens.count ? tokens[index].start : tokens.last?.end ?? 0 }

    init(_ tokens: [HintToken]) { self.tokens = tokens }

    /// Reads all tokens.
    mutating func read() {
        while index < tokens.count {
            steps += 1
            var length = 1
            if case .word(.part) = tokens[index].kind { length = readName() } else { readToken() }
            index += length
            previous = tokens[index - 1].kind
        }
        endSentence(isQuestion: false)
    }

    // MARK: Names

    mutating func readName() -> Int {
        guard let (setting, length) = HintSettingNames.match(tokens, at: index) else {
            // "clip the gradients at 0.5"
            if link == .direct, subjects.last?.setting == .clipThreshold, token.kind == .word(.part(.gradient)) {
                return 1
            }
            otherWord()
            return 1
        }
        steps += length
        let range = token.start..<tokens[index + length - 1].end
        if index + length < tokens.count, tokens[index + length].kind == .word(.otherQuantity) {
            otherWord()
            return length + 1
        }
        // "learning rate (lr)"
        if let last = subjects.last, last.setting == setting, link == .direct {
            subjects[subjects.count - 1].range = last.range.lowerBound..<range.upperBound
            return length
        }
        if !isInList { closeSubjects() }
        if let verb, !(verb.hasObject ? isInList : verb.unknownWords <= 2) { dropVerb() }
        let start = verb.map { $0.hasObject ? range.lowerBound : $0.start } ?? range.lowerBound
        verb?.hasObject = true
        subjects.append(
            Subject(setting: setting, verb: verb?.verb, isNegated: negation != .none, range: start..<range.upperBound))
        link = .direct
        isInList = true
        hasCommaSinceSubject = false
        isFactor = false
        unknownStart = nil
        lastNumbered = nil
        return length
    }

    // MARK: Tokens

    mutating func readToken() {
        switch token.kind {
        case .word(let word): readWord(word)
        case .number(let value): readNumber(value)
        case .unreadable: if link != .none { unreadable() }
        case .foreign: foreign()
        case .colon, .equals:
            if link == .direct || link == .linked || subjects.isEmpty { link = .linked } else { breakLink() }
        case .comma:
            if negation == .toComma { negation = .none }
            if subjects.isEmpty { unknownStart = nil }
            link = .none
            hasCommaSinceSubject = true
        case .semicolon: endClause()
        case .percent, .bracket: break
        case .times: if link != .none { isFactor = true }
        case .sign: breakLink()
        case .end: endSentence(isQuestion: false)
        case .question: endSentence(isQuestion: true)
        }
    }

    mutating func readWord(_ word: HintWord) {
        switch word {
        case .filler, .modal, .percent, .times: break
        case .other, .part, .advises, .otherQuantity: otherWord()
        case .verb(let verb, let form): readVerb(verb, form)
        case .half: readHalf()
        case .unreadNumber: foreign()
        case .factor: if link == .by || link == .to { isFactor = true } else { otherWord() }
        case .link, .of, .be: if link == .direct { link = .linked } else if link == .none { otherWord() }
        case .copula: if link == .direct { link = .linked } else if link == .none { endObject() }
        case .to: readTo()
        case .by: readLead(.by)
        case .from: readLead(.from)
        case .blocksLink: breakLink()
        case .endsObject: endObject()
        case .and:
            link = .none
            clauseStart = candidates.count
        case .but: endClause()
        case .instead: readInstead()
        case .than: breakLink()
        case .not: negate(.toEnd)
        case .without: negate(.toComma)
        case .isNot:
            cancelClause()
            negate(.toEnd)
        case .harms:
            switch previous {
            case .number, .percent, .word(.percent): cancelClause()
            default: otherWord()
            }
        case .avoided:
            cancelClause()
            for k in subjects.indices { subjects[k].isNegated = true }
            closeSubjects()
        case .condition:
            isConditional = true
            endObject()
        }
    }

    mutating func otherWord() {
        verb?.unknownWords += 1
        if subjects.isEmpty, unknownStart == nil { unknownStart = token.start }
        breakLink()
    }

    mutating func breakLink() {
        link = .none
        isInList = false
        isFactor = false
        lastNumbered = nil
    }

    mutating func endObject() {
        if subjects.isEmpty { dropVerb() }
        unknownStart = nil
        breakLink()
    }

    mutating func readTo() {
        switch previous {
        case .word(.blocksLink): breakLink()
        case .number, .percent, .word(.percent): if lastNumbered == nil, !subjects.isEmpty { link = .to }
        default: readLead(.to)
        }
    }

    /// "to", "by", "from": lead to a number also over other words, if a verb governs the setting.
    mutating func readLead(_ lead: Link) {
        let isGoverned = subjects.last?.verb != nil && (!hasCommaSinceSubject || previous == .comma)
        if link == .direct || link == .linked || link == .from || isGoverned || subjects.isEmpty {
            link = lead
            isInList = false
        } else {
            breakLink()
        }
    }

    mutating func readInstead() {
        if next?.kind == .word(.of) || next?.kind == .word(.than) { negate(.toComma) } else { endClause() }
    }

    // MARK: Negation

    mutating func negate(_ scope: Negation) {
        if case .word(.copula) = previous { cancelClause() }
        if negation != .toEnd { negation = scope }
        link = link == .direct || link == .linked || link == .to ? link : .none
    }

    /// Takes back what the clause has said so far, once.
    mutating func cancelClause() {
        steps += candidates.count - clauseStart
        for k in clauseStart..<candidates.count where candidates[k].adjustment != nil {
            candidates[k].adjustment = nil
            candidates[k].reason = .negated
        }
        clauseStart = candidates.count
    }

    // MARK: Ends

    /// Ends the waiting for a number, but for the last `kept` settings: a verb is followed by itself.
    mutating func closeSubjects(keeping kept: Int = 0) {
        steps += subjects.count
        for subject in subjects.dropLast(kept) {
            var candidate = HintCandidate(setting: subject.setting, range: subject.range)
            if subject.isNegated {
                candidate.reason = .negated
            } else if let factor = subject.verb?.factor(for: subject.setting) {
                candidate.adjustment = .factor(factor)
            } else if subject.verb == .keep {
                continue
            } else {
                candidate.reason = .noNumber
            }
            candidates.append(candidate)
        }
        subjects.removeFirst(subjects.count - kept)
    }

    mutating func endClause() {
        closeSubjects()
        dropVerb()
        negation = .none
        unknownStart = nil
        breakLink()
        clauseStart = candidates.count
    }

    mutating func endSentence(isQuestion: Bool) {
        endClause()
        if isQuestion || isConditional {
            for k in sentenceStart..<candidates.count where candidates[k].adjustment != nil {
                candidates[k].adjustment = nil
                candidates[k].reason = isQuestion ? .question : .conditional
            }
        }
        isConditional = false
        sentenceStart = candidates.count
        clauseStart = candidates.count
    }
}
