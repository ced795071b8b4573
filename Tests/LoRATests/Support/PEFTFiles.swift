import LoRA
import TensorCore

/// The two files of an adapter as PEFT would save it, to be changed one thing at a time.
struct PEFTFiles {
    /// The settings, as JSON texts.
    var settings = [
        "peft_type": "\"LORA\"", "r": "2", "lora_alpha": "3", "target_modules": "[\"personalization\"]",
        "bias": "\"none\"", "use_rslora": "false", "init_lora_weights": "true",
    ]
    var tensors: [(name: String, content: Matrix<Float>)]
    var bias: [Float]?

    static let prefix = "base_model.model.personalization."
    static let identity = AdapterIdentity(seed: 7, stream: 9)

    /// A `[2, 3]` and B `[3, 2]`.
    init() throws {
        tensors = [
            (Self.prefix + "lora_A.weight", try Matrix(rows: [[1, 2, 3], [4, 5, 6]])),
            (Self.prefix + "lora_B.weight", try Matrix(rows: [[1, 0], [0, 1], [2, 0]])),
        ]
    }

    var configuration: [UInt8] {
        let members = settings.sorted { $0.key < $1.key }.map { "\(SafeTensorsWriter.json($0.key)): \($0.value)" }
        return Array("{\(members.joined(separator: ", "))}".utf8)
    }

    func model() throws -> [UInt8] {
        var writer = SafeTensorsWriter()
        for (name, content) in tensors { try writer.add(name, content) }
        if let bias { try writer.add(Self.prefix + "lora_B.bias", Vector(bias)) }
        return writer.bytes()
    }

    func read(_ module: String? = nil) throws -> LoRAAdapter {
        try PEFTAdapter.read(
            model: model(), configuration: configuration, module: module, identity: Self.identity)
    }
}
