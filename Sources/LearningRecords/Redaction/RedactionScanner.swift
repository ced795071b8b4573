/// Rules as bits.
struct RuleSelection: OptionSet, Sendable {
    let rawValue: UInt8

    static let email = RuleSelection(rawValue: 1)
    static let card = RuleSelection(rawValue: 2)
    static let iban = RuleSelection(rawValue: 4)
    static let phone = RuleSelection(rawValue: 8)
    static let key = RuleSelection(rawValue: 16)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    init(_ rule: Redaction.Rule) {
        switch rule {
        case .email: self = .email
        case .card: self = .card
        case .iban: self = .iban
        case .phone: self = .phone
        case .key: self = .key
        }
    }

    init(_ rules: Set<Redaction.Rule>) {
        self = []
        for rule in rules { insert(RuleSelection(rule)) }
    }
}

/// A part of a text that is replaced.
struct RedactionMatch: Equatable {
    /// Where it begins, in bytes.
    var start: Int
    /// Where it has ended, in bytes.
    var end: Int
    var rule: Redaction.Rule
    /// Whether it is a JSON number, in whose place the mark needs quotes.
    var isBare = false
}

/// Finds what the rules take out, in one pass over the bytes.
///
/// The pass stops at the few bytes that are in every match of some rule ("@", digits, the "-" of `sk-`), and looks
/// around there. Looking back ends where the last match has ended; what stands there counts as the edge of a word. So
/// it is when the result is scanned again, where "]" stands there, which is in no match.
///
/// **Work.** Where looking around fails it has seen a bounded number of bytes, or bytes at which nothing more is looked
/// for.
struct RedactionScanner: ~Copyable {
    /// How many bytes before a match are looked at again: as many as the longest number has, and more.
    private static let lookBack = 64

    let bytes: [UInt8]
    let selection: RuleSelection
    var matches: [RedactionMatch] = []
    /// How often bytes were looked at.
    var steps = 0
    /// The part that is looked at begins here, and after each match where that has ended.
    var floor = 0
    /// The part that is looked at has ended here.
    var end = 0
    /// Where the escapes of the last JSON literal begin.
    var backslashes: [Int] = []
    /// Whether it is about the number behind another one.
    var looksAhead = false
    /// For each byte, whether something may be found around it.
    private let isAnchor: [Bool]

    init(_ bytes: [UInt8], _ selection: RuleSelection) {
        self.bytes = bytes
        self.selection = selection
        isAnchor = Self.anchors[Int(selection.rawValue)]
    }

    /// For each selection of rules, the bytes around which something may be found.
    private static let anchors: [[Bool]] = (0..<32 as Range<UInt8>).map { rawValue in
        let selection = RuleSelection(rawValue: rawValue)
        var anchors = [Bool](repeating: false, count: 256)
        func add(_ bytes: String) { for byte in bytes.utf8 { anchors[Int(byte)] = true } }
        if selection.contains(.email) { add("@") }
        if !selection.isDisjoint(with: [.card, .iban, .phone]) { add("0123456789") }
        if selection.contains(.phone) { add("+(") }
        if selection.contains(.key) { add("-_:=ABbJ") }
        return anchors
    }

    /// Finds what is in a part of the bytes, which is a text of its own.
    mutating func scan(_ range: Range<Int>) {
        floor = range.lowerBound
        end = range.upperBound
        steps += range.count
        var position = nextAnchor(floor)
        while position < end { position = nextAnchor(examine(position)) }
    }

    private func nextAnchor(_ start: Int) -> Int {
        let span = bytes.span
        let isAnchor = isAnchor.span
        let end = end
        var position = start
        while position < end, !isAnchor[Int(span[position])] { position &+= 1 }
        return position
    }

    /// Looks around an anchor; returns where to go on.
    private mutating func examine(_ position: Int) -> Int {
        switch bytes[position] {
        case UInt8(ascii: "@"):
            if let match = email(at: position) { return accept(match) }
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return number(at: position)
        case UInt8(ascii: "+"):
            if let end = plusNumber(at: position) { return acceptNumber(position, end, .phone) }
        case UInt8(ascii: "("):
            if let end = bracketNumber(at: position) { return acceptNumber(position, end, .phone) }
        default:
            if let match = key(at: position) { return accept(match) }
        }
        return position + 1
    }

    private mutating func accept(_ match: RedactionMatch) -> Int {
        // What stands before has a new edge: "0049 30 1234567" did not end where it goes on with "ann@example.org".
        if match.start > floor {
            let outerEnd = end
            end = match.start
            var position = nextAnchor(max(floor, end - Self.lookBack))
            while position < end { position = nextAnchor(examine(position)) }
            end = outerEnd
        }
        matches.append(match)
        floor = match.end
        return match.end
    }

    /// A number before an "@" may be the local part of an address.
    mutating func acceptNumber(_ start: Int, _ end: Int, _ rule: Redaction.Rule) -> Int {
        if selection.contains(.email), byte(end) == UInt8(ascii: "@"), var match = email(at: end) {
            match.start = min(start, match.start)
            return accept(match)
        }
        return accept(RedactionMatch(start: start, end: end, rule: rule))
    }
}

// MARK: - Looking around

extension RedactionScanner {
    /// The byte at a position; 0 beyond what is looked at.
    mutating func byte(_ position: Int) -> UInt8 {
        steps &+= 1
        return position >= floor && position < end ? bytes[position] : 0
    }

    mutating func isDigit(_ position: Int) -> Bool { byte(position).isDigit }

    /// Whether bytes stand at a position.
    mutating func has(_ text: String, at position: Int) -> Bool {
        var position = position
        for expected in text.utf8 {
            if byte(position) != expected { return false }
            position += 1
        }
        return true
    }

    /// Where the bytes that are of a kind have ended.
    mutating func run(_ start: Int, of belongs: (UInt8) -> Bool) -> Int {
        var position = start
        while belongs(byte(position)) { position += 1 }
        return position
    }
}

extension UInt8 {
    var isDigit: Bool { self &- 0x30 < 10 }
    var isLetter: Bool { (self | 0x20) &- 0x61 < 26 }
    var isAlphanumeric: Bool { isDigit || isLetter }
    /// ASCII letters, digits and "_". Letters beyond ASCII are none: scripts without spaces put numbers beside them.
    var isWord: Bool { isAlphanumeric || self == 0x5F }
    /// The alphabet of base64url.
    var isToken: Bool { isWord || self == 0x2D }
    var isBlank: Bool { self == 0x20 || self == 0x09 }
    var isQuote: Bool { self == 0x22 || self == 0x27 || self == 0x60 }
}
