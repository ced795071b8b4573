import LoRA
import TensorCore
import Testing

@testable import Personalization

/// Adapters as files of their own: what is written is read to the bit, and nothing in a file is trusted.
struct AdapterFileTests {
    private func file(
        changing: [String: String?] = [:], tensors: (inout SafeTensorsWriter) throws -> Void
    ) throws -> [UInt8] {
        var metadata = [
            "format": "attune-adapter", "format_version": "1", "user": "ada", "embedding_model": "test", "alpha": "2.0",
            "scaling": "standard", "normalizes_output": "false", "seed": "7", "stream": "9", "version": "3",
            "steps": "2",
        ]
        for (key, value) in changing { metadata[key] = value }
        var writer = SafeTensorsWriter(metadata: metadata)
        try tensors(&writer)
        return writer.bytes()
    }

    private func factors(_ writer: inout SafeTensorsWriter) throws {
        try writer.add("A", Matrix<Float>(rows: [[1, 2, 3], [4, 5, 6]]))
        try writer.add("B_transposed", Matrix<Float>(rows: [[0, 1, 0], [1, 0, 0]]))
    }

    @Test func whatIsReadIsWhatWasStated() throws {
        let plain = try AdapterFile.read(bytes: file { try factors(&$0) })
        #expect(plain.user == "ada" && plain.embeddingModel == "test" && plain.adapter.bias == nil)
        #expect(plain.adapter.version == 3 && plain.adapter.steps == 2 && plain.adapter.shape.scale == 1)
        #expect(plain.adapter.identity == AdapterIdentity(seed: 7, stream: 9))
        #expect(try plain.adapter.forward([1, 0, 0]) == [1 + 4, 1, 0])
        let biased = try AdapterFile.read(
            bytes: file {
                try factors(&$0)
                try $0.add("bias", Vector<Float>([0, 0, 5]))
            })
        #expect(try biased.adapter.forward([1, 0, 0]) == [1 + 4, 1, 5])
    }

    @Test func everyFaultIsRefused() throws {
        for (key, value) in [
            ("format", "other"), ("format", nil), ("format_version", "2"), ("format_version", "3"),
            ("format_version", nil), ("user", ""),
            ("user", String(repeating: "x", count: 1025)), ("user", nil), ("embedding_model", nil), ("alpha", "-1"),
            ("alpha", "nan"), ("scaling", "none"), ("normalizes_output", "maybe"), ("seed", "-1"), ("stream", "x"),
            ("version", "1.5"), ("version", "18446744073709551615"), ("steps", nil),
        ] as [(String, String?)] {
            let fault = "\(key): \(value ?? "absent")"
            let bytes = try file(changing: [key: value]) { try factors(&$0) }
            #expect(throws: TensorFileError.self, "\(fault)") { try AdapterFile.read(bytes: bytes) }
        }
        let tensors: [(inout SafeTensorsWriter) throws -> Void] = [
            { _ in }, { try $0.add("A", Matrix<Float>(rows: [[1, 2]])) },
            {
                try $0.add("A", Matrix<Float>(rows: [[1, 2]]))
                try $0.add("B_transposed", Matrix<Float>(rows: [[1, 2, 3]]))
            },
            {
                try factors(&$0)
                try $0.add("C", Vector<Float>([1]))
            },
            {
                try factors(&$0)
                try $0.add("bias", Vector<Float>([1]))
            },
        ]
        for add in tensors {
            let bytes = try file { try add(&$0) }
            #expect(throws: TensorFileError.self) { try AdapterFile.read(bytes: bytes) }
        }
        #expect(throws: TensorFileError.self) { try AdapterFile.read("/nowhere/adapter.safetensors") }
        let record = StoredAdapter(user: "ada", embeddingModel: "test", adapter: try Script().cold("ada"))
        #expect(throws: TensorFileError.self) { try AdapterFile.write(record, to: "/nowhere/adapter.safetensors") }
    }
}
