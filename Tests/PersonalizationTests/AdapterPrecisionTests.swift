import Foundation
import TensorCore
import Testing

@testable import LoRA
@testable import Personalization

/// Adapter files of less precision: what is read is what was rounded, and the loss that is stated is the loss there is.
struct AdapterPrecisionTests {
    private func record(_ stream: UInt64, hasBias: Bool = true, amplitude: Double = 0.5) throws -> StoredAdapter {
        let shape = try AdapterShape(dimension: 17, rank: 3, alpha: 2, scaling: .rankStabilized, hasBias: hasBias)
        var generator = PhiloxGenerator(seed: 20_261_127, stream: stream, purpose: .simulation)
        func numbers(_ count: Int) -> [Float] { (0..<count).map { _ in Float(amplitude * generator.normal()) } }
        return StoredAdapter(
            user: "ada", embeddingModel: "test",
            adapter: try LoRAAdapter(
                shape: shape, identity: AdapterIdentity(seed: 1, stream: stream),
                down: Matrix(rows: 3, columns: 17, elements: numbers(51)),
                up: Matrix(rows: 3, columns: 17, elements: numbers(51)), bias: hasBias ? numbers(17) : nil, version: 4,
                steps: 3))
    }

    private func withFile<R>(_ body: (String) throws -> R) throws -> R {
        let path = NSTemporaryDirectory() + "/attune-precision-\(UUID().uuidString).safetensors"
        defer { unsafe unlink(path) }
        return try body(path)
    }

    /// All parameters, a row of A or of B or the bias each.
    private func rows(_ adapter: LoRAAdapter) -> [[Float]] {
        (0..<3).map(adapter.down.row) + (0..<3).map(adapter.up.row) + (adapter.bias.map { [$0] } ?? [])
    }

    @Test(arguments: AdapterPrecision.allCases, [true, false])
    func theLossThatIsStatedIsTheLossThereIs(_ precision: AdapterPrecision, _ hasBias: Bool) throws {
        for stream in 0..<8 {
            let record = try record(UInt64(stream), hasBias: hasBias)
            try withFile { path in
                let loss = try AdapterFile.write(record, to: path, precision: precision)
                let read = try AdapterFile.read(path)
                #expect(read.user == "ada" && read.embeddingModel == "test")
                #expect(read.adapter.shape == record.adapter.shape && read.adapter.version == 4)
                #expect(read.adapter.identity == record.adapter.identity && read.adapter.steps == 3)
                var errors: [Double] = []
                for (row, kept) in zip(rows(record.adapter), rows(read.adapter)) {
                    let largest = row.map { Double($0.magnitude) }.max() ?? 0
                    errors += zip(row, kept).map { abs(Double($0) - Double($1)) / largest }
                }
                let mean = (errors.reduce(0) { $0 + $1 * $1 } / Double(errors.count)).squareRoot()
                #expect(abs(loss.parameters.largest - (errors.max() ?? 0)) < 1e-12)
                #expect(abs(loss.parameters.rootMeanSquare - mean) < 1e-12)
                switch precision {
                case .float32: #expect(loss == .none && rows(read.adapter) == rows(record.adapter))
                // Half a step: 2^-11 of a value, and 1/254 of a row's largest.
                case .float16: #expect(loss.parameters.largest <= 0x1p-11 && loss.parameters.largest > 0x1p-14)
                case .int8: #expect(loss.parameters.largest <= 1.0001 / 254 && loss.parameters.largest > 1.0 / 300)
                }
                if precision != .float32 {
                    #expect(loss.outputs.rootMeanSquare > 0 && loss.outputs.rootMeanSquare <= loss.outputs.largest)
                    #expect(loss.changes.largest < (precision == .int8 ? 0.05 : 0.005))
                    // The same numbers once more: nothing in the measure is random.
                    #expect(try AdapterFile.write(record, to: path, precision: precision) == loss)
                }
            }
        }
    }

    @Test func theFilesAreAsSmallAsTheyAreSaid() throws {
        let record = try record(50)
        let sizes = try AdapterPrecision.allCases.map { precision in
            try withFile { path in
                try AdapterFile.write(record, to: path, precision: precision)
                let file = try SafeTensorsFile(path: path)
                return file.tensors.reduce(0) { $0 + $1.byteRange.count }
            }
        }
        let count = 2 * 3 * 17 + 17
        #expect(sizes == [4 * count, 2 * count, count + 4 * (3 + 3 + 1)])
    }

