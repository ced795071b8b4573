import Testing

@testable import LearningRecords

@Suite struct CSVFormatTests {
    private let columns = [
        TrainingColumn(name: "a", type: .text), TrainingColumn(name: "n", type: .integer),
        TrainingColumn(name: "j", type: .json),
    ]

    private func written(_ row: [TrainingValue], isSafe: Bool = false) throws -> String {
        var bytes: [UInt8] = []
        try CSVWriter(columns: columns, isSpreadsheetSafe: isSafe).row(row, into: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    private func read(
        _ text: String, _ columns: [TrainingColumn]? = nil, isSafe: Bool = false
    ) -> (rows: [[TrainingValue]], error: TrainingFormatError?) {
        TrainingRows.read(
            Array(text.utf8), CSVReader(columns: columns ?? self.columns, isSpreadsheetSafe: isSafe), chunk: 3)
    }

    @Test func theHeaderNamesColumnsWithTheirTypes() throws {
        let text = String(decoding: try TrainingRows.csv([]), as: UTF8.self)
        #expect(
            text == "event_id:text,note:text,tokens:integer,execution_time_ms:real,input:json,success:boolean,"
                + "created_at:timestamp\r\n")
    }

    @Test(
        arguments: [
            ("plain", "plain"), ("", "\"\""), (" x", "\" x\""), ("x ", "\"x \""), ("a,b", "\"a,b\""),
            ("a;b", "\"a;b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""), ("\"", "\"\"\"\""), ("a\nb", "\"a\nb\""), ("a\rb", "\"a\rb\""),
            ("\\.", "\"\\.\""), ("=1", "=1"), ("'x", "'x"), ("é😀", "é😀"), ("\t", "\"\t\""),
        ])
    func textsAreQuotedWhereTheyNeedIt(text: String, field: String) throws {
        #expect(try written([.text(text), .null, .null]) == field + ",,\r\n")
    }

    @Test(
        arguments: [
            ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@x", "'@x"), ("\tx", "\"'\tx\""), ("\rx", "\"'\rx\""),
            ("\nx", "\"'\nx\""), ("\0x", "\"'\0x\""), ("＝1", "'＝1"), ("－1", "'－1"), ("'x", "''x"), ("'", "''"),
            ("x=1", "x=1"), ("ｘ", "ｘ"), ("", "\"\""), ("=\"x\"", "\"'=\"\"x\"\"\""),
        ])
    func whatASpreadsheetMightRunIsMarked(text: String, field: String) throws {
        let line = try written([.text(text), .integer(-5), .json("-5")], isSafe: true)
        #expect(line == field + ",-5,'-5\r\n")
        let back = read("a:text,n:integer,j:json\r\n" + line, isSafe: true)
        #expect(back.error == nil)
        #expect(TrainingRows.isSame(back.rows, [[.text(text), .integer(-5), .json("-5")]]))
    }

    @Test func aFormulaInAFileThatShouldHaveNoneIsRefused() {
        let result = read("a:text,n:integer,j:json\n=1,2,3\n", isSafe: true)
        #expect(result.error?.code == .wrongValue && result.error?.line == 2 && result.error?.column == "a")
        #expect(read("a:text,n:integer,j:json\n=1,2,3\n").rows == [[.text("=1"), .integer(2), .json("3")]])
    }

    @Test func nullIsNotTheEmptyText() {
        let rows = read("a:text,n:integer,j:json\r\n,,\r\n\"\",,\r\nx,,\"\"\"\"\"\"").rows
        #expect(rows == [[.null, .null, .null], [.text(""), .null, .null], [.text("x"), .null, .json("\"\"")]])
        // The last field is NULL though the one before is in quotes and the file ends there.
        let two = Array(columns.prefix(2))
        #expect(read("a:text,n:integer\n\"\",", two).rows == [[.text(""), .null]])
        let one = [columns[0]]
        #expect(read("a:text\n\n\"\"\n", one).rows == [[.null], [.text("")]])
    }

    @Test func columnsMayComeInAnotherOrderOrBeMissing() {
        let result = read("j:json,a:text\n1,x\n,\n")
        #expect(result.error == nil)
        #expect(result.rows == [[.text("x"), .null, .json("1")], [.null, .null, .null]])
    }

    @Test func lineFeedsAByteOrderMarkAndAMissingLastEndAreAccepted() {
        let expected: [[TrainingValue]] = [[.text("x"), .integer(1), .json("[]")]]
        for text in [
            "\u{FEFF}a:text,n:integer,j:json\nx,1,[]", "\u{FEFF}\"a:text\",n:integer,j:json\r\n\"x\",\"1\",[]\r",
        ] {
            let result = read(text)
            #expect(result.error == nil && result.rows == expected, "\(text)")
        }
    }

    private static let head = "a:text,n:integer,j:json\r\n"

