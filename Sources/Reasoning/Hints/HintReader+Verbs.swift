extension HintReader {
    mutating func readVerb(_ new: HintVerb, _ form: HintWord.Form) {
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

    mutating func readHalf() {
        if !subjects.isEmpty, link == .by || link == .to {
            apply(50, isPercent: true, isSigned: false, isMultiple: false, end: token.end)
        } else {
            start(.halve)
        }
    }

    /// Gives the verb up. One that has found nothing to govern is reported, with the words behind it.
    mutating func dropVerb() {
        if let verb, !verb.hasObject, verb.verb.goesUp || verb.verb.goesDown {
            candidates.append(HintCandidate(reason: .unknownSetting, range: verb.start..<position))
        }
        verb = nil
    }
}
