/// A number of a hint with the words that say what it means.
struct HintNumber {
    /// What it comes to.
    enum Reading {
        case adjustment(Adjustment)
        case ignored(IgnoredHint.Reason)
    }

    /// The number as it stands there; NaN for one that cannot be read.
    var value: Double
    /// Whether "%" stands behind it.
    var isPercent: Bool
    /// Whether it is a factor: "2x", "by a factor of 2".
    var isMultiple: Bool
    /// Whether "+" or "-" stands before it.
    var isSigned: Bool
    /// What is to be done.
    var verb: HintVerb?
    /// Whether "by" leads to it.
    var isAmount: Bool
    /// Whether nothing at all stands between the setting and it.
    var isDirect: Bool

    /// | Written | Means |
    /// |---|---|
    /// | `to 0.01`, `: 0.01`, `0.01` | the value |
    /// | `to 50 %`, `: 50 %` | half of the effective value |
    /// | `by 20 %`, and without "by" after a verb | × 0.8 or × 1.2, as the verb says |
    /// | `-20 %`, `+20 %` without a verb | × 0.8, × 1.2 |
    /// | `2x`, `by a factor of 2` | × 2; after "reduce" × ½, whichever of 2 and ½ is written |
    /// | `by 0.01` | nothing: amounts are not supported |
    var reading: Reading {
        if value.isNaN { return .ignored(.notANumber) }
        let goesUp = verb?.goesUp ?? false
        let goesDown = verb?.goesDown ?? false
        let isNegative = value.sign == .minus
        if isPercent {
            let share = value / 100
            guard isAmount || isSigned || (isDirect && (goesUp || goesDown)) else { return .adjustment(.factor(share)) }
            if goesUp || goesDown {
                if isNegative { return .ignored(.negative) }
                return positive(goesUp ? 1 + share : 1 - share)
            }
            return isSigned && verb == nil ? positive(1 + share) : .ignored(.noDirection)
        }
        if isNegative { return .ignored(.negative) }
        if isMultiple {
            if goesDown { return .adjustment(.factor(min(value, 1 / value))) }
            return .adjustment(.factor(goesUp ? max(value, 1 / value) : value))
        }
        return isAmount ? .ignored(.difference) : .adjustment(.value(value))
    }

    private func positive(_ factor: Double) -> Reading {
        factor < 0 ? .ignored(.negative) : .adjustment(.factor(factor))
    }
}

extension Adjustment {
    /// The same within bounds: a value in those of its setting, a factor in ``HintBounds/factor``.
    func clamped(to bounds: ClosedRange<Double>) -> Adjustment {
        switch self {
        case .value(let value): .value(min(max(value, bounds.lowerBound), bounds.upperBound))
        case .factor(let factor): .factor(min(max(factor, HintBounds.factor.lowerBound), HintBounds.factor.upperBound))
        }
    }
}
