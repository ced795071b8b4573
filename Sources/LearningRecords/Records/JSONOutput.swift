public import Reasoning

/// Writes JSON objects with their members in order, byte by byte.
package struct JSONOutput {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init() {}

    /// Begins an object.
    package mutating func beginObject(_ key: String? = nil) {
        open(key)
        bytes.append(UInt8(ascii: "{"))
        needsComma = false
    }

    /// Ends an object.
    package mutating func endObject() {
        bytes.append(UInt8(ascii: "}"))
        needsComma = true
    }

    /// Begins a list.
    package mutating func beginList(_ key: String? = nil) {
        open(key)
        bytes.append(UInt8(ascii: "["))
        needsComma = false
    }

    /// Ends a list.
    package mutating func endList() {
        bytes.append(UInt8(ascii: "]"))
        needsComma = true
    }

    /// A text; null for none.
    package mutating func member(_ key: String?, _ text: String?) {
        open(key)
        if let text { Self.append(text, to: &bytes) } else { bytes += "null".utf8 }
        needsComma = true
    }

    /// A whole number; null for none.
    package mutating func member(_ key: String?, _ number: Int64?) {
        raw(key, number.map { "\($0)" } ?? "null")
    }

    /// A number; null for none and for what is no number.
    package mutating func member(_ key: String?, _ number: Double?) {
        raw(key, number.flatMap { $0.isFinite ? "\($0)" : nil } ?? "null")
    }

    /// Yes or no.
    package mutating func member(_ key: String?, _ flag: Bool) { raw(key, flag ? "true" : "false") }

    /// A moment, as text; null for none.
    package mutating func member(_ key: String?, _ moment: Timestamp?) { member(key, moment?.text) }

    /// A JSON text, as it is but for its line breaks, so that an object is a line.
    package mutating func raw(_ key: String?, _ json: String) {
        open(key)
        let start = bytes.count
        bytes += json.utf8
        // Neither stands within a string.
        for place in start..<bytes.count where bytes[place] == 0x0A || bytes[place] == 0x0D { bytes[place] = 0x20 }
        needsComma = true
    }

    /// Lets go of what was written.
    package mutating func take() -> [UInt8] {
        defer { bytes.removeAll(keepingCapacity: true) }
        return bytes
    }

    private mutating func open(_ key: String?) {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        if let key {
            Self.append(key, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
        }
    }

    /// A text as a JSON string.
    package static func quoted(_ text: String) -> String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count + 16)
        append(text, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    private static let digits = Array("0123456789abcdef".utf8)

    /// A text as a JSON string, behind what is there.
    package static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { all in
            var (start, place) = (0, 0)
            while place < all.count {
                if unsafe isPlain(all, at: place) {
                    place += 8
                    continue
                }
                let byte = unsafe all[place]
                place += 1
                guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte == 0x7F else {
                    continue
                }
                unsafe bytes.append(contentsOf: all[start..<place - 1])
                start = place
                switch byte {
                case UInt8(ascii: "\""): bytes += [0x5C, byte]
                case UInt8(ascii: "\\"): bytes += [0x5C, byte]
                case 0x0A: bytes += [0x5C, UInt8(ascii: "n")]
                case 0x0D: bytes += [0x5C, UInt8(ascii: "r")]
                case 0x09: bytes += [0x5C, UInt8(ascii: "t")]
                default: bytes += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                }
            }
            unsafe bytes.append(contentsOf: all[start...])
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Whether the eight bytes from a place are there and none needs an escape.
    ///
    /// **Source.** Sean Eron Anderson, *Bit Twiddling Hacks*, "Determine if a word has a byte less than n".
    @inline(__always)
    static func isPlain(_ all: UnsafeBufferPointer<UInt8>, at place: Int) -> Bool {
        guard all.count - place >= 8 else { return false }
        let word = unsafe UnsafeRawBufferPointer(all).loadUnaligned(fromByteOffset: place, as: UInt64.self)
        let ones: UInt64 = 0x0101_0101_0101_0101
        func isBelow(_ word: UInt64, _ limit: UInt64) -> UInt64 { (word &- ones &* limit) & ~word }
        let found =
            isBelow(word, 0x20) | isBelow(word ^ ones &* 0x22, 1) | isBelow(word ^ ones &* 0x5C, 1)
            | isBelow(word ^ ones &* 0x7F, 1)
        return found & (ones &* 0x80) == 0
    }
}

extension Timestamp {
    /// The moment in UTC with microseconds, as `2026-11-28T05:11:09.123456Z`.
    ///
    /// **Source.** RFC 3339; days to dates as in Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*,
    /// `civil_from_days`.
    public var text: String {
        func floored(_ a: Int64, _ b: Int64) -> (Int64, Int64) {
            let (quotient, rest) = a.quotientAndRemainder(dividingBy: b)
            return rest < 0 ? (quotient - 1, rest + b) : (quotient, rest)
        }
        let (seconds, fraction) = floored(microseconds, 1_000_000)
        let (days, second) = floored(seconds, 86_400)
        // Years begin in March, so that the leap day is the last of one.
        let shifted = days + 719_468
        let (era, dayOfEra) = floored(shifted, 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        let year = yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0)
        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return "\(padded(year, 4))-\(padded(civilMonth, 2))-\(padded(day, 2))T\(padded(second / 3600, 2))"
            + ":\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2)).\(padded(fraction, 6))Z"
    }
}
