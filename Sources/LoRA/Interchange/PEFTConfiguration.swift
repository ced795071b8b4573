internal import TensorCore

/// What an `adapter_config.json` says of an adapter, checked: only what can be applied exactly is accepted.
struct PEFTConfiguration {
    let scaling: AdapterShape.Scaling
    let hasBias: Bool
    private let path: String
    private var rank = 0
    private var alpha = 0.0
    private var ranks: [(pattern: PEFTPattern, value: Int)] = []
    private var alphas: [(pattern: PEFTPattern, value: Double)] = []
    private var targets: [String]?

    /// The largest file that is read, in bytes.
    static let byteLimit = 1 << 20

    /// Settings that change neither what a trained adapter computes nor which modules it has. `fan_in_fan_out` says how
    /// the base layer stores its weights, the others are of training, naming and provenance.
    private static let withoutEffect: Set<String> = [
        "auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode", "lora_dropout", "megatron_core",
        "peft_version", "qalora_group_size", "revision", "task_type",
    ]

    /// Why a setting is refused where it is set. Others that are not known are refused too.
    private static let refusals: [String: String] = [
        "alora_invocation_tokens": "the adapter acts after certain tokens only",
        "arrow_config": "the adapter is a router over others",
        "corda_config": "the initialisation changes the base weights",
        "eva_config": "the initialisation redistributes the ranks",
        "exclude_modules": "it takes modules out by a pattern",
        "kasa_config": "the adapter has singular values of its own",
        "layer_replication": "the base model's layers are repeated",
        "layers_pattern": "it chooses layers by a pattern",
        "layers_to_transform": "it chooses layers by their numbers",
        "load_in_4bit": "the base is quantised",
        "load_in_8bit": "the base is quantised",
        "loftq_config": "the base is quantised",
        "lora_ga_config": "the initialisation changes the base weights",
        "megatron_config": "the layers are split over processes",
        "modules_to_save": "whole modules of the base model are part of the adapter",
        "monteclora_config": "the adapter is drawn at random",
        "quantization_config": "the base is quantised",
        "target_parameters": "it adapts parameters, not modules",
        "trainable_token_indices": "embeddings of tokens are part of the adapter",
        "use_bdlora": "the factors are block diagonal",
        "use_dora": "DoRA divides by the norm of the adapted weights, which is no low-rank update",
        "use_qalora": "the base is quantised",
        "velora_config": "it compresses activations",
    ]

    init(_ source: ByteSource) throws(TensorFileError) {
        path = source.path
        guard source.count <= Self.byteLimit else {
            throw TensorFileError(
                .limitExceeded, path: path, "\(source.count) bytes exceed the limit of \(Self.byteLimit)")
        }
        let bytes = try source.bytes(0..<source.count)
        let root: JSONValue
        do throws(JSONError) {
            root = try StrictJSON.parse(bytes)
        } catch {
            throw TensorFileError(.malformed, path: path, byteOffset: error.offset, error.message)
        }
        guard case .object(let members) = root.content else {
            throw TensorFileError(.malformed, path: path, byteOffset: root.offset, "the file is not a JSON object")
        }
        let reader = Reader(path: path, members: Dictionary(uniqueKeysWithValues: members.map { ($0.key, $0.value) }))
        let kind = try reader.required("peft_type")
        guard case .string("LORA") = kind.content else { throw reader.unsupported("peft_type", kind, "is not LORA") }
        rank = try reader.rank("r", try reader.required("r"))
        alpha = try reader.alpha("lora_alpha", try reader.required("lora_alpha"))
        scaling = try reader.flag("use_rslora") ? .rankStabilized : .standard
        hasBias = try reader.flag("lora_bias")
        for (pattern, value) in try reader.patterns("rank_pattern") {
            ranks.append((pattern, try reader.rank("rank_pattern", value)))
        }
        for (pattern, value) in try reader.patterns("alpha_pattern") {
            alphas.append((pattern, try reader.alpha("alpha_pattern", value)))
        }
        targets = try reader.targets()
        try reader.checkBias()
        try reader.checkInitialization()
        let read: Set<String> = [
            "alpha_pattern", "bias", "init_lora_weights", "lora_alpha", "lora_bias", "peft_type", "r", "rank_pattern",
            "target_modules", "use_rslora",
        ]
        for member in members where !read.contains(member.key) && !Self.withoutEffect.contains(member.key) {
            guard !member.value.isUnset else { continue }
            throw reader.unsupported(
                member.key, member.value,
                "is set: " + (Self.refusals[member.key] ?? "it is unknown here, so what it changes is unknown too"))
        }
    }