    @Test(
        arguments: [
            ("", .missingHeader, 1, nil), ("\u{FEFF}", .missingHeader, 1, nil),
            ("\n", .unknownColumn, 1, nil), ("b:text\n", .unknownColumn, 1, nil), ("a:text,\n", .unknownColumn, 1, nil),
            ("a\n", .wrongColumnType, 1, "a"), ("a:json\n", .wrongColumnType, 1, "a"),
            ("a:text:text\n", .wrongColumnType, 1, "a"), ("a:Text\n", .wrongColumnType, 1, "a"),
            ("a:text,n:integer,a:text\n", .duplicateColumn, 1, "a"), ("a:text ,n:integer\n", .wrongColumnType, 1, "a"),
            (head + "x,1\r\n", .wrongFieldCount, 2, "j"), (head + "x,1,2,3\r\n", .wrongFieldCount, 2, nil),
            (head + "\r\n", .wrongFieldCount, 2, "n"),
            (head + "x,1.0,2\n", .wrongValue, 2, "n"), (head + "x,\"\",2\n", .wrongValue, 2, "n"),
            (head + "x,9223372036854775808,2\n", .wrongValue, 2, "n"), (head + "x,+1,2\n", .wrongValue, 2, "n"),
            (head + "x,01,2\n", .wrongValue, 2, "n"), (head + "x,1,{\n", .wrongValue, 2, "j"),
            (head + "x,1,\"\"\n", .wrongValue, 2, "j"), (head + "\"x\ny\",1,2\nz,?,1", .wrongValue, 4, "n"),
            (head + "x\"y,1,2\n", .malformed, 2, "a"), (head + "\"x\"y,1,2\n", .malformed, 2, "a"),
            (head + "x\ry,1,2\n", .malformed, 2, "a"), (head + " \"x\",1,2\n", .malformed, 2, "a"),
            (head + "\"x\n\n\n", .unclosedQuote, 2, "a"), (head + "x,1,2\n\"x\",1,\"", .unclosedQuote, 3, "j"),
        ] as [(String, TrainingFormatError.Code, Int, String?)])
    func whatIsWrongIsToldWithItsPlace(text: String, code: TrainingFormatError.Code, line: Int, column: String?) {
        let result = read(text)
        #expect(result.error?.code == code && result.error?.line == line, "\(text.debugDescription): \(result)")
        #expect(result.error?.column == column, "\(text.debugDescription): \(result)")
    }

    @Test func rowsBeforeAnErrorAreGivenAndTheErrorStays() throws {
        var reader = CSVReader(columns: columns)
        reader.feed(Array((Self.head + "x,1,2\ny,z,3\nq,4,5\n").utf8))
        #expect(try reader.next() == [.text("x"), .integer(1), .json("2")])
        for _ in 0..<3 {
            #expect(throws: TrainingFormatError.self) { try reader.next() }
            reader.feed(Array("x,1,2\n".utf8))
        }
    }

    @Test func bytesThatAreNotUTF8AreRefused() {
        for (bytes, code) in [
            (Array((Self.head + "x").utf8) + [0xC3, 0x28] + Array(",1,2\n".utf8), TrainingFormatError.Code.notUTF8),
            (Array((Self.head + "x,1,\"\"\"").utf8) + [0xED, 0xA0, 0x80] + Array("\"\"\"\n".utf8), .notUTF8),
            ([0xEF, 0xBB] + Array(Self.head.utf8), .malformed), ([0xEF], .malformed),
        ] {
            for chunk in [1, 1_000] {
                #expect(TrainingRows.read(bytes, CSVReader(columns: columns), chunk: chunk).error?.code == code)
            }
        }
    }

    @Test func fieldsAndRowsBeyondTheLimitsAreRefused() throws {
        func error(_ row: String, field: Int, row maximum: Int) -> TrainingFormatError? {
            let reader = CSVReader(columns: columns, maximumFieldBytes: field, maximumRowBytes: maximum)
            return TrainingRows.read(Array((Self.head + row).utf8), reader, chunk: 2).error
        }
        #expect(error("1234567890,1,2\n", field: 10, row: 1_000) == nil)
        #expect(error("12345678901,1,2\n", field: 10, row: 1_000)?.code == .limitExceeded)
        #expect(error("\"123456789\"\"\",1,2\n", field: 10, row: 1_000) == nil)
        #expect(error("\"1234567890\"\"\",1,2\n", field: 10, row: 1_000)?.code == .limitExceeded)
        #expect(error("1234567890,1,1234567890\n", field: 10, row: 25) == nil)
        #expect(error("1234567890,1,1234567890\n", field: 10, row: 22)?.code == .limitExceeded)
        // An endless field is refused long before its end.
        var reader = CSVReader(columns: columns, maximumFieldBytes: 1 << 16, maximumRowBytes: 1 << 16)
        reader.feed(Array((Self.head + "\"").utf8))
        #expect(try reader.next() == nil)
        var fed = 0
        #expect(throws: TrainingFormatError.self) {
            while true {
                reader.feed(Array(repeating: 0x0A, count: 1 << 12))
                fed += 1 << 12
                _ = try reader.next()
            }
        }
        #expect(fed == 1 << 16 + 1 << 12)
    }

    @Test(
        arguments: [
            ([.text("x"), .real(1), .null], .wrongValue), ([.json("1"), .null, .null], .wrongValue),
            ([.text("x"), .null, .text("1")], .wrongValue), ([.text("x"), .null, .json("{\"a\":}")], .wrongValue),
            ([.text("x"), .null], .wrongFieldCount), ([.text("x"), .null, .json("")], .wrongValue),
            ([.text("x"), .null, .json("\"\\ud800\"")], .wrongValue), ([.text("x"), .null, .json("1 2")], .wrongValue),
        ] as [([TrainingValue], TrainingFormatError.Code)])
    func whatCannotBeWrittenIsRefusedAndLeavesNothing(row: [TrainingValue], code: TrainingFormatError.Code) {
        var bytes: [UInt8] = [1]
        let csv = CSVWriter(columns: columns, isSpreadsheetSafe: false)
        #expect { try csv.row(row, into: &bytes) } throws: { ($0 as? TrainingFormatError)?.code == code }
        let lines = JSONLinesWriter(columns: columns)
        #expect { try lines.row(row, into: &bytes) } throws: { ($0 as? TrainingFormatError)?.code == code }
        #expect(bytes == [1])
    }
}
