/// An outcome as a whole number of units of 2⁻³², so that sums of outcomes are exact: they don't depend on the order of
/// their terms, and taking a term out leaves what would be there without it, to the bit.
///
/// Outcomes beyond ±2 count as ±2. A batch whose loss exploded may have a gain of −10⁶; one such user would outweigh a
/// population of ordinary ones, and three times the loss without an adapter is bad enough to show.
enum OutcomeUnits {
    /// The largest magnitude that an outcome counts with.
    static let limit = 2.0
    static let perOne = 0x1p32

    /// The outcome's units; NaN must not come here.
    static func units(_ value: Double) -> Int64 { Int64((min(max(value, -limit), limit) * perOne).rounded()) }

    /// The mean of `count` outcomes that sum to `sum`, in units. One rounding, so the same for the same sum and count.
    static func mean(_ sum: Int64, _ count: Int) -> Int64 { Int64((Double(sum) / Double(count)).rounded()) }
}

/// A sum of squares of 64-bit numbers, kept exactly in 128 bits.
struct ExactSquareSum: Sendable, Hashable {
    private var high: Int64 = 0
    private var low: UInt64 = 0

    /// Adds `value²`.
    mutating func add(_ value: Int64) {
        let square = value.multipliedFullWidth(by: value)
        let (sum, carried) = low.addingReportingOverflow(square.low)
        low = sum
        high += square.high + (carried ? 1 : 0)
    }

    /// Takes `value²` out again.
    mutating func remove(_ value: Int64) {
        let square = value.multipliedFullWidth(by: value)
        let (rest, borrowed) = low.subtractingReportingOverflow(square.low)
        low = rest
        high -= square.high + (borrowed ? 1 : 0)
    }

    /// The sum, rounded to Double.
    var value: Double { Double(high) * 0x1p64 + Double(low) }
}
