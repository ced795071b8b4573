public import Reasoning

extension Timestamp {
    /// The moment as rows have it: `2026-11-28 05:11:09.123456`.
    package var rowText: String { String(text.dropLast().map { $0 == "T" ? " " : $0 }) }

    /// Reads a date or a moment in UTC: `2026-11-28`, `2026-11-28T05:11`, `2026-11-28 05:11:09.123456`, with a `Z` or without; `nil` for
    /// anything else.
    ///
    /// - Parameter isEnd: Whether a date without a time is the end of that day: so it is for the end of a half-open interval, which then
    ///   includes the day.
    ///
    /// **Source.** RFC 3339, section 5.6; dates to days as in Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*,
    /// `days_from_civil`.
    public init?(utc text: String, isEnd: Bool = false) {
        var rest = Array(text.utf8)[...]
        func digits(_ count: Int) -> Int64? {
            guard rest.count >= count, rest.prefix(count).allSatisfy({ (48...57).contains($0) }) else { return nil }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count).reduce(0) { $0 * 10 + Int64($1 - 48) }
        }
        func take(_ character: Unicode.Scalar) -> Bool {
            guard rest.first == UInt8(ascii: character) else { return false }
            rest = rest.dropFirst()
            return true
        }
        guard let year = digits(4), take("-"), let month = digits(2), take("-"), let day = digits(2),
            (1...12).contains(month), day >= 1
        else { return nil }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths: [Int64] = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard day <= lengths[Int(month) - 1] else { return nil }
        // Years begin in March, so that the leap day is the last of one.
        let shifted = month <= 2 ? year - 1 : year
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        let midnight = days * 86_400_000_000
        if rest.isEmpty {
            self.init(microseconds: midnight + (isEnd ? 86_400_000_000 : 0))
            return
        }
        guard take("T") || take(" "), let hour = digits(2), take(":"), let minute = digits(2), hour < 24, minute < 60
        else { return nil }
        var (second, fraction) = (Int64(0), Int64(0))
        if take(":") {
            guard let whole = digits(2), whole < 60 else { return nil }
            second = whole
            if take(".") {
                var count = 0
                while count < 6, let digit = digits(1) {
                    fraction = fraction * 10 + digit
                    count += 1
                }
                guard count > 0 else { return nil }
                for _ in count..<6 { fraction *= 10 }
            }
        }
        _ = take("Z")
        guard rest.isEmpty else { return nil }
        self.init(microseconds: midnight + ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction)
    }
}
