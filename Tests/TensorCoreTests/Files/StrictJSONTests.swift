import Testing

@testable import TensorCore

struct StrictJSONTests {
    static func error(_ text: String, limits: JSONLimits = JSONLimits()) -> JSONError? {
        do throws(JSONError) {
            _ = try StrictJSON.parse(Array(text.utf8), limits: limits)
            return nil
        } catch {
            return error
        }
    }

    @Test func readsEveryKindOfValue() throws {
        let text =
            #" { "a" : [ 0 , 18446744073709551615 , -1.5e2 , 1E+3, 18446744073709551616 ] , "b" : { } , "c" : [ true , false , null ] , "" : "\u0041\n\"\\\/\ud83d\ude00é" } "#
        let root = try StrictJSON.parse(Array(text.utf8))
        let numbers = try root.member("a").elements()
        #expect(try numbers[0].integer() == 0)
        #expect(try numbers[1].integer() == .max)
        var others: [Double] = []
        for case .number(let value) in numbers.map(\.content) { others.append(value) }
        #expect(others == [-150, 1000, 18446744073709551616])
        #expect(try root.member("b").members().isEmpty)
        #expect(try root.member("").text() == "A\n\"\\/😀é")
        #expect(root.offset == 1)
        #expect(numbers[1].offset == 15)
        guard case .boolean(true) = try root.member("c").elements()[0].content,
            case .boolean(false) = try root.member("c").elements()[1].content,
            case .null = try root.member("c").elements()[2].content
        else { throw WrongKind() }
    }

    @Test(arguments: [
        "", " ", "{", "}", "[", "[1", "[1,", "[1,]", "[,]", "[1 2]", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
        "{a:1}",
        "{'a':1}", "{1:1}", "01", "-", "-01", "+1", "1.", ".5", "1e", "1e+", "0x10", "NaN", "Infinity", "1e400", "tru",
        "True", "nul", "\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\u{1}\"", "\"\n\"", "1 1", "{} x", "[1]]", "// c\n1", "\u{FEFF}1", "\u{A0}1",
    ])
    func refusesWhatTheStandardDoesNotAllow(text: String) {
        #expect(Self.error(text)?.reason == .syntax)
    }

    @Test(
        arguments: [
            [0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xE2, 0x82], [0xF5, 0x80, 0x80, 0x80], [0x80],
        ] as [[UInt8]])
    func refusesInvalidUTF8(bytes: [UInt8]) {
        #expect(throws: JSONError.self) { try StrictJSON.parse([0x22] + bytes + [0x22]) }
    }

    @Test(arguments: [
        (#"{"a":1,"b":2,"a":3}"#, 13), (#"{"a":1,"\u0061":3}"#, 7), ("{\"\u{E9}\":1,\"e\u{301}\":2}", 8),
        (#"[{"":1,"":1}]"#, 7),
    ])
    func refusesDuplicateKeysAndSaysWhere(text: String, offset: Int) {
        #expect(Self.error(text)?.reason == .duplicateKey)
        #expect(Self.error(text)?.offset == offset)
    }

    @Test func keepsItsLimits() {
        var limits = JSONLimits()
        limits.maximumDepth = 3
        limits.maximumValues = 10
        limits.maximumBytes = 40
        #expect(Self.error("[[[1]]]", limits: limits) == nil)
        #expect(Self.error("[[[[1]]]]", limits: limits)?.reason == .limit)
        #expect(Self.error("{\"a\":[[{}]]}", limits: limits)?.reason == .limit)
        #expect(Self.error("[1,2,3,4,5,6,7,8,9]", limits: limits) == nil)
        #expect(Self.error("[1,2,3,4,5,6,7,8,9,0]", limits: limits)?.reason == .limit)
        #expect(Self.error(String(repeating: " ", count: 40) + "1", limits: limits)?.reason == .limit)
        #expect(Self.error(String(repeating: "[", count: 1_000_000))?.reason == .limit)
    }
}
