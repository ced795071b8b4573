import Foundation
import TensorCore
import Testing

@testable import LoRA

/// What is written is what PEFT reads: names, shapes and settings here; PEFT itself where a Python has it.
struct PEFTWritingTests {
    static let seed: UInt64 = 20_261_127

    private static func shapes() throws -> [AdapterShape] {
        try [
            AdapterShape(dimension: 7, rank: 3), AdapterShape(dimension: 5, rank: 2, alpha: 3, hasBias: true),
            AdapterShape(dimension: 31, rank: 4, alpha: 2.5, scaling: .rankStabilized),
            AdapterShape(dimension: 6, rank: 6, alpha: 0.1, scaling: .rankStabilized, hasBias: true),
            AdapterShape(dimension: 1, rank: 1),
        ]
    }

    private func bytes(_ path: String) throws -> [UInt8] { try [UInt8](Data(contentsOf: URL(filePath: path))) }

    @Test func whatWasWrittenIsReadAgain() throws {
        for (number, shape) in try Self.shapes().enumerated() {
            var random = RandomCase(seed: Self.seed, number)
            let adapter = try random.adapter(shape)
            let folder = try TemporaryFolder()
            try PEFTAdapter.write(adapter, to: folder.file("new"), module: "encoder.0.out-proj")
            #expect(try folder.entries() == ["new"])
            let read = try PEFTAdapter.read(folder.file("new"), identity: adapter.identity)
            #expect(read.shape == shape)
            #expect(read.down == adapter.down && read.up == adapter.up)
            // b / scale · scale: to the bit for powers of two, else within two roundings.
            for (value, expected) in zip(read.bias ?? [], adapter.bias ?? []) {
                #expect(abs(value - expected) <= 2 * expected.ulp)
            }
            #expect((read.bias == nil) == (adapter.bias == nil))
        }
    }

