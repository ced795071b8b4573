internal import LoRA
internal import TensorCore

/// The kernels alone, called as an update calls them, on one adapter that stays in the first cache.
final class KernelCases {
    private let work: Workload
    private let parameters: AlignedStorage<Float>
    private let memory: AlignedStorage<Float>
    /// The embeddings, then the targets.
    private let inputs: AlignedStorage<Float>

    init(_ work: Workload) {
        self.work = work
        parameters = work.adapter.parameters.copy()
        memory = AlignedStorage(count: 3 * work.shape.dimension + 4 * (work.shape.rank + 16))
        inputs = AlignedStorage(count: 2 * Workload.count * work.shape.dimension)
        inputs.withBuffer { $0.copy(from: (work.embeddings + work.targets).flatMap { $0 }.span) }
    }

    /// Calls `body` with each call's embedding and target.
    private func forEach(_ range: Range<Int>, _ body: (FloatBuffer, FloatBuffer) -> Void) {
        let d = work.shape.dimension
        inputs.withBuffer { all in
            for number in range {
                let i = number & (Workload.count - 1)
                let target = Workload.count + i
                body(all.slice((i * d)..<((i + 1) * d)), all.slice((target * d)..<((target + 1) * d)))
            }
        }
    }

    var cases: [BenchmarkCase] {
        [
            BenchmarkCase(
                name: "forward", dimension: work.shape.dimension, rank: work.shape.rank, bytes: work.forwardBytes,
                operations: work.forwardOperations, run: { self.forward($0) },
                check: { try self.checkForward() }),
            BenchmarkCase(
                name: "update-sgd", dimension: work.shape.dimension, rank: work.shape.rank, bytes: work.updateBytes(),
                operations: work.updateOperations, run: { self.update($0) }, check: { try self.checkUpdate() }),
        ]
    }

    private func forward(_ range: Range<Int>) {
        let (d, r) = (work.shape.dimension, work.shape.rank)
        parameters.withBuffer { all in
            memory.withBuffer { memory in
                let (hidden, output) = (memory.slice(0..<r), memory.slice(64..<(64 + d)))
                let map = work.shape.map(all)
                forEach(range) { x, _ in
                    _ = Kernels.forward(map, x, hidden: hidden, scaled: hidden, output: output)
                }
            }
        }
    }

    /// Forward, target loss, clipping by each matrix's norm, plain gradient descent.
    private func update(_ range: Range<Int>) {
        let (d, r) = (work.shape.dimension, work.shape.rank)
        let factor = 2 / Float(d)
        let rate = Double(Workload.rate)
        parameters.withBuffer { all in
            memory.withBuffer { memory in
                let map = work.shape.map(all)
                let room = r + (16 - r % 16) % 16
                var gradient = AdapterGradient(
                    hidden: memory.slice(0..<r), scaled: memory.slice(room..<(room + r)),
                    back: memory.slice((2 * room)..<(2 * room + r)),
                    error: memory.slice((3 * room)..<(3 * room + d)), output: nil)
                forEach(range) { x, target in
                    Kernels.targetGradient(map, x, target: target, factor: factor, into: &gradient)
                    let down = (Double(gradient.squaredBack) * Double(gradient.squaredInput)).squareRoot()
                    let up =
                        Double(factor)
                        * (Double(gradient.squaredScaled) * Double(gradient.squaredResidual)).squareRoot()
                    Kernels.scale(gradient.back, by: Float(-rate * (down > 1 ? 1 / down : 1)))
                    Kernels.scale(gradient.scaled, by: Float(-rate * (up > 1 ? 1 / up : 1)))
                    Kernels.step(
                        map, x, error: gradient.error, down: gradient.back, up: gradient.scaled, biasRate: 0, keep: 1,
                        after: nil)
                }
            }
        }
    }

    private func checkForward() throws {
        let plain = PlainAdapter(work.adapter)
        for (i, embedding) in work.embeddings.enumerated() {
            forward(i..<(i + 1))
            let output = memory.withBuffer { $0.slice(64..<(64 + work.shape.dimension)).array }
            try WrongResult.unless(output, are: plain.forward(embedding), "forward")
        }
    }

    private func checkUpdate() throws {
        var plain = PlainAdapter(work.adapter)
        for i in 0..<Workload.count {
            plain.step([(work.embeddings[i], work.targets[i])], rate: Double(Workload.rate))
        }
        update(0..<Workload.count)
        try WrongResult.unless(parameters.withBuffer(\.array), are: plain.parameters, "update-sgd")
    }
}
