import LoRA
import Personalization
import TensorCore

/// Feedback of every kind, the same for a user and a step each time.
struct ShopScript: Sendable {
    static let dimension = 12
    let catalogue: ItemCatalogue

    init() throws {
        var generator = PhiloxGenerator(seed: 7, stream: 1, purpose: .initialization)
        let rows = (0..<20).map { _ in (0..<Self.dimension).map { _ in generator.uniformFloat() - 0.5 } }
        catalogue = try ItemCatalogue(vectors: try Matrix(rows: rows), offsets: (0..<20).map { Float($0) / 40 })
    }

    private func vector(_ generator: inout PhiloxGenerator) -> [Float] {
        (0..<Self.dimension).map { _ in generator.uniformFloat() - 0.5 }
    }

    func batch(_ user: String, _ step: Int) -> [Feedback] {
        var generator = PhiloxGenerator(seed: UInt64(step), stream: StableHash.hash(user), purpose: .initialization)
        let x = vector(&generator)
        let other = vector(&generator)
        let item = step % 20
        switch step % 8 {
        case 0: return [Feedback(embedding: x, signal: .target(other))]
        case 1: return [Feedback(of: item, in: catalogue, signal: .like((item + 3) % 20, in: catalogue, seen: [1, 2]))]
        case 2: return [Feedback(embedding: x, signal: .reward(-0.5, for: .vector(other, offset: 0.25)), weight: 2)]
        case 3:
            return [
                Feedback(
                    embedding: x,
                    signal: .preference(.catalogued(3, catalogue), over: [.vector(other), .catalogued(4, catalogue)]),
                    propensity: 0.5)
            ]
        case 4:
            return [
                Feedback(
                    of: item, in: catalogue,
                    signal: .ranking(.catalogued(5, catalogue), among: [.catalogued(6, catalogue)])),
                Feedback(embedding: x, signal: .scaledInput(reward: 0.75)),
                Feedback(embedding: other, signal: .target(x), weight: 0.5),
            ]
        case 5:
            let event = WatchEvent(completion: 0.9, rating: 4, rewatched: true)
            return [Feedback(embedding: x, signal: .watch(event, of: .catalogued(7, catalogue)))]
        default: return [Feedback(of: item, in: catalogue, signal: .like((item + 5) % 20, in: catalogue))]
        }
    }

    static func configuration(
        _ update: UpdateConfiguration = UpdateConfiguration(dimension: dimension), durability: Durability? = nil,
        checkpoints: CheckpointPolicy = CheckpointPolicy(), retention: JournalRetention = .all
    ) -> EngineConfiguration {
        EngineConfiguration(
            dimension: dimension, rank: 3, embeddingModel: "test", seed: 5, update: update, durability: durability,
            checkpoints: checkpoints, retention: retention)
    }
}
