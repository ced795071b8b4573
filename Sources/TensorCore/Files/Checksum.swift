internal import CXXHash

/// A 64-bit checksum of bytes against accidents: XXH3, by its own library, the same on every machine.
///
/// Not cryptographic: whoever wants to can make other bytes with the same sum.
package enum Checksum {
    /// The checksum of `bytes`.
    ///
    /// - Complexity: O(bytes), about as fast as memory is read.
    package static func of(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        unsafe bytes.withUnsafeBytes { bytes in unsafe XXH3_64bits(bytes.baseAddress, bytes.count) }
    }

    /// A 128-bit hash of bytes, for names.
    package static func wide(_ bytes: [UInt8]) -> (high: UInt64, low: UInt64) {
        let hash = unsafe bytes.withUnsafeBytes { bytes in unsafe XXH3_128bits(bytes.baseAddress, bytes.count) }
        return (hash.high64, hash.low64)
    }

    /// The checksum of floats as the machine has them, under a seed.
    package static func of(_ values: FloatBuffer, seed: UInt64) -> UInt64 {
        unsafe XXH3_64bits_withSeed(values.base, 4 * values.count, seed)
    }
}
