/// Telephone numbers. What has no prefix must have a form that other numbers do not have; in doubt it stays.
extension RedactionScanner {
    /// The most digits of a number, with its country code (ITU-T E.164).
    private static let longestNumber = 15
    private static let shortestNumber = 8

    /// "+49 30 1234567".
    mutating func plusNumber(at plus: Int) -> Int? {
        let before = byte(plus - 1)
        guard !before.isWord, before != UInt8(ascii: "+") else { return nil }
        return internationalNumber(plus + 1)
    }

    /// "(030) 123 4567", "(555) 123-4567".
    mutating func bracketNumber(at bracket: Int) -> Int? {
        guard !byte(bracket - 1).isWord else { return nil }
        let start = bracket + 1
        var position = start
        while isDigit(position), position - start < 6 { position += 1 }
        guard (3...5).contains(position - start), byte(position) == UInt8(ascii: ")") else { return nil }
        let (first, second, length) = (byte(start), byte(start + 1), position - start)
        position += 1
        let next = byte(position)
        if next == UInt8(ascii: " ") || next == UInt8(ascii: "-") || next == UInt8(ascii: "/") { position += 1 }
        if isArea(first, second) { return subscriber(position, areaLength: length) }
        guard length == 3, first >= UInt8(ascii: "2") else { return nil }
        return exchangeNumber(position)
    }

    /// Whether the run of digits at a position is no part of something longer.
    mutating func startsNumber(_ start: Int) -> Bool {
        switch byte(start - 1) {
        case UInt8(ascii: "+"): false
        case UInt8(ascii: "-"): !byte(start - 2).isWord
        case UInt8(ascii: "."), UInt8(ascii: "/"): !isDigit(start - 2)
        default: true
        }
    }

    /// Where the number without "+" that begins at a run of digits has ended.
    mutating func nationalNumber(at start: Int, runEnd: Int) -> Int? {
        if let end = markedNumber(at: start, runEnd: runEnd) { return end }
        // "555 123 4567" is one only if no further number stands beside it.
        guard runEnd - start == 3, byte(start) >= UInt8(ascii: "2"), byte(runEnd) == UInt8(ascii: " "),
            !(byte(start - 1) == UInt8(ascii: " ") && isDigit(start - 2)),
            byte(runEnd + 1) >= UInt8(ascii: "2"), let end = exchangeNumber(runEnd + 1, separator: UInt8(ascii: " "))
        else { return nil }
        guard byte(end) == UInt8(ascii: " "), isDigit(end + 1) else { return end }
        return startsEntity(end + 1) ? end : nil
    }

    /// The forms that a list of numbers does not have.
    private mutating func markedNumber(at start: Int, runEnd: Int) -> Int? {
        let (first, second, length) = (byte(start), byte(start + 1), runEnd - start)
        let separator = byte(runEnd)
        if first != UInt8(ascii: "0") {
            guard separator == UInt8(ascii: "-") || separator == UInt8(ascii: ".") else { return nil }
            if length == 1, first == UInt8(ascii: "1") {
                // "1-555-123-4567"
                let area = run(runEnd + 1, atMost: 4)
                guard area - runEnd == 4, byte(area) == separator else { return nil }
                return exchangeNumber(area + 1, separator: separator)
            }
            guard length == 3, first >= UInt8(ascii: "2") else { return nil }
            return exchangeNumber(runEnd + 1, separator: separator)
        }
        if second == UInt8(ascii: "0"), length > 2 {
            if let end = internationalNumber(start + 2), end > runEnd { return end }
            // In one run: no number that was filled up with zeros.
            let isLikely = (12...15).contains(length) && byte(start + 2) >= UInt8(ascii: "2")
            return isLikely && endsNumber(runEnd, mayHaveDots: true) ? runEnd : nil
        }
        guard isArea(first, second) else { return nil }
        if length == 2 { return pairs(runEnd, separator: separator) }
        guard (3...5).contains(length) else { return nil }
        var position = runEnd + 1
        if separator == UInt8(ascii: " "), byte(position) == UInt8(ascii: "/") || byte(position) == UInt8(ascii: "-") {
            position += byte(position + 1) == UInt8(ascii: " ") ? 2 : 1
        } else if separator == UInt8(ascii: "/"), byte(position) == UInt8(ascii: " ") {
            position += 1
        } else if separator != UInt8(ascii: " "), separator != UInt8(ascii: "/"), separator != UInt8(ascii: "-") {
            return nil
        }
        return subscriber(position, areaLength: length)
    }

    /// An area code with its 0.
    private func isArea(_ first: UInt8, _ second: UInt8) -> Bool {
        first == UInt8(ascii: "0") && second.isDigit && second != UInt8(ascii: "0")
    }

    /// Where a run of digits has ended, of which no more than some are looked at.
    private mutating func run(_ start: Int, atMost limit: Int) -> Int {
        var position = start
        while position - start < limit, isDigit(position) { position += 1 }
        return position
    }

