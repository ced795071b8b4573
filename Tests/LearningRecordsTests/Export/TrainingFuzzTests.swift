import TestSupport
import Testing

@testable import LearningRecords

@Suite("Damaged and hostile training files")
struct TrainingFuzzTests {
    private static let count = underSanitizer(200, otherwise: 2_000)
    private static let structure = Array("\",\r\n{}[]:\\'=-e.0u\u{0}\u{FEFF}".utf8)

    @Test("damaged CSV gives rows or an error that is told", arguments: 1...2 as ClosedRange<UInt64>, [false, true])
    func CSV(seed: UInt64, isSafe: Bool) throws {
        var random = Xorshift(seed: seed)
        var (whole, refused) = (0, 0)
        for i in 0..<Self.count {
            let bytes = random.damaged(try TrainingRows.csv(random.rows(3), isSafe: isSafe), Self.structure)
            let reader = CSVReader(
                columns: TrainingRows.columns, isSpreadsheetSafe: isSafe, maximumFieldBytes: 200, maximumRowBytes: 500)
            let result = TrainingRows.read(bytes, reader, chunk: 1 + random.below(200))
            check(result, bytes, "seed \(seed), file \(i)", &whole, &refused)
            let again = CSVReader(columns: TrainingRows.columns, isSpreadsheetSafe: isSafe)
            let back = TrainingRows.read(try TrainingRows.csv(result.rows, isSafe: isSafe), again)
            #expect(back.error == nil && TrainingRows.isSame(back.rows, result.rows), "seed \(seed), file \(i)")
        }
        print("CSV, seed \(seed), spreadsheet-safe \(isSafe): \(whole) files read, \(refused) refused")
        #expect(whole > Self.count / 100 && refused > Self.count / 10)
    }

    @Test("damaged JSON Lines give rows or an error that is told", arguments: 1...2 as ClosedRange<UInt64>)
    func lines(seed: UInt64) throws {
        var random = Xorshift(seed: seed)
        var (whole, refused) = (0, 0)
        for i in 0..<Self.count {
            let bytes = random.damaged(try TrainingRows.lines(random.rows(3)), Self.structure)
            let reader = JSONLinesReader(columns: TrainingRows.columns, maximumLineBytes: 600)
            let result = TrainingRows.read(bytes, reader, chunk: 1 + random.below(200))
            check(result, bytes, "seed \(seed), file \(i)", &whole, &refused)
            let again = JSONLinesReader(columns: TrainingRows.columns)
            let back = TrainingRows.read(try TrainingRows.lines(result.rows), again)
            #expect(back.error == nil && TrainingRows.isSame(back.rows, result.rows), "seed \(seed), file \(i)")
        }
        print("JSON Lines, seed \(seed): \(whole) files read, \(refused) refused")
        #expect(whole > Self.count / 100 && refused > Self.count / 10)
    }

    private func check(
        _ result: (rows: [[TrainingValue]], error: TrainingFormatError?), _ bytes: [UInt8], _ about: Comment,
        _ whole: inout Int, _ refused: inout Int
    ) {
        if result.error == nil { whole += 1 } else { refused += 1 }
        #expect(result.rows.count <= bytes.count, about)
        #expect(result.rows.allSatisfy { $0.count == TrainingRows.columns.count }, about)
        if let error = result.error {
            #expect((1...bytes.count + 1).contains(error.line ?? 0), about)
            #expect(!error.message.isEmpty && error.message.utf8.count < 300, about)
        }
        let isSound = result.rows.allSatisfy { row in
            zip(TrainingRows.columns, row).allSatisfy { column, value in
                do throws(TrainingFormatError) { try column.check(value) } catch { return false }
                guard case .text(let text) = value else { return true }
                return text.utf8.count <= 600
            }
        }
        #expect(isSound, about)
    }
}

extension Xorshift {
    /// A file with a few bytes flipped, deleted, put in, cut off or doubled; sometimes nothing but noise.
    fileprivate mutating func damaged(_ bytes: [UInt8], _ structure: [UInt8]) -> [UInt8] {
        var bytes = bytes
        if below(10) == 0 { return (0..<below(100)).map { _ in pick(structure) } }
        for _ in 0..<below(4) {
            guard !bytes.isEmpty else { return bytes }
            let place = below(bytes.count)
            let end = min(bytes.count, place + 1 + below(20))
            switch below(6) {
            case 0: bytes[place] ^= 1 << UInt8(below(8))
            case 1: bytes[place] = pick(structure)
            case 2: bytes.insert(pick(structure), at: place)
            case 3: bytes.removeSubrange(place..<end)
            case 4: bytes.removeSubrange(place...)
            default: bytes.insert(contentsOf: bytes[place..<end], at: below(bytes.count))
            }
        }
        return bytes
    }
}
