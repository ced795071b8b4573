import TensorCore
import TestSupport
import Testing

@testable import LoRA

/// What an adapter here cannot be is refused by its name, and nothing in the files is trusted.
struct PEFTRefusalTests {
    /// A setting with a value that means something, by itself enough to refuse.
    static let settings: [(String, String)] = [
        ("use_dora", "true"), ("bias", "\"all\""), ("bias", "\"lora_only\""), ("bias", "null"),
        ("modules_to_save", "[\"classifier\"]"), ("layers_to_transform", "[0]"), ("layers_to_transform", "0"),
        ("layers_pattern", "\"layers\""), ("exclude_modules", "[\"a\"]"), ("megatron_config", "{\"a\": 1}"),
        ("loftq_config", "{\"loftq_bits\": 4}"), ("eva_config", "{\"rho\": 2.0}"),
        ("corda_config", "{\"corda_method\": \"ipm\"}"), ("lora_ga_config", "{\"direction\": \"ArBr\"}"),
        ("velora_config", "{\"num_groups\": 32}"), ("kasa_config", "{\"beta\": 1}"),
        ("monteclora_config", "{\"num_samples\": 4}"), ("arrow_config", "{\"top_k\": 3}"),
        ("use_bdlora", "{\"nblocks\": 2}"), ("use_qalora", "true"), ("load_in_4bit", "true"), ("load_in_8bit", "true"),
        ("quantization_config", "{\"bits\": 4}"), ("target_parameters", "[\"w\"]"),
        ("trainable_token_indices", "[1, 2]"), ("alora_invocation_tokens", "[3]"), ("layer_replication", "[[0, 4]]"),
        ("ensure_weight_tying", "true"), ("init_lora_weights", "\"pissa\""),
        ("init_lora_weights", "\"pissa_niter_4\""),
        ("init_lora_weights", "\"olora\""), ("init_lora_weights", "\"corda\""), ("init_lora_weights", "\"eva\""),
        ("init_lora_weights", "\"loftq\""), ("init_lora_weights", "\"lora_ga\""), ("init_lora_weights", "\"mica\""),
        ("init_lora_weights", "null"), ("rank_pattern", "{\"a|b\": 4}"), ("alpha_pattern", "{\"[qk]_proj\": 4}"),
        ("peft_type", "\"LOHA\""), ("a_setting_of_tomorrow", "true"), ("a_setting_of_tomorrow", "0"),
        ("a_setting_of_tomorrow", "\"x\""),
    ]

    @Test(arguments: settings)
    func unsupportedSettingsAreRefusedByName(_ name: String, _ value: String) throws {
        var files = try PEFTFiles()
        files.settings[name] = value
        let error = #expect(throws: TensorFileError.self) { try files.read() }
        #expect(error?.code == .unsupported && error?.path == "adapter_config.json")
        #expect(error?.message.contains("\"\(name)\"") == true, "\(error?.message ?? "")")
        #expect(error?.byteOffset != nil)
    }

    /// The same settings as PEFT writes them where nobody set them, and those that change nothing.
    @Test func settingsThatWereNotMadeAreNoReason() throws {
        var files = try PEFTFiles()
        for (name, _) in Self.settings where files.settings[name] == nil { files.settings[name] = "null" }
        for (name, value) in [
            ("use_dora", "false"), ("loftq_config", "{}"), ("modules_to_save", "[]"), ("rank_pattern", "{}"),
            ("alpha_pattern", "null"), ("lora_dropout", "0.05"), ("task_type", "\"CAUSAL_LM\""),
            ("inference_mode", "true"), ("base_model_name_or_path", "\"gpt2\""), ("revision", "\"main\""),
            ("auto_mapping", "{\"base_model_class\": \"Model\"}"), ("peft_version", "\"0.21.2\""),
            ("megatron_core", "\"megatron.core\""), ("qalora_group_size", "16"), ("fan_in_fan_out", "true"),
            ("init_lora_weights", "\"gaussian\""), ("target_modules", "\"all-linear\""),
        ] { files.settings[name] = value }
        #expect(try files.read().shape.rank == 2)
        files.settings["target_modules"] = "null"
        #expect(try files.read().shape.rank == 2)
    }

