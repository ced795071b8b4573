internal import TensorCore

/// The sum of what a user liked, projected; 64 numbers in place, so that a tracker does not allocate.
struct TasteSum: Sendable {
    private var sum = SIMD64<Float>()
    /// The squared length of the sum.
    private(set) var square: Float = 0
    /// Where the sum points most strongly: twice the place of its largest value, plus 1 where that is negative; 255 for zeros.
    private(set) var strongest: UInt8 = 255

    /// Adds a projected embedding.
    ///
    /// - Returns: Its squared length; `nil` where that is not finite, and nothing was added.
    mutating func add(_ projected: SIMD64<Float>) -> Float? {
        let length = Self.withFloats(of: projected) { Kernels.squaredNorm($0) }
        guard length.isFinite else { return nil }
        Self.withFloats(of: projected) { new in
            Self.withMutableFloats(of: &sum) { sum in
                Kernels.axpy(1, new, to: sum)
                square = Kernels.squaredNorm(sum)
                strongest = Self.strongest(sum)
            }
        }
        return length
    }

    /// The direction, of length 1; zeros where the sum is zero or beyond the range of Float.
    var direction: SIMD64<Float> {
        var result = sum
        let factor = square > 0 && square.isFinite ? 1 / square.squareRoot() : 0
        Self.withMutableFloats(of: &result) { Kernels.scale($0, by: factor) }
        return result
    }

    private static func strongest(_ sum: FloatBuffer) -> UInt8 {
        var largest = 0
        for i in 1..<sum.count where unsafe abs(sum.base[i]) > abs(sum.base[largest]) { largest = i }
        let value = sum[largest]
        return value == 0 ? 255 : UInt8(2 * largest + (value < 0 ? 1 : 0))
    }

    private static func withFloats<R>(of vector: SIMD64<Float>, _ body: (FloatBuffer) -> R) -> R {
        var copy = vector
        return withMutableFloats(of: &copy, body)
    }

    private static func withMutableFloats<R>(of vector: inout SIMD64<Float>, _ body: (FloatBuffer) -> R) -> R {
        unsafe withUnsafeMutableBytes(of: &vector) { bytes in
            let floats = unsafe bytes.bindMemory(to: Float.self)
            guard let base = floats.baseAddress else { preconditionFailure("a vector without memory") }
            return unsafe body(FloatBuffer(base: base, count: 64))
        }
    }
}
