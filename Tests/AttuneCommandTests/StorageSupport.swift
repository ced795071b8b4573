import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// A folder for one test's files; it goes with the last reference.
final class TestFolder {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.path + "/attune-storage-command-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        do { try FileManager.default.removeItem(atPath: path) } catch { print("cannot remove \(path): \(error)") }
    }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }
    /// What is in it, without the files that SQLite and the lock have beside a storage.
    var names: [String] {
        get throws {
            try FileManager.default.contentsOfDirectory(atPath: path)
                .filter { name in !["-wal", "-shm", "-lock"].contains { name.hasSuffix($0) } }.sorted()
        }
    }
}

/// Storage files with users who gave feedback of every kind, the same for a user and a step each time.
struct Shop {
    static let dimension = 12
    let catalogue: ItemCatalogue
    var update = UpdateConfiguration(dimension: dimension)
    var rank = 4

    /// Adam, protection and a schedule that looks at the loss: all the state that an adapter can have beside a start.
    static var stateful: UpdateConfiguration {
        UpdateConfiguration(
            dimension: dimension, optimizer: .adam(), learningRates: PerObjective(all: 0.01),
            fading: PerObjective(all: 0), elasticWeightConsolidation: ElasticWeightConsolidation(strength: 0.5))
    }

    init(update: UpdateConfiguration = UpdateConfiguration(dimension: dimension)) throws {
        var generator = PhiloxGenerator(seed: 7, stream: 1, purpose: .initialization)
        let rows = (0..<20).map { _ in (0..<Self.dimension).map { _ in generator.uniformFloat() - 0.5 } }
        catalogue = try ItemCatalogue(vectors: try Matrix(rows: rows), offsets: (0..<20).map { Float($0) / 40 })
        self.update = update
    }

    func batch(_ user: String, _ step: Int) -> [Feedback] {
        var generator = PhiloxGenerator(seed: UInt64(step), stream: StableHash.hash(user), purpose: .initialization)
        let x = (0..<Self.dimension).map { _ in generator.uniformFloat() - 0.5 }
        let other = (0..<Self.dimension).map { _ in generator.uniformFloat() - 0.5 }
        switch step % 6 {
        case 0: return [Feedback(embedding: x, signal: .target(other))]
        case 1: return [Feedback(of: 4, in: catalogue, signal: .like(7, in: catalogue, seen: [1, 2]))]
        case 2: return [Feedback(embedding: x, signal: .reward(-0.5, for: .vector(other, offset: 0.25)), weight: 2)]
        case 3:
            let signal = Feedback.Signal.preference(
                .catalogued(3, catalogue), over: [.vector(other), .catalogued(4, catalogue)])
            return [Feedback(embedding: x, signal: signal, propensity: 0.5)]
        case 4:
            let ranking = Feedback.Signal.ranking(.catalogued(5, catalogue), among: [.catalogued(6, catalogue)])
            return [
                Feedback(of: step, in: catalogue, signal: ranking),
                Feedback(embedding: x, signal: .scaledInput(reward: 0.75)),
            ]
        default:
            let event = WatchEvent(completion: 0.9, rating: 4, rewatched: true)
            return [Feedback(embedding: x, signal: .watch(event, of: .catalogued(7, catalogue)))]
        }
    }

    func engine(_ storage: SQLiteStorage) throws -> PersonalizationEngine {
        try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
    }

    var configuration: EngineConfiguration {
        EngineConfiguration(dimension: Self.dimension, rank: rank, embeddingModel: "test", seed: 5, update: update)
    }

    func learn(_ engine: PersonalizationEngine, _ user: String, _ steps: Range<Int>) async throws {
        for step in steps {
            _ = try await engine.updateAdapter(for: user, with: batch(user, step), id: FeedbackID("event \(step)"))
        }
    }

    /// Makes a file whose users have learned, the last steps after their adapters were saved.
    func make(_ path: String, users: [String], steps: Int = 10, unsaved: Int = 4) async throws {
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        for user in users { try await learn(engine, user, 0..<(steps - unsaved)) }
        try await engine.checkpoint()
        for user in users { try await learn(engine, user, (steps - unsaved)..<steps) }
        await storage.close()
    }

    /// The adapter that an engine which goes on with the file has after some more steps.
    func adapter(_ path: String, _ user: String, after steps: Range<Int> = 0..<0) async throws -> LoRAAdapter? {
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        try await learn(engine, user, steps)
        let adapter = try await engine.adapter(for: user)
        try await engine.checkpoint()
        await storage.close()
        return adapter
    }
}

/// The JSON object that a command has printed.
func object(_ text: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
}

/// A file's bytes.
func bytes(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: path))) }

/// The bits of a file's mode that say who may do what.
func rights(_ path: String) throws -> Int {
    try #require(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
}
