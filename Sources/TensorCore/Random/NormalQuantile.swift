/// The inverse of the standard normal distribution function, from + − · ÷ √ alone.
///
/// libm's `log` differs in its last bit between C libraries and versions; random numbers that enter stored state must not.
/// IEEE 754 fixes the five operations used here, and Swift does not contract `a * b + c`.
///
/// **Source.** Wichura 1988, *Algorithm AS 241: the percentage points of the normal distribution*, Applied Statistics 37(3),
/// routine PPND16 (relative error about 1e-16 in exact arithmetic).
package enum NormalQuantile {
    /// x such that a standard normal number lies below x with the given probability, in 0 < probability < 1.
    package static func value(at probability: Double) -> Double {
        precondition(probability > 0 && probability < 1, "NormalQuantile: \(probability) outside 0 < p < 1")
        let q = probability - 0.5
        if q.magnitude <= 0.425 {
            let r = 0.180625 - q * q
            return q * polynomial(centralNumerator, r) / polynomial(centralDenominator, r)
        }
        var r = (-Elementary.log(q < 0 ? probability : 1 - probability)).squareRoot()
        let magnitude: Double
        if r <= 5 {
            r -= 1.6
            magnitude = polynomial(middleNumerator, r) / polynomial(middleDenominator, r)
        } else {
            r -= 5
            magnitude = polynomial(tailNumerator, r) / polynomial(tailDenominator, r)
        }
        return q < 0 ? -magnitude : magnitude
    }

    /// Horner's rule; the constant term stands last.
    private static func polynomial(_ coefficients: [Double], _ x: Double) -> Double {
        var sum = coefficients[0]
        for i in 1..<coefficients.count { sum = sum * x + coefficients[i] }
        return sum
    }

    private static let centralNumerator: [Double] = [
        2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4,
        1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e+0,
    ]
    private static let centralDenominator: [Double] = [
        5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
        5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1,
    ]
    private static let middleNumerator: [Double] = [
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0,
        3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0,
    ]
    private static let middleDenominator: [Double] = [
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
        6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1,
    ]
    private static let tailNumerator: [Double] = [
        2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3, 2.65321895265761230930e-2,
        2.96560571828504891230e-1, 1.78482653991729133580e+0, 5.46378491116411436990e+0, 6.65790464350110377720e+0,
    ]
    private static let tailDenominator: [Double] = [
        2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5, 7.86869131145613259100e-4,
        1.48753612908506148525e-2, 1.36929880922735805310e-1, 5.99832206555887937690e-1, 1,
    ]
}
