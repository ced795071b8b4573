internal import TensorCore

extension Optimizer {
    /// The floats of scratch that a dense step takes, and one of rank 1.
    static func workCount(_ shape: AdapterShape) -> Int {
        rankOneWorkCount(shape) + shape.rank * shape.rank + shape.rank * shape.dimension
    }
    static func rankOneWorkCount(_ shape: AdapterShape) -> Int {
        DampedGram.scratchCount(rank: shape.rank) + shape.rank * shape.rank
    }

    /// ∂A ← (BᵀB + δI)⁻¹·∂A and ∂B ← (AAᵀ + δI)⁻¹·∂B, with B stored transposed: BᵀB is the Gram matrix of its rows.
    static func precondition(
        _ gradient: FloatBuffer, by parameters: FloatBuffer, _ shape: AdapterShape, _ damping: Float,
        _ scratch: FloatBuffer
    ) {
        let (r, d) = (shape.rank, shape.dimension)
        let used = rankOneWorkCount(shape)
        let inverse = scratch.slice(used..<(used + r * r))
        let result = scratch.slice((used + r * r)..<(used + r * r + r * d))
        for (target, other) in [(shape.downRange, shape.upRange), (shape.upRange, shape.downRange)] {
            let block = gradient.slice(target)
            withDampedGram(of: parameters.slice(other), shape, damping, scratch) { factor in
                // Column by column of the unit matrix; the inverse is symmetric, so that its rows serve as columns.
                for column in 0..<r {
                    let row = inverse.slice((column * r)..<((column + 1) * r))
                    row.fill(0)
                    row[column] = 1
                    factor.solve(row)
                }
            }
            result.fill(0)
            for k in 0..<r {
                Kernels.addRows(
                    block, inverse.slice((k * r)..<((k + 1) * r)), to: result.slice((k * d)..<((k + 1) * d)))
            }
            block.copy(from: result)
        }
    }

    /// The same for gradients of rank 1, of which it changes the coefficients only: `down` those of ∂A, `up` those of ∂B, both
    /// `[rank]`, in place. Uses ``rankOneWorkCount(_:)`` floats of scratch.
    ///
    /// - Returns: The squared norms of both.
    static func precondition(
        down: FloatBuffer, up: FloatBuffer, parameters: FloatBuffer, _ shape: AdapterShape, _ damping: Float,
        _ scratch: FloatBuffer
    ) -> (down: Double, up: Double) {
        if let squared = Kernels.preconditionRankOne(shape.map(parameters), down: down, up: up, damping: damping) {
            return squared
        }
        withDampedGram(of: parameters.slice(shape.upRange), shape, damping, scratch) { $0.solve(down) }
        withDampedGram(of: parameters.slice(shape.downRange), shape, damping, scratch) { $0.solve(up) }
        return (Double(Kernels.squaredNorm(down)), Double(Kernels.squaredNorm(up)))
    }

    private static func withDampedGram(
        of matrix: FloatBuffer, _ shape: AdapterShape, _ damping: Float, _ scratch: FloatBuffer,
        _ body: (DampedGram) -> Void
    ) {
        let r = shape.rank
        // Its doubles first, where they are aligned.
        let count = DampedGram.scratchCount(rank: r)
        let gram = scratch.slice(count..<(count + r * r))
        Kernels.gram(matrix, columns: shape.dimension, into: gram)
        DampedGram.withFactor(of: gram, rank: r, damping, scratch: scratch.slice(0..<count), body)
    }
}

/// The Cholesky factor of G + δI for a Gram matrix G, in Double and a fixed order, for dense steps and for ranks of which
/// ``Kernels/preconditionRankOne(_:down:up:damping:)`` has no form. The damping keeps every pivot positive; where rounding does
/// not, the pivot is the damping.
@safe
private struct DampedGram {
    private let rank: Int
    /// L row by row, its diagonal inverted, then room for one vector.
    private let memory: UnsafeMutablePointer<Double>

    @unsafe
    private init(rank: Int, memory: UnsafeMutablePointer<Double>) {
        self.rank = rank
        unsafe self.memory = memory
    }

    /// The floats of scratch that a factor takes.
    static func scratchCount(rank r: Int) -> Int { 2 * (r * r + r) }

    static func withFactor(
        of gram: FloatBuffer, rank r: Int, _ damping: Float, scratch: FloatBuffer, _ body: (DampedGram) -> Void
    ) {
        precondition(
            gram.count == r * r && scratch.count == scratchCount(rank: r), "DampedGram: not [\(r), \(r)]")
        unsafe scratch.withDoubles { memory in
            for i in 0..<r {
                for j in 0...i {
                    var sum = Double(gram[i * r + j]) + (i == j ? Double(damping) : 0)
                    for k in 0..<j { sum -= unsafe memory[i * r + k] * memory[j * r + k] }
                    unsafe memory[i * r + j] =
                        i == j ? 1 / max(sum, Double(damping)).squareRoot() : sum * memory[j * r + j]
                }
            }
            body(unsafe DampedGram(rank: r, memory: memory))
        }
    }

    /// b ← (G + δI)⁻¹·b.
    func solve(_ b: FloatBuffer) {
        let r = rank
        precondition(b.count == r, "DampedGram: a vector of \(b.count)")
        for i in 0..<r {
            var sum = Double(b[i])
            for k in 0..<i { sum -= unsafe memory[i * r + k] * memory[r * r + k] }
            unsafe memory[r * r + i] = sum * memory[i * r + i]
        }
        for i in stride(from: r - 1, through: 0, by: -1) {
            var sum = unsafe memory[r * r + i]
            for k in (i + 1)..<max(r, i + 1) { sum -= unsafe memory[k * r + i] * memory[r * r + k] }
            unsafe memory[r * r + i] = sum * memory[i * r + i]
            b[i] = unsafe Float(memory[r * r + i])
        }
    }
}
