extension RedactionScanner {
    /// A run of digits and what is around it; returns where to go on.
    mutating func number(at start: Int) -> Int {
        let end = run(start) { $0.isDigit }
        let before = byte(start - 1)
        if before.isWord {
            if selection.contains(.iban), let end = account(at: start) { return acceptNumber(start - 2, end, .iban) }
            return end
        }
        // Decimals, versions, addresses of hosts; "3px", hashes.
        if before == UInt8(ascii: "."), isDigit(start - 2) { return end }
        if byte(end).isWord { return end }
        if selection.contains(.card), let end = card(at: start, runEnd: end) { return acceptNumber(start, end, .card) }
        if selection.contains(.phone), startsNumber(start), let end = nationalNumber(at: start, runEnd: end) {
            return acceptNumber(start, end, .phone)
        }
        return end
    }
}

// MARK: - Cards

extension RedactionScanner {
    /// Where the card number that begins at a run of digits has ended.
    mutating func card(at start: Int, runEnd: Int) -> Int? {
        let length = runEnd - start
        let isRun = (13...19).contains(length)
        // Printed numbers begin with a group of 4, few with one of 5 or 6.
        guard isRun || (4...6).contains(length), isIssued(start) else { return nil }
        var sum = LuhnSum()
        if isRun {
            for position in start..<runEnd { sum.add(byte(position)) }
            // Of a decimal it is the whole part.
            return sum.isValid && !(byte(runEnd) == UInt8(ascii: ".") && isDigit(runEnd + 1)) ? runEnd : nil
        }
        let separator = byte(runEnd)
        guard separator == UInt8(ascii: " ") || separator == UInt8(ascii: "-") else { return nil }
        var result: Int?
        var position = start
        while true {
            let groupStart = position
            while case let next = byte(position), next.isDigit {
                guard sum.count < 19, position - groupStart < 7 else { return result }
                sum.add(next)
                position += 1
            }
            if sum.count >= 13, sum.isValid, !byte(position).isWord {
                // Of two, the longer only if it ends there: one of ten numbers behind a card makes a right sum by
                // chance.
                let next = byte(position)
                let goesOn = next == UInt8(ascii: " ") || next == UInt8(ascii: "-")
                if result == nil || !goesOn || !isDigit(position + 1) { result = position }
            }
            // A group of one or two digits can only be the last.
            guard position - groupStart >= 3, byte(position) == separator, isDigit(position + 1) else { return result }
            position += 1
        }
    }

    /// Whether numbers that begin with these four digits are given to cards. Of those with 2 only Mir and Mastercard,
    /// so that years and dates are none; of those with 3 Diners Club, American Express and JCB.
    private mutating func isIssued(_ start: Int) -> Bool {
        var number = 0
        for position in start..<start + 4 { number = 10 * number + Int(byte(position) &- 0x30) }
        return switch number {
        case 2200...2204, 2221...2720, 3000...3099, 3400...3999, 4000...6999: true
        default: false
        }
    }
}

/// The sum of a number's digits with every second one from the right doubled (ISO/IEC 7812-1), while the digits come
/// from the left: both sums are kept, as the last digit's place tells which one it is.
struct LuhnSum {
    private(set) var count = 0
    private var evenDoubled = 0
    private var oddDoubled = 0

    mutating func add(_ digit: UInt8) {
        let value = Int(digit &- 0x30)
        let doubled = value < 5 ? 2 * value : 2 * value - 9
        let isEven = count & 1 == 0
        evenDoubled += isEven ? doubled : value
        oddDoubled += isEven ? value : doubled
        count += 1
    }

    var isValid: Bool { (count & 1 == 0 ? evenDoubled : oddDoubled) % 10 == 0 }
}

// MARK: - Accounts

extension RedactionScanner {
    /// Where the account number whose two check digits are at a position has ended.
    mutating func account(at digits: Int) -> Int? {
        let (first, second) = (byte(digits - 2), byte(digits - 1))
        guard first.isLetter, second.isLetter, isDigit(digits + 1), !byte(digits - 3).isWord else { return nil }
        let country = 26 * Int((first | 0x20) &- 0x61) + Int((second | 0x20) &- 0x61)
        let length = Int(Self.accountLengths[country])
        guard length > 0 else { return nil }
        // The country and the check digits count last: ISO 7064, MOD 97-10.
        var remainder = 0
        var position = digits + 2
        for count in 4..<length {
            if count % 4 == 0, byte(position) == UInt8(ascii: " ") { position += 1 }
            let next = byte(position)
            guard next.isAlphanumeric else { return nil }
            remainder = Self.remainder(remainder, next)
            position += 1
        }
        for place in digits - 2..<digits + 2 { remainder = Self.remainder(remainder, byte(place)) }
        return remainder == 1 && !byte(position).isWord ? position : nil
    }

    private static func remainder(_ remainder: Int, _ character: UInt8) -> Int {
        if character.isDigit { return (10 * remainder + Int(character &- 0x30)) % 97 }
        return (100 * remainder + Int((character | 0x20) &- 0x61) + 10) % 97
    }

    /// The lengths of account numbers, by country: 26 · first letter + second letter; 0 for none.
    ///
    /// **Source.** SWIFT, *IBAN Registry*.
    private static let accountLengths: [UInt8] = {
        let registry = """
            AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18\
            FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20\
            LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24\
            SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30
            """
        var lengths = [UInt8](repeating: 0, count: 26 * 26)
        let text = Array(registry.utf8)
        for entry in stride(from: 0, to: text.count, by: 4) {
            let country = 26 * Int(text[entry] - 0x41) + Int(text[entry + 1] - 0x41)
            lengths[country] = 10 * (text[entry + 2] - 0x30) + text[entry + 3] - 0x30
        }
        return lengths
    }()
}
