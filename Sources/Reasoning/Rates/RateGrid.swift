/// The learning rates that evidence is kept for: powers of two times 0.25. Fixed for all time, so that what was learned
/// of a rate still counts when another one becomes the centre.
enum RateGrid {
    /// The grid's ends: 2.3e-13 and 2.7e11. Rates beyond count for the ends.
    static let indices = -40...40

    /// The number of the grid point nearest to a rate, by ratio; `nil` for a rate that is not above 0 and finite.
    static func index(of rate: Double) -> Int? {
        guard rate > 0, rate.isFinite else { return nil }
        // rate = 2ᵉ·m with 1 ≤ m < 2; by ratio the border between 2ᵉ and 2ᵉ⁺¹ is m = √2. 0.25 is 2⁻².
        let exponent = Int(rate.exponent) + (rate.significand > 1.4142135623730951 ? 1 : 0)
        return min(max(exponent + 2, indices.lowerBound), indices.upperBound)
    }

    /// The rate of a grid point.
    static func rate(_ index: Int) -> Float { Float(sign: .plus, exponent: index - 2, significand: 1) }
}
