/// Takes out of a text what must not leave the place where it was written: addresses, numbers and keys.
///
/// ```swift
/// let redacted = try Redaction.standard.apply("Write to ann@example.org or call +49 30 1234567.")
/// // redacted.text == "Write to [email] or call [phone]."
/// ```
///
/// **What is found** is said at each ``Rule``. Rules look at forms, not at meaning: a name, or "my password is
/// swordfish", stays. For such things there is ``custom``, which gets the text after the rules.
///
/// **JSON.** With `isJSON` the text is taken as a JSON document: rules see the decoded value of each string literal, so
/// that `ann\u0040example.org` and `030\/1234567` are found; a number outside a literal becomes a literal, `"[card]"`;
/// and where a name says that its value is secret (`"api_key": …`), the whole literal or number is replaced. A valid
/// document stays valid: marks hold no quotes, backslashes or control characters, and what they replace lies within one
/// literal or is one number. What is no valid JSON is redacted as far as literals can be told.
///
/// Redacting what was redacted changes nothing. Rules do not see what was encoded otherwise: `%40`, base64, HTML
/// entities.
///
/// - Complexity: linear in the text's length whatever it holds. A text with nothing to redact is returned as it is.
public struct Redaction: Sendable {
    /// What is looked for.
    public enum Rule: String, CaseIterable, Sendable {
        /// `local@domain`: up to 64 bytes of letters, digits and `._%+-'~!#$*^`, also beyond ASCII, then at most 255
        /// bytes of a name with a dot and a last label of two letters or more. No quoted local parts, no address
        /// literals.
        case email
        /// 13 to 19 digits with a right Luhn sum and a first digit of 2 to 6 (of 2 and 3 only ranges that are in use),
        /// in one run or in groups between single spaces or hyphens.
        case card
        /// An account number by ISO 13616 with the length of its country and a right check sum, in either case, in one
        /// run or with single spaces after each four characters.
        case iban
        /// `+` or `00`, a country code and 8 to 15 digits in all; `(030) 123 4567`, `(555) 123-4567`, `555-123-4567`,
        /// `030/1234567`, `0151 23456789`, `01 23 45 67 89`. Digits in one run without a prefix are only a number.
        case phone
        /// Keys by their prefix (OpenAI, Anthropic, AWS, GitHub, GitLab, Slack, Google, Stripe, Hugging Face), JSON web
        /// tokens, `Bearer …`, private keys in PEM, and what is assigned to a name such as `password`, `api_key` or
        /// `client_secret`.
        case key

        /// What is put in a match's place.
        public var mark: String { "[\(rawValue)]" }
    }

    /// The rules that are followed, none in particular before another: where matches would overlap, what begins to be
    /// told first is replaced.
    public var rules: Set<Rule> {
        get { Set(Rule.allCases.filter { selection.contains(RuleSelection($0)) }) }
        set { selection = RuleSelection(newValue) }
    }
    /// A function that gets each text after the rules and returns what may be kept. For JSON it has to return JSON.
    public var custom: (@Sendable (String) throws -> String)?
    /// The most bytes (UTF-8) of a text; longer ones are refused. 16 MiB unless told otherwise.
    public var maximumLength: Int

    private var selection: RuleSelection

    /// All rules, and no function of the user's.
    public static let standard = Redaction()
    /// No rules: texts stay as they are.
    public static let none = Redaction(rules: [])

    /// A redaction by rules, and by a function after them.
    ///
    /// - Precondition: `maximumLength` is not negative.
    public init(
        rules: Set<Rule> = Set(Rule.allCases), maximumLength: Int = 16 << 20,
        custom: (@Sendable (String) throws -> String)? = nil
    ) {
        precondition(maximumLength >= 0, "the maximum length \(maximumLength) is negative")
        selection = RuleSelection(rules)
        self.maximumLength = maximumLength
        self.custom = custom
    }

    /// Whether it leaves everything as it is.
    var isNone: Bool { selection.isEmpty && custom == nil }

    /// The text without what the rules and the function take out.
    ///
    /// - Parameters:
    ///   - text: Any text.
    ///   - isJSON: Whether the text is a JSON document, which must remain one.
    /// - Throws: ``RedactionError`` for a text above ``maximumLength``, and when the function throws. What was to be
    ///   redacted must then be dropped.
    public func apply(_ text: String, isJSON: Bool = false) throws(RedactionError) -> Redacted {
        var steps = 0
        return try apply(text, isJSON: isJSON, steps: &steps)
    }

    /// As ``apply(_:isJSON:)``; adds to `steps` how often bytes were looked at.
    package func apply(_ text: String, isJSON: Bool, steps: inout Int) throws(RedactionError) -> Redacted {
        var redacted = Redacted(text: text)
        if !selection.isEmpty {
            let length = text.utf8.count
            guard length <= maximumLength else {
                throw RedactionError(
                    .textTooLong, "a text of \(length) bytes is longer than the \(maximumLength) that are redacted")
            }
            var scanner = RedactionScanner(Array(text.utf8), selection)
            if isJSON { scanner.scanJSON() } else { scanner.scan(0..<length) }
            steps += scanner.steps
            if !scanner.matches.isEmpty { redacted = Redacted(text, without: scanner.matches) }
        }
        if let custom {
            do { redacted.text = try custom(redacted.text) } catch {
                throw RedactionError(.customFunctionFailed, "the user's function failed: drop the text", cause: error)
            }
        }
        return redacted
    }
}

/// A text after redaction.
public struct Redacted: Sendable, Hashable {
    /// The text with marks in the place of what was found.
    public internal(set) var text: String
    /// How often each rule replaced something. What the user's function did is not counted.
    public internal(set) var counts = RedactionCounts()
}

extension Redacted {
    /// Puts marks in the place of matches.
    ///
    /// - Parameter matches: In the order of the text, without overlaps.
    init(_ text: String, without matches: [RedactionMatch]) {
        let utf8 = text.utf8
        var result = ""
        result.reserveCapacity(utf8.count + 8 * matches.count)
        var kept = utf8.startIndex
        var offset = 0
        for match in matches {
            let start = utf8.index(kept, offsetBy: match.start - offset)
            result += text[kept..<start]
            if match.isBare { result += "\"" }
            result += match.rule.mark
            if match.isBare { result += "\"" }
            counts.add(match.rule)
            kept = utf8.index(start, offsetBy: match.end - match.start)
            offset = match.end
        }
        result += text[kept...]
        self.text = result
    }
}

/// How often each rule replaced something.
public struct RedactionCounts: Sendable, Hashable {
    private var email = 0
    private var card = 0
    private var iban = 0
    private var phone = 0
    private var key = 0

    /// None.
    public init() {}

    /// How often a rule did.
    public subscript(rule: Redaction.Rule) -> Int {
        switch rule {
        case .email: email
        case .card: card
        case .iban: iban
        case .phone: phone
        case .key: key
        }
    }

    /// How often all together did.
    public var total: Int { email + card + iban + phone + key }

    /// Adds those of another text.
    public static func += (counts: inout RedactionCounts, other: RedactionCounts) {
        counts.email += other.email
        counts.card += other.card
        counts.iban += other.iban
        counts.phone += other.phone
        counts.key += other.key
    }

    mutating func add(_ rule: Redaction.Rule) {
        switch rule {
        case .email: email += 1
        case .card: card += 1
        case .iban: iban += 1
        case .phone: phone += 1
        case .key: key += 1
        }
    }
}
