import TestSupport
import Testing

@testable import LearningRecords

@Suite("Random rows through files")
struct TrainingRoundTripTests {
    private static let count = underSanitizer(5, otherwise: 30)

    @Test("CSV gives back every byte and bit", arguments: 1...4 as ClosedRange<UInt64>, [false, true])
    func CSV(seed: UInt64, isSafe: Bool) throws {
        var random = Xorshift(seed: seed)
        for i in 0..<Self.count {
            let rows = random.rows(random.below(8))
            let bytes = try TrainingRows.csv(rows, isSafe: isSafe)
            let chunk = i == 0 ? 1 << 20 : i == 1 ? 1 : 1 + random.below(64)
            let reader = CSVReader(columns: TrainingRows.columns, isSpreadsheetSafe: isSafe)
            let back = TrainingRows.read(bytes, reader, chunk: chunk)
            #expect(
                back.error == nil && TrainingRows.isSame(back.rows, rows),
                "seed \(seed), file \(i), chunk \(chunk): \(rows)\n\(back)\n\(String(decoding: bytes, as: UTF8.self))")
        }
    }

    @Test("every size of chunk gives the same rows", arguments: [false, true])
    func chunks(isSafe: Bool) throws {
        var random = Xorshift(seed: 11)
        let rows = random.rows(12)
        let (csv, lines) = (try TrainingRows.csv(rows, isSafe: isSafe), try TrainingRows.lines(rows))
        for chunk in Array(1...64) + [1 << 20] {
            let reader = CSVReader(columns: TrainingRows.columns, isSpreadsheetSafe: isSafe)
            #expect(TrainingRows.isSame(TrainingRows.read(csv, reader, chunk: chunk).rows, rows), "chunk \(chunk)")
            let back = TrainingRows.read(lines, JSONLinesReader(columns: TrainingRows.columns), chunk: chunk).rows
            #expect(TrainingRows.isSame(back, rows, compactsJSON: true), "chunk \(chunk)")
        }
    }

    @Test("rows may be asked for later than pieces come")
    func late() throws {
        var random = Xorshift(seed: 12)
        let rows = random.rows(40)
        func read(_ bytes: [UInt8], _ reader: some TrainingReader) throws -> [[TrainingValue]] {
            var (reader, rows, start) = (reader, [[TrainingValue]](), 0)
            while start < bytes.count {
                let end = min(bytes.count, start + 1 + random.below(200))
                reader.feed(Array(bytes[start..<end]))
                start = end
                if random.below(3) == 0, let row = try reader.next() { rows.append(row) }
            }
            reader.finish()
            while let row = try reader.next() { rows.append(row) }
            #expect(try reader.next() == nil)
            return rows
        }
        let csv = try read(try TrainingRows.csv(rows), CSVReader(columns: TrainingRows.columns))
        #expect(TrainingRows.isSame(csv, rows))
        let lines = try read(try TrainingRows.lines(rows), JSONLinesReader(columns: TrainingRows.columns))
        #expect(TrainingRows.isSame(lines, rows, compactsJSON: true))
    }

    @Test("JSON Lines give back every byte and bit", arguments: 1...4 as ClosedRange<UInt64>)
    func lines(seed: UInt64) throws {
        var random = Xorshift(seed: seed)
        for i in 0..<Self.count {
            let rows = random.rows(random.below(8))
            let bytes = try TrainingRows.lines(rows)
            #expect(bytes.count { $0 == 0x0A } == rows.count, "seed \(seed), file \(i)")
            let chunk = i == 0 ? 1 << 20 : i == 1 ? 1 : 1 + random.below(64)
            let back = TrainingRows.read(bytes, JSONLinesReader(columns: TrainingRows.columns), chunk: chunk)
            #expect(
                back.error == nil && TrainingRows.isSame(back.rows, rows, compactsJSON: true),
                "seed \(seed), file \(i), chunk \(chunk): \(rows)\n\(back)\n\(String(decoding: bytes, as: UTF8.self))")
        }
    }

    @Test("nothing of a spreadsheet-safe file begins like a formula", arguments: 1...4 as ClosedRange<UInt64>)
    func formulas(seed: UInt64) throws {
        var random = Xorshift(seed: seed)
        let texts = TrainingRows.columns.filter { $0.type == .text || $0.type == .json }
        for i in 0..<Self.count {
            let bytes = try TrainingRows.csv(random.rows(5), isSafe: true)
            let rows = TrainingRows.read(bytes, CSVReader(columns: TrainingRows.columns)).rows
            for row in rows {
                for (column, value) in zip(TrainingRows.columns, row) where texts.contains(column) {
                    guard case .text(let text) = value else { continue }
                    #expect(
                        !["=", "+", "-", "@", "\t", "\r", "\n", "\0"].contains { text.utf8.starts(with: $0.utf8) },
                        "seed \(seed), file \(i): \(text.debugDescription)")
                }
            }
        }
    }
}
