import Foundation
import LoRA
import TensorCore
import Testing

@testable import Personalization

/// The checksum of adapter files: damage is refused, also where the numbers would be numbers still.
struct AdapterFileChecksumTests {
    /// An adapter with all state, small enough for many flips.
    private func record() throws -> StoredAdapter {
        let script = try Script()
        let update = UpdateConfiguration(dimension: 20, optimizer: .adam())
        var adapter = try script.cold("ada")
        for step in 0..<3 { _ = try adapter.update(with: script.batch("ada", step), configuration: update) }
        return StoredAdapter(user: "ada \u{1F}", embeddingModel: "test", adapter: adapter)
    }

    private func withFile<R>(_ body: (String) throws -> R) throws -> R {
        let path = NSTemporaryDirectory() + "/attune-checksum-\(UUID().uuidString).safetensors"
        defer { unsafe unlink(path) }
        return try body(path)
    }

    private func written(_ precision: AdapterPrecision, keepsState: Bool = false) throws -> [UInt8] {
        let record = try record()
        return try withFile { path in
            try AdapterFile.write(record, to: path, precision: precision, keepsState: keepsState)
            return Array(try Data(contentsOf: URL(filePath: path)))
        }
    }

    private func isSame(_ one: StoredAdapter, _ other: StoredAdapter) -> Bool {
        Array(one.user.utf8) == Array(other.user.utf8) && one.embeddingModel == other.embeddingModel
            && one.adapter.snapshot() == other.adapter.snapshot()
    }

    /// The same tensors under other metadata.
    private func rewritten(_ bytes: [UInt8], _ change: (inout [String: String]) -> Void) throws -> [UInt8] {
        let file = try SafeTensorsFile(bytes: bytes)
        var metadata = file.metadata
        change(&metadata)
        var writer = SafeTensorsWriter(metadata: metadata)
        // In another order than they were added in.
        for tensor in file.tensors.reversed() {
            if tensor.type == .int8 {
                try writer.addIntegers(tensor.name, shape: tensor.shape, file.integers(tensor.name))
            } else if tensor.shape.count == 2 {
                try writer.add(tensor.name, file.matrix(tensor.name, of: Float.self))
            } else {
                try writer.add(tensor.name, file.vector(tensor.name, of: Float.self))
            }
        }
        return writer.bytes()
    }

    @Test(arguments: [(AdapterPrecision.float32, true), (.float32, false), (.float16, false), (.int8, false)])
    func flippedBitsAreRefusedOrChangeNothing(_ precision: AdapterPrecision, _ keepsState: Bool) throws {
        let whole = try written(precision, keepsState: keepsState)
        let expected = try AdapterFile.read(bytes: whole)
        let data = try #require(SafeTensorsFile(bytes: whole).tensors.first).byteRange.lowerBound
        // Every bit of the header, and of the tensors the bits of every 13th byte.
        let places = Array(0..<data) + Array(stride(from: data, to: whole.count, by: 13)) + [whole.count - 1]
        var damaged = whole
        for place in places {
            for bit in 0..<8 {
                damaged[place] ^= 1 << bit
                defer { damaged[place] ^= 1 << bit }
                do throws(TensorFileError) {
                    let read = try AdapterFile.read(bytes: damaged)
                    #expect(place < data && isSame(read, expected), "byte \(place), bit \(bit)")
                } catch {
                    #expect(place < data || error.code == .damaged, "byte \(place), bit \(bit): \(error)")
                }
            }
        }
    }

    @Test func theErrorNamesTheFile() throws {
        var bytes = try written(.float32)
        bytes[bytes.count - 1] ^= 1
        try withFile { path in
            try Data(bytes).write(to: URL(filePath: path))
            let error = #expect(throws: TensorFileError.self) { try AdapterFile.read(path) }
            #expect(error?.code == .damaged && error?.path == path)
            #expect(error?.description.contains("damaged") == true)
        }
    }

    @Test func filesOfVersion1AreRead() throws {
        let bytes = try written(.float32, keepsState: true)
        let expected = try AdapterFile.read(bytes: bytes)
        let older = try rewritten(bytes) {
            $0["format_version"] = "1"
            $0["attune_xxh3"] = nil
        }
        #expect(isSame(try AdapterFile.read(bytes: older), expected))
        // One that has a checksum all the same is checked.
        let both = try rewritten(bytes) { $0["format_version"] = "1" }
        #expect(throws: TensorFileError.self) { try AdapterFile.read(bytes: both) }
        // One of version 2 has one.
        let none = try rewritten(bytes) { $0["attune_xxh3"] = nil }
        #expect(throws: TensorFileError.self) { try AdapterFile.read(bytes: none) }
    }

    @Test func whatIsOnlyWrittenAnewStaysRight() throws {
        let bytes = try written(.float32, keepsState: true)
        let again = try rewritten(bytes) { _ in }
        #expect(isSame(try AdapterFile.read(bytes: again), try AdapterFile.read(bytes: bytes)))
        for key in ["user", "version", "steps", "seed", "a key of others"] {
            let changed = try rewritten(bytes) { $0[key] = "5" }
            let error = #expect(throws: TensorFileError.self) { try AdapterFile.read(bytes: changed) }
            #expect(error?.code == .damaged, "\(key)")
        }
    }

    /// The sequence that docs/formats.md describes was made by another program.
    @Test func theChecksumIsTheDocumentedOne() throws {
        var writer = SafeTensorsWriter(metadata: ["b": "two", "a": "one", "sum": "left out"])
        try writer.add("m", Matrix<Float>(rows: [[1, 2, 3], [4, 5, 6]]))
        try writer.addIntegers("i", shape: [3], [1, -2, 3])
        #expect(try SafeTensorsFile(bytes: writer.bytes()).contentChecksum(without: "sum") == 0x7907_f1e3_d33e_28f1)
    }
}
