internal import Synchronization
public import Reasoning

/// The identifier of a trace, a span or a recording's row: a UUID of version 7, so that those of later records are greater.
///
/// **Source.** RFC 9562, section 5.7: 48 bits of milliseconds since 1970, and random bits; here the first 12 of those are the
/// fraction of the millisecond (section 6.2, method 3).
public struct RecordID: Sendable, Hashable, Comparable, CustomStringConvertible {
    let high: UInt64
    let low: UInt64

    init(high: UInt64, low: UInt64) { (self.high, self.low) = (high, low) }

    /// A new one.
    ///
    /// - Parameter moment: When; the present.
    public init(at moment: Timestamp) {
        // A counter from an unknown start, mixed (SplitMix64): to ask the system for each would take longer than all else.
        var bits = Self.start &+ Self.made.wrappingAdd(1, ordering: .relaxed).newValue &* 0x9E37_79B9_7F4A_7C15
        bits = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
        self.init(at: moment, random: bits ^ bits >> 31)
    }

    private static let start = UInt64.random(in: 0...UInt64.max)
    private static let made = Atomic<UInt64>(0)

    init(at moment: Timestamp, random: UInt64) {
        let microseconds = UInt64(max(0, moment.microseconds))
        let (milliseconds, rest) = microseconds.quotientAndRemainder(dividingBy: 1_000)
        // 1,000 microseconds in 12 bits.
        high = milliseconds << 16 | 0x7000 | rest * 4096 / 1000
        low = random & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    }

    /// Reads the form with hyphens, in either case; `nil` for anything else. UUIDs of other versions are taken too.
    public init?(_ text: some StringProtocol) {
        var (high, low, digits, place) = (UInt64(0), UInt64(0), 0, 0)
        for byte in text.utf8 {
            defer { place += 1 }
            if place == 8 || place == 13 || place == 18 || place == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: return nil
            }
            guard digits < 32 else { return nil }
            (high, low) = (high << 4 | low >> 60, low << 4 | UInt64(digit))
            digits += 1
        }
        guard digits == 32 else { return nil }
        self.init(high: high, low: low)
    }

    /// 36 characters, in lower case with hyphens.
    public var description: String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(36)
        write(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The same, behind what is there.
    package func write(to bytes: inout [UInt8]) {
        for index in 0..<32 {
            if index == 8 || index == 12 || index == 16 || index == 20 { bytes.append(UInt8(ascii: "-")) }
            let digit = UInt8((index < 16 ? high : low) >> UInt64(60 - 4 * (index & 15)) & 15)
            bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
        }
    }

    /// Whether `left` was made before `right`, as far as their milliseconds and the fractions of these tell.
    public static func < (left: RecordID, right: RecordID) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }
}
