/// What a text advises.
public struct ParsedHints: Sendable, Hashable {
    /// The changes, within ``HintBounds``.
    public var hints: AdaptationHints
    /// What was not followed, or not as it was written, in the order of the text; at most
    /// ``HintParser/maximumIgnored`` of them.
    public var ignored: [IgnoredHint]

    /// Hints and what was ignored.
    public init(hints: AdaptationHints = AdaptationHints(), ignored: [IgnoredHint] = []) {
        self.hints = hints
        self.ignored = ignored
    }
}

/// A piece of advice that was not followed, or not as it was given.
public struct IgnoredHint: Sendable, Hashable, CustomStringConvertible {
    /// Why. More may be added; switch with a default.
    public struct Reason: Sendable, Hashable, CustomStringConvertible {
        private enum Words: String {
            case negated = "it is negated"
            case conditional = "it depends on a condition"
            case question = "it is asked, not advised"
            case outOfBounds = "it is out of bounds and was moved to the bound"
            case noNumber = "there is neither a number nor a word that says what to do"
            case notANumber = "what stands there is no number that can be read in one way only"
            case negative = "it would be negative"
            case difference = "an amount to add or to take away is not supported; give a value or a percentage"
            case noDirection = "nothing says whether up or down"
            case unknownSetting = "it concerns no setting that can be changed"
            case contradictsNumber = "it contradicts an earlier explicit number"
            case beatenByNumber = "an explicit number counts in its place"
            case laterDuplicate = "an earlier hint for the same setting counts"
            case settingIsOff = "the setting is off"
            case noDefault = "the value without hints is not a number that could be changed"
            case noUpperRate = "the largest rate that is safe is not a number above 0"
            case noConfidence = "the confidence is not a number"
            case tooLong = "the text is too long; this and what follows was not read"
            case tooMany = "too much was ignored to list it; this and what follows is left out"
        }
        private let words: Words

        /// "do not …", "never …", "without …".
        public static let negated = Reason(words: .negated)
        /// "if …", "unless …".
        public static let conditional = Reason(words: .conditional)
        /// "…?"
        public static let question = Reason(words: .question)
        /// Outside ``HintBounds``: followed as far as the bound.
        public static let outOfBounds = Reason(words: .outOfBounds)
        /// A setting is named, and nothing said of it.
        public static let noNumber = Reason(words: .noNumber)
        /// NaN, infinity, hexadecimal, a comma within, a fraction, a power, a unit, digits of other scripts, number words.
        public static let notANumber = Reason(words: .notANumber)
        /// A value below 0, or a reduction by more than 100 %.
        public static let negative = Reason(words: .negative)
        /// "by 0.01".
        public static let difference = Reason(words: .difference)
        /// "change … by 20 %".
        public static let noDirection = Reason(words: .noDirection)
        /// "reduce the batch size", "dropout = 0.1".
        public static let unknownSetting = Reason(words: .unknownSetting)
        /// A second number for the same setting that is not the first.
        public static let contradictsNumber = Reason(words: .contradictsNumber)
        /// A verb where there is a number too, before it or after it.
        public static let beatenByNumber = Reason(words: .beatenByNumber)
        /// A second verb, or the same number again.
        public static let laterDuplicate = Reason(words: .laterDuplicate)
        /// λ where there is no elastic weight consolidation.
        public static let settingIsOff = Reason(words: .settingIsOff)
        /// The setting's own value is not finite, or a rate or threshold is not above 0.
        public static let noDefault = Reason(words: .noDefault)
        /// The upper bound of the rate is NaN or not above 0.
        public static let noUpperRate = Reason(words: .noUpperRate)
        /// The confidence is NaN.
        public static let noConfidence = Reason(words: .noConfidence)
        /// Past ``HintParser/maximumLength``.
        public static let tooLong = Reason(words: .tooLong)
        /// Past ``HintParser/maximumIgnored``.
        public static let tooMany = Reason(words: .tooMany)

        /// The reason in words.
        public var description: String { words.rawValue }
    }

    /// Which part: its first ``HintParser/maximumExcerpt`` bytes, or what a typed hint says, in words.
    public var text: String
    /// Why.
    public var reason: Reason

    /// An ignored hint.
    public init(_ text: String, _ reason: Reason) {
        self.text = text
        self.reason = reason
    }

    /// Text and reason.
    public var description: String { "\"\(text)\": \(reason)" }
}

/// What a hint may ask for at most. Hints outside are moved to the bound, and reported.
public enum HintBounds {
    /// For the learning rate, before the schedule.
    public static let learningRate = 1e-6...1.0
    /// For the clipping threshold.
    public static let clipThreshold = 1e-3...100.0
    /// For the strength λ of elastic weight consolidation.
    public static let consolidationStrength = 0.0...10.0
    /// For a factor on any of them.
    public static let factor = 0.01...100.0
}

/// The settings that hints can change.
enum HintSetting: Sendable, Hashable, CaseIterable {
    case learningRate, clipThreshold, consolidationStrength

    var bounds: ClosedRange<Double> {
        switch self {
        case .learningRate: HintBounds.learningRate
        case .clipThreshold: HintBounds.clipThreshold
        case .consolidationStrength: HintBounds.consolidationStrength
        }
    }

    var name: String {
        switch self {
        case .learningRate: "learning rate"
        case .clipThreshold: "clip threshold"
        case .consolidationStrength: "λ"
        }
    }
}

extension AdaptationHints {
    /// The change to a setting.
    subscript(setting: HintSetting) -> Adjustment? {
        get {
            switch setting {
            case .learningRate: learningRate
            case .clipThreshold: clipThreshold
            case .consolidationStrength: consolidationStrength
            }
        }
        set {
            switch setting {
            case .learningRate: learningRate = newValue
            case .clipThreshold: clipThreshold = newValue
            case .consolidationStrength: consolidationStrength = newValue
            }
        }
    }
}
