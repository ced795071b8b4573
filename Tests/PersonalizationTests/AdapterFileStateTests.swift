import Foundation
import TensorCore
import Testing

@testable import LoRA
@testable import Personalization

/// Adapter files with all state: what is read goes on to the bit, and state that is not the map's is refused.
struct AdapterFileStateTests {
    private static let optimizers: [Optimizer] = [
        .sgd, .momentum(), .riemannian(), .adaGrad(), .adam(), .adamW(), .doG(),
    ]

    private func configuration(_ optimizer: Optimizer, isBare: Bool = false) -> UpdateConfiguration {
        var update = UpdateConfiguration(dimension: 20, optimizer: optimizer)
        if isBare { return update }
        update.elasticWeightConsolidation = ElasticWeightConsolidation(strength: 0.5)
        update.schedule = Schedule(.reduceOnPlateau(factor: 0.5, patience: 1, threshold: 0.9, cooldown: 1, minimum: 0))
        return update
    }

    private func taught(_ update: UpdateConfiguration) throws -> StoredAdapter {
        let script = try Script()
        var adapter = try script.cold("ada")
        for step in 0..<6 { _ = try adapter.update(with: script.batch("ada", step), configuration: update) }
        if update.elasticWeightConsolidation != nil { adapter.consolidate() }
        return StoredAdapter(user: "ada", embeddingModel: "test", adapter: adapter)
    }

    private func withFile<R>(_ body: (String) throws -> R) throws -> R {
        let path = NSTemporaryDirectory() + "/attune-state-\(UUID().uuidString).safetensors"
        defer { unsafe unlink(path) }
        return try body(path)
    }

    private func written(_ record: StoredAdapter) throws -> [UInt8] {
        try withFile { path in
            try AdapterFile.write(record, to: path, keepsState: true)
            return Array(try Data(contentsOf: URL(filePath: path)))
        }
    }

    @Test(arguments: optimizers)
    func whatIsReadGoesOnToTheBit(_ optimizer: Optimizer) throws {
        let update = configuration(optimizer)
        let record = try taught(update)
        #expect(record.adapter.hasState)
        var read = try AdapterFile.read(bytes: try written(record)).adapter
        #expect(read.snapshot() == record.adapter.snapshot())
        var stayed = record.adapter
        let script = try Script()
        for step in 6..<12 {
            _ = try stayed.update(with: script.batch("ada", step), configuration: update)
            _ = try read.update(with: script.batch("ada", step), configuration: update)
        }
        #expect(read.snapshot() == stayed.snapshot())
    }

    @Test func startsGoWithIt() throws {
        let donor = try taught(configuration(.sgd)).adapter
        let prior = try AdapterPrior(merging: [(donor, 1)], rank: 2, normalizing: false, shrinkage: .none)
        let adapter = try LoRAAdapter(shape: donor.shape, identity: donor.identity, startingFrom: prior)
        let record = StoredAdapter(user: "ada", embeddingModel: "test", adapter: adapter)
        #expect(try AdapterFile.read(bytes: try written(record)).adapter.snapshot() == adapter.snapshot())
    }

    @Test func withoutStateTheFileIsThePlainOne() throws {
        let record = try taught(configuration(.sgd, isBare: true))
        #expect(!record.adapter.hasState)
        try withFile { path in
            try AdapterFile.write(record, to: path)
            #expect(Array(try Data(contentsOf: URL(filePath: path))) == (try written(record)))
        }
        #expect(try AdapterFile.read(bytes: try written(record)).adapter.snapshot() == record.adapter.snapshot())
    }

    @Test(arguments: [AdapterPrecision.float16, .int8])
    func stateBesideRoundedNumbersIsRefused(_ precision: AdapterPrecision) throws {
        let record = try taught(configuration(.adam()))
        try withFile { path in
            #expect(throws: TensorFileError.self) {
                try AdapterFile.write(record, to: path, precision: precision, keepsState: true)
            }
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }

    @Test func privateFilesAreTheirOwnersAlone() throws {
        let record = try taught(configuration(.adam()))
        try withFile { path in
            try AdapterFile.write(record, to: path, keepsState: true, isPrivate: true)
            #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
        }
    }

    @Test func stateOfAnotherAdapterIsRefused() throws {
        let update = configuration(.adam())
        let record = try taught(update)
        var later = record.adapter
        _ = try later.update(with: try Script().batch("ada", 9), configuration: update)
        var bent = record.adapter.snapshot()
        // A parameter in the middle; the checksum is not made good.
        bent[100] ^= 1
        var other = record.adapter
        other.version += 1
        var twin = later
        twin.version = record.adapter.version
        twin.steps = record.adapter.steps
        let faults: [(String, (inout SafeTensorsWriter) throws -> Void)] = [
            ("none", { _ in }),
            ("a later one's", { try $0.addState(later.snapshot()) }),
            ("other numbers'", { try $0.addState(twin.snapshot()) }),
            ("another version's", { try $0.addState(other.snapshot()) }),
            ("damaged", { try $0.addState(bent) }),
            ("cut", { try $0.addState(record.adapter.snapshot().dropLast(9)) }),
            ("empty", { try $0.addState([]) }),
            ("floats", { try $0.add("state", Vector<Float>([1, 2])) }),
            (
                "a matrix",
                {
                    let bytes = record.adapter.snapshot()
                    try $0.addIntegers("state", shape: [1, bytes.count], bytes.map { Int8(bitPattern: $0) })
                }
            ),
        ]
        for (name, add) in faults {
            let shape = record.adapter.shape
            var writer = SafeTensorsWriter(metadata: [
                "format": "attune-adapter", "format_version": "1", "user": "ada", "embedding_model": "test",
                "alpha": "\(shape.alpha)", "scaling": shape.scaling.rawValue,
                "normalizes_output": "\(shape.normalizesOutput)", "seed": "\(record.adapter.identity.seed)",
                "stream": "\(record.adapter.identity.stream)", "version": "\(record.adapter.version)",
                "steps": "\(record.adapter.steps)",
            ])
            try writer.add("A", record.adapter.down)
            try writer.add("B_transposed", record.adapter.up)
            if let bias = record.adapter.bias { try writer.add("bias", Vector(bias)) }
            try add(&writer)
            let bytes = writer.bytes()
            if name == "none" {
                #expect(try !AdapterFile.read(bytes: bytes).adapter.hasState)
            } else {
                #expect(throws: TensorFileError.self, "\(name)") { try AdapterFile.read(bytes: bytes) }
            }
        }
    }
}

extension SafeTensorsWriter {
    fileprivate mutating func addState(_ bytes: [UInt8]) throws {
        try addIntegers("state", shape: [bytes.count], bytes.map { Int8(bitPattern: $0) })
    }
}
