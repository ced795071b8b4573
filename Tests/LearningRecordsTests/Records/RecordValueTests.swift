import Foundation
import Reasoning
import StorageTesting
import TensorCore
import Testing

@testable import LearningRecords

@Suite struct RecordValueTests {
    @Test func identifiersAreUUIDsOfVersionSevenInOrderOfTime() throws {
        // The example of RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC.
        let example = try #require(RecordID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"))
        #expect(example.description == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
        let made = RecordID(at: Timestamp(microseconds: 1_645_557_742_000_000))
        #expect(made.description.hasPrefix("017f22e2-79b0-7000-"))
        var last: RecordID?
        for microseconds in stride(from: 1_645_557_742_000_000 as Int64, to: 1_645_557_742_010_000, by: 1) {
            let id = RecordID(at: Timestamp(microseconds: microseconds))
            let text = id.description
            let uuid = try #require(UUID(uuidString: text))
            #expect(uuid.uuidString.lowercased() == text && RecordID(text) == id && RecordID(text.uppercased()) == id)
            #expect(uuid.uuid.6 >> 4 == 7 && uuid.uuid.8 >> 6 == 2)
            if let last { #expect(last < id && last.description < text) }
            last = id
        }
        for text in [
            "", "017f22e2-79b0-7cc3-98c4-dc0c0c07398", "017f22e2-79b0-7cc3-98c4-dc0c0c07398ff",
            "017f22e279b07cc398c4dc0c0c07398f", "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
            "017f22e2+79b0-7cc3-98c4-dc0c0c07398f",
            "０17f22e2-79b0-7cc3-98c4-dc0c0c07398f", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f ",
        ] {
            #expect(RecordID(text) == nil, "\(text)")
        }
    }

    @Test func manyIdentifiersOfOneMomentDiffer() {
        let moment = Timestamp(microseconds: 1_645_557_742_000_000)
        #expect(Set((0..<100_000).map { _ in RecordID(at: moment) }).count == 100_000)
    }

    @Test func momentsAreTextsAsFoundationWritesThem() throws {
        let format = ISO8601DateFormatter()
        format.formatOptions = [.withInternetDateTime]
        var random = PhiloxGenerator(seed: 3, purpose: .simulation)
        for _ in 0..<2_000 {
            let second = Int64(random.integer(below: 8_000_000_000)) - 2_000_000_000
            let fraction = Int64(random.integer(below: 1_000_000))
            let text = Timestamp(microseconds: second * 1_000_000 + fraction).text
            let whole = format.string(from: Date(timeIntervalSince1970: Double(second)))
            let digits = String(fraction)
            #expect(text == whole.dropLast() + "." + String(repeating: "0", count: 6 - digits.count) + digits + "Z")
        }
        #expect(Timestamp(microseconds: -1).text == "1969-12-31T23:59:59.999999Z")
        #expect(Timestamp(microseconds: 1_709_164_800_000_000).text == "2024-02-29T00:00:00.000000Z")
    }

    @Test func textsAreJSONAsFoundationReadsIt() throws {
        var random = PhiloxGenerator(seed: 4, purpose: .simulation)
        for _ in 0..<500 {
            let text = String(
                String.UnicodeScalarView(
                    (0..<random.integer(below: 60)).compactMap { _ in
                        random.bernoulli(0.5)
                            ? Unicode.Scalar(UInt8(random.integer(below: 128)))
                            : Unicode.Scalar(UInt32(random.integer(below: 0x11_0000)))
                    }))
            let json = JSONOutput.quoted(text)
            let read = try JSONSerialization.jsonObject(with: Data(json.utf8), options: .fragmentsAllowed) as? String
            #expect(read.map { Array($0.utf8) } == Array(text.utf8))
            #expect(RecordContent(stored: RecordContent.text(text).stored) == .text(text))
        }
    }

    @Test func eightBytesArePlainIfEachIs() {
        var random = PhiloxGenerator(seed: 6, purpose: .simulation)
        var plain = 0
        for _ in 0..<100_000 {
            var bytes = (0..<8).map { _ in UInt8(random.integer(below: 224) + 32) }
            if random.bernoulli(0.5) {
                bytes[random.integer(below: 8)] =
                    [0x22, 0x5C, 0x7F, 0x00, 0x1F, 0x20, 0x21, 0x80][random.integer(below: 8)]
            }
            let isPlain = bytes.allSatisfy { $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C && $0 != 0x7F }
            let said = unsafe bytes.withUnsafeBufferPointer { unsafe JSONOutput.isPlain($0, at: 0) }
            #expect(said == isPlain, "\(bytes)")
            if isPlain { plain += 1 }
        }
        #expect((20_000...95_000).contains(plain))
    }

    @Test func latenciesAreWithinThreePercent() {
        var histogram = LatencyHistogram()
        #expect(histogram.percentile(0.5) == nil)
        var values: [Int64] = []
        var random = PhiloxGenerator(seed: 5, purpose: .simulation)
        for _ in 0..<20_000 {
            let value = Int64(Foundation.exp(random.normal() * 3 + 8))
            values.append(value)
            histogram.add(value)
        }
        histogram.add(.max)
        values.append(.max)
        values.sort()
        for share in [0.01, 0.5, 0.95, 0.99] {
            let exact = Double(values[Int((share * Double(values.count)).rounded(.up)) - 1])
            let found = histogram.percentile(share) ?? .nan
            #expect(abs(found - exact) <= max(0.5, exact * 0.032), "\(share): \(found), \(exact)")
        }
    }

    @Test func theStoreInMemoryKeepsEveryPromise() async throws {
        let violations = try await RecordStoreContract { InMemoryRecordStore() }.violations()
        #expect(violations == [])
    }
}
