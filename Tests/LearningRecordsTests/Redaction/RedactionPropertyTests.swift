import Foundation
import TestSupport
import Testing

@testable import LearningRecords

@Suite("Redaction of random texts")
struct RedactionPropertyTests {
    private static let count = underSanitizer(200, otherwise: 2_000)

    @Test("planted secrets never survive", arguments: 1...4 as ClosedRange<UInt64>)
    func plantedSecrets(seed: UInt64) throws {
        var random = Xorshift(seed: seed)
        for i in 0..<Self.count {
            var text = ""
            var secrets: [Secret] = []
            for _ in 0...random.below(4) {
                text += words(&random)
                let secret = Secret.random(&random)
                secrets.append(secret)
                text += secret.text + random.pick([" ", ", ", ". ", "\n", "; ", ") ", " - "])
            }
            text += words(&random)
            let redacted = try Redaction.standard.apply(text)
            for secret in secrets {
                #expect(
                    !redacted.text.contains(secret.core),
                    "seed \(seed), text \(i): \(secret)\n\(text)\n\(redacted.text)")
            }
            #expect(redacted.counts.total >= secrets.count, "seed \(seed), text \(i): \(text)\n\(redacted.text)")
            let again = try Redaction.standard.apply(redacted.text)
            #expect(again == Redacted(text: redacted.text), "seed \(seed), text \(i): \(text)\n\(redacted.text)")
        }
    }

    @Test("JSON stays JSON without the planted secrets", arguments: 1...4 as ClosedRange<UInt64>)
    func documents(seed: UInt64) throws {
        var random = Xorshift(seed: seed)
        for i in 0..<Self.count / 4 {
            var document = RandomDocument(random: random)
            let text = document.value(depth: 0)
            random = document.random
            let redacted = try Redaction.standard.apply(text, isJSON: true)
            let about: Comment = "seed \(seed), document \(i): \(text)\n\(redacted.text)"
            #expect(Self.shape(redacted.text) == Self.shape(text), about)
            let values = Self.strings(redacted.text).joined(separator: "\n")
            for secret in document.secrets { #expect(!values.contains(secret.core), about) }
            #expect(redacted.counts.total >= document.secrets.count, about)
            let again = try Redaction.standard.apply(redacted.text, isJSON: true)
            #expect(again == Redacted(text: redacted.text), about)
            if document.secrets.isEmpty { #expect(redacted.text == text, about) }
        }
    }

    /// What a document is made of, without what stands in its literals and numbers; `nil` if it is no JSON.
    private static func shape(_ text: String) -> String? {
        func shape(_ value: Any) -> String {
            if let array = value as? [Any] { return "[" + array.map(shape).joined(separator: ",") + "]" }
            if let object = value as? [String: Any] {
                return "{" + object.values.map(shape).sorted().joined(separator: ",") + "}"
            }
            return value is NSNull ? "n" : "v"
        }
        guard let value = try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed) else {
            return nil
        }
        return shape(value)
    }

    /// All literals and numbers of a document.
    private static func strings(_ text: String) -> [String] {
        func strings(_ value: Any) -> [String] {
            if let array = value as? [Any] { return array.flatMap(strings) }
            if let object = value as? [String: Any] { return object.keys + object.values.flatMap(strings) }
            return ["\(value)"]
        }
        let value = try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed)
        return value.map(strings) ?? []
    }

    @Test("any bytes are redacted without a trap, the same the second time", arguments: 1...4 as ClosedRange<UInt64>)
    func anyBytes(seed: UInt64) throws {
        var random = Xorshift(seed: seed)
        let rows = RedactionRow.all.map { Array($0.text.utf8) }
        for i in 0..<5 * Self.count {
            var bytes: [UInt8]
            switch i % 4 {
            case 0: bytes = (0..<random.below(40)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            case 1:
                // Bytes that mean something to a rule.
                let alphabet = Array("@.-+_:=( )/\\\"'b0123456789AJeyJskpwd\nü".utf8)
                bytes = (0..<random.below(60)).map { _ in random.pick(alphabet) }
            default:
                bytes = random.pick(rows)
                if random.below(2) == 0 { bytes += random.pick(rows) }
                for _ in 0..<random.below(4) where !bytes.isEmpty {
                    let place = random.below(bytes.count)
                    switch random.below(3) {
                    case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next() % 128)
                    case 1: bytes.remove(at: place)
                    default: bytes.insert(bytes[random.below(bytes.count)], at: place)
                    }
                }
            }
            let text = String(decoding: bytes, as: UTF8.self)
            for isJSON in [false, true] {
                let redacted = try Redaction.standard.apply(text, isJSON: isJSON)
                let again = try Redaction.standard.apply(redacted.text, isJSON: isJSON)
                #expect(
                    again.text == redacted.text,
                    "seed \(seed), text \(i), JSON \(isJSON): \(text.debugDescription)"
                )
                #expect((redacted.counts.total == 0) == (redacted.text == text))
                if isJSON, Self.shape(text) != nil { #expect(Self.shape(redacted.text) == Self.shape(text), "\(text)") }
            }
        }
    }

    @Test("card numbers are those with a right sum by a naive oracle")
    func luhnOracle() throws {
        var random = Xorshift(seed: 7)
        let cards = Redaction(rules: [.card])
        var found = 0
        for _ in 0..<Self.count {
            let digits = [4 + random.below(3)] + (0..<12 + random.below(7)).map { _ in random.below(10) }
            let text = digits.map(String.init).joined()
            let isCard = NaiveChecks.luhn(digits)
            if isCard { found += 1 }
            #expect(try cards.apply(text).text == (isCard ? "[card]" : text))
            let document = "{\"n\":\(text)}"
            #expect(try cards.apply(document, isJSON: true).text == (isCard ? "{\"n\":\"[card]\"}" : document))
        }
        #expect(found > Self.count / 20)
    }

    @Test("account numbers are those with a right remainder by a naive oracle")
    func accountOracle() throws {
        var random = Xorshift(seed: 8)
        let accounts = Redaction(rules: [.iban])
        var found = 0
        for _ in 0..<Self.count {
            var text = "DE" + (0..<20).map { _ in String(random.below(10)) }.joined()
            // Every other one has digits after the country that make the remainder right.
            if random.below(2) == 0, let digits = (2...98).first(where: { NaiveChecks.mod97(with($0, in: text)) == 1 })
            {
                text = with(digits, in: text)
            }
            let isAccount = NaiveChecks.mod97(text) == 1
            if isAccount { found += 1 }
            #expect(try accounts.apply(text).text == (isAccount ? "[iban]" : text))
        }
        #expect(found > Self.count / 3)
        func with(_ digits: Int, in text: String) -> String {
            "DE" + (digits < 10 ? "0" : "") + "\(digits)" + text.dropFirst(4)
        }
    }

    @Test(
        "the work is linear in a hostile text",
        arguments: [
            "@", "a", "1", "a@", "a@b.", "@a.", "@a-", ".a@", "1-", "1 ", "12 ", "1111 ", "4111 1111 1111 1111 ",
            "4111-1111-1111-1112-", "123-", "030 12 ", "030 123456 ", "0049 30 123456 ", "01 23 ", "+1", "+49 1 ",
            "+49 30 1234567 ",
            "555 234 5678 ", "(030) 12", "(", "DE89", "DE89 3704 0044 0532 0130 01 ", "eyJ", "eyJ.", "eyJaaaaaaa.",
            "eyJ-", "sk-",
            " sk-a", "sk-a1_", "xoxb-", "ghp_", "github_pat_", "AIza-", "AKIA", "bearer ", "Bearer a/", "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----", "------BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----|",
            "------BEGIN PRIVATE KEY-----|", "-----END ",
            "-",
            "password=", "password:", "password: ", "password=\"", "password='a password=\"", "token=\"",
            "token='a token=\"",
            "token:a", "token: aaaaaaaa", "Authorization: a ", "=\\\\\\\\", ":    ", "\\", "\\u0040", "\"",
            "{\"password\":", "[", "ü", "ü@ü.",
            "\u{1F600}", "\u{2009}a",
        ])
    func hostileTexts(part: String) throws {
        var work: [Int] = []
        for length in [20_000, 80_000] {
            let text = String(repeating: part, count: length / part.utf8.count)
            for (isJSON, text) in [(false, text), (true, text), (true, "\"\(text)\"")] {
                var steps = 0
                _ = try Redaction.standard.apply(text, isJSON: isJSON, steps: &steps)
                work.append(steps)
                #expect(
                    steps <= 100 * text.utf8.count,
                    "\(part): \(steps) steps for \(text.utf8.count) bytes, JSON \(isJSON)")
            }
        }
        for (few, many) in zip(work.prefix(3), work.suffix(3)) {
            #expect(many <= 5 * few + 1000, "\(part): \(few), then \(many)")
        }
    }
}

