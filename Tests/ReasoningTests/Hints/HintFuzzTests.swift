import TensorCore
import TestSupport
import Testing

@testable import Reasoning

@Suite("Advice in words, under a million texts")
struct HintFuzzTests {
    @Test("none is fatal, every hint is within bounds, and the work is linear", arguments: 0..<8)
    func aMillionTexts(part: Int) async {
        let half = underSanitizer(4_000, otherwise: 62_500)
        // Two halves of each part side by side.
        await withTaskGroup(of: String?.self) { group in
            for i in 0..<2 {
                group.addTask { await Self.run(seed: UInt64(1_000 + 2 * part + i), count: half) }
            }
            for await failure in group {
                if let failure { Issue.record(Comment(rawValue: failure)) }
            }
        }
    }

    private static let words: [[UInt8]] = HintRow.all.flatMap {
        $0.text.split(separator: " ").map { Array($0.utf8) + [0x20] }
    }
    private static let sentences: [[UInt8]] = HintRow.all.map { Array($0.text.utf8) }

    /// Parses `count` texts; says what is wrong with the first that is.
    private static func run(seed: UInt64, count: Int) async -> String? {
        var random = Xorshift(state: seed &* 0x9E37_79B9_7F4A_7C15 | 1)
        var hinted = 0
        for i in 0..<count {
            // The other tests want their turn.
            if i % 256 == 0 { await Task.yield() }
            let text = String(decoding: bytes(i, &random), as: UTF8.self)
            var steps = 0
            let parsed = HintParser.parse(text, steps: &steps)
            if let fault = fault(parsed, steps, text) {
                return "seed \(seed), text \(i): \(fault)\n\(text.prefix(300).debugDescription)\n\(parsed)"
            }
            if !parsed.hints.isEmpty { hinted += 1 }
        }
        return hinted * 20 > count ? nil : "seed \(seed): only \(hinted) texts hinted at anything"
    }

    private static func bytes(_ i: Int, _ random: inout Xorshift) -> [UInt8] {
        switch i % 8 {
        case 0, 1:
            // Any bytes; what is not UTF-8 becomes U+FFFD.
            return (0..<random.below(24)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        case 2, 3, 4:
            // Words of the table in any order.
            var bytes: [UInt8] = []
            for _ in 0..<random.below(8) { bytes += words[random.below(words.count)] }
            // Seldom a long text, past what is read.
            if random.below(20_000) == 0 {
                while bytes.count < 40_000 { bytes += words[random.below(words.count)] }
            }
            return bytes
        default:
            // A sentence of the table with bytes changed, taken out or put in.
            var bytes = sentences[random.below(sentences.count)]
            for _ in 0..<random.below(3) where !bytes.isEmpty {
                let place = random.below(bytes.count)
                switch random.below(3) {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.remove(at: place)
                default: bytes.insert(bytes[random.below(bytes.count)], at: place)
                }
            }
            return bytes
        }
    }

    private static func fault(_ parsed: ParsedHints, _ steps: Int, _ text: String) -> String? {
        for setting in HintSetting.allCases {
            switch parsed.hints[setting] {
            case .value(let value): if !setting.bounds.contains(value) { return "\(value) is out of bounds" }
            case .factor(let factor): if !HintBounds.factor.contains(factor) { return "× \(factor) is out of bounds" }
            case nil: break
            }
        }
        let length = text.utf8.count
        if steps > 6 * min(length, HintParser.maximumLength) + 6 { return "\(steps) steps for \(length) bytes" }
        if parsed.ignored.count > HintParser.maximumIgnored { return "\(parsed.ignored.count) parts are ignored" }
        for ignored in parsed.ignored where ignored.text.utf8.count > HintParser.maximumExcerpt {
            return "the excerpt \(ignored.text) is too long"
        }
        if length > HintParser.maximumLength, parsed.ignored.isEmpty { return "that it was cut is not said" }
        return nil
    }
}

/// Marsaglia 2003, *Xorshift RNGs*: quick in debug builds, where it draws some ten million numbers.
private struct Xorshift {
    var state: UInt64

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }

    mutating func below(_ bound: Int) -> Int { Int(next() >> 33) % bound }
}