    @Test(
        arguments: [
            ("r", nil), ("r", "0"), ("r", "-1"), ("r", "2.0"), ("r", "\"2\""), ("r", "18446744073709551615"),
            ("r", "3"),
            ("r", "null"), ("lora_alpha", nil), ("lora_alpha", "0"), ("lora_alpha", "-3"), ("lora_alpha", "1e300"),
            ("lora_alpha", "70000"), ("lora_alpha", "1e-60"), ("lora_alpha", "true"), ("peft_type", nil),
            ("use_rslora", "1"), ("use_rslora", "null"), ("lora_bias", "true"), ("lora_bias", "\"yes\""),
            ("rank_pattern", "[1]"), ("rank_pattern", "{\"a\": 0}"), ("rank_pattern", "{\"personalization\": 3}"),
            ("alpha_pattern", "{\"a\": \"x\"}"), ("target_modules", "[\"other\"]"), ("target_modules", "[1]"),
            ("target_modules", "true"), ("target_modules", "[]"),
        ] as [(String, String?)])
    func senselessSettingsAreRefused(_ name: String, _ value: String?) throws {
        var files = try PEFTFiles()
        files.settings[name] = value
        let error = #expect(throws: TensorFileError.self) { try files.read() }
        #expect(error?.code == .malformed, "\(error?.description ?? "")")
    }

    @Test func tensorsThatAreNoneOfLoRAAreRefusedByName() throws {
        let one = try Matrix<Float>(rows: [[1, 2, 3]])
        for name in [
            PEFTFiles.prefix + "lora_magnitude_vector", PEFTFiles.prefix + "lora_magnitude_vector.weight",
            PEFTFiles.prefix + "lora_embedding_A", PEFTFiles.prefix + "lora_A.default.weight",
            "base_model.model.lora_A.weight", "personalization.lora_A.weight", "base_model.model.classifier.weight",
            PEFTFiles.prefix + "lora_B.weight.absmax", "base_model.model.a\nb.lora_A.weight", "",
        ] {
            var files = try PEFTFiles()
            files.tensors.append((name, one))
            let error = #expect(throws: TensorFileError.self, "\(name)") { try files.read("personalization") }
            #expect(error?.code == .unsupported && error?.tensor == name)
            if name.contains("magnitude") { #expect(error?.message.contains("DoRA") == true) }
        }
    }

    @Test func misshapenModulesAreRefused() throws {
        func refuses(_ code: TensorFileError.Code, _ change: (inout PEFTFiles) throws -> Void) throws {
            var files = try PEFTFiles()
            try change(&files)
            let error = #expect(throws: TensorFileError.self) { try files.read() }
            #expect(error?.code == code, "\(error?.description ?? "")")
        }
        try refuses(.missingTensor) { $0.tensors.removeLast() }
        try refuses(.missingTensor) { $0.tensors.removeFirst() }
        try refuses(.invalidArgument) { $0.tensors.removeAll() }
        // B as it lies here, not transposed; another rank; no rank at all; not square.
        try refuses(.wrongShape) { $0.tensors[1].content = try Matrix(rows: [[1, 0, 2], [0, 1, 0]]) }
        try refuses(.wrongShape) { $0.tensors[1].content = try Matrix(rows: [[1], [0], [2]]) }
        try refuses(.malformed) {
            $0.tensors[0].content = Matrix(rows: 0, columns: 3)
            $0.tensors[1].content = Matrix(rows: 3, columns: 0)
        }
        try refuses(.wrongShape) { $0.tensors[1].content = Matrix(rows: 4, columns: 2) }
        // Rank above the dimension.
        try refuses(.malformed) {
            $0.settings["r"] = "4"
            $0.tensors[0].content = Matrix(rows: 4, columns: 3)
            $0.tensors[1].content = Matrix(rows: 3, columns: 4)
        }
        try refuses(.notFinite) { $0.tensors[0].content[1, 1] = .nan }
        try refuses(.notFinite) { $0.tensors[1].content[0, 0] = -.infinity }
        // A bias that was not announced, of another length, or beyond Float once it is multiplied.
        try refuses(.malformed) { $0.bias = [1, 2, 3] }
        try refuses(.wrongShape) {
            $0.settings["lora_bias"] = "true"
            $0.bias = [1, 2]
        }
        try refuses(.malformed) {
            $0.settings["lora_bias"] = "true"
            $0.bias = [.greatestFiniteMagnitude, 0, 0]
        }
    }

    @Test func numbersThatWouldBeRoundedAreRefused() throws {
        let files = try PEFTFiles()
        var writer = SafeTensorsWriter()
        try writer.add(PEFTFiles.prefix + "lora_A.weight", Matrix<Double>(rows: [[1, 2, 3], [4, 5, 6]]))
        try writer.add(files.tensors[1].name, files.tensors[1].content)
        var packed = SafeTensorsWriter()
        try packed.addIntegers(PEFTFiles.prefix + "lora_A.weight", shape: [2, 3], [1, 2, 3, 4, 5, 6])
        try packed.add(files.tensors[1].name, files.tensors[1].content)
        for (bytes, type) in [(writer.bytes(), "F64"), (packed.bytes(), "I8")] {
            let error = #expect(throws: TensorFileError.self) {
                try PEFTAdapter.read(
                    model: bytes, configuration: files.configuration, identity: PEFTFiles.identity)
            }
            #expect(error?.code == .unsupportedType && error?.message.contains("type \(type)") == true)
        }
    }

