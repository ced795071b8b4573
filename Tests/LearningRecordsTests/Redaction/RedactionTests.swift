import Foundation
import Testing

@testable import LearningRecords

@Suite("Redaction")
struct RedactionTests {
    @Test("leaves what the table says")
    func leavesWhatTheTableSays() throws {
        #expect(RedactionRow.all.count >= 150)
        for row in RedactionRow.all {
            let redacted = try Redaction.standard.apply(row.text, isJSON: row.isJSON)
            #expect(redacted.text == row.expected, "\(row.text)")
        }
    }

    @Test("changes nothing the second time, nor what had nothing to take out")
    func changesNothingTheSecondTime() throws {
        for row in RedactionRow.all {
            let again = try Redaction.standard.apply(row.expected, isJSON: row.isJSON)
            #expect(again == Redacted(text: row.expected), "\(row.text)")
        }
    }

    @Test("a text with nothing to take out comes back in the same storage")
    func sameStorage() throws {
        let text = String(repeating: "Nothing is in here but words. ", count: 10)
        let redacted = try Redaction.standard.apply(text)
        #expect(address(redacted.text) == address(text))
        #expect(redacted.counts.total == 0)
    }

    private func address(_ text: String) -> Int? {
        unsafe text.utf8.withContiguousStorageIfAvailable { Int(bitPattern: $0.baseAddress) }
    }

    @Test("counts what each rule replaced")
    func counts() throws {
        var counts = try Redaction.standard.apply(
            "a@b.de c@d.de 4111111111111111 DE89370400440532013000 +49 30 1234567 password=x"
        ).counts
        let found = Redaction.Rule.allCases.map { counts[$0] }
        #expect(found == [2, 1, 1, 1, 1])
        #expect(counts.total == 6)
        counts += counts
        #expect(counts.total == 12 && counts[.email] == 4)
    }

    @Test("follows only the rules that it has", arguments: Redaction.Rule.allCases)
    func followsOnlyItsRules(rule: Redaction.Rule) throws {
        let samples: [Redaction.Rule: String] = [
            .email: "a@b.de", .card: "4111111111111111", .iban: "DE89370400440532013000", .phone: "+49 30 1234567",
            .key: "ghp_abcDEF1234567890abcd",
        ]
        let text = Redaction.Rule.allCases.compactMap { samples[$0] }.joined(separator: ", ")
        let only = Redaction(rules: [rule])
        #expect(only.rules == [rule])
        let sample = try #require(samples[rule])
        let expected = text.replacing(sample, with: rule.mark)
        #expect(try only.apply(text).text == expected)
        var others = Redaction.standard
        others.rules.remove(rule)
        let left = try others.apply(text)
        #expect(left.text.contains(sample) && left.counts.total == 4)
    }

    @Test("without rules nothing is changed")
    func withoutRules() throws {
        #expect(Redaction.none.rules.isEmpty)
        #expect(try Redaction.none.apply("a@b.de").text == "a@b.de")
    }

    @Test("the user's function gets what the rules left")
    func customFunction() throws {
        let redaction = Redaction { $0.replacing("Ann", with: "[name]") }
        #expect(try redaction.apply("Ann: ann@example.org").text == "[name]: [email]")
        let alone = Redaction(rules: []) { $0.uppercased() }
        #expect(try alone.apply("a@b.de").text == "A@B.DE")
    }

    private struct Refusal: Error {
        var quoted: String
    }

    @Test("a function that throws is a typed error that quotes nothing")
    func functionThatThrows() throws {
        let redaction = Redaction { throw Refusal(quoted: $0) }
        let error = #expect(throws: RedactionError.self) { try redaction.apply("swordfish") }
        #expect(error?.code == .customFunctionFailed)
        #expect((error?.cause as? Refusal)?.quoted == "swordfish")
        #expect(!"\(try #require(error)) \(String(reflecting: error))".contains("swordfish"))
        #expect(String(reflecting: try #require(error)).contains("Refusal"))
    }

