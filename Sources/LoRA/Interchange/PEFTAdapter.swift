public import TensorCore

/// Adapters in the files of HuggingFace PEFT: `adapter_model.safetensors` and `adapter_config.json` in one folder.
///
/// | Here | PEFT | |
/// |---|---|---|
/// | A `[rank, dimension]` | `base_model.model.MODULE.lora_A.weight` `[rank, dimension]` | the same |
/// | B transposed `[rank, dimension]` | `base_model.model.MODULE.lora_B.weight` `[dimension, rank]` | transposed |
/// | b `[dimension]` | `base_model.model.MODULE.lora_B.bias` `[dimension]`, with `lora_bias` | b / scale |
/// | ``AdapterShape/Scaling/rankStabilized`` | `use_rslora` | |
///
/// PEFT multiplies what B gives by the scale, its bias included; hence the division.
///
/// An adapter here maps an embedding to itself and a change; PEFT adds the change to what a layer computes. So in PEFT
/// an adapter of ours belongs on a layer that is the identity (`nn.Linear(d, d)` with unit weights and a zero bias),
/// and of an adapter of another layer W only the change is read: `y = x + ΔW·x`, not `W·x + ΔW·x`.
///
/// What PEFT can say and this map cannot is refused by name, never skipped: DoRA, biases of the base model, saved
/// modules, quantised bases, initialisations that change the base, and every setting that is unknown. Not part of the
/// files: optimizer state, protection, version, identity.
///
/// **Source.** PEFT 0.21.2, `peft/tuners/lora/layer.py`, `config.py` and `model.py`.
public enum PEFTAdapter {
    /// The file with the numbers.
    static let modelFile = "adapter_model.safetensors"
    /// The file with the settings.
    static let configurationFile = "adapter_config.json"
    private static let prefix = "base_model.model."
    private static let parts = ["lora_A.weight", "lora_B.weight", "lora_B.bias"]

    /// An adapted module of a file.
    public struct Module: Sendable, Hashable {
        /// Its name in the base model, for example `model.layers.0.self_attn.o_proj`.
        public let name: String
        /// The shape of A in the file: `[rank, inputs]` for a linear layer.
        public let downShape: [Int]
        /// The shape of B in the file: `[outputs, rank]` for a linear layer.
        public let upShape: [Int]
        /// Whether B has a bias.
        public let hasBias: Bool
    }

    /// Writes an adapter, so that PEFT's `PeftModel.from_pretrained` reads it.
    ///
    /// Replacing an older pair, the old settings go first and the new ones come last: at any moment, a power failure
    /// included, the folder holds the old pair, the new pair, or numbers without settings, which are refused; never one
    /// half of each.
    ///
    /// - Parameters:
    ///   - adapter: The adapter; its output must not be normalised.
    ///   - folder: The folder; made when it is not there, its parent must be.
    ///   - module: The name of the module that carries the adapter in the base model: names of letters, digits, `_`
    ///     and `-`, joined by dots.
    ///   - baseModel: What `base_model_name_or_path` says.
    /// - Throws: ``TensorFileError``: `unsupported` for a normalised output, which PEFT cannot represent;
    ///   `invalidArgument` for the module's name; `notFinite` where b / scale is beyond the range of Float;
    ///   `inputOutput` naming the path.
    ///
    /// **Numerics.** A and B are written to the bit. b / scale is rounded: to the bit only for a scale that is a power
    /// of two.
    public static func write(
        _ adapter: LoRAAdapter, to folder: String, module: String = "personalization", baseModel: String? = nil
    ) throws(TensorFileError) {
        try write(adapter, to: folder, module: module, baseModel: baseModel, isPrivate: false)
    }

    /// The same; `isPrivate` makes files that their owner alone may read.
    package static func write(
        _ adapter: LoRAAdapter, to folder: String, module: String = "personalization", baseModel: String? = nil,
        isPrivate: Bool
    ) throws(TensorFileError) {
        let shape = adapter.shape
        guard !shape.normalizesOutput else {
            throw TensorFileError(
                .unsupported, path: folder,
                "the adapter normalises its output, which PEFT cannot represent; write one that does not")
        }
        guard isName(module) else {
            throw TensorFileError(
                .invalidArgument, path: folder,
                "the module \(TensorFileError.quoted(module)) is not made of letters, digits, '_' and '-' between dots")
        }
        let names = parts.map { "\(prefix)\(module).\($0)" }
        var writer = SafeTensorsWriter(metadata: ["format": "pt"])
        try writer.add(names[0], adapter.down)
        try writer.add(names[1], adapter.up.view.transposed.copied())
        if let bias = adapter.bias {
            let divided = bias.map { $0 / shape.scale }
            guard divided.allSatisfy(\.isFinite) else {
                throw TensorFileError(
                    .notFinite, path: folder, tensor: names[2], "the bias divided by the scale is beyond Float")
            }
            try writer.add(names[2], Vector(divided))
        }
        try AtomicFile.makeFolder(folder)
        try AtomicFile.write(
            first: ("\(folder)/\(modelFile)", writer.bytes()),
            second: ("\(folder)/\(configurationFile)", Array(configuration(shape, module, baseModel).utf8)),
            isPrivate: isPrivate)
    }

