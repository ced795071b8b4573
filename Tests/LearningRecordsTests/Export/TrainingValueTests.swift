import Testing

@testable import LearningRecords

@Suite struct TrainingValueTests {
    @Test(
        arguments: [
            ("2026-11-27 05:31:12.123456", true), ("2024-02-29 00:00:00.000000", true),
            ("2000-02-29 23:59:59.999999", true), ("1900-02-29 00:00:00.000000", false),
            ("2023-02-29 00:00:00.000000", false), ("2026-13-01 00:00:00.000000", false),
            ("2026-00-01 00:00:00.000000", false), ("2026-04-31 00:00:00.000000", false),
            ("2026-04-00 00:00:00.000000", false), ("2026-04-30 24:00:00.000000", false),
            ("2026-04-30 00:60:00.000000", false), ("2026-04-30 00:00:60.000000", false),
            ("2026-04-30T00:00:00.000000", false), ("2026-04-30 00:00:00.00000", false),
            ("2026-04-30 00:00:00.000000Z", false), ("2026-04-30 00:00:00,000000", false), ("", false),
            ("٢026-04-30 00:00:00.00000", false),
        ])
    func momentsHaveOneForm(text: String, isMoment: Bool) {
        #expect(TrainingColumn.isTimestamp(Array(text.utf8)) == isMoment)
    }

    @Test(
        arguments: [
            ("0", 0), ("-0.0", -0.0), ("1", 1), ("1e3", 1_000), ("5e-324", Double.leastNonzeroMagnitude), ("1E+2", 100),
            ("2e-400", 0),
            ("1e999", nil), ("nan", nil), ("inf", nil), ("0x1p3", nil), (".5", nil), ("5.", nil), ("+1", nil),
            ("01", nil),
            ("1e", nil), (" 1", nil), ("1 ", nil), ("", nil), ("-", nil), (String(repeating: "1", count: 2_000), nil),
        ] as [(String, Double?)])
    func realNumbersAreWrittenAsInJSON(text: String, number: Double?) {
        #expect(TrainingColumn.real(Array(text.utf8))?.bitPattern == number?.bitPattern)
    }

    @Test(
        arguments: [
            ("1", "1"), (" [ 1 , \"a b\" ] ", "[1,\"a b\"]"), ("{\"k\" :\n1.50}", "{\"k\":1.50}"), ("[]", "[]"),
            ("{ }", "{}"), ("\"\\\" \\\\\"", "\"\\\" \\\\\""), ("[[],{},[ {} ]]", "[[],{},[{}]]"), ("-1e+05", "-1e+05"),
            ("\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\""),
            ("", nil), ("[", nil), ("[1", nil), ("[1,", nil), ("[1,]", nil), ("[1}", nil), ("{\"a\"}", nil),
            ("{\"a\":}", nil),
            ("{a:1}", nil), ("{\"a\":1,}", nil), ("{1:1}", nil), ("]", nil), ("1]", nil), ("tru", nil), ("truex", nil),
            ("NaN", nil),
            ("01", nil), ("1.", nil), (".1", nil), ("1e", nil), ("+1", nil), ("--1", nil), ("\"a", nil),
            ("\"\\x\"", nil),
            ("\"\\u12g4\"", nil), ("\"\\ud800\"", nil), ("\"\\ud800\\u0041\"", nil), ("\"\\udc00\"", nil),
            ("\"\t\"", nil),
            ("'a'", nil), ("[1 2]", nil), ("\u{FEFF}1", nil),
        ] as [(String, String?)])
    func JSONIsCheckedAndCompacted(text: String, compact: String?) {
        var bytes: [UInt8] = []
        let isValid = JSONTokens.compact(Array(text.utf8), to: &bytes)
        #expect((isValid ? String(decoding: bytes, as: UTF8.self) : nil) == compact)
        #expect(JSONTokens.isValid(Array(text.utf8)) == (compact != nil))
    }

    @Test func JSONMayBeNestedUpToALimit() {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        #expect(JSONTokens.isValid(nested(512)))
        #expect(!JSONTokens.isValid(nested(513)))
        #expect(!JSONTokens.isValid(Array(repeating: UInt8(ascii: "["), count: 1 << 20)))
    }

    @Test func numbersThatAreNoneAreNotWritten() {
        let columns = [TrainingColumn(name: "x", type: .real)]
        for number in [Double.nan, .infinity, -.infinity] {
            #expect { try TrainingRows.lines([[.real(number)]], columns) } throws: {
                ($0 as? TrainingFormatError)?.code == .notFinite && ($0 as? TrainingFormatError)?.column == "x"
            }
            #expect { try TrainingRows.csv([[.real(number)]], columns) } throws: {
                ($0 as? TrainingFormatError)?.code == .notFinite
            }
        }
    }
}