    @Test func halvesAndIntegersAreAsTheFormatSays() throws {
        let shape = try AdapterShape(dimension: 3, rank: 1, hasBias: true)
        let adapter = try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 0, stream: 0), down: Matrix(rows: [[127, -254, 1]]),
            up: Matrix(rows: [[0, 0, 0]]), bias: [0.5, -0.25, 0])
        let record = StoredAdapter(user: "ada", embeddingModel: "m", adapter: adapter)
        try withFile { path in
            try AdapterFile.write(record, to: path, precision: .int8)
            let file = try SafeTensorsFile(path: path)
            #expect(file.metadata["precision"] == "int8" && file.metadata["format_version"] == "2")
            #expect(try file.integers("A") == [64, -127, 1])  // 63.5 is rounded away from zero
            #expect(try file.vector("A_scale", of: Float.self).array == [2])
            #expect(try file.integers("B_transposed") == [0, 0, 0])
            #expect(try file.vector("B_transposed_scale", of: Float.self).array == [0])
            #expect(try file.integers("bias") == [127, -64, 0])
            try AdapterFile.write(record, to: path, precision: .float16)
            #expect(Set(try SafeTensorsFile(path: path).tensors.map(\.type.name)) == ["F16"])
            #expect(try AdapterFile.read(path).adapter.stateHash == adapter.stateHash)
        }
    }

    @Test func numbersBeyondHalvesAreRefused() throws {
        let record = try record(60, amplitude: 1e5)
        try withFile { path in
            let error = #expect(throws: TensorFileError.self) {
                try AdapterFile.write(record, to: path, precision: .float16)
            }
            #expect(error?.code == .notFinite && error?.tensor != nil)
            #expect(!FileManager.default.fileExists(atPath: path))
            let loss = try AdapterFile.write(record, to: path, precision: .int8)
            #expect(loss.parameters.largest < 1.0 / 253)
        }
    }

    @Test func everyFaultIsRefused() throws {
        let metadata = [
            "format": "attune-adapter", "format_version": "1", "user": "ada", "embedding_model": "test", "alpha": "2.0",
            "scaling": "standard", "normalizes_output": "false", "seed": "7", "stream": "9", "version": "3",
            "steps": "2", "precision": "int8",
        ]
        func read(
            _ precision: String? = "int8", _ change: (inout [String: [Float]]) -> Void = { _ in },
            integers: [String: (shape: [Int], values: [Int8])]? = nil
        ) throws -> StoredAdapter {
            var metadata = metadata
            metadata["precision"] = precision
            var writer = SafeTensorsWriter(metadata: metadata)
            let tensors = integers ?? ["A": ([2, 2], [1, 2, 3, 4]), "B_transposed": ([2, 2], [0, 1, -127, -128])]
            for (name, tensor) in tensors { try writer.addIntegers(name, shape: tensor.shape, tensor.values) }
            var scales: [String: [Float]] = ["A_scale": [1, 2], "B_transposed_scale": [0.5, 0.5]]
            change(&scales)
            for (name, values) in scales { try writer.add(name, Vector(values)) }
            return try AdapterFile.read(bytes: writer.bytes())
        }
        #expect(try read().adapter.down == Matrix(rows: [[1, 2], [6, 8]]))
        for precision in ["int4", "", "float16", "float32", nil] {
            #expect(throws: TensorFileError.self) { try read(precision) }
        }
        let changes: [(inout [String: [Float]]) -> Void] = [
            { $0["A_scale"] = nil }, { $0["A_scale"] = [1] }, { $0["A_scale"] = [1, -1] },
            { $0["A_scale"] = [1, .nan] },
            { $0["A_scale"] = [.greatestFiniteMagnitude, 1] }, { $0["C_scale"] = [1] }, { $0["A_scale_scale"] = [1] },
            { $0["bias"] = [1, 2] },
        ]
        for (number, change) in changes.enumerated() {
            #expect(throws: TensorFileError.self, "change \(number)") { try read("int8", change) }
        }
        for shape in [[4], [1, 2, 2], [4, 1]] {
            #expect(throws: TensorFileError.self) {
                try read(integers: ["A": (shape, [1, 2, 3, 4]), "B_transposed": ([2, 2], [0, 0, 0, 0])])
            }
        }
    }
}
