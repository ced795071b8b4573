/// Reads advice written in prose, for banks that answer in words alone.
///
/// ```text
/// Reduce the learning rate to 0.01.             learning rate = 0.01
/// Clip threshold: 1e-3, EWC lambda = 0.4        clip threshold = 0.001, λ = 0.4
/// Lower the learning rate by 20 %.              learning rate × 0.8
/// Increase lr and clipping.                     learning rate × 1.5, clip threshold × 1.5
/// Do not reduce the learning rate.              nothing; reported as negated
/// ```
///
/// **Settings.** The learning rate ("lr", "step size"), the clipping threshold ("clip", "gradient clipping", "max grad norm"),
/// the strength λ of elastic weight consolidation ("lambda", "EWC strength", "consolidation strength").
///
/// **Numbers** stand behind the setting: directly, or after ":", "=", "to", "of", "is", "at". They are decimal, with a fraction
/// and an exponent of either sign: `0.01`, `.5`, `1e-3`. With "%" they are a share of the effective value ("to 50 %", "by
/// 20 %"), with "x" or "a factor of" a multiple.
///
/// **Verbs** are factors on the effective value: reduce, lower, decrease and halve × 0.5, increase and raise × 1.5, double × 2;
/// for the clipping threshold reduce, lower and decrease × 0.75. "Keep" asks for nothing. A number counts before a verb, and
/// of two numbers, or of two verbs, the first.
///
/// **What is not followed** is reported, for in doubt a hint is lost rather than made up:
///
/// - whatever stands behind "not", "no", "never", "avoid" in a sentence, up to "but" or ";"; behind "without", "instead of",
///   "rather than" up to the next comma; before "is not", "should be avoided", "diverged"; questions; sentences with "if" or "unless"; what tells what was ("reduced") or is
///   in doubt ("reducing"), unless it is suggested ("consider reducing", "should be reduced");
/// - `NaN`, `inf`, `0x10`, `1/3`, `10^-3`, `0.01ms`, digits and letters of other scripts, numbers in words, and commas within
///   numbers, which are decimal to some and group thousands to others: `1,000`, `0,01`;
/// - negative values, amounts ("by 0.01"), other quantities ("learning rate decay").
///
/// A number outside ``HintBounds`` is moved to the bound and reported. It is judged as it is written: `1e400` is above every
/// bound and `1e-400` below that of the rate, whatever a `Double` can hold.
///
/// The first ``maximumLength`` bytes are read, as far as whole sentences.
///
/// - Complexity: O(bytes read), with no regular expressions; each byte and each token is looked at a bounded number of times.
public enum HintParser {
    /// The most bytes (UTF-8) that are read.
    public static let maximumLength = 16_384
    /// The most entries in ``ParsedHints/ignored``.
    public static let maximumIgnored = 64
    /// The most bytes (UTF-8) of an entry's text.
    public static let maximumExcerpt = 80

    /// What a text advises.
    public static func parse(_ text: String) -> ParsedHints {
        var steps = 0
        return parse(text, steps: &steps)
    }

    /// What a text advises; adds to `steps` the bytes and tokens that were looked at, those looked at twice twice.
    package static func parse(_ text: String, steps: inout Int) -> ParsedHints {
        var bytes = Array(text.utf8.prefix(maximumLength + 1))
        let isCut = bytes.count > maximumLength
        if isCut { bytes.removeLast() }
        var lexer = HintLexer(bytes)
        var tokens: [HintToken] = []
        while let token = lexer.next() { tokens.append(token) }
        var collected = HintCollector(bytes)
        var read = bytes.count
        if isCut {
            // Without the sentence that was cut: it could go on with "e-3", or with "unless". Whether a dot ends its sentence
            // shows only behind it.
            while let last = tokens.last, !last.endsSentence || last.end + 8 > bytes.count { tokens.removeLast() }
            read = tokens.last?.end ?? 0
        }
        var reader = HintReader(tokens)
        reader.read()
        for candidate in reader.candidates { collected.take(candidate) }
        if isCut { collected.ignore(read..<bytes.count, .tooLong) }
        steps += lexer.steps + reader.steps
        return collected.parsed
    }
}

extension HintToken {
    fileprivate var endsSentence: Bool { kind == .end || kind == .question }
}

/// Puts together what the sentences say: one change a setting.
private struct HintCollector {
    private(set) var parsed = ParsedHints()
    private let bytes: [UInt8]
    private var accepted: [HintSetting: HintCandidate] = [:]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func take(_ candidate: HintCandidate) {
        guard let setting = candidate.setting, let adjustment = candidate.adjustment else {
            if let reason = candidate.reason { ignore(candidate.range, reason) }
            return
        }
        if let earlier = accepted[setting] {
            switch (earlier.isExplicit, candidate.isExplicit) {
            case (false, true): ignore(earlier.range, .beatenByNumber)
            case (true, false):
                ignore(candidate.range, .beatenByNumber)
                return
            case (true, true):
                ignore(candidate.range, earlier.adjustment == adjustment ? .laterDuplicate : .contradictsNumber)
                return
            case (false, false):
                ignore(candidate.range, .laterDuplicate)
                return
            }
        }
        accepted[setting] = candidate
        parsed.hints[setting] = adjustment
        if let reason = candidate.reason { ignore(candidate.range, reason) }
    }

    mutating func ignore(_ range: Range<Int>, _ reason: IgnoredHint.Reason) {
        if parsed.ignored.count < HintParser.maximumIgnored - 1 {
            parsed.ignored.append(IgnoredHint(excerpt(range), reason))
        } else if parsed.ignored.count < HintParser.maximumIgnored {
            parsed.ignored.append(IgnoredHint(excerpt(range), .tooMany))
        }
    }

    /// The beginning of a part of the text, without the spaces around it, cut between characters.
    private func excerpt(_ range: Range<Int>) -> String {
        var part = bytes[range]
        while let first = part.first, first <= 0x20 { part.removeFirst() }
        var end = min(part.endIndex, part.startIndex + HintParser.maximumExcerpt)
        // Bytes 10xxxxxx continue a character.
        while end > part.startIndex, end < bytes.count, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        part = part[part.startIndex..<end]
        while let last = part.last, last <= 0x20 { part.removeLast() }
        return String(decoding: part, as: UTF8.self)
    }
}
