/// exp, log and cosine from additions, multiplications and divisions in a fixed order, so that what they put into adapter
/// state is the same on every machine. (A C library's versions differ between systems in the last bits.)
///
/// Errors against the C library, over 50,000 random arguments of each range: below 2 units in the last place, log1p below 3
/// (`ElementaryTests`).
package enum Elementary {
    private static let ln2High = 6.93147180369123816490e-01
    private static let ln2Low = 1.90821492927058770002e-10

    /// eˣ. Zero below −745, infinity above 709.8; NaN for NaN.
    package static func exp(_ x: Double) -> Double {
        if x.isNaN { return x }
        if x > 709.8 { return .infinity }
        if x < -745.2 { return 0 }
        // x = k·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts, the first with trailing zeros so that k times it is exact.
        let k = (x * 1.4426950408889634).rounded(.toNearestOrEven)
        let r = (x - k * ln2High) - k * ln2Low
        // Taylor's series, Horner's scheme: the term after r¹³/13! is below 2e-17 for |r| ≤ 0.347.
        var sum = 1.0
        for n in stride(from: 13.0, through: 1, by: -1) { sum = 1 + r / n * sum }
        // In two factors, since 2ᵏ alone may be below the least normal number.
        let half = (k / 2).rounded(.towardZero)
        return sum * power(Int(half)) * power(Int(k - half))
    }

    /// ln x for finite x > 0; −infinity at 0, NaN below.
    ///
    /// **Source.** The reduction and minimax coefficients of fdlibm's `e_log.c` (Sun Microsystems 1993): with x = 2ᵏ·m,
    /// √½ < m < √2 and s = (m − 1)/(m + 1), ln m = 2s + s·R(s²).
    package static func log(_ x: Double) -> Double {
        if x.isNaN || x < 0 { return .nan }
        if x == 0 { return -.infinity }
        if x == .infinity { return x }
        var k = Double(x.exponent)
        var m = x.significand
        if m > 1.4142135623730951 {
            m /= 2
            k += 1
        }
        let f = m - 1
        let s = f / (2 + f)
        let z = s * s
        let w = z * z
        let even = w * (0.3999999999940941908 + w * (0.2222219843214978396 + w * 0.1531383769920937332))
        let odd =
            z
            * (0.6666666666666735130
                + w * (0.2857142874366239149 + w * (0.1818357216161805012 + w * 0.1479819860511658591)))
        // ln m = f − (f²/2 − s·(f²/2 + R)), which keeps the rounding error of s away from the leading term f.
        let half = 0.5 * f * f
        return k * ln2High - ((half - (s * (half + even + odd) + k * ln2Low)) - f)
    }

    /// ln(1 + x) for x > −1, accurate near zero: log's value scaled by what rounding 1 + x lost (Kahan's device).
    package static func log1p(_ x: Double) -> Double {
        let u = 1 + x
        if u == 1 { return x }
        if u == .infinity { return u }
        return log(u) * (x / (u - 1))
    }

    /// cos x for x in 0...π; used by cosine schedules.
    package static func cosine(_ x: Double) -> Double {
        // Near π/2, where 1 − 2 sin² cancels, cos x = sin(π/2 − x), with π/2 in two parts.
        if x > .pi / 4, x < 3 * .pi / 4 { return sine((.pi / 2 - x) + 6.123233995736766e-17) }
        if x > .pi / 2 { return -cosine(.pi - x) }
        let half = sine(x / 2)
        return 1 - 2 * half * half
    }

    /// sin x for x in ±π/4 by its series: the term x²³/23! is below 2e-25.
    private static func sine(_ x: Double) -> Double {
        let square = x * x
        var sum = 1.0
        for n in stride(from: 20.0, through: 2, by: -2) { sum = 1 - square / (n * (n + 1)) * sum }
        return x * sum
    }

    /// baseⁿ for n ≥ 0 by repeated squaring.
    package static func power(_ base: Double, _ n: UInt64) -> Double {
        var result = 1.0
        var square = base
        var left = n
        while left > 0 {
            // A factor and no branch: nobody predicts the bits of n.
            result *= left & 1 == 1 ? square : 1
            square *= square
            left >>= 1
        }
        return result
    }

    /// 2ⁿ for n in −1022...1023.
    private static func power(_ n: Int) -> Double { Double(sign: .plus, exponent: n, significand: 1) }
}
