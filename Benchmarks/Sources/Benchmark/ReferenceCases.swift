import Attune
import Benchmarking
import CReference

/// Kernels of ``CReference`` at one shape, on the work of Attune's cases.
final class ReferenceCases {
    /// Whose times these are: `fused` or `limit`.
    private let implementation: String
    private let kernels: reference_kernels
    private let shape: KernelBenchmark.Shape
    private let scratch: Block
    /// A, then B transposed.
    private let parameters: Block
    private let embeddings: Block
    private let targets: Block
    private let output: Block
    private let moments: Block
    private let importance: Block
    private static let inputs = 4
    private static let batch = 32
    private static let users = 64
    private static let rate: Float = 0.01
    private static let adamRate: Float = 1e-4
    private static let penalty: Float = 0.5
    private static let damping: Float = 0.01

    /// All cases of the fused reference and of the limit; none where the processor or the kernels do not take the shape.
    ///
    /// - Parameter streamBytes: What the adapters of a stream may take; no stream for 0.
    static func all(_ shape: KernelBenchmark.Shape, streamBytes: Int) -> [BenchmarkCase] {
        guard shape.dimension % 64 == 0, [4, 8, 16].contains(shape.rank) else { return [] }
        return unsafe [("fused", reference_fused()), ("limit", reference_limit())].flatMap { name, kernels in
            guard let kernels = unsafe kernels?.pointee else { return [BenchmarkCase]() }
            return ReferenceCases(name, kernels, shape).cases(streamBytes: streamBytes)
        }
    }

    private init(_ implementation: String, _ kernels: reference_kernels, _ shape: KernelBenchmark.Shape) {
        self.implementation = implementation
        self.kernels = kernels
        self.shape = shape
        let (d, r) = (shape.dimension, shape.rank)
        var random = PhiloxGenerator(seed: 17, purpose: .simulation)
        let size = 1.7 / Float(d).squareRoot()
        parameters = Block(2 * r * d) { i in
            i < r * d ? random.uniform(in: -1..<1) * (6 / Float(d + r)).squareRoot() : random.uniform(in: -0.01..<0.01)
        }
        let some = (0..<(Self.batch * d)).map { _ in random.uniform(in: -size..<size) }
        // The second half of the four that single steps take repeats the first, with other targets.
        embeddings = Block(Self.batch * d) { some[$0 % (2 * d)] }
        targets = Block(Self.batch * d) { _ in random.uniform(in: -size..<size) }
        output = Block(d) { _ in 0 }
        moments = Block(4 * r * d) { _ in 0 }
        importance = Block(2 * r * d) { _ in 0 }
        scratch = Block(reference_scratch_size(d, r, Self.batch)) { _ in 0 }
    }

    private func cases(streamBytes: Int) -> [BenchmarkCase] {
        let (d, r, k) = (shape.dimension, shape.rank, kernels)
        let (a, b, z) = unsafe (parameters.base, parameters.base + r * d, scratch.base)
        let (m, f, y) = unsafe (moments.base, importance.base, output.base)
        let plain = [
            unsafe single(
                "forward",
                { x, _ in
                    unsafe k.forward(d, r, a, b, x, y, 1)
                    return 0
                }, check: checkForward),
            unsafe single(
                "update-sgd", { x, t in unsafe k.sgd(d, r, a, b, x, t, 1, Self.rate, z) },
                plain: { plain, sample in plain.step(sample, rate: Double(Self.rate)) }),
            unsafe single(
                "update-adam", state: 2, { x, t in unsafe k.adam(d, r, a, b, m, x, t, 1, Self.adamRate, z) },
                check: checkAdam),
            unsafe single(
                "update-ewc", state: 1,
                { x, t in unsafe k.ewc(d, r, a, b, f, x, t, 1, Self.rate, Self.penalty, z) },
                check: checkEWC),
            unsafe single(
                "update-riemannian",
                { x, t in unsafe k.riemannian(d, r, a, b, x, t, 1, Self.rate, Self.damping, z) },
                plain: { plain, sample in
                    plain.riemannianStep(sample, rate: Double(Self.rate), damping: Double(Self.damping))
                }),
        ]
        return plain + [batched, mixed] + (streamBytes > 0 ? [stream(streamBytes)] : [])
    }

    // MARK: - One sample

    private typealias Call = (_ x: UnsafePointer<Float>, _ t: UnsafePointer<Float>) -> Float

    private func single(
        _ name: String, state: Int = 0, _ call: @escaping Call, check: @escaping () throws -> Void
    ) -> BenchmarkCase {
        let (d, r) = (shape.dimension, shape.rank)
        let count = 2 * r * d
        return BenchmarkCase(
            name: name, implementation: implementation, dimension: d, rank: r,
            bytes: name == "forward" ? 4 * (count + 2 * d) : 4 * (2 * (1 + state) * count + 2 * d),
            operations: name == "forward" ? 2 * count : 5 * count,
            run: { range in
                for number in range {
                    let i = number & (Self.inputs - 1)
                    blackHole(unsafe call(self.embeddings.base + i * d, self.targets.base + i * d))
                }
            }, check: { try check() })
    }

