package import TensorCore

/// A fixed projection of embeddings to the 64 dimensions in which tastes are compared.
///
/// Value i goes to place i mod 64, with a sign that is drawn once by seed 0: lengths and angles survive on average, and up to 64
/// dimensions exactly, since no two values share a place then. The signs depend on nothing else, so tastes of different engines
/// compare. (Feature hashing: Weinberger et al. 2009, [arXiv:0902.2206](https://arxiv.org/abs/0902.2206), §2, with places dealt out
/// in turn.)
package final class TasteProjection: Sendable {
    /// The number of values of an embedding.
    package let dimension: Int
    /// +1 or −1 for each value.
    private let signs: AlignedStorage<Float>

    /// - Complexity: O(dimension).
    package init(dimension: Int) {
        self.dimension = dimension
        signs = AlignedStorage(count: dimension)
        var generator = PhiloxGenerator(seed: 0, purpose: .projection)
        signs.withBuffer { all in
            for i in 0..<all.count { all[i] = generator.next() & 1 == 0 ? 1 : -1 }
        }
    }

    /// The projection of an embedding `[dimension]`.
    ///
    /// - Complexity: O(dimension).
    package func project(_ embedding: FloatBuffer) -> SIMD64<Float> {
        var result = SIMD64<Float>()
        unsafe withUnsafeMutableBytes(of: &result) { bytes in
            let floats = unsafe bytes.bindMemory(to: Float.self)
            guard let base = floats.baseAddress else { preconditionFailure("a vector without memory") }
            let out = unsafe FloatBuffer(base: base, count: 64)
            signs.withBuffer { Kernels.foldSigns(embedding, $0, into: out) }
        }
        return result
    }
}
