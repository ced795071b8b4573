internal import LoRA
internal import TensorCore

/// What users do in the contract of adapter stores: for each user and step a fixed batch of feedback of mixed kinds.
struct AdapterScript: Sendable {
    let dimension = 20
    private let seed: UInt64 = 7
    private let catalogue: ItemCatalogue

    init() throws {
        var generator = PhiloxGenerator(seed: seed, purpose: .simulation)
        let items = (0..<12).map { _ in Self.vector(20, &generator) }
        catalogue = try ItemCatalogue(vectors: Matrix(rows: items))
    }

    private static func vector(_ dimension: Int, _ generator: inout PhiloxGenerator) -> [Float] {
        (0..<dimension).map { _ in generator.uniform(in: Float(-0.5)..<0.5) }
    }

    func batch(_ user: String, _ step: Int) -> [Feedback] {
        var generator = PhiloxGenerator(
            seed: seed &+ UInt64(step) &+ 1, stream: StableHash.hash(user), purpose: .simulation)
        func vector() -> [Float] { Self.vector(dimension, &generator) }
        let signals: [Feedback.Signal] = [
            .target(vector()), .preference(.vector(vector()), over: [.vector(vector())]),
            .ranking(.vector(vector()), among: [.vector(vector()), .vector(vector())]),
            .like(generator.integer(below: 12), in: catalogue, seen: [generator.integer(below: 12)]),
            .reward(generator.uniform(in: Float(-1)..<1), for: .vector(vector())),
        ]
        return signals.map { Feedback(embedding: vector(), signal: $0, weight: 1 + generator.uniformFloat()) }
    }

    func cold(_ user: String) throws -> LoRAAdapter {
        LoRAAdapter(
            shape: try AdapterShape(dimension: dimension, rank: 4), identity: AdapterIdentity(seed: seed, user: user))
    }

    /// The user's adapter at versions 0 to `steps`, one update after the other; the optimizer keeps state.
    func history(_ user: String, steps: Int) throws -> [LoRAAdapter] {
        var states = [try cold(user)]
        for step in 0..<steps {
            let next = try states[step].updated(
                with: batch(user, step), configuration: UpdateConfiguration(optimizer: .momentum()))
            states.append(next.adapter)
        }
        return states
    }
}
