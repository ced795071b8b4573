internal import TensorCore

/// A user as a bank knows them: a keyed hash of their id. Without the key it cannot be traced back by trying ids.
public struct UserDigest: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The first 64 bits.
    public let high: UInt64
    /// The last 64 bits.
    public let low: UInt64

    /// A digest from its halves.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Thirty-two hexadecimal digits.
    public var description: String { fixedHex(high) + fixedHex(low) }

    /// Ascending by the 128 bits.
    public static func < (left: UserDigest, right: UserDigest) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }
}

/// The secret under which users' ids are hashed. Whoever has it can find a user's episodes; whoever has not, cannot.
public struct DigestKey: Sendable, Hashable {
    private let low: UInt64
    private let high: UInt64

    /// A key from 128 secret bits.
    public init(_ high: UInt64, _ low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A new key from the system's random numbers.
    public static func random() -> DigestKey {
        DigestKey(UInt64.random(in: 0...UInt64.max), UInt64.random(in: 0...UInt64.max))
    }

    /// The digest of a user's id.
    public func digest(of user: String) -> UserDigest {
        let (first, second) = SipHash.hash128(bytes: user.utf8, key: (low, high))
        return UserDigest(high: first, low: second)
    }
}

extension DigestKey: CustomStringConvertible, CustomReflectable {
    /// Nothing of the secret: keys get into logs by accident.
    public var description: String { "DigestKey(secret)" }
    /// Nothing of the secret.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Sixteen hexadecimal digits.
package func fixedHex(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
