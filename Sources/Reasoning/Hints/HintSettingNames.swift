/// Finds the names of settings among the tokens of a text.
///
/// ```text
/// learning rate   learning rate(s) | lr | η | step size(s)
/// clip threshold  [max] [gradient] clip [gradient] [norm | value] [threshold] | max gradient norm | gradient norm threshold
/// λ               lambda [ewc] | λ [ewc] | ewc [consolidation] [strength | penalty | weight | lambda]…
///                 | consolidation strength | elastic weight consolidation [strength…]
/// ```
///
/// Case does not matter, and "-", "_" and spaces between words are alike.
enum HintSettingNames {
    /// The setting whose name begins at a token, and the number of tokens in the name, at most 6.
    static func match(_ tokens: [HintToken], at first: Int) -> (setting: HintSetting, length: Int)? {
        func part(_ offset: Int) -> HintPart? {
            guard first + offset < tokens.count, case .word(.part(let part)) = tokens[first + offset].kind else {
                return nil
            }
            return part
        }
        var length = 0
        /// Takes the next words as long as they are among `parts`, but no more than four.
        func take(_ parts: HintPart...) {
            let limit = length + 4
            while length < limit, let next = part(length), parts.contains(next) { length += 1 }
        }
        switch part(0) {
        case .learningRate: return (.learningRate, 1)
        case .learning: return part(1) == .rate ? (.learningRate, 2) : nil
        case .step: return part(1) == .size ? (.learningRate, 2) : nil
        case .lambda: return (.consolidationStrength, part(1) == .ewc ? 2 : 1)
        case .ewc:
            length = 1
            take(.consolidation, .strength, .weight, .lambda)
            return (.consolidationStrength, length)
        case .consolidation:
            length = 1
            take(.strength, .weight, .lambda)
            return length > 1 ? (.consolidationStrength, length) : nil
        case .elastic:
            guard part(1) == .weight, part(2) == .consolidation else { return nil }
            length = 3
            take(.strength, .weight, .lambda)
            return (.consolidationStrength, length)
        case .maximum, .gradient, .clip:
            // "gradient norm" alone is what is measured; "max" or "clip" or "threshold" makes a setting of it.
            take(.maximum, .gradient, .clip, .norm, .threshold)
            let parts = (0..<length).compactMap(part)
            if parts.contains(.clip) { return (.clipThreshold, length) }
            let isThreshold = parts.contains(.maximum) || parts.contains(.threshold)
            return parts.contains(.gradient) && parts.contains(.norm) && isThreshold ? (.clipThreshold, length) : nil
        default: return nil
        }
    }
}
