/// What random numbers are drawn for: a part of their name, so that no two uses share numbers.
///
/// The numbers enter stored state (the initial factors of an adapter): never change one, only add.
public struct RandomPurpose: RawRepresentable, Sendable, Hashable {
    /// The number of the purpose.
    public let rawValue: UInt16

    /// A purpose by number; applications may take those from 0x8000 on.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// No purpose in particular.
    public static let general = RandomPurpose(rawValue: 0)
    /// Initial values of parameters.
    public static let initialization = RandomPurpose(rawValue: 1)
    /// Order of training examples.
    public static let shuffling = RandomPurpose(rawValue: 2)
    /// Choice of stored examples to replay, or of negatives.
    public static let sampling = RandomPurpose(rawValue: 3)
    /// Exploration by a policy.
    public static let exploration = RandomPurpose(rawValue: 4)
    /// Dropout masks.
    public static let dropout = RandomPurpose(rawValue: 5)
    /// Made-up data, simulated users.
    public static let simulation = RandomPurpose(rawValue: 6)
    /// Bootstrap and permutation tests.
    public static let resampling = RandomPurpose(rawValue: 7)
    /// Random projections.
    public static let projection = RandomPurpose(rawValue: 8)
    /// First guesses of clusters.
    public static let clustering = RandomPurpose(rawValue: 9)
}

/// A random generator whose numbers are named by (seed, stream, purpose, position).
///
/// Two generators with the same seed that differ in stream or purpose never share a counter; with the same name they give
/// the same numbers on every machine. ``position`` can be stored and set, which is all the state there is.
///
/// ```text
/// key     = seed                                          (64 bits)
/// counter = stream (64 bits) | purpose (16) | block (48)  (most significant first)
/// number 2·block     = word 0 | word 1 << 32 of the block
/// number 2·block + 1 = word 2 | word 3 << 32
/// ```
///
/// **Source.** ``Philox``. Use `StableHash` to make a stream of a name.
public struct PhiloxGenerator: RandomNumberGenerator, Sendable {
    /// How many numbers one (seed, stream, purpose) has: 2⁴⁹, about a month of drawing.
    public static var period: UInt64 { 1 << 49 }

    /// The seed: one per deployment or experiment.
    public let seed: UInt64
    /// The stream: one per user, adapter or task.
    public let stream: UInt64
    /// The purpose.
    public let purpose: RandomPurpose

    private var drawn: UInt64
    /// Numbers `2·b` and `2·b + 1`, when `b` was the block last computed; `nil` after a jump.
    private var pair: (block: UInt64, low: UInt64, high: UInt64)?

    /// A generator standing at `position` of its stream; traps at a position from ``period`` on.
    public init(seed: UInt64, stream: UInt64 = 0, purpose: RandomPurpose = .general, position: UInt64 = 0) {
        precondition(position < Self.period, "PhiloxGenerator: position \(position) is outside the period")
        self.seed = seed
        self.stream = stream
        self.purpose = purpose
        drawn = position
    }

    /// How many 64-bit numbers lie before the next one; setting it jumps there in O(1). Traps from ``period`` on.
    public var position: UInt64 {
        get { drawn }
        set {
            precondition(newValue < Self.period, "PhiloxGenerator: position \(newValue) is outside the period")
            drawn = newValue
        }
    }

    /// The next 64 random bits. Traps when the period is used up.
    public mutating func next() -> UInt64 {
        precondition(drawn < Self.period, "PhiloxGenerator: the stream is used up; take another stream or purpose")
        let block = drawn >> 1
        let second = drawn & 1 == 1
        drawn += 1
        if let pair, pair.block == block { return second ? pair.high : pair.low }
        let output = Philox(seed: seed).block(
            at: Philox.Block(
                UInt32(truncatingIfNeeded: block),
                UInt32(truncatingIfNeeded: block >> 32) | UInt32(purpose.rawValue) << 16,
                UInt32(truncatingIfNeeded: stream),
                UInt32(truncatingIfNeeded: stream >> 32)))
        let low = UInt64(output.word0) | UInt64(output.word1) << 32
        let high = UInt64(output.word2) | UInt64(output.word3) << 32
        pair = (block, low, high)
        return second ? high : low
    }
}

extension PhiloxGenerator: Equatable {
    /// The same name and position, hence the same numbers from here on.
    public static func == (left: PhiloxGenerator, right: PhiloxGenerator) -> Bool {
        left.seed == right.seed && left.stream == right.stream && left.purpose == right.purpose
            && left.position == right.position
    }
}
