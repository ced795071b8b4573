extension HintReader {
    mutating func readNumber(_ value: Double) {
        let token = token
        let next = next
        let isPercent = next?.kind == .percent || next?.kind == .word(.percent)
        let isTimes = next?.kind == .word(.times)
        if lastNumbered != nil {
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
    mutating func apply(_ value: Double, isPercent: Bool, isSigned: Bool, isMultiple: Bool, end: Int) {
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
    mutating func unreadable() {
        guard !subjects.isEmpty, link != .from else {
            breakLink()
            return
        }
        apply(.nan, isPercent: false, isSigned: false, isMultiple: false, end: token.end)
    }

    mutating func foreign() {
        if link == .linked || link == .to || link == .by { unreadable() } else { otherWord() }
    }
}
