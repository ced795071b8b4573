internal import TensorCore
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
        var random = SystemRandomNumberGenerator()
        self.init(at: moment, random: random.next())
    }

    init(at moment: Timestamp, random: UInt64) {
        let microseconds = UInt64(max(0, moment.microseconds))
        let (milliseconds, rest) = microseconds.quotientAndRemainder(dividingBy: 1_000)
        // 1,000 microseconds in 12 bits.
        high = milliseconds << 16 | 0x7000 | rest * 4096 / 1000
        low = random & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000
    }

    /// Reads the form with hyphens, in either case; `nil` for anything else. UUIDs of other versions are taken too.
    public init?(_ text: some StringProtocol) {
        var digits: [UInt8] = []
        digits.reserveCapacity(32)
        for (place, byte) in text.utf8.prefix(37).enumerated() {
            switch (place, byte) {
            case (8, UInt8(ascii: "-")), (13, UInt8(ascii: "-")), (18, UInt8(ascii: "-")), (23, UInt8(ascii: "-")):
                continue
            case (8, _), (13, _), (18, _), (23, _), (36, _): return nil
            case (_, UInt8(ascii: "0")...UInt8(ascii: "9")): digits.append(byte - UInt8(ascii: "0"))
            case (_, UInt8(ascii: "a")...UInt8(ascii: "f")): digits.append(byte - UInt8(ascii: "a") + 10)
            case (_, UInt8(ascii: "A")...UInt8(ascii: "F")): digits.append(byte - UInt8(ascii: "A") + 10)
            default: return nil
            }
        }
        guard digits.count == 32 else { return nil }
        func number(_ digits: ArraySlice<UInt8>) -> UInt64 { digits.reduce(0) { $0 << 4 | UInt64($1) } }
        self.init(high: number(digits[..<16]), low: number(digits[16...]))
    }

    /// 36 characters, in lower case with hyphens.
    public var description: String {
        unsafe String(unsafeUninitializedCapacity: 36) { buffer in
            var place = 0
            for index in 0..<32 {
                if index == 8 || index == 12 || index == 16 || index == 20 {
                    unsafe buffer[place] = UInt8(ascii: "-")
                    place += 1
                }
                let digit = UInt8((index < 16 ? high : low) >> UInt64(60 - 4 * (index & 15)) & 15)
                unsafe buffer[place] = digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
                place += 1
            }
            return place
        }
    }

    /// Whether `left` was made before `right`, as far as their milliseconds and the fractions of these tell.
    public static func < (left: RecordID, right: RecordID) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }
}
