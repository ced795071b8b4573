/// The counter-based bijection Philox4x32-10: a key and a 128-bit counter give 128 random bits.
///
/// There is no state to carry: block `n` is computed from `n` alone, on every machine alike, so that a random number can be
/// named by what it is for (``PhiloxGenerator``) and drawn again later. For one key, two counters never give the same block.
/// Not for cryptography.
///
/// **Source.** Salmon, Moraes, Dror, Shaw 2011, *Parallel random numbers: as easy as 1, 2, 3*, SC'11, §3.3,
/// [doi:10.1145/2063384.2063405](https://doi.org/10.1145/2063384.2063405); checked against the known answers of Random123.
public struct Philox: Sendable, Hashable {
    /// Four 32-bit words: a counter (word 0 the least significant) or the output for one.
    public struct Block: Sendable, Hashable {
        /// The least significant word.
        public var word0: UInt32
        /// The second word.
        public var word1: UInt32
        /// The third word.
        public var word2: UInt32
        /// The most significant word.
        public var word3: UInt32

        /// A block from its words, the least significant first.
        public init(_ word0: UInt32, _ word1: UInt32, _ word2: UInt32, _ word3: UInt32) {
            self.word0 = word0
            self.word1 = word1
            self.word2 = word2
            self.word3 = word3
        }
    }

    /// The first key word.
    public let key0: UInt32
    /// The second key word.
    public let key1: UInt32

    /// The bijection for the given key words.
    public init(key0: UInt32, key1: UInt32) {
        self.key0 = key0
        self.key1 = key1
    }

    /// The bijection for a 64-bit seed; its low half is the first key word.
    public init(seed: UInt64) {
        self.init(key0: UInt32(truncatingIfNeeded: seed), key1: UInt32(truncatingIfNeeded: seed >> 32))
    }

    /// The 128 random bits for `counter`.
    ///
    /// - Complexity: O(1), ten rounds of two multiplications.
    public func block(at counter: Block) -> Block {
        var c0 = counter.word0
        var c1 = counter.word1
        var c2 = counter.word2
        var c3 = counter.word3
        var k0 = key0
        var k1 = key1
        for round in 0..<10 {
            if round > 0 {  // the key is raised between rounds, by the golden ratio and √3 − 1
                k0 &+= 0x9E37_79B9
                k1 &+= 0xBB67_AE85
            }
            let p0 = UInt64(0xD251_1F53) &* UInt64(c0)
            let p1 = UInt64(0xCD9E_8D57) &* UInt64(c2)
            c0 = UInt32(truncatingIfNeeded: p1 >> 32) ^ c1 ^ k0
            c1 = UInt32(truncatingIfNeeded: p1)
            c2 = UInt32(truncatingIfNeeded: p0 >> 32) ^ c3 ^ k1
            c3 = UInt32(truncatingIfNeeded: p0)
        }
        return Block(c0, c1, c2, c3)
    }
}
