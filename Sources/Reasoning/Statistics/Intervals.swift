internal import TensorCore

/// Student's distribution.
enum StudentT {
    /// The 97.5th percentile for 1, 2, … 30 degrees of freedom (the table of any textbook, to six digits).
    private static let table: [Double] = [
        12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139,
        2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
        2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230, 2.042272,
    ]
    /// The same of the normal distribution.
    static let normal = 1.959963984540054

    /// The quantile t such that ±t holds 95 %.
    ///
    /// - Parameter degrees: The degrees of freedom, not necessarily whole; below 1 counts as 1.
    ///
    /// **Numerics.** Up to 30 degrees the table, linear in 1/degrees between its entries, which is never too low (too
    /// high by at most 1.4 between 1 and 2 degrees, 0.06 to 3, 0.011 to 5, 0.0013 above); beyond, the expansion of
    /// Abramowitz & Stegun 1964, 26.7.5 (within 2e-6).
    static func twoSided95(degrees: Double) -> Double {
        guard degrees > 1 else { return table[0] }
        if degrees < 30 {
            let below = Int(degrees)
            let (left, right) = (1 / Double(below), 1 / Double(below + 1))
            let share = (left - 1 / degrees) / (left - right)
            return table[below - 1] + share * (table[below] - table[below - 1])
        }
        let z = normal
        let z3 = z * z * z
        let z5 = z3 * z * z
        return z + (z3 + z) / (4 * degrees) + (5 * z5 + 16 * z3 + 3 * z) / (96 * degrees * degrees)
            + (3 * z5 * z * z + 19 * z5 + 17 * z3 - 15 * z) / (384 * degrees * degrees * degrees)
    }
}

/// The lower bound of the 95 % interval of a share.
///
/// **Source.** Wilson 1927, *Probable inference, the law of succession, and statistical inference*, JASA 22, eq. 4.
func wilsonLowerBound(successes: Int, of trials: Int) -> Double {
    guard trials > 0 else { return 0 }
    let (n, z) = (Double(trials), StudentT.normal)
    let share = Double(successes) / n
    let centre = share + z * z / (2 * n)
    let half = z * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot()
    return max(0, (centre - half) / (1 + z * z / n))
}

/// A number for people: three significant digits.
func brief(_ value: Double) -> String {
    guard value != 0, value.isFinite else { return value == 0 ? "0" : "\(value)" }
    // Two more digits than the leading one stands for. Only powers of ten, so what is printed has no rounding tail.
    var digits = 2
    var scaled = abs(value)
    while scaled >= 10, digits > -300 {
        scaled /= 10
        digits -= 1
    }
    while scaled < 1, digits < 300 {
        scaled *= 10
        digits += 1
    }
    if digits <= 0 { return "\(Int(clamping: Int64(min(max(value.rounded(), -9e18), 9e18))))" }
    let power = Elementary.power(10, UInt64(digits))
    return "\((value * power).rounded() / power)"
}