    /// The rank and alpha of a module: those of the first pattern that matches it, else the general ones.
    func settings(of module: String) -> (rank: Int, alpha: Double) {
        (
            ranks.first { $0.pattern.matches(module) }?.value ?? rank,
            alphas.first { $0.pattern.matches(module) }?.value ?? alpha
        )
    }

    /// Refuses a module that PEFT would leave as it is, because `target_modules` lists others. A pattern there (a text)
    /// is not evaluated: the tensors say which modules it chose.
    func checkTarget(_ module: String) throws(TensorFileError) {
        guard let targets, !targets.contains(where: { module == $0 || module.hasSuffix("." + $0) }) else { return }
        throw TensorFileError(
            .malformed, path: path,
            "'target_modules' does not name the module \(TensorFileError.quoted(module)), so PEFT would not apply it")
    }
}

/// Takes values out of the object, with errors that name them.
private struct Reader {
    let path: String
    let members: [String: JSONValue]

    func unsupported(_ key: String, _ value: JSONValue, _ what: String) -> TensorFileError {
        TensorFileError(
            .unsupported, path: path, byteOffset: value.offset,
            "the setting \(TensorFileError.quoted(key)) \(what); save the adapter as plain LoRA to bring it here")
    }

    func malformed(_ key: String, _ value: JSONValue, _ what: String) -> TensorFileError {
        TensorFileError(
            .malformed, path: path, byteOffset: value.offset, "the setting \(TensorFileError.quoted(key)) \(what)")
    }

    func required(_ key: String) throws(TensorFileError) -> JSONValue {
        guard let value = members[key] else {
            throw TensorFileError(.malformed, path: path, "the setting '\(key)' is missing")
        }
        return value
    }

    func flag(_ key: String) throws(TensorFileError) -> Bool {
        guard let value = members[key] else { return false }
        guard case .boolean(let flag) = value.content else { throw malformed(key, value, "is not true or false") }
        return flag
    }

    func rank(_ key: String, _ value: JSONValue) throws(TensorFileError) -> Int {
        guard case .integer(let number) = value.content, number >= 1, let rank = Int(exactly: number) else {
            throw malformed(key, value, "holds something else than a rank of at least 1")
        }
        return rank
    }

    func alpha(_ key: String, _ value: JSONValue) throws(TensorFileError) -> Double {
        switch value.content {
        case .integer(let number) where number > 0: return Double(number)
        case .number(let number) where number > 0: return number
        default: throw malformed(key, value, "holds something else than a number above 0")
        }
    }

    func patterns(_ key: String) throws(TensorFileError) -> [(PEFTPattern, JSONValue)] {
        guard let value = members[key], !value.isUnset else { return [] }
        guard case .object(let entries) = value.content else { throw malformed(key, value, "is not a JSON object") }
        var result: [(PEFTPattern, JSONValue)] = []
        for entry in entries {
            guard let pattern = PEFTPattern(entry.key) else {
                throw unsupported(
                    key, entry.value,
                    "has the key \(TensorFileError.quoted(entry.key)), a pattern beyond names, '.', '.*' and '^'"
                )
            }
            result.append((pattern, entry.value))
        }
        return result
    }

    func targets() throws(TensorFileError) -> [String]? {
        guard let value = members["target_modules"] else { return nil }
        switch value.content {
        case .null, .string: return nil
        case .array(let entries):
            var names: [String] = []
            for entry in entries {
                guard case .string(let name) = entry.content else {
                    throw malformed("target_modules", entry, "holds something else than names")
                }
                names.append(name)
            }
            return names
        default: throw malformed("target_modules", value, "is neither names nor a pattern")
        }
    }

    func checkBias() throws(TensorFileError) {
        guard let value = members["bias"] else { return }
        guard case .string("none") = value.content else {
            throw unsupported("bias", value, "is not \"none\": biases of the base model are part of the adapter")
        }
    }

    func checkInitialization() throws(TensorFileError) {
        guard let value = members["init_lora_weights"] else { return }
        switch value.content {
        case .boolean, .string("gaussian"), .string("orthogonal"): return
        default:
            throw unsupported(
                "init_lora_weights", value,
                "is none of true, false, \"gaussian\" and \"orthogonal\": others change the base weights or the ranks")
        }
    }
}

extension JSONValue {
    /// Whether a setting with this value is one that was not made.
    fileprivate var isUnset: Bool {
        switch content {
        case .null, .boolean(false): true
        case .array(let elements): elements.isEmpty
        case .object(let members): members.isEmpty
        default: false
        }
    }
}
