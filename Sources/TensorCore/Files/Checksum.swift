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
}
