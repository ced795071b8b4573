@testable import LearningRecords

/// Rows of all types, and how tests write, read and compare them.
enum TrainingRows {
    static let columns = [
        TrainingColumn(name: "event_id", type: .text), TrainingColumn(name: "note", type: .text),
        TrainingColumn(name: "tokens", type: .integer), TrainingColumn(name: "execution_time_ms", type: .real),
        TrainingColumn(name: "input", type: .json), TrainingColumn(name: "success", type: .boolean),
        TrainingColumn(name: "created_at", type: .timestamp),
    ]

    static func csv(
        _ rows: [[TrainingValue]], _ columns: [TrainingColumn] = columns, isSafe: Bool = false
    ) throws(TrainingFormatError) -> [UInt8] {
        let writer = CSVWriter(columns: columns, isSpreadsheetSafe: isSafe)
        var bytes: [UInt8] = []
        writer.header(into: &bytes)
        for row in rows { try writer.row(row, into: &bytes) }
        return bytes
    }

    static func lines(
        _ rows: [[TrainingValue]], _ columns: [TrainingColumn] = columns
    ) throws(TrainingFormatError) -> [UInt8] {
        let writer = JSONLinesWriter(columns: columns)
        var bytes: [UInt8] = []
        for row in rows { try writer.row(row, into: &bytes) }
        return bytes
    }

    /// The rows of a file up to its end or what is wrong with it.
    static func read(
        _ bytes: [UInt8], _ reader: some TrainingReader, chunk: Int = 1 << 20
    ) -> (rows: [[TrainingValue]], error: TrainingFormatError?) {
        var reader = reader
        var rows: [[TrainingValue]] = []
        var start = 0
        do throws(TrainingFormatError) {
            while start < bytes.count {
                let end = min(bytes.count, start + chunk)
                reader.feed(Array(bytes[start..<end]))
                start = end
                while let row = try reader.next() { rows.append(row) }
            }
            reader.finish()
            while let row = try reader.next() { rows.append(row) }
            return (rows, nil)
        } catch {
            return (rows, error)
        }
    }

    /// Whether rows are the same to the byte and the bit. JSON is compared without white space between tokens if wanted.
    static func isSame(_ left: [[TrainingValue]], _ right: [[TrainingValue]], compactsJSON: Bool = false) -> Bool {
        left.count == right.count
            && zip(left, right).allSatisfy { left, right in
                left.count == right.count
                    && zip(left, right).allSatisfy { key($0, compactsJSON) == key($1, compactsJSON) }
            }
    }

    private static func key(_ value: TrainingValue, _ compactsJSON: Bool) -> [UInt8] {
        switch value {
        case .null: [0]
        case .integer(let number): Array("i\(number)".utf8)
        case .real(let number): Array("r\(number.bitPattern)".utf8)
        case .boolean(let flag): Array("b\(flag)".utf8)
        case .text(let text): Array("t".utf8) + text.utf8
        case .json(let text):
            // A JSON text null is NULL in JSON Lines.
            compactsJSON
                ? (compact(text) == Array("null".utf8) ? [0] : Array("j".utf8) + compact(text))
                : Array("j".utf8) + text.utf8
        }
    }

    /// Without white space outside strings, found on its own way.
    static func compact(_ text: String) -> [UInt8] {
        var (bytes, isInside, isEscaped) = ([UInt8](), false, false)
        for byte in text.utf8 {
            if !isInside, [0x20, 0x0A, 0x0D, 0x09].contains(byte) { continue }
            if byte == UInt8(ascii: "\""), !isEscaped { isInside.toggle() }
            isEscaped = isInside && byte == UInt8(ascii: "\\") && !isEscaped
            bytes.append(byte)
        }
        return bytes
    }
}

/// What both readers do.
protocol TrainingReader {
    mutating func feed(_ bytes: [UInt8])
    mutating func finish()
    mutating func next() throws(TrainingFormatError) -> [TrainingValue]?
}

extension CSVReader: TrainingReader {}
extension JSONLinesReader: TrainingReader {}

extension Xorshift {
    mutating func rows(_ count: Int) -> [[TrainingValue]] {
        (0..<count).map { _ in TrainingRows.columns.map { value($0.type) } }
    }

    private mutating func value(_ type: TrainingColumnType) -> TrainingValue {
        if below(6) == 0 { return .null }
        switch type {
        case .text: return .text(nastyText())
        case .integer:
            let special: [Int64] = [.min, .max, 0, -1, 1, 1 << 53 + 1, -(1 << 53) - 1]
            return .integer(below(2) == 0 ? pick(special) : Int64(bitPattern: next()) >> Int64(below(64)))
        case .real:
            let special: [Double] = [
                -0.0, 0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, .leastNormalMagnitude.nextDown,
                .greatestFiniteMagnitude, -.greatestFiniteMagnitude, 0.1, 1e16, 123_456_789.125, 5e-5, 1 / 3.0, 1e22,
                2e-308,
            ]
            let random = Double(bitPattern: next())
            return .real(below(2) == 0 || !random.isFinite ? pick(special) : random)
        case .json: return .json(space() + json(depth: 0) + space())
        case .boolean: return .boolean(below(2) == 0)
        case .timestamp:
            func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
            let fraction = "\(1_000_000 + below(1_000_000))".dropFirst()
            return .text(
                "\(1000 + below(9000))-\(two(1 + below(12)))-\(two(1 + below(28))) \(two(below(24))):\(two(below(60))):"
                    + "\(two(below(60))).\(fraction)")
        }
    }

    private static let pieces = [
        "", " ", "  ", "\t", "\r", "\n", "\r\n", "\"", "\"\"", ",", ";", "'", "''", "=", "+", "-", "@", "=1+1", "＝",
        "－x",
        "\\", "\\n", "\\.", "null", "NULL", "true", "0", "é", "e\u{301}", "\u{FEFF}", "\u{2028}", "\u{85}", "\u{A0}",
        "😀",
        "👨‍👩‍👧", "漢字", "\u{202E}", "\u{7F}", "\u{1}", "\u{1B}", "\u{10FFFF}", "\u{FFFD}", "a", "word", "{\"a\":1}", ":",
    ]

    mutating func nastyText() -> String { (0..<below(7)).reduce("") { text, _ in text + pick(Self.pieces) } }

    private mutating func space() -> String {
        (0..<max(0, below(5) - 2)).map { _ in pick([" ", "\n", "\r\n", "\t"]) }.joined()
    }

    private mutating func json(depth: Int) -> String {
        switch below(depth > 3 ? 4 : 6) {
        case 0: return pick(["null", "true", "false"])
        case 1:
            return pick([
                "0", "-0", "1", "-17", "1.50", "1e5", "1E+05", "123456789012345678901234567890", "0.1000", "2e-400",
            ])
        case 2: return JSONOutput.quoted(nastyText())
        case 3: return pick([#""\u00e9\ud83d\ude00\/""#, #""\u0000""#, #""a\\""#, #""\\\" ""#])
        case 4:
            let elements = (0..<below(4)).map { _ in space() + json(depth: depth + 1) + space() }
            return "[" + elements.joined(separator: ",") + "]"
        default:
            let members = (0..<below(4)).map {
                "\(space())\(JSONOutput.quoted("\($0)" + nastyText()))\(space()):\(space())\(json(depth: depth + 1))\(space())"
            }
            return "{" + members.joined(separator: ",") + "}"
        }
    }
}
