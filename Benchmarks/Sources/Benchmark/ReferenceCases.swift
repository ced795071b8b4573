import Attune
import Benchmarking
import CReference

/// The fused reference kernels at one shape, on the work of Attune's cases: what the machine allows.
final class ReferenceCases {
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

    init(_ shape: KernelBenchmark.Shape) {
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

    private func single(
        _ name: String, state: Int = 0,
        _ call: @escaping (_ x: UnsafePointer<Float>, _ t: UnsafePointer<Float>) -> Void,
        check: @escaping () throws -> Void = {}
    ) -> BenchmarkCase {
        let (d, r) = (shape.dimension, shape.rank)
        let count = 2 * r * d
        return BenchmarkCase(
            name: name, implementation: "reference", dimension: d, rank: r,
            bytes: name == "forward" ? 4 * (count + 2 * d) : 4 * (2 * (1 + state) * count + 2 * d),
            operations: name == "forward" ? 2 * count : 5 * count,
            run: { range in
                for number in range {
                    let i = number & (Self.inputs - 1)
                    unsafe call(self.embeddings.base + i * d, self.targets.base + i * d)
                }
            }, check: { try check() })
    }

    /// Makes a call, and holds the parameters after it against plain loops.
    private func checkUpdate(_ name: String, _ call: () -> Void, _ plain: (inout PlainAdapter) -> Void) throws {
        var expected = PlainAdapter(dimension: shape.dimension, rank: shape.rank, parameters: parameters.values)
        call()
        plain(&expected)
        try WrongResult.unless(parameters.values, are: expected.parameters, "the reference's \(name)")
    }

    private func samples(_ count: Int) -> PlainAdapter.Samples {
        let d = shape.dimension
        return (0..<count).map { i in
            (Array(embeddings.values[(i * d)..<((i + 1) * d)]), Array(targets.values[(i * d)..<((i + 1) * d)]))
        }
    }

    private func checkForward() throws {
        let x = samples(1)[0].x
        unsafe reference_forward(
            shape.dimension, shape.rank, parameters.base, parameters.base + shape.rank * shape.dimension,
            embeddings.base,
            output.base, 1)
        let plain = PlainAdapter(dimension: shape.dimension, rank: shape.rank, parameters: parameters.values)
        try WrongResult.unless(output.values, are: plain.forward(x), "the reference's forward")
    }

    /// All cases; none where the processor does not run the reference.
    ///
    /// - Parameter streamBytes: What many adapters may take; without them for 0.
    func cases(streamBytes: Int) -> [BenchmarkCase] {
        // It takes 64 columns at a time, and these ranks.
        guard reference_is_available() != 0, shape.dimension % 64 == 0, [4, 8, 16].contains(shape.rank) else {
            return []
        }
        let (d, r) = (shape.dimension, shape.rank)
        let (a, b) = unsafe (parameters.base, parameters.base + r * d)
        return [
            unsafe single("forward", { x, _ in unsafe reference_forward(d, r, a, b, x, self.output.base, 1) }) {
                try self.checkForward()
            },
            unsafe single(
                "update-sgd",
                { x, t in unsafe blackHole(reference_sgd(d, r, a, b, x, t, 1, Self.rate, self.scratch.base)) }
            ) {
                try self.checkUpdate("update-sgd") {
                    _ = unsafe reference_sgd(
                        d, r, a, b, self.embeddings.base, self.targets.base, 1, Self.rate, self.scratch.base)
                } _: {
                    $0.step(self.samples(1), rate: Double(Self.rate))
                }
            },
            unsafe single("update-adam", state: 2) { x, t in
                unsafe blackHole(reference_adam(d, r, a, b, self.moments.base, x, t, 1, 1e-4, self.scratch.base))
            },
            unsafe single("update-ewc", state: 1) { x, t in
                unsafe blackHole(
                    reference_ewc(d, r, a, b, self.importance.base, x, t, 1, Self.rate, 0.5, self.scratch.base))
            },
            unsafe single(
                "update-riemannian",
                { x, t in
                    unsafe blackHole(reference_riemannian(d, r, a, b, x, t, 1, Self.rate, 1e-2, self.scratch.base))
                }
            ) {
                try self.checkUpdate("update-riemannian") {
                    _ = unsafe reference_riemannian(
                        d, r, a, b, self.embeddings.base, self.targets.base, 1, Self.rate, 1e-2, self.scratch.base)
                } _: {
                    $0.riemannianStep(self.samples(1), rate: Double(Self.rate), damping: Double(Float(1e-2)))
                }
            },
            batched, mixed,
        ] + (streamBytes > 0 ? [stream(streamBytes)] : [])
    }

    private var batched: BenchmarkCase {
        let (d, r) = (shape.dimension, shape.rank)
        return BenchmarkCase(
            name: "update-batch-32", implementation: "reference", dimension: d, rank: r, batch: Self.batch,
            bytes: 4 * (4 * r * d + 2 * Self.batch * d), operations: Self.batch * 10 * r * d,
            run: { range in
                let (a, b) = unsafe (self.parameters.base, self.parameters.base + r * d)
                for _ in range {
                    unsafe blackHole(
                        reference_batch(
                            d, r, Self.batch, a, b, self.embeddings.base, self.targets.base, 1, Self.rate,
                            self.scratch.base))
                }
            },
            check: {
                let (a, b) = unsafe (self.parameters.base, self.parameters.base + r * d)
                try self.checkUpdate("update-batch-32") {
                    _ = unsafe reference_batch(
                        d, r, Self.batch, a, b, self.embeddings.base, self.targets.base, 1, Self.rate, self.scratch.base
                    )
                } _: {
                    $0.step(self.samples(Self.batch), rate: Double(Self.rate))
                }
            })
    }

    private var mixed: BenchmarkCase {
        let (d, r) = (shape.dimension, shape.rank)
        let slab = Block(Self.users * 2 * r * d) { i in self.parameters[i % (2 * r * d)] }
        let rows = Block(Self.users * d) { i in self.embeddings[i % d] }
        let outputs = Block(Self.users * d) { _ in 0 }
        return BenchmarkCase(
            name: "forward-mixed-64", implementation: "reference", dimension: d, rank: r, batch: Self.users,
            bytes: Self.users * 4 * (2 * r * d + 2 * d), operations: Self.users * 4 * r * d,
            run: { range in
                for _ in range {
                    for user in 0..<Self.users {
                        let a = unsafe slab.base + user * 2 * r * d
                        unsafe reference_forward(
                            d, r, a, a + r * d, rows.base + user * d, outputs.base + user * d, 1)
                    }
                }
            }, check: {})
    }

    /// Steps over many adapters in random order, in one piece of memory on huge pages.
    private func stream(_ bytes: Int) -> BenchmarkCase {
        let (d, r) = (shape.dimension, shape.rank)
        let size = 2 * r * d
        let count = max(2, min(100_000, bytes / (4 * size)))
        let slab = Block(count * size, huge: true) { i in self.parameters[i % size] }
        var random = PhiloxGenerator(seed: 18, purpose: .shuffling)
        let order = (0..<count).shuffled(using: &random)
        return BenchmarkCase(
            name: "update-stream", implementation: "reference", dimension: d, rank: r, bytes: 4 * (2 * size + 2 * d),
            operations: 5 * size,
            run: { range in
                for number in range {
                    let a = unsafe slab.base + order[number % count] * size
                    let i = number & (Self.inputs - 1)
                    unsafe blackHole(
                        reference_sgd(
                            d, r, a, a + r * d, self.embeddings.base + i * d, self.targets.base + i * d, 1, Self.rate,
                            self.scratch.base))
                }
            }, check: {})
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
