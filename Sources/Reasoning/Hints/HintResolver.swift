#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// The settings of an update that hints can change.
public struct EffectiveSettings: Sendable, Hashable {
    /// The learning rate, before the schedule.
    public var learningRate: Double
    /// The clipping threshold.
    public var clipThreshold: Double
    /// The strength λ of elastic weight consolidation; `nil` when it is off.
    public var consolidationStrength: Double?

    /// Settings.
    public init(learningRate: Double, clipThreshold: Double, consolidationStrength: Double? = nil) {
        self.learningRate = learningRate
        self.clipThreshold = clipThreshold
        self.consolidationStrength = consolidationStrength
    }

    /// The value of a setting; `nil` when it is off.
    subscript(setting: HintSetting) -> Double? {
        get {
            switch setting {
            case .learningRate: learningRate
            case .clipThreshold: clipThreshold
            case .consolidationStrength: consolidationStrength
            }
        }
        set {
            switch setting {
            case .learningRate: learningRate = newValue ?? learningRate
            case .clipThreshold: clipThreshold = newValue ?? clipThreshold
            case .consolidationStrength: consolidationStrength = newValue
            }
        }
    }
}

/// Applies hints to the settings that would hold without them.
public enum HintResolver {
    /// The settings under hints that are followed as far as their confidence goes.
    ///
    /// ```text
    /// value = default^(1 − c) · hint^c                  between the two in proportion
    /// value = (1 − c) · default + c · hint              where one of them is 0, which only λ may be
    /// ```
    ///
    /// A factor stands for the hint `factor · default`. The hint is moved into the bounds of its setting (``HintBounds``),
    /// widened to hold the default: at a default rate of 38 the bounds are 1e-6...38, so that a default outside them stays
    /// as it is, and is not crushed to 1 by a hint relative to it. `upperRate` bounds the hint for the rate besides; the
    /// default it does not touch, so that the result is at most the larger of both.
    ///
    /// - Parameters:
    ///   - hints: The changes. From a bank, they may be any numbers.
    ///   - confidence: How far they are followed: 0 not at all, 1 entirely; moved into 0...1.
    ///   - defaults: The settings without hints. One that is not hinted stays as it is, whatever it is.
    ///   - upperRate: The largest rate that is safe, `1/L` for certified steps; `nil` when there is none.
    /// - Returns: The settings, and the hints that were not followed, or only as far as a bound: those that are not a number,
    ///   or negative; all if the confidence is NaN; those for the rate if `upperRate` is NaN or not above 0; one for λ where
    ///   elastic weight consolidation is off; one for a setting that is not finite, or is a rate or threshold not above 0.
    public static func resolve(
        _ hints: AdaptationHints, confidence: Double, over defaults: EffectiveSettings, upperRate: Double? = nil
    ) -> (settings: EffectiveSettings, ignored: [IgnoredHint]) {
        var settings = defaults
        var ignored: [IgnoredHint] = []
        for setting in HintSetting.allCases {
            guard let adjustment = hints[setting] else { continue }
            let upper = setting == .learningRate ? upperRate : nil
            let resolved = resolve(
                adjustment, of: setting, confidence: confidence, over: defaults[setting], upper: upper)
            if let value = resolved.value { settings[setting] = value }
            if let reason = resolved.reason { ignored.append(IgnoredHint(describe(adjustment, setting), reason)) }
        }
        return (settings, ignored)
    }

    private static func resolve(
        _ adjustment: Adjustment, of setting: HintSetting, confidence: Double, over value: Double?, upper: Double?
    ) -> (value: Double?, reason: IgnoredHint.Reason?) {
        guard !confidence.isNaN else { return (nil, .noConfidence) }
        guard let value else { return (nil, .settingIsOff) }
        guard value.isFinite, value > 0 || (value == 0 && setting.bounds.contains(0)) else { return (nil, .noDefault) }
        let hint: Double
        switch adjustment {
        case .value(let wanted): hint = wanted
        case .factor(let factor): hint = factor.isFinite ? value * factor : factor
        }
        guard !hint.isNaN, !isInfinite(adjustment) else { return (nil, .notANumber) }
        guard hint >= 0 else { return (nil, .negative) }
        if let upper, !(upper > 0) { return (nil, .noUpperRate) }

        let high = min(max(setting.bounds.upperBound, value), upper ?? .infinity)
        let low = min(setting.bounds.lowerBound, value, high)
        let bounded = min(max(hint, low), high)
        let blended = blend(value, bounded, min(max(confidence, 0), 1))
        return (blended, bounded == hint ? nil : .outOfBounds)
    }

    private static func isInfinite(_ adjustment: Adjustment) -> Bool {
        switch adjustment {
        case .value(let value): value.isInfinite
        case .factor(let factor): factor.isInfinite
        }
    }

    private static func blend(_ value: Double, _ hint: Double, _ confidence: Double) -> Double {
        if confidence == 0 || value == hint { return value }
        if confidence == 1 { return hint }
        let blended =
            value == 0 || hint == 0
            ? (1 - confidence) * value + confidence * hint : pow(value, 1 - confidence) * pow(hint, confidence)
        // Rounding must not lead past either.
        return min(max(blended, min(value, hint)), max(value, hint))
    }

    private static func describe(_ adjustment: Adjustment, _ setting: HintSetting) -> String {
        switch adjustment {
        case .value(let value): "\(setting.name) = \(value)"
        case .factor(let factor): "\(setting.name) × \(factor)"
        }
    }
}
