/// A keyed hash: without the key nobody can tell which input has a hash, nor construct collisions.
///
/// SipHash-2-4 with 128 bits of output: two rounds for every eight bytes, four to finish.
///
/// **Source.** Aumasson & Bernstein 2012, *SipHash: a fast short-input PRF*
/// ([eprint 2012/351](https://eprint.iacr.org/2012/351)), §2; the 128-bit variant is that of the authors' reference code.
package enum SipHash {
    /// The hash of bytes, as two little-endian halves in the order of the reference's output.
    ///
    /// - Parameters:
    ///   - bytes: The input.
    ///   - key: The key's halves, read from its sixteen bytes little-endian.
    package static func hash128(bytes: some Collection<UInt8>, key: (UInt64, UInt64)) -> (UInt64, UInt64) {
        var v0 = 0x736f_6d65_7073_6575 ^ key.0
        var v1 = (0x646f_7261_6e64_6f6d ^ key.1) ^ 0xee
        var v2 = 0x6c79_6765_6e65_7261 ^ key.0
        var v3 = 0x7465_6462_7974_6573 ^ key.1
        func round() {
            v0 = v0 &+ v1
            v1 = v1 << 13 | v1 >> 51
            v1 ^= v0
            v0 = v0 << 32 | v0 >> 32
            v2 = v2 &+ v3
            v3 = v3 << 16 | v3 >> 48
            v3 ^= v2
            v0 = v0 &+ v3
            v3 = v3 << 21 | v3 >> 43
            v3 ^= v0
            v2 = v2 &+ v1
            v1 = v1 << 17 | v1 >> 47
            v1 ^= v2
            v2 = v2 << 32 | v2 >> 32
        }
        func absorb(_ word: UInt64) {
            v3 ^= word
            round()
            round()
            v0 ^= word
        }
        var word: UInt64 = 0
        var count = 0
        for byte in bytes {
            word |= UInt64(byte) << UInt64(8 * (count & 7))
            count += 1
            if count & 7 == 0 {
                absorb(word)
                word = 0
            }
        }
        absorb(word | UInt64(count & 0xff) << 56)
        v2 ^= 0xee
        for _ in 0..<4 { round() }
        let first = v0 ^ v1 ^ v2 ^ v3
        v1 ^= 0xdd
        for _ in 0..<4 { round() }
        return (first, v0 ^ v1 ^ v2 ^ v3)
    }
}