extension RedactionPropertyTests {
    private func words(_ random: inout Xorshift) -> String {
        let words = [
            "the", "a", "result", "was", "2026", "3.14159", "12", "(see", "above)", "Bob", "and", "Jane", "at", "noon:",
            "x=1", "—",
            "können", "日本", "v1.2.3", "2026-11-28", "id", "A", "by", "well-known", "snake_case", "100%", "$5",
            "\"quoted\"",
        ]
        return (0..<random.below(6)).map { _ in random.pick(words) + " " }.joined()
    }
}

/// Something that must not be kept.
struct Secret {
    var text: String
    /// What of it must be nowhere in the result.
    var core: String

    init(_ text: String, core: String? = nil) {
        self.text = text
        self.core = core ?? text
    }

    static func random(_ random: inout Xorshift) -> Secret {
        func digits(_ count: Int) -> String { (0..<count).map { _ in String(random.below(10)) }.joined() }
        func token(_ count: Int) -> String {
            let alphabet = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
            return "a1" + String((2..<count).map { _ in random.pick(alphabet) })
        }
        switch random.below(14) {
        case 0: return Secret("\(token(8)).\(token(3))@\(token(6)).example.org")
        case 1: return Secret("müller\(digits(3))@exämple.de")
        case 2, 3:
            // A check digit that makes the sum right.
            let body = [4 + random.below(3)] + (0..<14).map { _ in random.below(10) }
            let card = body + [(0..<10).first { NaiveChecks.luhn(body + [$0]) } ?? 0]
            let text = card.map(String.init).joined()
            let separator = random.pick(["", " ", "-"])
            return Secret(
                stride(from: 0, to: 16, by: 4).map { String(text.dropFirst($0).prefix(4)) }.joined(separator: separator)
            )
        case 4, 5:
            let body = digits(18)
            let check = 98 - NaiveChecks.mod97("DE00" + body)
            let text = "DE" + (check < 10 ? "0" : "") + String(check) + body
            if random.below(2) == 0 { return Secret(text) }
            return Secret(
                stride(from: 0, to: 22, by: 4).map { String(text.dropFirst($0).prefix(4)) }.joined(separator: " "))
        case 6: return Secret("+49 30 \(digits(7))")
        case 7: return Secret("(030) \(digits(3)) \(digits(4))")
        case 8: return Secret("555-\(digits(3))-\(digits(4))")
        case 9: return Secret("sk-proj-\(token(30))")
        case 10: return Secret("ghp_\(token(36))")
        case 11: return Secret("AKIA\(token(16).uppercased())")
        case 12:
            let value = token(12)
            return Secret(random.pick(["password=", "api_key: ", "DB_PASSWORD = ", "Bearer "]) + value, core: value)
        default:
            let value = token(9)
            return Secret("eyJ\(token(12)).eyJ\(value).\(token(20))", core: value)
        }
    }
}