    /// Reads an adapter of one module. Everything in the files is checked; nothing in them is trusted.
    ///
    /// F16 and BF16 numbers are widened, exactly. The rank and alpha are those of the first `rank_pattern` and
    /// `alpha_pattern` that match the module, as in PEFT; alpha is rounded to Float.
    ///
    /// - Parameters:
    ///   - folder: The folder with both files.
    ///   - module: The module to read; may be left out where the file has only one.
    ///   - identity: What keys the adapter's random numbers from now on.
    /// - Returns: The adapter, version 0 and without updates.
    /// - Throws: ``TensorFileError`` naming the file and what is wrong in it: settings that are unsupported, unknown
    ///   or missing (the message names the setting), a module that is not there or not chosen among several (the
    ///   message lists them), inputs that are not as many as the outputs, a rank other than the settings', unknown
    ///   tensors, numbers that are not finite.
    /// - Complexity: O(rank · dimension), and linear in the headers.
    public static func read(
        _ folder: String, module: String? = nil, identity: AdapterIdentity
    ) throws(TensorFileError) -> LoRAAdapter {
        let settings = try ByteSource(path: "\(folder)/\(configurationFile)")
        let configuration = try PEFTConfiguration(settings)
        let file = try SafeTensorsFile(path: "\(folder)/\(modelFile)")
        // Someone may have replaced both in between; the settings that are there now tell.
        let now = try ByteSource(path: settings.path)
        guard now.count == settings.count, try now.bytes(0..<now.count) == settings.bytes(0..<settings.count) else {
            throw TensorFileError(.inputOutput, path: settings.path, "replaced while it was read: read it again")
        }
        return try read(file, configuration, module, identity)
    }

    /// The same for files in memory.
    package static func read(
        model: [UInt8], configuration: [UInt8], module: String? = nil, identity: AdapterIdentity
    ) throws(TensorFileError) -> LoRAAdapter {
        let configuration = try PEFTConfiguration(ByteSource(bytes: configuration, name: configurationFile))
        return try read(SafeTensorsFile(bytes: model, name: modelFile), configuration, module, identity)
    }

    /// The adapted modules of a folder's `adapter_model.safetensors`, by name.
    ///
    /// - Throws: ``TensorFileError`` naming a tensor that is no part of a LoRA layer, or whose counterpart is missing.
    public static func modules(in folder: String) throws(TensorFileError) -> [Module] {
        try modules(SafeTensorsFile(path: "\(folder)/\(modelFile)"))
    }
}

// MARK: - Reading

extension PEFTAdapter {
    private static func read(
        _ file: SafeTensorsFile, _ configuration: PEFTConfiguration, _ name: String?, _ identity: AdapterIdentity
    ) throws(TensorFileError) -> LoRAAdapter {
        let module = try choose(name, among: modules(file), file.path)
        func refuse(_ message: String) -> TensorFileError {
            TensorFileError(.malformed, path: file.path, tensor: module.name, message)
        }
        try configuration.checkTarget(module.name)
        guard module.hasBias == configuration.hasBias else {
            throw refuse(
                "'lora_bias' is \(configuration.hasBias), but the module has \(module.hasBias ? "a" : "no") bias")
        }
        guard module.downShape.count == 2, module.upShape.count == 2, module.downShape[0] == module.upShape[1],
            module.downShape[1] == module.upShape[0]
        else {
            throw TensorFileError(
                .wrongShape, path: file.path, tensor: module.name,
                "A is \(module.downShape) and B \(module.upShape); [rank, dimension] and [dimension, rank] are needed"
            )
        }
        let (rank, alpha) = configuration.settings(of: module.name)
        guard module.downShape[0] == rank else {
            throw refuse("the settings say rank \(rank), A is \(module.downShape)")
        }
        let names = parts.map { "\(prefix)\(module.name).\($0)" }
        for name in names {
            if let tensor = file[name], tensor.type == .float64 || !tensor.type.isReadable {
                throw TensorFileError(
                    .unsupportedType, path: file.path, tensor: name, byteOffset: tensor.byteRange.lowerBound,
                    "elements of type \(tensor.type); F32, F16 and BF16 are read, others would be rounded: convert them"
                )
            }
        }
        if let bias = file[names[2]], bias.shape != [module.upShape[0]] {
            throw TensorFileError(
                .wrongShape, path: file.path, tensor: names[2],
                "the bias is \(bias.shape) where [\(module.upShape[0])] is needed")
        }
        do {
            let shape = try AdapterShape(
                dimension: module.downShape[1], rank: rank, alpha: Float(alpha), scaling: configuration.scaling,
                hasBias: module.hasBias)
            let down: Matrix<Float> = try file.matrix(names[0])
            let up: Matrix<Float> = try file.matrix(names[1])
            let bias: Vector<Float>? = module.hasBias ? try file.vector(names[2]) : nil
            return try LoRAAdapter(
                shape: shape, identity: identity, down: down, up: up.view.transposed.copied(),
                bias: bias?.array.map { $0 * shape.scale })
        } catch let error as TensorFileError {
            throw error
        } catch {
            throw refuse("\(error)")
        }
    }