    private func single(
        _ name: String, _ call: @escaping Call, plain: @escaping (inout PlainAdapter, PlainAdapter.Samples) -> Void
    ) -> BenchmarkCase {
        unsafe single(name, call) { try unsafe self.checkSteps(name, call, plain) }
    }

    // MARK: - Checks

    private func wrong(_ name: String) -> String { "\(name) of the \(implementation)" }

    private var plain: PlainAdapter {
        PlainAdapter(dimension: shape.dimension, rank: shape.rank, parameters: parameters.values)
    }

    private func samples(_ range: Range<Int>) -> PlainAdapter.Samples {
        let d = shape.dimension
        return range.map { i in
            (Array(embeddings.values[(i * d)..<((i + 1) * d)]), Array(targets.values[(i * d)..<((i + 1) * d)]))
        }
    }

    private func checkForward() throws {
        let (d, r) = (shape.dimension, shape.rank)
        unsafe kernels.forward(
            d, r, parameters.base, parameters.base + r * d, embeddings.base, output.base, 1)
        try WrongResult.unless(output.values, are: plain.forward(samples(0..<1)[0].x), wrong("forward"))
    }

    /// Multiplies targets by so much while `body` runs: steps towards near ones move parameters by less than their rounding.
    private func withTargets<R>(_ range: Range<Int>, times factor: Float, _ body: () throws -> R) rethrows -> R {
        let d = shape.dimension
        let near = targets.values
        for i in (range.lowerBound * d)..<(range.upperBound * d) { unsafe targets.base[i] *= factor }
        defer { for i in near.indices { unsafe targets.base[i] = near[i] } }
        return try body()
    }

    /// Makes a step by each input, the last by a target so far away that both gradients are clipped, and holds parameters and
    /// losses against plain loops.
    private func checkSteps(
        _ name: String, _ call: Call, _ step: (inout PlainAdapter, PlainAdapter.Samples) -> Void
    ) throws {
        let d = shape.dimension
        var expected = plain
        for i in 0..<Self.inputs {
            try withTargets(i..<(i + 1), times: i + 1 < Self.inputs ? 300 : 1e6) {
                let (before, sample) = (expected.parameters, samples(i..<(i + 1)))
                let loss = expected.loss(sample)
                let found = unsafe call(embeddings.base + i * d, targets.base + i * d)
                step(&expected, sample)
                try WrongResult.unless(
                    parameters.values, from: before, moveTo: expected.parameters, wrong(name))
                try WrongResult.unless([found], are: [loss], tolerance: 1e-4, wrong("\(name)'s loss"))
            }
        }
    }

    private func checkAdam() throws {
        let (d, r, k, size) = (shape.dimension, shape.rank, kernels, shape.rank * shape.dimension)
        var (first, second) = ([Double](repeating: 0, count: 2 * size), [Double](repeating: 0, count: 2 * size))
        // Adam divides by the gradient's size, so a small one's rounding errors are felt in full.
        let rate: Float = 0.001
        try unsafe checkSteps("update-adam") { x, t in
            unsafe k.adam(
                d, r, parameters.base, parameters.base + size, moments.base, x, t, 1, rate, scratch.base)
        } _: { plain, sample in
            // The kernels leave the correction of the moments' bias to the rate. After so many steps it is none.
            plain.adamStep(sample, rate: Double(rate), step: 100_000, first: &first, second: &second)
        }
        let found = moments.values
        let firstOfBoth = found[..<size] + found[(2 * size)..<(3 * size)]
        try WrongResult.unless(Array(firstOfBoth), are: first, wrong("update-adam's moments"))
    }

    private func checkEWC() throws {
        let (d, r, k, size) = (shape.dimension, shape.rank, kernels, shape.rank * shape.dimension)
        var expected = [Double](repeating: 0, count: 2 * size)
        // An importance that is felt in so few steps.
        for i in 0..<(2 * size) {
            unsafe importance.base[i] = Float(i % 5)
            expected[i] = Double(i % 5)
        }
        defer { for i in 0..<(2 * size) { unsafe importance.base[i] = 0 } }
        try unsafe checkSteps("update-ewc") { x, t in
            unsafe k.ewc(
                d, r, parameters.base, parameters.base + size, importance.base, x, t, 1, Self.rate, Self.penalty,
                scratch.base)
        } _: { plain, sample in
            plain.penalisedStep(
                sample, rate: Double(Self.rate), penalty: Double(Self.penalty), importance: &expected)
        }
        try WrongResult.unless(importance.values, are: expected, wrong("update-ewc's importance"))
    }

    // MARK: - Many samples, many adapters

