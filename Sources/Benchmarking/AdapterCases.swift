internal import LoRA
internal import TensorCore

/// Whole updates of one adapter, as an engine makes them: checked, counted, and reported; without the loss after them, as the
/// reference's work has none.
final class AdapterCases {
    private let work: Workload
    private let batch: [Feedback]

    static let batchSize = 32

    init(_ work: Workload) throws {
        self.work = work
        var random = PhiloxGenerator(seed: 8, purpose: .simulation)
        let size = 1.7 / Float(work.shape.dimension).squareRoot()
        batch = (0..<Self.batchSize).map { _ in
            func vector() -> [Float] { (0..<work.shape.dimension).map { _ in random.uniform(in: -size..<size) } }
            return Feedback(embedding: vector(), signal: .target(vector()))
        }
    }

    func cases() throws -> [BenchmarkCase] {
        [try adam(), try protected(), try riemannian(), batched()]
    }

    /// A case of updates in place with one feedback each.
    private func updates(
        _ name: String, _ adapter: LoRAAdapter, _ configuration: UpdateConfiguration, state: Int,
        _ plain: @escaping (inout PlainAdapter, Int) -> Void
    ) -> BenchmarkCase {
        let held = Held(adapter)
        let (work, feedback) = (work, work.feedback)
        let scratch = UpdateScratch()
        return BenchmarkCase(
            name: name, dimension: work.shape.dimension, rank: work.shape.rank, bytes: work.updateBytes(state: state),
            operations: work.updateOperations,
            run: { range in
                for number in range {
                    _ = try held.lend {
                        try $0.update(
                            with: feedback[number & (Workload.count - 1)], configuration: configuration,
                            overrides: UpdateOverrides(), scratch: scratch)
                    }
                }
            },
            check: {
                var (adapter, expected) = (adapter, PlainAdapter(adapter))
                for i in 0..<Workload.count {
                    let before = expected.parameters
                    _ = try adapter.update(with: work.checkFeedback[i], configuration: configuration)
                    plain(&expected, i)
                    let values = adapter.parameters.withBuffer(\.array)
                    try WrongResult.unless(values, from: before, moveTo: expected.parameters, name)
                }
            })
    }

    private func sample(_ i: Int) -> PlainAdapter.Samples { [(work.embeddings[i], work.checkTargets[i])] }

    private func adam() throws -> BenchmarkCase {
        let count = work.shape.parameterCount
        var (first, second) = ([Double](repeating: 0, count: count), [Double](repeating: 0, count: count))
        // A rate that a long run bears.
        var configuration = Workload.bareConfiguration(.adam())
        configuration.learningRates = PerObjective(all: 1e-4)
        return updates("update-adam", work.adapter, configuration, state: 2) { plain, i in
            plain.adamStep(
                self.sample(i), rate: Double(Float(1e-4)), step: i + 1, first: &first, second: &second)
        }
    }

    private func protected() throws -> BenchmarkCase {
        let configuration = Workload.bareConfiguration(protection: ElasticWeightConsolidation(strength: 0.5))
        // Anchored after a few updates, with the Fisher information of those.
        var adapter = work.adapter
        for feedback in work.feedback { _ = try adapter.update(with: feedback, configuration: configuration) }
        adapter.consolidate()
        guard let parts = adapter.protection?.withParts({ anchor, fisher, _ in (anchor.array, fisher.array) }) else {
            throw WrongResult("update-ewc: no protection")
        }
        return updates("update-ewc", adapter, configuration, state: 3) { plain, i in
            plain.protectedStep(
                self.sample(i), rate: Double(Workload.rate), strength: 0.5, anchor: parts.0.map(Double.init),
                fisher: parts.1.map(Double.init))
        }
    }

    private func riemannian() throws -> BenchmarkCase {
        updates("update-riemannian", work.adapter, Workload.bareConfiguration(.riemannian()), state: 0) { plain, i in
            plain.riemannianStep(self.sample(i), rate: Double(Workload.rate), damping: Double(Float(1e-2)))
        }
    }

    private func batched() -> BenchmarkCase {
        let held = Held(work.adapter)
        let (batch, work) = (batch, work)
        let scratch = UpdateScratch()
        let configuration = Workload.bareConfiguration()
        return BenchmarkCase(
            name: "update-batch-32", dimension: work.shape.dimension, rank: work.shape.rank, batch: Self.batchSize,
            bytes: work.updateBytes() + Self.batchSize * 2 * work.shape.dimension * 4,
            operations: Self.batchSize * work.updateOperations,
            run: { range in
                for _ in range {
                    _ = try held.lend {
                        try $0.update(
                            with: batch, configuration: configuration, overrides: UpdateOverrides(), scratch: scratch)
                    }
                }
            },
            check: {
                // Unclipped, then clipped.
                for scale: Float in [3_000, 1e6] {
                    let far = batch.map { sample in
                        guard case .target(let target) = sample.signal else { return sample }
                        return Feedback(embedding: sample.embedding, signal: .target(target.map { $0 * scale }))
                    }
                    var (adapter, expected) = (work.adapter, PlainAdapter(work.adapter))
                    let before = expected.parameters
                    _ = try adapter.update(with: far, configuration: configuration)
                    let samples: PlainAdapter.Samples = far.compactMap { sample in
                        if case .target(let target) = sample.signal { (sample.embedding, target) } else { nil }
                    }
                    expected.step(samples, rate: Double(Workload.rate))
                    try WrongResult.unless(
                        adapter.parameters.withBuffer(\.array), from: before, moveTo: expected.parameters,
                        "update-batch-32")
                }
            })
    }
}

/// An adapter that a case updates in place, without the checks that a class's properties come with.
@safe
final class Held {
    private let adapter: UnsafeMutablePointer<LoRAAdapter>

    init(_ adapter: LoRAAdapter) {
        unsafe self.adapter = .allocate(capacity: 1)
        unsafe self.adapter.initialize(to: adapter)
    }

    deinit {
        unsafe adapter.deinitialize(count: 1)
        unsafe adapter.deallocate()
    }

    @inline(__always)
    func lend<R>(_ body: (inout LoRAAdapter) throws -> R) rethrows -> R { try unsafe body(&adapter.pointee) }
}
