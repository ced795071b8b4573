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

/// The checksum of bytes that come in pieces: ``Checksum/of(_:)`` of all of them in a row.
@safe
package struct ChecksumStream: ~Copyable {
    private let state: OpaquePointer

    package init() {
        guard let state = unsafe XXH3_createState() else { preconditionFailure("ChecksumStream: no memory") }
        _ = unsafe XXH3_64bits_reset(state)
        unsafe self.state = state
    }

    deinit { _ = unsafe XXH3_freeState(state) }

    /// Adds bytes at the end.
    package mutating func append(_ bytes: ArraySlice<UInt8>) {
        _ = unsafe bytes.withUnsafeBytes { bytes in
            unsafe XXH3_64bits_update(state, bytes.baseAddress, bytes.count)
        }
    }

    /// The checksum of what was added.
    package var value: UInt64 { unsafe XXH3_64bits_digest(state) }
}
