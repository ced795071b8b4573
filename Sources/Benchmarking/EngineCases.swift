internal import LoRA
internal import Personalization
internal import TensorCore

/// The public interface of the engine: users in memory, no bank.
final class EngineCases {
    private let work: Workload
    private let engine: PersonalizationEngine
    private let user: UserHandle
    /// The users of one call for many.
    private let many: [UserHandle]
    private let embeddings: Matrix<Float>

    static let usersAtOnce = 64

    init(_ work: Workload) async throws {
        self.work = work
        var configuration = EngineConfiguration(
            dimension: work.shape.dimension, rank: work.shape.rank, hasBias: false, update: Workload.configuration())
        configuration.seed = 7
        engine = try PersonalizationEngine(configuration: configuration)
        // The first 2 MiB of adapters come from the heap; a service has more of them.
        for i in 0..<((2 << 20) / work.parameterBytes) {
            try await engine.updateAdapter(for: "other \(i)", with: work.feedback[0])
        }
        var handles: [UserHandle] = []
        for i in 0...Self.usersAtOnce {
            let name = "user \(i)"
            for feedback in work.feedback + Self.far(work) { try await engine.updateAdapter(for: name, with: feedback) }
            handles.append(try engine.handle(for: name))
        }
        user = handles[0]
        many = Array(handles.dropFirst())
        var random = PhiloxGenerator(seed: 10, purpose: .simulation)
        embeddings = try Matrix(
            rows: (0..<Self.usersAtOnce).map { _ in
                (0..<work.shape.dimension).map { _ in random.uniform(in: -0.1..<0.1) }
            })
    }

    /// Feedback by targets so far that every gradient is clipped: a cold adapter's B is zero, and near ones hardly move its A.
    private static func far(_ work: Workload) -> [[Feedback]] {
        zip(work.embeddings, work.targets).map { [Feedback(embedding: $0, signal: .target($1.map { $0 * 1e6 }))] }
    }

    var cases: [BenchmarkCase] { [forward, update, mixed] }

    private var forward: BenchmarkCase {
        BenchmarkCase(
            name: "forward-engine", dimension: work.shape.dimension, rank: work.shape.rank, bytes: work.forwardBytes,
            operations: work.forwardOperations,
            run: { range in
                var output = [Float](repeating: 0, count: self.work.shape.dimension)
                for number in range {
                    try await self.engine.personalize(
                        self.work.embeddings[number & (Workload.count - 1)], for: self.user, into: &output)
                }
                blackHole(output)
            },
            check: {
                let plain = PlainAdapter(try await self.adapter(of: self.user))
                for embedding in self.work.embeddings {
                    var output: [Float] = []
                    try await self.engine.personalize(embedding, for: self.user, into: &output)
                    try WrongResult.unless(output, are: plain.forward(embedding), "forward-engine")
                }
            })
    }

    private var update: BenchmarkCase {
        BenchmarkCase(
            name: "update-sgd-engine", dimension: work.shape.dimension, rank: work.shape.rank,
            bytes: work.updateBytes(),
            operations: work.updateOperations,
            run: { range in
                for number in range {
                    try await self.engine.updateAdapter(
                        for: self.user, with: self.work.feedback[number & (Workload.count - 1)])
                }
            },
            check: {
                var plain = PlainAdapter(try await self.adapter(of: self.user))
                for feedback in Self.far(self.work) {
                    guard case .target(let target) = feedback[0].signal else { continue }
                    let before = plain.parameters
                    try await self.engine.updateAdapter(for: self.user, with: feedback)
                    plain.step([(feedback[0].embedding, target)], rate: Double(Workload.rate))
                    let adapter = try await self.adapter(of: self.user)
                    try WrongResult.unless(
                        adapter.parameters.withBuffer(\.array), from: before, moveTo: plain.parameters,
                        "update-sgd-engine")
                }
            })
    }

    private var mixed: BenchmarkCase {
        BenchmarkCase(
            name: "forward-mixed-64", dimension: work.shape.dimension, rank: work.shape.rank, batch: Self.usersAtOnce,
            bytes: Self.usersAtOnce * work.forwardBytes, operations: Self.usersAtOnce * work.forwardOperations,
            run: { range in
                var output = Matrix<Float>(rows: 0, columns: 0)
                var applied: [AppliedVersion] = []
                for _ in range {
                    try await self.engine.personalize(
                        self.embeddings, for: self.many, into: &output, applied: &applied)
                }
                blackHole(output)
            },
            check: {
                var output = Matrix<Float>(rows: 0, columns: 0)
                var applied: [AppliedVersion] = []
                try await self.engine.personalize(self.embeddings, for: self.many, into: &output, applied: &applied)
                for i in self.many.indices {
                    let plain = PlainAdapter(try await self.adapter(of: self.many[i]))
                    try WrongResult.unless(
                        output.row(i), are: plain.forward(self.embeddings.row(i)), "forward-mixed-64")
                    guard applied[i].isPersonalized else { throw WrongResult("forward-mixed-64: not personalized") }
                }
            })
    }

    private func adapter(of user: UserHandle) async throws -> LoRAAdapter {
        guard let adapter = try await engine.adapter(for: user.user) else {
            throw WrongResult("\(user.user) has no adapter")
        }
        return adapter
    }
}
