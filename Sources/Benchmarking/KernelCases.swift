internal import LoRA
internal import TensorCore

/// The kernels alone, called as an update calls them, on one adapter that stays in the first cache.
final class KernelCases {
    private let work: Workload
    private let parameters: AlignedStorage<Float>
    private let memory: AlignedStorage<Float>
    /// The embeddings, then the targets, half a page or whole pages apart: where a store follows a load at the same distance
    /// modulo 4 KiB, the processor waits for nothing, which would be the luck of the addresses.
    private let inputs: AlignedStorage<Float>
    private let stride: Int

    init(_ work: Workload) {
        self.work = work
        parameters = work.adapter.parameters.copy()
        memory = AlignedStorage(count: 3 * work.shape.dimension + 5 * (work.shape.rank + 16) + 64)
        stride = (work.shape.dimension + 511) / 512 * 512
        inputs = AlignedStorage(count: 2 * Workload.count * stride)
        write(work.embeddings + work.targets)
    }

    /// Puts vectors where calls take them from.
    private func write(_ vectors: [[Float]]) {
        inputs.withBuffer { all in
            for (i, vector) in vectors.enumerated() {
                all.slice((i * stride)..<(i * stride + work.shape.dimension)).copy(from: vector.span)
            }
        }
    }

    /// Where the output goes, behind A·x.
    private var outputRange: Range<Int> {
        let start = max(64, (work.shape.rank + 15) / 16 * 16)
        return start..<(start + work.shape.dimension)
    }

    /// Calls `body` with each call's embedding and target.
    private func forEach(_ range: Range<Int>, _ body: (FloatBuffer, FloatBuffer) -> Void) {
        let d = work.shape.dimension
        inputs.withBuffer { all in
            for number in range {
                let i = number & (Workload.count - 1)
                let target = Workload.count + i
                body(
                    all.slice((i * stride)..<(i * stride + d)), all.slice((target * stride)..<(target * stride + d)))
            }
        }
    }

    var cases: [BenchmarkCase] {
        [
            BenchmarkCase(
                name: "forward", dimension: work.shape.dimension, rank: work.shape.rank, bytes: work.forwardBytes,
                operations: work.forwardOperations, run: { (range: Range<Int>) async in self.forward(range) },
                check: { () async throws in try self.checkForward() }),
            BenchmarkCase(
                name: "update-sgd", dimension: work.shape.dimension, rank: work.shape.rank, bytes: work.updateBytes(),
                operations: work.updateOperations, run: { (range: Range<Int>) async in self.update(range) },
                check: { () async throws in try self.checkUpdate() }),
        ]
    }

    private func forward(_ range: Range<Int>) {
        let r = work.shape.rank
        parameters.withBuffer { all in
            memory.withBuffer { memory in
                let (hidden, output) = (memory.slice(0..<r), memory.slice(outputRange))
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
                    error: memory.slice((4 * room)..<(4 * room + d)), output: nil)
                let next = memory.slice((3 * room)..<(3 * room + r))
                forEach(range) { x, target in
                    Kernels.targetGradient(map, x, target: target, factor: factor, into: &gradient)
                    let down = (Double(gradient.squaredBack) * Double(gradient.squaredInput)).squareRoot()
                    let up =
                        Double(factor)
                        * (Double(gradient.squaredScaled) * Double(gradient.squaredResidual)).squareRoot()
                    var (downRate, upRate) = (Float(-rate), Float(-rate))
                    // Branches, as in Clipping.factor.
                    if _slowPath(down > 1) { downRate = Float(-rate * (1 / down)) }
                    if _slowPath(up > 1) { upRate = Float(-rate * (1 / up)) }
                    _ = Kernels.stepCoefficients(
                        gradient, next: next, downRate: downRate, upRate: upRate, scale: work.shape.scale)
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
            let output = memory.withBuffer { $0.slice(outputRange).array }
            try WrongResult.unless(output, are: plain.forward(embedding), "forward")
        }
    }

    private func checkUpdate() throws {
        write(work.embeddings + work.checkTargets)
        defer { write(work.embeddings + work.targets) }
        var plain = PlainAdapter(work.adapter)
        for i in 0..<Workload.count {
            let before = plain.parameters
            update(i..<(i + 1))
            plain.step([(work.embeddings[i], work.checkTargets[i])], rate: Double(Workload.rate))
            try WrongResult.unless(
                parameters.withBuffer(\.array), from: before, moveTo: plain.parameters, "update-sgd")
        }
    }
}