/// JSON documents with secrets in them, written with and without escapes.
struct RandomDocument {
    var random: Xorshift
    var secrets: [Secret] = []

    mutating func value(depth: Int) -> String {
        switch random.below(depth > 3 ? 6 : 9) {
        case 0: return random.pick(["null", "true", "false", "0", "-1.5e-3", "12345", "3.14159265", "1732790400123"])
        case 1:
            return literal(
                random.pick(["", "plain", "two words", "a\nb", "\"q\"", "\\", "日本", "\u{1F600}", "2026-11-28"]))
        case 2:
            let body = [4 + random.below(3)] + (0..<14).map { _ in random.below(10) }
            let card = (body + [(0..<10).first { NaiveChecks.luhn(body + [$0]) } ?? 0]).map(String.init).joined()
            secrets.append(Secret(card))
            return card
        case 3, 4, 5:
            let secret = Secret.random(&random)
            secrets.append(secret)
            return literal(
                random.pick(["", "see ", "\n", "\t", "\" "]) + secret.text + random.pick(["", " ", "\n", "\"", ","]))
        case 6, 7:
            return "["
                + (0..<random.below(4)).map { _ in value(depth: depth + 1) }.joined(
                    separator: random.pick([",", ", ", "\n,"])) + "]"
        default:
            let members = (0..<random.below(4)).map { i in
                literal("\(random.pick(["a", "name", "content", "size"]))\(i)") + random.pick([":", ": ", " : "])
                    + value(depth: depth + 1)
            }
            return "{" + members.joined(separator: ",") + "}"
        }
    }

    private mutating func literal(_ text: String) -> String {
        let escapesAll = random.below(4) == 0
        var result = "\""
        for unit in text.unicodeScalars {
            let mustEscape = unit == "\"" || unit == "\\" || unit.value < 0x20
            if escapesAll && random.below(4) == 0 || mustEscape && random.below(2) == 0 {
                for code in String(unit).utf16 {
                    let digits = String(code, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            } else if mustEscape {
                switch unit {
                case "\n": result += "\\n"
                case "\t": result += "\\t"
                default: result += "\\" + String(unit)
                }
            } else {
                result.unicodeScalars.append(unit)
            }
        }
        return result + "\""
    }
}
