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
    private struct Subject {
        var setting: HintSetting
        var verb: HintVerb?
        var isNegated: Bool
        var range: Range<Int>
    }
    private struct Governing {
        var verb: HintVerb
        var start: Int
        /// Whether it has found what it governs.
        var hasObject = false
        /// The unknown words between it and the first thing that it governs.
        var unknownWords = 0
    }
    /// What leads from the setting to the next token.
    private enum Link { case none, direct, linked, to, by, from }
    private enum Negation { case none, toComma, toEnd }

    private(set) var candidates: [HintCandidate] = []
    /// How many tokens were looked at, some more than once.
    private(set) var steps = 0

    private let tokens: [HintToken]
    private var index = 0
    // Of the sentence:
    private var sentenceStart = 0
    private var isConditional = false
    private var negation = Negation.none
    /// Where the candidates of the clause begin.
    private var clauseStart = 0
    // Of the phrase:
    private var verb: Governing?
    /// The settings that wait for a number or for the end of the phrase; all are governed by one verb, or by none.
    private var subjects: [Subject] = []
    private var link = Link.none
    /// Whether only "and", "," and the like have stood since the last setting or number.
    private var isInList = false
    private var hasCommaSinceSubject = false
    private var isFactor = false
    /// Where the name of something that is not a setting began.
    private var unknownStart: Int?
    /// What the last number was for, as long as only "or", "to" and the like follow.
    private var lastNumbered: HintSetting?
    private var previous = HintToken.Kind.end

    private var token: HintToken { tokens[index] }
    private var next: HintToken? { index + 1 < tokens.count ? tokens[index + 1] : nil }
    /// Where the token begins, or the text ends.
    private var position: Int { index < tokens.count ? tokens[index].start : tokens.last?.end ?? 0 }

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

    private mutating func readName() -> Int {
        guard let (setting, length) = HintSettingNames.match(tokens, at: index) else {
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

    private mutating func readToken() {
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

    private mutating func readWord(_ word: HintWord) {
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
        case .avoided:
            cancelClause()
            for k in subjects.indices { subjects[k].isNegated = true }
        case .condition:
            isConditional = true
            endObject()
        }
    }

    private mutating func otherWord() {
        verb?.unknownWords += 1
        if subjects.isEmpty, unknownStart == nil { unknownStart = token.start }
        breakLink()
    }

    private mutating func breakLink() {
        link = .none
        isInList = false
        isFactor = false
        lastNumbered = nil
    }

    private mutating func endObject() {
        if subjects.isEmpty { dropVerb() }
        unknownStart = nil
        breakLink()
    }

    private mutating func readTo() {
        switch previous {
        case .word(.blocksLink): breakLink()
        case .number, .percent, .word(.percent): if lastNumbered == nil, !subjects.isEmpty { link = .to }
        default: readLead(.to)
        }
    }

    /// "to", "by", "from": lead to a number also over other words, if a verb governs the setting.
    private mutating func readLead(_ lead: Link) {
        let isGoverned = subjects.last?.verb != nil && !hasCommaSinceSubject
        if link == .direct || link == .linked || link == .from || isGoverned || subjects.isEmpty {
            link = lead
            isInList = false
        } else {
            breakLink()
        }
    }

    private mutating func readInstead() {
        if next?.kind == .word(.of) || next?.kind == .word(.than) { negate(.toComma) } else { endClause() }
    }

    // MARK: Verbs

    private mutating func readVerb(_ new: HintVerb, _ form: HintWord.Form) {
        switch form {
        case .base:
            // "learning rate: reduce", "the learning rate should increase"
            if previous == .colon || previous == .equals || previous == .word(.modal) || previous == .word(.to),
                govern(new)
            {
                return
            }
            // "learning rate set to"
            if new == .assign, link == .direct || link == .linked, subjects.last?.verb == nil { return }
            start(new)
        case .participle:
            // "should be reduced"; without "be" it tells what was.
            if previous == .word(.be), govern(new) { return }
            if new == .assign, link == .direct { return }
            endVerbs()
        case .gerund:
            if previous == .word(.advises) { start(new) } else { endVerbs() }
        }
    }

    /// Puts the last setting, which has no verb yet, under a verb that follows it.
    private mutating func govern(_ new: HintVerb) -> Bool {
        guard let last = subjects.indices.last, subjects[last].verb == nil else { return false }
        for k in subjects.indices where subjects[k].verb == nil {
            subjects[k].verb = new
            subjects[k].isNegated = subjects[k].isNegated || negation != .none
        }
        subjects[last].range = subjects[last].range.lowerBound..<token.end
        link = .direct
        isInList = false
        return true
    }

    private mutating func start(_ new: HintVerb) {
        endVerbs()
        verb = Governing(verb: new, start: token.start)
    }

    private mutating func endVerbs() {
        closeSubjects()
        dropVerb()
        unknownStart = nil
        breakLink()
    }

    private mutating func readHalf() {
        if !subjects.isEmpty, link == .by || link == .to {
            apply(50, isPercent: true, isSigned: false, isMultiple: false, end: token.end)
        } else {
            start(.halve)
        }
    }

    /// Gives the verb up. One that has found nothing to govern is reported, with the words behind it.
    private mutating func dropVerb() {
        if let verb, !verb.hasObject, verb.verb.goesUp || verb.verb.goesDown {
            candidates.append(HintCandidate(reason: .unknownSetting, range: verb.start..<position))
        }
        verb = nil
    }

    // MARK: Negation

    private mutating func negate(_ scope: Negation) {
        if case .word(.copula) = previous { cancelClause() }
        if negation != .toEnd { negation = scope }
        link = link == .direct || link == .linked || link == .to ? link : .none
    }

    private mutating func cancelClause() {
        for k in clauseStart..<candidates.count where candidates[k].adjustment != nil {
            candidates[k].adjustment = nil
            candidates[k].reason = .negated
        }
    }

    // MARK: Numbers

    private mutating func readNumber(_ value: Double) {
        let token = token
        let next = next
        let isPercent = next?.kind == .percent || next?.kind == .word(.percent)
        let isTimes = next?.kind == .word(.times)
        if lastNumbered != nil, link != .by {
            candidates.append(
                HintCandidate(reason: negation == .none ? .laterDuplicate : .negated, range: token.start..<token.end))
            return
        }
        guard link != .none else { return }
        // "1 / 3", "2 ^ 10", "1 × 10"
        if let next, next.kind == .sign || next.kind == .times, index + 2 < tokens.count,
            isNumber(tokens[index + 2].kind)
        {
            unreadable()
            return
        }
        if link == .from {
            link = .none
            return
        }
        let end = isPercent ? next?.end ?? token.end : token.end
        guard !subjects.isEmpty else {
            let start = verb?.start ?? unknownStart
            if let start, link == .linked || link == .to || link == .by, start < token.start {
                candidates.append(HintCandidate(reason: .unknownSetting, range: start..<end))
                verb?.hasObject = true
            }
            unknownStart = nil
            breakLink()
            return
        }
        apply(
            value, isPercent: isPercent, isSigned: token.isSigned, isMultiple: token.isMultiple || isTimes || isFactor,
            end: end)
    }

    private func isNumber(_ kind: HintToken.Kind) -> Bool {
        if case .number = kind { return true }
        return kind == .unreadable
    }

    /// Gives the waiting settings a number: a factor to all of them, a value to the last.
    private mutating func apply(_ value: Double, isPercent: Bool, isSigned: Bool, isMultiple: Bool, end: Int) {
        guard let last = subjects.last else { return }
        let number = HintNumber(
            value: value, isPercent: isPercent, isMultiple: isMultiple, isSigned: isSigned, verb: last.verb,
            isAmount: link == .by, isDirect: link == .direct)
        let reading = number.reading
        var isShared = false
        if case .adjustment(.factor) = reading { isShared = true }
        let sharing = isShared ? subjects.indices : subjects.indices.suffix(1)
        closeSubjects(keeping: sharing.count)
        for var subject in subjects {
            subject.range = subject.range.lowerBound..<max(end, subject.range.upperBound)
            candidates.append(candidate(of: subject, reading))
        }
        lastNumbered = last.setting
        subjects = []
        link = .none
        isInList = true
        isFactor = false
    }

    private func candidate(of subject: Subject, _ reading: HintNumber.Reading) -> HintCandidate {
        var candidate = HintCandidate(setting: subject.setting, isExplicit: true, range: subject.range)
        if subject.isNegated || negation != .none {
            candidate.reason = .negated
            return candidate
        }
        switch reading {
        case .ignored(let reason): candidate.reason = reason
        case .adjustment(let adjustment):
            let bounded = adjustment.clamped(to: subject.setting.bounds)
            candidate.adjustment = bounded
            if bounded != adjustment { candidate.reason = .outOfBounds }
        }
        return candidate
    }

    /// What looks like a number where one is expected, and is none.
    private mutating func unreadable() {
        guard !subjects.isEmpty, link != .from else {
            breakLink()
            return
        }
        apply(.nan, isPercent: false, isSigned: false, isMultiple: false, end: token.end)
    }

    private mutating func foreign() {
        if link == .linked || link == .to || link == .by { unreadable() } else { otherWord() }
    }

    // MARK: Ends

    /// Ends the waiting for a number, but for the last `kept` settings: a verb is followed by itself.
    private mutating func closeSubjects(keeping kept: Int = 0) {
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

    private mutating func endClause() {
        closeSubjects()
        dropVerb()
        negation = .none
        unknownStart = nil
        breakLink()
        clauseStart = candidates.count
    }

    private mutating func endSentence(isQuestion: Bool) {
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