    /// Whether a number may end here: no letter stands behind it, and no further group that no other match takes.
    /// Behind a dot stands another sentence's number if this one has none within.
    private mutating func endsNumber(_ position: Int, mayHaveDots: Bool) -> Bool {
        let next = byte(position)
        if next.isWord { return false }
        if next == UInt8(ascii: ".") { return !mayHaveDots || !isDigit(position + 1) }
        guard next == UInt8(ascii: "-") || next == UInt8(ascii: "/"), isDigit(position + 1) else { return true }
        return startsCard(position + 1)
    }

    private mutating func startsCard(_ start: Int) -> Bool {
        selection.contains(.card) && card(at: start, runEnd: run(start, atMost: 20)) != nil
    }

    /// Whether something begins here that is a match of its own, or a date.
    private mutating func startsEntity(_ start: Int) -> Bool {
        if startsCard(start) { return true }
        let end = run(start, atMost: 20)
        // One number ahead is enough, and keeps the work bounded.
        if !looksAhead {
            looksAhead = true
            defer { looksAhead = false }
            if markedNumber(at: start, runEnd: end) != nil { return true }
        }
        // 2026-11-28
        return end - start == 4 && byte(end) == UInt8(ascii: "-") && run(end + 1, atMost: 3) == end + 3
            && byte(end + 3) == UInt8(ascii: "-") && isDigit(end + 4)
    }
}

// MARK: - Groups

extension RedactionScanner {
    /// "123-4567", behind an area code.
    private mutating func exchangeNumber(_ start: Int, separator: UInt8? = nil) -> Int? {
        let middle = run(start, atMost: 4)
        guard middle - start == 3 else { return nil }
        let between = byte(middle)
        if let separator {
            guard between == separator else { return nil }
        } else {
            guard between == UInt8(ascii: "-") || between == UInt8(ascii: " ") || between == UInt8(ascii: ".") else {
                return nil
            }
        }
        let end = run(middle + 1, atMost: 5)
        return end - middle == 5 && endsNumber(end, mayHaveDots: between == UInt8(ascii: ".")) ? end : nil
    }

    /// Four more groups of two digits: "01 23 45 67 89".
    private mutating func pairs(_ start: Int, separator: UInt8) -> Int? {
        guard separator == UInt8(ascii: " ") || separator == UInt8(ascii: ".") || separator == UInt8(ascii: "-") else {
            return nil
        }
        var position = start
        for _ in 0..<4 {
            guard byte(position) == separator, run(position + 1, atMost: 3) == position + 3 else { return nil }
            position += 3
        }
        return endsNumber(position, mayHaveDots: separator == UInt8(ascii: ".")) ? position : nil
    }

    /// The rest of a number behind an area code: 5 digits or more in groups.
    private mutating func subscriber(_ start: Int, areaLength: Int) -> Int? {
        var position = run(start, atMost: 10)
        var count = position - start
        guard count >= 2, count <= 9 else { return nil }
        while true {
            let separator = byte(position)
            guard separator == UInt8(ascii: " ") || separator == UInt8(ascii: "-") || separator == UInt8(ascii: "/")
            else { break }
            let next = run(position + 1, atMost: 8)
            let length = next - position - 1
            guard length >= 2 else { break }
            let isEnough = count >= 6
            if isEnough, count + length > 12 - areaLength || startsEntity(position + 1) {
                return separator == UInt8(ascii: " ") || startsCard(position + 1) ? position : nil
            }
            guard count + length <= 10 else { return nil }
            count += length
            position = next
        }
        // "012-34567" is more often something else.
        return count >= 6 && endsNumber(position, mayHaveDots: false) ? position : nil
    }

    /// The country code and the rest of a number, in one run or in groups.
    private mutating func internationalNumber(_ start: Int) -> Int? {
        let first = byte(start)
        guard first.isDigit, first != UInt8(ascii: "0") else { return nil }
        var position = start
        var count = 0
        var hasDots = false
        var hasGroups = false
        while true {
            let next = run(position, atMost: Self.longestNumber + 1)
            count += next - position
            guard count <= Self.longestNumber else { return nil }
            position = next
            let separator = separatorLength(position, atMost: count < 10 ? 3 : 1)
            guard separator > 0 else { break }
            let group = position + separator
            let length = run(group, atMost: Self.longestNumber + 1) - group
            if byte(position) == UInt8(ascii: ".") {
                // One dot makes a decimal, or ends a sentence behind groups.
                if !hasDots, byte(group + length) != UInt8(ascii: ".") || !isDigit(group + length + 1) {
                    return hasGroups && count >= Self.shortestNumber ? position : nil
                }
                hasDots = true
            }
            if count >= Self.shortestNumber {
                if count + length > Self.longestNumber || startsEntity(group) { return position }
                if count >= 10, length == 1 { return position }
            }
            position = group
            hasGroups = true
        }
        return count >= Self.shortestNumber && !byte(position).isWord ? position : nil
    }

    /// How many bytes stand between two groups; 0 if no digit follows.
    private mutating func separatorLength(_ start: Int, atMost limit: Int) -> Int {
        var position = start
        while position - start < limit {
            let next = byte(position)
            guard
                next == UInt8(ascii: " ") || (UInt8(ascii: "(")...UInt8(ascii: ")")).contains(next)
                    || (UInt8(ascii: "-")...UInt8(ascii: "/")).contains(next)
            else { break }
            position += 1
        }
        return position > start && isDigit(position) ? position - start : 0
    }
}
