import Foundation
import TensorCore
import Testing

@testable import LoRA

/// Adapters that PEFT saved are read to the bit and map as they did there.
struct PEFTReadingTests {
    struct Case: Decodable, Sendable, CustomTestStringConvertible {
        let name: String
        let module: String
        let modules: [String]
        let rank: Int
        let alpha: Double
        let rankStabilized: Bool
        let scale: Double
        let A: [[Float]]
        let Bt: [[Float]]
        let loraBias: [Double]?
        let inputs: [[Float]]
        let outputs: [[Double]]
        var testDescription: String { name }

        var folder: String {
            URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().appending(path: "Fixtures/peft_adapters/\(name)").path
        }
    }

    struct Cases: Decodable {
        let dimension: Int
        let cases: [Case]
    }

    static let fixture: Cases = Fixture.load("peft_adapters")

    @Test(arguments: fixture.cases)
    func whatPEFTSavedMapsAsItDidThere(_ sample: Case) throws {
        let identity = AdapterIdentity(seed: 1, user: "ada")
        let adapter = try PEFTAdapter.read(sample.folder, module: sample.module, identity: identity)
        #expect(adapter.identity == identity && adapter.version == 0 && adapter.steps == 0)
        #expect(adapter.shape.rank == sample.rank && adapter.shape.dimension == Self.fixture.dimension)
        #expect(adapter.shape.alpha == Float(sample.alpha))
        #expect(adapter.shape.scaling == (sample.rankStabilized ? .rankStabilized : .standard))
        #expect(abs(Double(adapter.shape.scale) - sample.scale) <= 1e-7 * sample.scale)
        #expect(adapter.down.array == sample.A.flatMap(\.self))
        #expect(adapter.up.array == sample.Bt.flatMap(\.self))
        #expect((adapter.bias == nil) == (sample.loraBias == nil))
        if let bias = adapter.bias, let there = sample.loraBias {
            for (value, expected) in zip(bias, there) { #expect(abs(Double(value) - expected * sample.scale) < 1e-7) }
        }
        for (input, output) in zip(sample.inputs, sample.outputs) {
            #expect(distance(try adapter.forward(input), output) < 1e-6)
        }
    }

    @Test(arguments: fixture.cases)
    func theModulesOfAFileAreListed(_ sample: Case) throws {
        let modules = try PEFTAdapter.modules(in: sample.folder)
        #expect(modules.map(\.name) == sample.modules)
        let module = try #require(modules.first { $0.name == sample.module })
        let d = Self.fixture.dimension
        #expect(module.downShape == [sample.rank, d] && module.upShape == [d, sample.rank])
        #expect(module.hasBias == (sample.loraBias != nil))
    }

    @Test func theFixtureHasWhatItIsFor() throws {
        func types(_ name: String) throws -> Set<String> {
            let sample = try #require(Self.fixture.cases.first { $0.name == name })
            let file = try SafeTensorsFile(path: "\(sample.folder)/adapter_model.safetensors")
            return Set(file.tensors.map(\.type.name))
        }
        #expect(try types("half") == ["F16"] && types("bfloat") == ["BF16"] && types("plain") == ["F32"])
        #expect(Self.fixture.cases.contains { $0.rankStabilized && $0.loraBias != nil })
    }

    @Test func oneModuleNeedsNoNameAndSeveralDo() throws {
        let several = try #require(Self.fixture.cases.first { $0.modules.count > 1 })
        let identity = PEFTFiles.identity
        let unnamed = #expect(throws: TensorFileError.self) { try PEFTAdapter.read(several.folder, identity: identity) }
        #expect(unnamed?.code == .invalidArgument)
        for name in several.modules { #expect(unnamed?.message.contains("\"\(name)\"") == true) }
        let missing = #expect(throws: TensorFileError.self) {
            try PEFTAdapter.read(several.folder, module: "proj", identity: identity)
        }
        #expect(missing?.code == .missingTensor && missing?.message.contains("\"layers.0.proj\"") == true)
        // The others do not stand in the way of one that is not square.
        let wide = #expect(throws: TensorFileError.self) {
            try PEFTAdapter.read(several.folder, module: "wide", identity: identity)
        }
        #expect(wide?.code == .wrongShape)
        #expect(wide?.message.contains("A is [2, 7] and B [9, 2]") == true || wide?.message.contains("[1, 7]") == true)
        #expect(try PEFTFiles().read().shape.rank == 2)
    }

    @Test func whatIsReadIsWhatWasStated() throws {
        var files = try PEFTFiles()
        files.settings["lora_bias"] = "true"
        files.bias = [0, 0, 2]
        let adapter = try files.read()
        // scale 3/2; A·x = (1, 4); B·(1, 4) = (1, 4, 2); bias 2 · scale.
        #expect(try adapter.forward([1, 0, 0]) == [1 + 1.5, 6, 3 + 3])
        files.settings["use_rslora"] = "true"
        #expect(try files.read().shape.scale == 3 / Float(2).squareRoot())
        files.settings["rank_pattern"] = "{\"personalization\": 2, \"other\": 5}"
        files.settings["alpha_pattern"] = "{\"sonalization\": 9, \"^personal.*\": 4, \".*\": 5}"
        files.settings["r"] = "8"
        #expect(try files.read().shape.alpha == 4)
    }
}

/// Patterns against Python's own answers.
struct PEFTPatternTests {
    struct Patterns: Decodable {
        struct Entry: Decodable {
            let key: String
            let names: [String]
        }
        let names: [String]
        let patterns: [Entry]
    }

    @Test func patternsMatchAsInPEFT() throws {
        let fixture: Patterns = Fixture.load("peft_adapters")
        #expect(fixture.patterns.count > 15)
        for entry in fixture.patterns {
            let pattern = try #require(PEFTPattern(entry.key), "\(entry.key)")
            #expect(fixture.names.filter(pattern.matches) == entry.names, "\(entry.key)")
        }
    }

    @Test(arguments: [
        "", "^", "a|b", "a*", "a+", "a?", "a{2}", "[ab]", "(a)", "a$", #"\d"#, #"\w+"#, #"a\"#, ".+", ".?", ".*?", "a^",
        "(?i)a", "é", "a b", ".**", #"\.*"#, "a\n",
    ])
    func otherExpressionsAreNotGuessed(_ key: String) { #expect(PEFTPattern(key) == nil) }
}