    @Test func filesThatAreNotThereOrTooLargeAreRefused() throws {
        let folder = try TemporaryFolder()
        let identity = PEFTFiles.identity
        let missing = #expect(throws: TensorFileError.self) { try PEFTAdapter.read(folder.path, identity: identity) }
        #expect(missing?.code == .inputOutput && missing?.path.hasSuffix("/adapter_config.json") == true)
        #expect(throws: TensorFileError.self) { try PEFTAdapter.modules(in: folder.path) }
        let files = try PEFTFiles()
        let padded = files.configuration + [UInt8](repeating: 0x20, count: 1 << 20)
        let large = #expect(throws: TensorFileError.self) {
            try PEFTAdapter.read(model: files.model(), configuration: padded, identity: identity)
        }
        #expect(large?.code == .limitExceeded)
        for text in ["", "[]", "{", "{\"r\": NaN}", "{\"r\": 1, \"r\": 2}"] {
            let error = #expect(throws: TensorFileError.self) {
                try PEFTAdapter.read(model: files.model(), configuration: Array(text.utf8), identity: identity)
            }
            #expect(error?.code == .malformed)
        }
    }

    /// Flips, cuts and insertions in either file: refused, or an adapter whose map is finite and of a legal shape.
    @Test func damagedFilesNeverCrash() throws {
        var files = try PEFTFiles()
        files.settings["lora_bias"] = "true"
        files.settings["rank_pattern"] = "{\"^a.b\": 5, \".*x\": 1}"
        files.bias = [1, 2, 3]
        let (model, configuration) = (try files.model(), files.configuration)
        let words = ["{", "}", "[", "\"", ":", ",", "null", "true", "1e9", "-1", "lora_A", "\\u0000", ".*", "0"]
        var random = RandomCase(seed: 20_260_611, 0)
        var (refused, read) = (0, 0)
        func attempt(_ model: [UInt8], _ configuration: [UInt8]) {
            do {
                let adapter = try PEFTAdapter.read(
                    model: model, configuration: configuration, identity: PEFTFiles.identity)
                read += 1
                #expect(adapter.shape.rank == 2 && adapter.shape.dimension == 3)
                let isFinite = adapter.values.allSatisfy { $0.isFinite }
                #expect(isFinite)
            } catch {
                refused += 1
                #expect(!error.message.isEmpty)
            }
        }
        func damaged(_ bytes: [UInt8]) -> [UInt8] {
            var bytes = bytes
            for _ in 0...random.generator.integer(below: 2) {
                let at = random.generator.integer(below: max(bytes.count, 1))
                switch random.generator.integer(below: 4) {
                case 0 where at < bytes.count: bytes[at] ^= 1 << UInt8(random.generator.integer(below: 8))
                case 1: bytes.removeSubrange(min(at, bytes.count)...)
                case 2: bytes.insert(contentsOf: Array(random.pick(words).utf8), at: min(at, bytes.count))
                default:
                    let word = Array(random.pick(words).utf8)
                    let end = min(at + word.count, bytes.count)
                    if at < end { bytes.replaceSubrange(at..<end, with: word.prefix(end - at)) }
                }
            }
            return bytes
        }
        for count in 0..<model.count { attempt(Array(model[..<count]), configuration) }
        for count in 0..<configuration.count { attempt(model, Array(configuration[..<count])) }
        #expect(read == 0 && refused == model.count + configuration.count)
        // Under a sanitizer one bit of each byte.
        func bits(_ i: Int) -> Range<Int> { underSanitizer(i % 8..<i % 8 + 1, otherwise: 0..<8) }
        for i in model.indices {
            for bit in bits(i) {
                var flipped = model
                flipped[i] ^= 1 << UInt8(bit)
                attempt(flipped, configuration)
            }
        }
        for i in configuration.indices {
            for bit in bits(i) {
                var flipped = configuration
                flipped[i] ^= 1 << UInt8(bit)
                attempt(model, flipped)
            }
        }
        let each = underSanitizer(1_000, otherwise: 10_000)
        for _ in 0..<each { attempt(damaged(model), configuration) }
        for _ in 0..<each { attempt(model, damaged(configuration)) }
        #expect(refused > each / 2 && read > each / 20, "\(refused) refused, \(read) read: the test has lost its point")
    }
}
