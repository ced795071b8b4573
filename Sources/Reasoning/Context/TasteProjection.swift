package import TensorCore

/// A fixed random projection of embeddings to the 16 dimensions in which tastes are compared.
///
/// Entries are ±1/√dimension, drawn by seed 0 and the dimension alone, so that tastes of different engines compare; lengths and
/// angles survive on average (Achlioptas 2003, *Database-friendly random projections*, Theorem 1.1).
package final class TasteProjection: Sendable {
    /// The number of values of an embedding.
    package let dimension: Int
    private let rows: AlignedStorage<Float>

    /// - Complexity: O(dimension).
    package init(dimension: Int) {
        self.dimension = dimension
        rows = AlignedStorage(count: 16 * dimension)
        var generator = PhiloxGenerator(seed: 0, stream: UInt64(dimension), purpose: .projection)
        let size = 1 / Float(dimension).squareRoot()
        rows.withBuffer { all in
            for i in 0..<all.count { all[i] = generator.next() & 1 == 0 ? size : -size }
        }
    }

    /// The projection of an embedding `[dimension]`.
    package func project(_ embedding: FloatBuffer) -> SIMD16<Float> {
        var result = SIMD16<Float>()
        unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: 16) { memory in
            guard let base = memory.baseAddress else { preconditionFailure("no stack memory") }
            let out = unsafe FloatBuffer(base: base, count: 16)
            rows.withBuffer { Kernels.rowDots($0, embedding, into: out) }
            for i in 0..<16 { result[i] = out[i] }
        }
        return result
    }
}