    @Test("a text above the limit is refused, one of just the limit is not")
    func limit() throws {
        let redaction = Redaction(maximumLength: 6)
        #expect(try redaction.apply("a@b.de").text == "[email]")
        let error = #expect(throws: RedactionError.self) { try redaction.apply("ü a@b.de") }
        #expect(error?.code == .textTooLong)
        #expect(error?.description.contains("b.de") == false)
        #expect(error?.code.description == "textTooLong")
    }

    @Test("a negative limit is the caller's mistake")
    func negativeLimit() async {
        await #expect(processExitsWith: .failure) { _ = Redaction(maximumLength: -1) }
    }

    @Test("every country's account number is found, and none with a digit changed")
    func accountsOfAllCountries() throws {
        // Of each country one number; Wikipedia and the registry give these as examples.
        let examples = """
            AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 AZ21NABZ00000000137010001944
            BA391290079401028494 BG80BNBG96611020345678 BH67BMAG00001299123456 BY13NBRB3600900000002Z00AB00
            CR05015202001026284066 CY17002001280000001200527600 CZ6508000000192000145399 DK5000400440116243
            DO28BAGR00000001212453611324 EE382200221020145685 EG380019000500000000263180002 ES9121000418450200051332
            FI2112345600000785 FO6264600001631634 GE29NB0000000101904917 GI75NWBK000000007099453 GL8964710001000206
            GR1601101250000000012300695 GT82TRAJ01020000001210029690 HR1210010051863000160
            HU42117730161111101800000000 IE29AIBK93115212345678 IL620108000000099999999 IQ98NBIQ850123456789012
            IS140159260076545510730339 IT60X0542811101000000123456 JO94CBJO0010000000000131000302
            KW81CBKU0000000000001234560101 KZ86125KZT5004100100 LB62099900000001001901229114 LI21088100002324013AA
            LT121000011101001000 LU280019400644750000 LV80BANK0000435195001 MC5811222000010123456789030
            MD24AG000225100013104168 ME25505000012345678951 MK07250120000058984 MR1300020001010000123456753
            MU17BOMM0101101030300200000MUR PK36SCBL0000001123456702 PS92PALS000000000400123456702
            PT50000201231234567890154 QA58DOHB00001234567890ABCDEFG RO49AAAA1B31007593840000 RS35260005601001611379
            SA0380000000608010167519 SC18SSCB11010000000000001497USD SE4550000000058398257466 SI56263300012039086
            SK3112000000198742637541 SM86U0322509800000000270100 ST23000100010051845310146
            SV62CENR00000000000000700025 TL380080012345678910157 TN5910006035183598478831 TR330006100519786457841326
            UA213223130000026007233566001 VA59001123000012345678 VG96VPVG0000012345678901
            """
        let accounts = Redaction(rules: [.iban])
        for example in examples.split(whereSeparator: \.isWhitespace).map(String.init) {
            #expect(NaiveChecks.mod97(example) == 1, "\(example)")
            #expect(try accounts.apply(example).text == "[iban]", "\(example)")
            var bytes = Array(example.utf8)
            bytes[bytes.count - 1] = bytes[bytes.count - 1] == 0x35 ? 0x36 : 0x35
            let changed = String(decoding: bytes, as: UTF8.self)
            #expect(try accounts.apply(changed).text == changed)
        }
    }
}

/// Check sums as they are defined, digit by digit.
enum NaiveChecks {
    static func luhn(_ digits: [Int]) -> Bool {
        var sum = 0
        for (place, digit) in digits.reversed().enumerated() {
            if place % 2 == 0 {
                sum += digit
            } else {
                sum += String(2 * digit).reduce(0) { $0 + ($1.wholeNumberValue ?? 0) }
            }
        }
        return sum % 10 == 0
    }

    /// The remainder of the whole number, by long division.
    static func mod97(_ account: String) -> Int {
        let moved = account.dropFirst(4) + account.prefix(4)
        let decimal = moved.uppercased().map { character in
            String(character.wholeNumberValue ?? Int(character.asciiValue ?? 0) - 55)
        }.joined()
        return decimal.reduce(0) { (10 * $0 + ($1.wholeNumberValue ?? 0)) % 97 }
    }
}
