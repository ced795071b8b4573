import Foundation
import Testing

@testable import LearningRecords

/// Programs that read exports on their own way: Python (`ATTUNE_PYTHON` when set, otherwise `python3` from the path) and jq.
private enum Peer {
    static let python = ProcessInfo.processInfo.environment["ATTUNE_PYTHON"] ?? "python3"

    // Python's csv module reads characters of number 0 from 3.11 on.
    static let hasPython = works([python, "-c", "import csv, json, sys; sys.exit(sys.version_info < (3, 11))"])
    static let hasJQ = works(["jq", "--version"])

    private static func works(_ words: [String]) -> Bool {
        do { return try run(words).status == 0 } catch { return false }
    }

    struct CannotStart: Error {}

    // Through the C library: Foundation's Process leaks a little, which fails runs under the address sanitizer.
    static func run(_ words: [String]) throws -> (status: Int32, output: String) {
        let command = words.map { "'" + $0.replacing("'", with: "'\\''") + "'" }.joined(separator: " ")
        guard let stream = unsafe popen(command + " 2>&1", "r") else { throw CannotStart() }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe fread(&buffer, 1, buffer.count, stream)
            if count == 0 { break }
            output += buffer[..<count]
        }
        return (unsafe pclose(stream), String(decoding: output, as: UTF8.self))
    }
}

@Suite("Exports read by other programs")
struct TrainingPeerTests {
    private final class Folder {
        let path = FileManager.default.temporaryDirectory.path + "/attune-exports-\(UUID().uuidString)"
        init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
        deinit { do { try FileManager.default.removeItem(atPath: path) } catch { print("\(path) was not removed") } }

        func write(_ bytes: [UInt8], to name: String) throws -> String {
            try Data(bytes).write(to: URL(filePath: path + "/" + name))
            return path + "/" + name
        }
    }

    private static let seed: UInt64 = 2026

    /// Prints the values of both files, a row a line: texts and JSON of the CSV in hexadecimal, real numbers as their bits.
    private static let script = """
        import csv, json, struct, sys
        kinds = None
        csv.field_size_limit(1 << 30)
        rows = list(csv.reader(open(sys.argv[1], newline="", encoding="utf-8"), strict=True))
        lines = open(sys.argv[2], "rb").read().split(b"\\n")
        assert lines.pop() == b"", "no line feed at the end"
        heads = [name.rsplit(":", 1) for name in rows[0]]
        assert len(lines) == len(rows) - 1, "rows and lines"
        safe = sys.argv[3] == "safe"
        bits = lambda number: struct.pack(">d", number).hex()
        for fields, line in zip(rows[1:], lines):
            record = json.loads(line)
            assert list(record) == [name for name, _ in heads], "names"
            out = []
            for (name, kind), field in zip(heads, fields, strict=True):
                value = record[name]
                if safe and kind in ("text", "json") and field.startswith("'"): field = field[1:]
                if kind in ("text", "timestamp"):
                    assert (value or "") == field, (name, value, field)
                    out.append("N" if value is None else "t" + value.encode().hex())
                elif field == "":
                    assert value is None, (name, value)
                    out.append("N")
                elif kind == "json":
                    assert json.loads(field) == value, (name, value, field)
                    out.append("j" + field.encode().hex())
                elif kind == "integer":
                    assert type(value) is int and int(field) == value, (name, value, field)
                    out.append("i%d" % value)
                elif kind == "real":
                    assert type(value) is float and bits(float(field)) == bits(value), (name, value, field)
                    out.append("r" + bits(value))
                else:
                    assert value is (field == "true") and field in ("true", "false"), (name, value, field)
                    out.append("b" + field)
            print(",".join(out))
        """

    private static func hex(_ text: String) -> String {
        text.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func expected(_ value: TrainingValue) -> String {
        switch value {
        case .null: return "N"
        case .integer(let number): return "i\(number)"
        case .real(let number):
            let bits = String(number.bitPattern, radix: 16)
            return "r" + String(repeating: "0", count: 16 - bits.count) + bits
        case .boolean(let flag): return "b\(flag)"
        case .text(let text): return "t" + hex(text)
        case .json(let text): return "j" + hex(text)
        }
    }

    @Test(
        "Python's csv and json modules read the same values",
        .enabled(if: Peer.hasPython, "needs a python3 (or ATTUNE_PYTHON) of 3.11 or later"), arguments: [false, true])
    func python(isSafe: Bool) throws {
        var random = Xorshift(seed: Self.seed)
        let rows = random.rows(400)
        let folder = try Folder()
        let csv = try folder.write(try TrainingRows.csv(rows, isSafe: isSafe), to: "rows.csv")
        let lines = try folder.write(try TrainingRows.lines(rows), to: "rows.jsonl")
        let script = try folder.write(Array(Self.script.utf8), to: "read.py")
        let (status, output) = try Peer.run([Peer.python, script, csv, lines, isSafe ? "safe" : "plain"])
        #expect(status == 0, "seed \(Self.seed): \(output.suffix(2_000))")
        let found = output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        #expect(found.count == rows.count)
        for (i, (found, row)) in zip(found, rows).enumerated() {
            #expect(found == row.map(Self.expected).joined(separator: ","), "seed \(Self.seed), row \(i)")
        }
    }

    @Test("jq reads the same texts", .enabled(if: Peer.hasJQ, "needs jq"))
    func jq() throws {
        var random = Xorshift(seed: Self.seed)
        let rows = random.rows(400)
        let folder = try Folder()
        let lines = try folder.write(try TrainingRows.lines(rows), to: "rows.jsonl")
        let filter =
            #"[(.event_id, .note, .created_at | if . == null then "N" else @base64 end), (.success | tostring), "#
            + #"(.tokens, .execution_time_ms | type)] | join(",")"#
        let (status, output) = try Peer.run(["jq", "-r", filter, lines])
        #expect(status == 0, "seed \(Self.seed): \(output.suffix(2_000))")
        let found = output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        #expect(found.count == rows.count)
        for (i, (found, row)) in zip(found, rows).enumerated() {
            let fields = [0, 1, 6, 5, 2, 3].map { place in
                switch row[place] {
                case .text(let text): Data(text.utf8).base64EncodedString()
                case .boolean(let flag): "\(flag)"
                case .null: place == 0 || place == 1 || place == 6 ? "N" : "null"
                default: "number"
                }
            }
            #expect(found == fields.joined(separator: ","), "seed \(Self.seed), row \(i)")
        }
    }
}
