import Testing

@testable import LearningRecords

@Suite struct JSONLinesTests {
    private let columns = [
        TrainingColumn(name: "a", type: .text), TrainingColumn(name: "n", type: .integer),
        TrainingColumn(name: "r", type: .real), TrainingColumn(name: "j", type: .json),
        TrainingColumn(name: "b", type: .boolean), TrainingColumn(name: "t", type: .timestamp),
    ]

    private func read(_ text: String) -> (rows: [[TrainingValue]], error: TrainingFormatError?) {
        TrainingRows.read(Array(text.utf8), JSONLinesReader(columns: columns), chunk: 3)
    }

    @Test func aRowIsAnObjectOnALine() throws {
        let rows: [[TrainingValue]] = [
            [
                .text("x\n\"y\""), .integer(.min), .real(-0.0), .json("{ \"k\" :\r\n [1.50, \"a \\n b\"] }"),
                .boolean(true), .null,
            ],
            [.null, .null, .real(1e300), .null, .boolean(false), .text("2026-11-27 05:31:12.123456")],
        ]
        let bytes = try TrainingRows.lines(rows, columns)
        #expect(
            String(decoding: bytes, as: UTF8.self) == #"""
                {"a":"x\n\"y\"","n":-9223372036854775808,"r":-0.0,"j":{"k":[1.50,"a \n b"]},"b":true,"t":null}
                {"a":null,"n":null,"r":1e+300,"j":null,"b":false,"t":"2026-11-27 05:31:12.123456"}

                """#)
        let back = read(String(decoding: bytes, as: UTF8.self))
        #expect(back.error == nil && TrainingRows.isSame(back.rows, rows, compactsJSON: true))
    }

    @Test func spacesOrderAndMissingMembersAreFree() {
        let result = read("\u{FEFF} { \"n\" : 1 ,\t\"a\" : \"\\u00e9\" } \r\n{}\n{\"j\":[ 1.0E5 ],\"r\":3}")
        #expect(result.error == nil)
        #expect(
            result.rows == [
                [.text("é"), .integer(1), .null, .null, .null, .null], Array(repeating: .null, count: 6),
                [.null, .null, .real(3), .json("[1.0E5]"), .null, .null],
            ])
        #expect(read("").rows.isEmpty && read("").error == nil)
    }

    @Test(
        arguments: [
            ("\n", .malformed, 1, nil), ("{}\n\n{}\n", .malformed, 2, nil), ("[]\n", .malformed, 1, nil),
            ("{}{}\n", .malformed, 1, nil), ("{\"a\":\"x\",}\n", .malformed, 1, nil), ("{,}\n", .malformed, 1, nil),
            ("{\"a\" \"x\"}\n", .malformed, 1, nil), ("{\"a\":\"x\"", .malformed, 1, nil), ("{", .malformed, 1, nil),
            ("{\"a\":\"x", .malformed, 1, nil), ("{\"n\":1\n}", .malformed, 1, nil), ("{\"n\":01}", .malformed, 1, nil),
            ("{\"j\":[1,]}", .malformed, 1, nil), ("{\"a\":\"\\ud800\"}", .malformed, 1, nil),
            ("{}\n{\"c\":1}\n", .unknownColumn, 2, nil), ("{\"\":1}\n", .unknownColumn, 1, nil),
            ("{\"a\":\"x\",\"\\u0061\":\"y\"}", .duplicateColumn, 1, "a"),
            ("{\"a\":1}", .wrongValue, 1, "a"), ("{\"n\":1.0}", .wrongValue, 1, "n"),
            ("{\"n\":\"1\"}", .wrongValue, 1, "n"),
            ("{\"n\":9223372036854775808}", .wrongValue, 1, "n"), ("{\"n\":1e2}", .wrongValue, 1, "n"),
            ("{\"r\":1e999}", .wrongValue, 1, "r"), ("{\"r\":\"1\"}", .wrongValue, 1, "r"),
            ("{\"b\":1}", .wrongValue, 1, "b"),
            ("{\"t\":\"2026\"}", .wrongValue, 1, "t"), ("{\"t\":[]}", .wrongValue, 1, "t"),
        ] as [(String, TrainingFormatError.Code, Int, String?)])
    func whatIsWrongIsToldWithItsPlace(text: String, code: TrainingFormatError.Code, line: Int, column: String?) {
        let result = read(text)
        #expect(result.error?.code == code && result.error?.line == line, "\(text.debugDescription): \(result)")
        #expect(result.error?.column == column, "\(text.debugDescription): \(result)")
    }

    @Test func bytesThatAreNotUTF8AreRefused() {
        for key in ["a", "j"] {
            let bytes = Array("{\"\(key)\":\"".utf8) + [0xFF] + Array("\"}\n".utf8)
            let error = TrainingRows.read(bytes, JSONLinesReader(columns: columns)).error
            #expect(error?.code == .notUTF8 && error?.column == key)
        }
    }

    @Test func linesBeyondTheLimitAreRefused() {
        let line = "{\"a\":\"12345\"}\n"
        func error(_ limit: Int, _ chunk: Int) -> TrainingFormatError? {
            TrainingRows.read(
                Array((line + line).utf8), JSONLinesReader(columns: columns, maximumLineBytes: limit), chunk: chunk
            ).error
        }
        for chunk in [1, 5, 100] {
            #expect(error(line.utf8.count - 1, chunk) == nil)
            #expect(error(line.utf8.count - 2, chunk)?.code == .limitExceeded)
        }
    }

    @Test func errorsQuoteNothingOfTheFile() {
        for text in ["{\"secret\":1}", "{\"n\":\"secret\"}", "{\"t\":\"secret\"}", "secret", "{\"j\":[secret]}"] {
            let error = read(text).error
            #expect(error != nil && error?.description.contains("secret") == false, "\(text)")
        }
        for text in ["secret\n", "a:secret\n", "n:integer\nsecret\n", "j:json\nsecret\n"] {
            let error = TrainingRows.read(Array(text.utf8), CSVReader(columns: columns)).error
            #expect(error != nil && error?.description.contains("secret") == false, "\(text)")
        }
    }
}
