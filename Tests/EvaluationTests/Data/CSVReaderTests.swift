import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// What a reader makes of a text: rows of fields, and faults as "line:field:code".
private func read(_ text: String, limits: DataLimits = DataLimits()) -> (rows: [[String]], faults: [String]) {
    read(Array(text.utf8), limits: limits)
}

private func read(_ bytes: [UInt8], limits: DataLimits = DataLimits()) -> (rows: [[String]], faults: [String]) {
    var reader = CSVReader(bytes: bytes, limits: limits)
    var rows: [[String]] = []
    var faults: [String] = []
    while true {
        switch reader.next() {
        case .end: return (rows, faults)
        case .row: rows.append(reader.fields.indices.map { reader.text($0) })
        case .fault(let fault): faults.append("\(reader.line):\(fault.field):\(fault.code)")
        }
    }
}

@Suite struct CSVReaderTests {
    @Test func splitsRowsAtLineFeedsAndCarriageReturnLineFeeds() {
        #expect(read("a,b\nc,d\r\n\r\n\ne,f").rows == [["a", "b"], ["c", "d"], ["e", "f"]])
        #expect(read("").rows.isEmpty)
        #expect(read("\n\r\n").rows.isEmpty)
        #expect(read(",\n").rows == [["", ""]])
        #expect(read("a\r").rows == [["a"]])
    }

    @Test func undoesQuotes() {
        #expect(read(#"1,"Toy ""Story"", one",x"#).rows == [["1", #"Toy "Story", one"#, "x"]])
        #expect(read("\"a\r\nb\",c\nd,e").rows == [["a\r\nb", "c"], ["d", "e"]])
        #expect(read("\"\",\"\"\"\"\n").rows == [["", "\""]])
    }

    @Test func skipsAByteOrderMark() {
        #expect(read([0xEF, 0xBB, 0xBF] + Array("a,b\n".utf8)).rows == [["a", "b"]])
    }

    @Test func countsLinesInsideQuotedFields() {
        let result = read("\"a\nb\nc\",d\n\"x\"y,z\nq,r\n")
        #expect(result.faults == ["4:0:malformedRow"])
        #expect(result.rows == [["a\nb\nc", "d"], ["q", "r"]])
    }

    @Test func refusesMisplacedQuotesAndGoesOnAtTheNextLine() {
        let result = read("a\"b,c\nd,\"e\"f\ng,h\n\"never\nclosed")
        #expect(result.rows == [["g", "h"]])
        #expect(result.faults == ["1:0:malformedRow", "2:1:malformedRow", "4:0:malformedRow"])
    }

    @Test func refusesLoneCarriageReturns() {
        #expect(read("a\rb,c\nd,e").faults == ["1:0:malformedRow"])
    }

    @Test(
        arguments: [
            [0x61, 0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82],
        ] as [[UInt8]])
    func refusesWhatIsNotUTF8(bytes: [UInt8]) {
        let result = read(Array("x,".utf8) + bytes + Array("\ny,z\n".utf8))
        #expect(result.faults == ["1:1:invalidEncoding"])
        #expect(result.rows == [["y", "z"]])
    }

    @Test func keepsToItsLimits() {
        var limits = DataLimits()
        limits.fieldBytes = 3
        limits.columns = 2
        #expect(
            read("abc,abcd\na,b,c\n\"abcd\"\nok,ok", limits: limits).faults
                == ["1:1:limitExceeded", "2:2:limitExceeded", "3:0:limitExceeded"])
        #expect(read("abc,abcd\na,b,c\n\"abcd\"\nok,ok", limits: limits).rows == [["ok", "ok"]])
    }

    @Test(arguments: [
        ("0", 0.0), ("-12", -12), ("4.5", 4.5), ("+3", 3), ("1.26e9", 1.26e9), ("1260759108", 1_260_759_108),
        ("9007199254740993", 9_007_199_254_740_992), ("-0.5E-3", -0.0005),
        ("123456789012345678901", 123_456_789_012_345_683_968),
        ("00012", 12),
    ])
    func parsesDecimalNumbers(text: String, value: Double) {
        var reader = CSVReader(bytes: Array(text.utf8))
        #expect(reader.next() == .row)
        #expect(reader.number(0) == value)
    }

    @Test(arguments: ["x", "nan", "inf", "-", "1e999", " 4", "4 ", "0x10", "1,5", "--1", "1_000", "٤", "."])
    func refusesOtherNumbers(text: String) {
        var reader = CSVReader(bytes: Array("\"\(text)\"".utf8))
        #expect(reader.next() == .row)
        #expect(reader.number(0) == nil)
    }

    /// Mutated files: no crash, every row within bounds, and what is accepted unmutated is accepted as it was.
    @Test func survivesMutations() {
        let seed: UInt64 = 20_260_801
        let base = Array(
            "user_id,item_id,rating,timestamp\n1,\"a,\"\"b\"\"\",4.5,100\r\nü,x,3,-2e1\n\n\"q\nr\",z,5,7\n".utf8)
        let alphabet = Array("\"\",,\n\r\r\n0-.e\u{FF}x".utf8) + [0xFF, 0xC3, 0x00, 0x80]
        var random = PhiloxGenerator(seed: seed, purpose: .simulation)
        var accepted = 0
        let rounds = underSanitizer(10_000, otherwise: 100_000)
        for round in 0..<rounds {
            var bytes = base
            for _ in 0...random.integer(below: 4) {
                let place = random.integer(below: bytes.count)
                switch random.integer(below: 4) {
                case 0: bytes[place] = alphabet[random.integer(below: alphabet.count)]
                case 1: bytes.remove(at: place)
                case 2: bytes.insert(alphabet[random.integer(below: alphabet.count)], at: place)
                default: bytes.removeSubrange(place..<min(bytes.count, place + 9))
                }
                if bytes.isEmpty { bytes = base }
            }
            var reader = CSVReader(bytes: bytes)
            var outcomes = 0
            loop: while true {
                let lineBefore = reader.line
                switch reader.next() {
                case .end: break loop
                case .row:
                    accepted += 1
                    for i in reader.fields.indices {
                        _ = reader.number(i)
                        #expect(reader.fields[i].end <= bytes.count && reader.fields[i].start <= reader.fields[i].end)
                    }
                case .fault(let fault):
                    #expect(!fault.message.isEmpty)
                }
                outcomes += 1
                guard reader.line >= lineBefore, outcomes <= bytes.count else {
                    Issue.record("seed \(seed), round \(round): the reader does not move forward")
                    return
                }
            }
        }
        // Most rows survive most mutations; otherwise the test would test nothing.
        #expect(accepted > 2 * rounds, "seed \(seed): only \(accepted) rows were accepted")
    }
}