    @Test func theFilesAreLaidOutAsInPEFT() throws {
        let shape = try AdapterShape(dimension: 3, rank: 2, alpha: 1, hasBias: true)
        let adapter = try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 1, stream: 2), down: Matrix(rows: [[1, 2, 3], [4, 5, 6]]),
            up: Matrix(rows: [[7, 8, 9], [10, 11, 12]]), bias: [1, 2, 3])
        let folder = try TemporaryFolder()
        try PEFTAdapter.write(adapter, to: folder.path, baseModel: "a \"base\"")
        #expect(try folder.entries() == ["adapter_config.json", "adapter_model.safetensors"])
        let file = try SafeTensorsFile(path: folder.file("adapter_model.safetensors"))
        let prefix = "base_model.model.personalization."
        #expect(file.metadata == ["format": "pt"])
        #expect(
            Dictionary(uniqueKeysWithValues: file.tensors.map { ($0.name, $0.shape) }) == [
                prefix + "lora_A.weight": [2, 3], prefix + "lora_B.weight": [3, 2], prefix + "lora_B.bias": [3],
            ])
        #expect(file.tensors.allSatisfy { $0.type == .float32 })
        #expect(try file.elements(prefix + "lora_A.weight", of: Float.self).array == [1, 2, 3, 4, 5, 6])
        #expect(try file.elements(prefix + "lora_B.weight", of: Float.self).array == [7, 10, 8, 11, 9, 12])
        #expect(try file.elements(prefix + "lora_B.bias", of: Float.self).array == [2, 4, 6])
        let expected = """
            {
              "alpha_pattern": {},
              "base_model_name_or_path": "a \\"base\\"",
              "bias": "none",
              "fan_in_fan_out": false,
              "inference_mode": true,
              "init_lora_weights": true,
              "lora_alpha": 1,
              "lora_bias": true,
              "lora_dropout": 0.0,
              "modules_to_save": null,
              "peft_type": "LORA",
              "r": 2,
              "rank_pattern": {},
              "target_modules": ["personalization"],
              "task_type": null,
              "use_dora": false,
              "use_rslora": false
            }

            """
        #expect(try String(decoding: bytes(folder.file("adapter_config.json")), as: UTF8.self) == expected)
    }

    @Test func settingsFollowTheAdapter() throws {
        func settings(_ shape: AdapterShape) throws -> String {
            var random = RandomCase(seed: Self.seed, 50)
            let folder = try TemporaryFolder()
            try PEFTAdapter.write(random.adapter(shape), to: folder.path)
            return try String(decoding: bytes(folder.file("adapter_config.json")), as: UTF8.self)
        }
        let plain = try settings(AdapterShape(dimension: 4, rank: 2))
        #expect(!plain.contains("lora_bias") && plain.contains("\"base_model_name_or_path\": null"))
        let stabilized = try settings(AdapterShape(dimension: 4, rank: 2, alpha: 0.1, scaling: .rankStabilized))
        #expect(stabilized.contains("\"use_rslora\": true"))
        #expect(stabilized.contains("\"lora_alpha\": 0.10000000149011612,"))
    }

    @Test func anOlderPairIsReplacedAsAPair() throws {
        let folder = try TemporaryFolder()
        var random = RandomCase(seed: Self.seed, 60)
        let (old, new) = try (
            random.adapter(AdapterShape(dimension: 4, rank: 2)),
            random.adapter(AdapterShape(dimension: 5, rank: 3, hasBias: true))
        )
        try PEFTAdapter.write(old, to: folder.path)
        try PEFTAdapter.write(new, to: folder.path)
        #expect(try PEFTAdapter.read(folder.path, identity: new.identity).down == new.down)
        #expect(try folder.entries().count == 2)

        // A failure before anything is in its place: the settings' name is taken by a folder that is not empty.
        let (model, settings) = (folder.file("adapter_model.safetensors"), folder.file("adapter_config.json"))
        try FileManager.default.removeItem(atPath: settings)
        try FileManager.default.createDirectory(atPath: settings + "/x", withIntermediateDirectories: true)
        let before = try bytes(model)
        #expect(throws: TensorFileError.self) { try PEFTAdapter.write(old, to: folder.path) }
        #expect(try bytes(model) == before)
        #expect(try folder.entries() == ["adapter_config.json", "adapter_model.safetensors"])
        try FileManager.default.removeItem(atPath: settings)
        // And one at the first: the settings are gone, so nothing can be mistaken for a pair.
        try PEFTAdapter.write(new, to: folder.path)
        try FileManager.default.removeItem(atPath: model)
        try FileManager.default.createDirectory(atPath: model + "/x", withIntermediateDirectories: true)
        #expect(throws: TensorFileError.self) { try PEFTAdapter.write(old, to: folder.path) }
        #expect(try folder.entries() == ["adapter_model.safetensors"])
        #expect(throws: TensorFileError.self) { try PEFTAdapter.read(folder.path, identity: old.identity) }
    }

    @Test func whatPEFTCannotSayIsNotWritten() throws {
        let folder = try TemporaryFolder()
        var random = RandomCase(seed: Self.seed, 70)
        let normalized = try random.adapter(AdapterShape(dimension: 4, rank: 2, normalizesOutput: true))
        var error = #expect(throws: TensorFileError.self) { try PEFTAdapter.write(normalized, to: folder.path) }
        #expect(error?.code == .unsupported && error?.message.contains("normalises") == true)
        let plain = try random.adapter(AdapterShape(dimension: 4, rank: 2))
        for name in ["", ".", "a..b", ".a", "a.", "a/b", "a b", "é", "a\n", "a\"b"] {
            error = #expect(throws: TensorFileError.self) {
                try PEFTAdapter.write(plain, to: folder.path, module: name)
            }
            #expect(error?.code == .invalidArgument)
        }
        let tiny = try LoRAAdapter(
            shape: AdapterShape(dimension: 2, rank: 1, alpha: 1e-6, hasBias: true),
            identity: PEFTFiles.identity, down: Matrix(rows: [[1, 1]]), up: Matrix(rows: [[1, 1]]), bias: [1e38, 0])
        error = #expect(throws: TensorFileError.self) { try PEFTAdapter.write(tiny, to: folder.path) }
        #expect(error?.code == .notFinite)
        error = #expect(throws: TensorFileError.self) { try PEFTAdapter.write(plain, to: folder.file("a/b")) }
        #expect(error?.code == .inputOutput)
        #expect(try folder.entries().isEmpty)
    }

    struct Answer: Decodable {
        let rank: Int
        let scale: Double
        let A: [[Float]]
        let B: [[Float]]
        let bias: [Double]?
        let outputs: [[Double]]
    }

    @Test(.enabled(if: PEFTPython.interpreter != nil, "needs ATTUNE_PYTHON_PEFT, a Python with PEFT and PyTorch"))
    func PEFTReadsAndAppliesWhatWeWrite() throws {
        for (number, shape) in try Self.shapes().enumerated() {
            var random = RandomCase(seed: Self.seed, 100 + number)
            let adapter = try random.adapter(shape)
            let inputs = random.matrix(9, shape.dimension)
            let folder = try TemporaryFolder()
            let module = ["personalization", "encoder.0.proj"][number % 2]
            try PEFTAdapter.write(adapter, to: folder.file("adapter"), module: module)
            try NumPyFile.write(inputs, to: folder.file("inputs.npy"))
            let output = try PEFTPython.run(
                ["check_peft.py", folder.file("adapter"), module, folder.file("inputs.npy")])
            let answer = try JSONDecoder().decode(Answer.self, from: output)
            #expect(answer.rank == shape.rank && abs(answer.scale - Double(shape.scale)) <= 1e-7 * answer.scale)
            #expect(answer.A.flatMap(\.self) == adapter.down.array)
            #expect(answer.B.flatMap(\.self) == adapter.up.view.transposed.copied().array)
            #expect((answer.bias == nil) == (adapter.bias == nil))
            for (row, expected) in answer.outputs.enumerated() {
                #expect(distance(try adapter.forward(inputs.row(row)), expected) < 1e-6, "\(random.description)")
            }
        }
    }
}

/// A Python with PEFT and PyTorch: `ATTUNE_PYTHON_PEFT`.
enum PEFTPython {
    static let interpreter = ProcessInfo.processInfo.environment["ATTUNE_PYTHON_PEFT"]

    struct Failure: Error {
        let status: Int32
        let output: String
    }

    /// Runs a script of Tests/Fixtures; a failure of the script is one of the test.
    static func run(_ arguments: [String]) throws -> Data {
        let fixtures = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Fixtures").path
        let words = [interpreter ?? "", "\(fixtures)/\(arguments[0])"] + arguments.dropFirst()
        // Through the C library, for the reason in WrittenFilesTests.
        let command = words.map { "'" + $0.replacing("'", with: "'\\''") + "'" }.joined(separator: " ")
        guard let stream = unsafe popen("OMP_NUM_THREADS=1 " + command + " 2>&1", "r") else {
            throw Failure(status: -1, output: "cannot start")
        }
        var output = Data()
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe fread(&buffer, 1, buffer.count, stream)
            if count == 0 { break }
            output += buffer[..<count]
        }
        let status = unsafe pclose(stream)
        guard status == 0 else { throw Failure(status: status, output: String(decoding: output, as: UTF8.self)) }
        return output
    }
}
