import Attune
import Benchmarking

/// The cases whose instructions and allocations are watched: what runs for every request, through the public interface alone.
struct HotCase {
    let name: String
    /// How many calls are counted: enough that the count of one is exact to well under 1 %.
    let calls: Int
    /// Makes calls one after another, in this thread.
    let run: (_ calls: Int) throws -> Void

    static func all() throws -> [HotCase] {
        try [(64, 4), (384, 8)].flatMap { try HotWork(dimension: $0.0, rank: $0.1).cases() }
    }
}

/// Random work of one shape.
private final class HotWork {
    private let shape: AdapterShape
    private let down: Matrix<Float>
    private let up: Matrix<Float>
    private let embeddings: [[Float]]
    private let feedback: [[Feedback]]
    private let batch: [Feedback]

    init(dimension: Int, rank: Int) throws {
        shape = try AdapterShape(dimension: dimension, rank: rank)
        var random = PhiloxGenerator(seed: 7)
        let size = 1.7 / Float(dimension).squareRoot()
        func vector() -> [Float] { (0..<dimension).map { _ in random.uniform(in: -size..<size) } }
        // Embeddings come back with other targets, so that no adapter ever fits them all.
        let some = [vector(), vector()]
        embeddings = some + some
        feedback = embeddings.map { [Feedback(embedding: $0, signal: .target(vector()))] }
        batch = (0..<32).map { _ in Feedback(embedding: vector(), signal: .target(vector())) }
        down = try Matrix(rows: (0..<rank).map { _ in vector() })
        up = try Matrix(rows: (0..<rank).map { _ in vector().map { 0.1 * $0 } })
    }

    func cases() throws -> [HotCase] {
        let ewc = ElasticWeightConsolidation(strength: 0.5)
        return [
            forward(),
            update("update-sgd", Self.configuration()),
            update("update-adam", Self.configuration(.adam(), rate: 1e-4)),
            try update("update-ewc", Self.configuration(protection: ewc), consolidated()),
            update("update-riemannian", Self.configuration(.riemannian())),
            batched(),
            try forwardThroughEngine(),
            try updateThroughEngine(),
            try mixed(),
        ]
    }

    private func named(_ name: String) -> String { "\(name) \(shape.dimension)/\(shape.rank)" }

    private func adapter() throws -> LoRAAdapter {
        try LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 7, stream: 1), down: down, up: up)
    }

    /// The benchmarks' settings: the target loss, each matrix clipped to norm 1.
    private static func configuration(
        _ optimizer: Optimizer = .sgd, rate: Float = 0.01, protection: ElasticWeightConsolidation? = nil
    ) -> UpdateConfiguration {
        UpdateConfiguration(
            optimizer: optimizer, learningRates: PerObjective(all: rate), clipping: .perMatrix,
            clipThresholds: PerObjective(all: 1), fading: PerObjective(all: 0), elasticWeightConsolidation: protection)
    }

    // MARK: One adapter

    private func forward() -> HotCase {
        HotCase(name: named("forward"), calls: 400) { [self] calls in
            let adapter = try adapter()
            var output = [Float](repeating: 0, count: shape.dimension)
            for i in 0..<calls {
                let embedding = embeddings[i & 3]
                var span = output.mutableSpan
                try adapter.forward(embedding.span, into: &span)
            }
            blackHole(output)
        }
    }

    private func update(
        _ name: String, _ configuration: UpdateConfiguration, _ start: LoRAAdapter? = nil
    ) -> HotCase {
        HotCase(name: named(name), calls: 200) { [self] calls in
            var adapter = try start ?? adapter()
            for i in 0..<calls { _ = try adapter.update(with: feedback[i & 3], configuration: configuration) }
            blackHole(adapter)
        }
    }

    private func consolidated() throws -> LoRAAdapter {
        var adapter = try adapter()
        for item in feedback {
            _ = try adapter.update(
                with: item,
                configuration: Self.configuration(protection: ElasticWeightConsolidation(strength: 0.5)))
        }
        adapter.consolidate()
        return adapter
    }

    private func batched() -> HotCase {
        HotCase(name: named("update-batch-32"), calls: 40) { [self] calls in
            var adapter = try adapter()
            let configuration = Self.configuration()
            for _ in 0..<calls { _ = try adapter.update(with: batch, configuration: configuration) }
            blackHole(adapter)
        }
    }

    // MARK: Through an engine

    private struct Users {
        let engine: PersonalizationEngine
        let handles: [UserHandle]
    }

    private func users(_ count: Int) throws -> Users {
        let engine = try PersonalizationEngine(
            configuration: EngineConfiguration(
                dimension: shape.dimension, rank: shape.rank, hasBias: false, update: Self.configuration()))
        let names = (0..<count).map { "user \($0)" }
        for name in names {
            // The first makes the adapter, in the user's line and so in another thread: no hot case.
            let feedback = feedback[0]
            try waiting { try await engine.updateAdapter(for: name, with: feedback) }
        }
        return Users(engine: engine, handles: try names.map { try engine.handle(for: $0) })
    }

    private func forwardThroughEngine() throws -> HotCase {
        let users = try users(1)
        return HotCase(name: named("forward-engine"), calls: 400) { [embeddings, shape] calls in
            try immediately {
                var output = [Float](repeating: 0, count: shape.dimension)
                for i in 0..<calls {
                    try await users.engine.personalize(embeddings[i & 3], for: users.handles[0], into: &output)
                }
                blackHole(output)
            }
        }
    }

    private func updateThroughEngine() throws -> HotCase {
        let users = try users(1)
        return HotCase(name: named("update-sgd-engine"), calls: 200) { [feedback] calls in
            try immediately {
                for i in 0..<calls {
                    try await users.engine.updateAdapter(for: users.handles[0], with: feedback[i & 3])
                }
            }
        }
    }

    private func mixed() throws -> HotCase {
        let users = try users(64)
        let rows = try Matrix(rows: (0..<64).map { embeddings[$0 & 3] })
        return HotCase(name: named("forward-mixed-64"), calls: 10) { calls in
            try immediately {
                var output = Matrix<Float>(rows: 0, columns: 0)
                var applied: [AppliedVersion] = []
                for _ in 0..<calls {
                    try await users.engine.personalize(rows, for: users.handles, into: &output, applied: &applied)
                }
                blackHole(output)
            }
        }
    }
}