    private static func choose(
        _ name: String?, among modules: [Module], _ path: String
    ) throws(TensorFileError) -> Module {
        if let chosen = name.map({ name in modules.first { $0.name == name } })
            ?? (modules.count == 1 ? modules[0] : nil)
        {
            return chosen
        }
        let listed = modules.prefix(20).map { TensorFileError.quoted($0.name) }.joined(separator: ", ")
        let list = modules.isEmpty ? "none" : listed + (modules.count > 20 ? " and \(modules.count - 20) more" : "")
        guard let name else {
            throw TensorFileError(.invalidArgument, path: path, "name one of the \(modules.count) modules: \(list)")
        }
        throw TensorFileError(
            .missingTensor, path: path, "there is no module \(TensorFileError.quoted(name)); there are: \(list)")
    }

    private static func modules(_ file: SafeTensorsFile) throws(TensorFileError) -> [Module] {
        var found: [String: [String: [Int]]] = [:]
        for tensor in file.tensors {
            guard let (module, part) = split(tensor.name) else {
                let why =
                    tensor.name.contains("lora_magnitude_vector") ? "DoRA's magnitudes are not supported" : "unknown"
                throw TensorFileError(
                    .unsupported, path: file.path, tensor: tensor.name,
                    "no part of a LoRA layer (\(why)); read are \(prefix)MODULE. followed by one of \(parts)")
            }
            found[module, default: [:]][part] = tensor.shape
        }
        var modules: [Module] = []
        for (name, shapes) in found {
            guard let down = shapes[parts[0]], let up = shapes[parts[1]] else {
                throw TensorFileError(
                    .missingTensor, path: file.path, tensor: name,
                    "the module has \(shapes.keys.sorted()); both \(parts[0]) and \(parts[1]) are needed")
            }
            modules.append(Module(name: name, downShape: down, upShape: up, hasBias: shapes[parts[2]] != nil))
        }
        return modules.sorted { $0.name < $1.name }
    }

    /// The module and the part that a tensor's name is made of.
    private static func split(_ name: String) -> (module: String, part: String)? {
        guard name.hasPrefix(prefix), let part = parts.first(where: { name.hasSuffix("." + $0) }) else { return nil }
        // In "base_model.model.lora_A.weight" the two share a dot.
        guard name.count > prefix.count + 1 + part.count else { return nil }
        // A line break would mean something to patterns.
        guard !name.unicodeScalars.contains(where: { $0.value < 0x20 }) else { return nil }
        return (String(name.dropFirst(prefix.count).dropLast(1 + part.count)), part)
    }
}

// MARK: - Writing

extension PEFTAdapter {
    private static func isName(_ module: String) -> Bool {
        module.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
            !part.isEmpty
                && part.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
                        true
                    default: false
                    }
                }
        }
    }

    /// The settings, keys ascending as in what PEFT writes. Of those that older versions of PEFT do not know,
    /// `lora_bias` alone is written, and only where it is needed.
    private static func configuration(_ shape: AdapterShape, _ module: String, _ baseModel: String?) -> String {
        // As a Double every Float has an exact decimal form, and PEFT computes with the same number.
        let alpha = Double(shape.alpha)
        let alphaText = alpha == alpha.rounded() ? "\(Int(alpha))" : "\(alpha)"
        var members = [
            ("alpha_pattern", "{}"), ("base_model_name_or_path", baseModel.map(SafeTensorsWriter.json) ?? "null"),
            ("bias", "\"none\""), ("fan_in_fan_out", "false"), ("inference_mode", "true"),
            ("init_lora_weights", "true"),
            ("lora_alpha", alphaText), ("lora_dropout", "0.0"), ("modules_to_save", "null"), ("peft_type", "\"LORA\""),
            ("r", "\(shape.rank)"), ("rank_pattern", "{}"),
            ("target_modules", "[\(SafeTensorsWriter.json(module))]"),
            ("task_type", "null"), ("use_dora", "false"), ("use_rslora", "\(shape.scaling == .rankStabilized)"),
        ]
        if shape.hasBias { members.insert(("lora_bias", "true"), at: 7) }
        return "{\n" + members.map { "  \"\($0.0)\": \($0.1)" }.joined(separator: ",\n") + "\n}\n"
    }
}
