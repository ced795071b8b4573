import TestSupport
import Testing

@testable import TensorCore

/// Damages sound files at random. The readers must refuse or give a consistent result, and never crash.
struct FileFuzzTests {
    static let seed: UInt64 = 20_240_611
    static let mutations = underSanitizer(10_000, otherwise: 100_000)

    /// One damaged file, made of the sound ones.
    struct Mutator {
        let originals: [[UInt8]]
        /// Bytes worth inserting: what the formats are made of, and numbers at the edges.
        let dictionary: [[UInt8]]
        var generator: PhiloxGenerator

        init(originals: [[UInt8]], words: [String], stream: UInt64) {
            self.originals = originals
            dictionary =
                words.map { Array($0.utf8) } + [
                    [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], [0, 0, 0, 0, 0, 0, 0, 0x80], [0, 0, 0x80, 0x7F],
                    [0xFF, 0xFF, 0xFF, 0x7F], [0],
                ]
            generator = PhiloxGenerator(seed: FileFuzzTests.seed, stream: stream, purpose: .simulation)
        }

        private mutating func original() -> [UInt8] { originals[generator.integer(below: originals.count)] }
        private mutating func place(_ bytes: [UInt8]) -> Int { generator.integer(below: bytes.count + 1) }

        mutating func next() -> [UInt8] {
            var bytes = original()
            for _ in 0..<1 + generator.integer(below: 3) { mutate(&bytes) }
            return bytes
        }

        private mutating func mutate(_ bytes: inout [UInt8]) {
            let at = place(bytes)
            switch generator.integer(below: 8) {
            case 0 where at < bytes.count: bytes[at] ^= 1 << UInt8(generator.integer(below: 8))
            case 1: bytes.removeSubrange(at...)
            case 2:
                for _ in 0..<1 + generator.integer(below: 8) {
                    bytes.insert(UInt8(generator.integer(below: 256)), at: at)
                }
            case 3: bytes.insert(contentsOf: dictionary[generator.integer(below: dictionary.count)], at: at)
            case 4:  // overwrite, so that the offsets of the rest stay right
                let word = dictionary[generator.integer(below: dictionary.count)]
                bytes.replaceSubrange(at..<min(at + word.count, bytes.count), with: word.prefix(bytes.count - at))
            case 5:  // splice: the start of this file, the end of another
                let other = original()
                let from = generator.integer(below: 2) == 0 ? min(at, other.count) : place(other)
                bytes.replaceSubrange(at..., with: other[from...])
            case 6:  // a digit becomes another
                let digits = bytes.indices.filter { bytes[$0] >= 0x30 && bytes[$0] <= 0x39 }
                if !digits.isEmpty {
                    bytes[digits[generator.integer(below: digits.count)]] = 0x30 + UInt8(generator.integer(below: 10))
                }
            default:  // the length fields
                let index = generator.integer(below: 12)
                if index < bytes.count { bytes[index] = UInt8(generator.integer(below: 256)) }
            }
        }
    }

    @Test func numPyFilesNeverCrash() throws {
        let originals =
            try (TensorFixtures.named("npy", read: true) + TensorFixtures.named("npy", read: false)).map {
                try TensorFixtures.bytes($0.name)
            }
        var mutator = Mutator(
            originals: originals,
            words: [
                "(", ")", ",", "{", "}", "'", "\"", "'<f2'", "'<f4'", "'<f8'", "True", "False", "'shape': ",
                "4294967296, ", "0, ", "9223372036854775807",
            ],
            stream: 1)
        expectSoundness(&mutator) { bytes, label in
            let file = try NumPyFile(bytes: bytes)
            let elements = try file.elements(of: Float.self, requireFinite: false)
            let product = file.shape.contains(0) ? 0 : file.shape.reduce(1, *)
            #expect(elements.count == product && file.count == product, "\(label)")
            #expect(product * file.elementType.format.byteCount < bytes.count, "\(label)")
        }
    }

    @Test func safeTensorsFilesNeverCrash() throws {
        let originals =
            try (TensorFixtures.named("safetensors", read: true) + TensorFixtures.named("safetensors", read: false)).map
        {
            try TensorFixtures.bytes($0.name)
        }
        var mutator = Mutator(
            originals: originals,
            words: [
                "{", "}", "[", "]", ",", ":", "\"", "\\u0000", "\\ud800", "\"F32\"", "\"F4\"", "\"__metadata__\":", "0",
                "-1", "1e9",
                "18446744073709551616", "9223372036854775807", "[[[[[[", "null",
            ],
            stream: 2)
        expectSoundness(&mutator) { bytes, label in
            let file = try SafeTensorsFile(bytes: bytes)
            var end = file.tensors.first?.byteRange.lowerBound ?? bytes.count
            for tensor in file.tensors {
                #expect(tensor.byteRange.lowerBound == end, "\(label)")
                end = tensor.byteRange.upperBound
                #expect(tensor.count * tensor.type.bitCount == 8 * tensor.byteRange.count, "\(label)")
                #expect(file[tensor.name] == tensor, "\(label)")
                guard tensor.type.isReadable else { continue }
                let elements = try file.elements(tensor.name, of: Double.self, requireFinite: false)
                #expect(elements.count == tensor.count, "\(label)")
            }
            #expect(end == bytes.count, "\(label)")
            #expect(Set(file.names).count == file.tensors.count, "\(label)")
        }
    }

    /// Runs `check` on every damaged file; it throws when the file is refused.
    private func expectSoundness(_ mutator: inout Mutator, _ check: ([UInt8], String) throws -> Void) {
        var accepted = 0
        for i in 0..<Self.mutations {
            let bytes = mutator.next()
            let label = "seed \(Self.seed), file \(i)"
            do {
                try check(bytes, label)
                accepted += 1
            } catch {
                guard let error = error as? TensorFileError else {
                    Issue.record(error, "\(label)")
                    continue
                }
                let offset = error.byteOffset ?? 0
                #expect(offset >= 0 && offset <= bytes.count, "\(label)")
                #expect(error.code != .inputOutput, "\(label)")
            }
        }
        // Both outcomes must have been exercised.
        #expect(accepted > Self.mutations / 100 && accepted < Self.mutations, "seed \(Self.seed): \(accepted) accepted")
        print("\(Self.mutations) damaged files, \(accepted) of them still sound, seed \(Self.seed)")
    }
}