    private var batched: BenchmarkCase {
        let (d, r, k) = (shape.dimension, shape.rank, kernels)
        let (a, b, x, t, z) = unsafe (
            parameters.base, parameters.base + r * d, embeddings.base, targets.base, scratch.base
        )
        return BenchmarkCase(
            name: "update-batch-32", implementation: implementation, dimension: d, rank: r, batch: Self.batch,
            bytes: 4 * (4 * r * d + 2 * Self.batch * d), operations: Self.batch * 10 * r * d,
            run: { range in
                for _ in range { unsafe blackHole(k.batch(d, r, Self.batch, a, b, x, t, 1, Self.rate, z)) }
            },
            check: {
                // Unclipped, then clipped.
                for factor: Float in [3_000, 1e6] {
                    try self.withTargets(0..<Self.batch, times: factor) {
                        var expected = self.plain
                        let before = expected.parameters
                        _ = unsafe k.batch(d, r, Self.batch, a, b, x, t, 1, Self.rate, z)
                        expected.step(self.samples(0..<Self.batch), rate: Double(Self.rate))
                        try WrongResult.unless(
                            self.parameters.values, from: before, moveTo: expected.parameters,
                            self.wrong("update-batch-32"))
                    }
                }
            })
    }

    private var mixed: BenchmarkCase {
        let (d, r, k) = (shape.dimension, shape.rank, kernels)
        let size = 2 * r * d
        // Users differ by a factor, so that no other's adapter or row gives the same result.
        let slab = Block(Self.users * size, huge: true) { i in
            self.parameters[i % size] * (1 + Float(i / size) / 64)
        }
        let rows = Block(Self.users * d) { i in self.embeddings[i % (4 * d)] }
        let outputs = Block(Self.users * d) { _ in 0 }
        let run = { (range: Range<Int>) async in
            for _ in range {
                for user in 0..<Self.users {
                    let a = unsafe slab.base + user * size
                    unsafe k.forward(d, r, a, a + r * d, rows.base + user * d, outputs.base + user * d, 1)
                }
            }
        }
        return BenchmarkCase(
            name: "forward-mixed-64", implementation: implementation, dimension: d, rank: r, batch: Self.users,
            bytes: Self.users * 4 * (2 * r * d + 2 * d), operations: Self.users * 4 * r * d,
            run: run,
            check: {
                await run(0..<1)
                for user in 0..<Self.users {
                    let own = Array(slab.values[(user * size)..<((user + 1) * size)])
                    let x = Array(rows.values[(user * d)..<((user + 1) * d)])
                    let y = Array(outputs.values[(user * d)..<((user + 1) * d)])
                    let plain = PlainAdapter(dimension: d, rank: r, parameters: own)
                    try WrongResult.unless(y, are: plain.forward(x), self.wrong("forward-mixed-64"))
                }
            })
    }

    /// Steps over many adapters in random order, in one piece of memory on huge pages.
    private func stream(_ bytes: Int) -> BenchmarkCase {
        let (d, r, k) = (shape.dimension, shape.rank, kernels)
        let size = 2 * r * d
        let count = max(2, min(100_000, bytes / (4 * size)))
        let slab = Block(count * size, huge: true) { i in self.parameters[i % size] }
        var random = PhiloxGenerator(seed: 18, purpose: .shuffling)
        let order = (0..<count).shuffled(using: &random)
        let run = { [self] (range: Range<Int>) async throws in
            for number in range {
                let a = unsafe slab.base + order[number % count] * size
                let i = number & (Self.inputs - 1)
                let (x, t) = unsafe (embeddings.base + i * d, targets.base + i * d)
                unsafe blackHole(k.sgd(d, r, a, a + r * d, x, t, 1, Self.rate, scratch.base))
            }
        }
        return BenchmarkCase(
            name: "update-stream", implementation: implementation, dimension: d, rank: r, bytes: 4 * (2 * size + 2 * d),
            operations: 5 * size, run: run,
            // All of them once: a virtual machine may give memory only when it is first used, or used again.
            check: { try await run(0..<count) })
    }
}

/// Floats at a multiple of 2 MiB, or of a cache line.
@safe
final class Block {
    let base: UnsafeMutablePointer<Float>
    private let count: Int

    init(_ count: Int, huge: Bool = false, _ value: (Int) -> Float) {
        self.count = count
        let alignment = huge ? 2 << 20 : 64
        let bytes = (max(count, 1) * 4 + alignment - 1) / alignment * alignment
        let raw = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: alignment)
        if huge { unsafe adviseHugePages(raw, bytes) }
        unsafe base = raw.bindMemory(to: Float.self, capacity: count)
        for i in 0..<count { unsafe (base + i).initialize(to: value(i)) }
    }

    deinit { unsafe base.deallocate() }

    var values: [Float] { unsafe Array(UnsafeBufferPointer(start: base, count: count)) }

    subscript(index: Int) -> Float {
        precondition(index >= 0 && index < count)
        return unsafe base[index]
    }
}
