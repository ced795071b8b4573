/// A 64-bit hash that is the same on every machine and in every version, unlike Swift's `Hasher`.
///
/// FNV-1a over the bytes, then the 64-bit finaliser of MurmurHash3, without which the high bits of short keys barely vary.
/// Good for shards, streams of random numbers and checks against accidents; anyone can construct collisions.
///
/// **Source.** Fowler, Noll, Vo, *The FNV non-cryptographic hash algorithm*
/// ([draft-eastlake-fnv](https://datatracker.ietf.org/doc/html/draft-eastlake-fnv)): offset basis 14695981039346656037, prime
/// 1099511628211; finaliser `fmix64` by Appleby, MurmurHash3 (public domain).
public struct StableHash: Sendable {
    private var state: UInt64 = 0xCBF2_9CE4_8422_2325

    /// A hash of no bytes yet.
    public init() {}

    /// Appends one byte.
    public mutating func combine(byte: UInt8) {
        state = (state ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
    }

    /// Appends bytes. Their count is not part of the hash: append it too where boundaries matter.
    public mutating func combine(bytes: some Sequence<UInt8>) {
        for byte in bytes { combine(byte: byte) }
    }

    /// Appends the eight bytes of a number, the least significant first.
    public mutating func combine(_ value: UInt64) {
        for shift in stride(from: 0, to: 64, by: 8) { combine(byte: UInt8(truncatingIfNeeded: value >> UInt64(shift))) }
    }

    /// Appends the UTF-8 bytes of a string and a byte 0xFF, which never occurs in UTF-8: ("ab", "c") differs from ("a", "bc").
    public mutating func combine(_ string: String) {
        combine(bytes: string.utf8)
        combine(byte: 0xFF)
    }

    /// The hash of the bytes so far.
    public func finalized() -> UInt64 {
        var h = state
        h = (h ^ h >> 33) &* 0xFF51_AFD7_ED55_8CCD
        h = (h ^ h >> 33) &* 0xC4CE_B9FE_1A85_EC53
        return h ^ h >> 33
    }

    /// The hash of bytes.
    public static func hash(bytes: some Sequence<UInt8>) -> UInt64 {
        var hash = StableHash()
        hash.combine(bytes: bytes)
        return hash.finalized()
    }

    /// The hash of a string's UTF-8 bytes, as they are.
    ///
    /// Not normalised: "é" composed and decomposed are equal Swift strings with different hashes.
    public static func hash(_ string: String) -> UInt64 { hash(bytes: string.utf8) }
}
