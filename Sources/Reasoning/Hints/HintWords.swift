/// What a word means to the parser.
enum HintWord: Sendable, Equatable {
    /// Anything else.
    case other
    /// Part of a setting's name, or all of it.
    case part(HintPart)
    /// Makes another quantity of the setting before it: the *decay* of the learning rate.
    case otherQuantity
    case verb(HintVerb, Form)
    /// Halves, but after "by" or "to" it is a number.
    case half
    /// Does not count between other words.
    case filler
    /// "percent".
    case percent
    /// "times", behind a number.
    case times
    /// "factor", of "by a factor of".
    case factor
    /// Joins a setting to its number where nothing stands between: "of", "at", "equals".
    case link
    case to, by, from, be
    /// "is", "was", "does": what "not" after it negates has already been said.
    case copula
    /// "should", "must".
    case modal
    /// "try", "consider": what follows in "-ing" is advised.
    case advises
    /// Takes its meaning from the following "to" or "of": "due to", "because of".
    case blocksLink
    /// "when", "with": what was to be done has ended.
    case endsObject
    case and, than, of
    /// "but", "however": what is negated ends.
    case but
    /// "instead", "rather": ends what is negated, but with "of" or "than" negates.
    case instead
    /// Negates to the end of the sentence.
    case not
    /// Negates to the next comma.
    case without
    /// Like ``not``, and also what was said before it: "isn't".
    case isNot
    /// "avoided": negates what was said before.
    case avoided
    /// "hurts", "diverged": negates the number right before it.
    case harms
    /// "if", "unless".
    case condition
    /// "nan", "inf", "ten": a number that is not read.
    case unreadNumber

    enum Form: Sendable { case base, participle, gerund }
}

/// The words that names of settings are made of.
enum HintPart: Sendable, Equatable {
    case learning, rate, learningRate, step, size
    case gradient, clip, threshold, maximum, norm
    case ewc, lambda, consolidation, elastic, weight, strength
}

/// What is to be done with a setting.
enum HintVerb: Sendable, Equatable {
    case reduce, halve, increase, double, keep, assign

    /// The factor that it stands for; `nil` when it stands for none.
    func factor(for setting: HintSetting) -> Double? {
        switch self {
        case .reduce: setting == .clipThreshold ? 0.75 : 0.5
        case .halve: 0.5
        case .increase: 1.5
        case .double: 2
        case .keep, .assign: nil
        }
    }

    var goesUp: Bool { self == .increase || self == .double }
    var goesDown: Bool { self == .reduce || self == .halve }
}

/// The words that the parser knows, by the hash of their bytes.
enum HintVocabulary {
    /// FNV-1a, 64 bits: the hash of no bytes.
    static let emptyHash: UInt64 = 0xcbf2_9ce4_8422_2325

    @inline(__always)
    static func hash(_ hash: UInt64, _ byte: UInt8) -> UInt64 { (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }

    /// Longer words are unknown.
    static let longestWord = 16

    static func word(_ hash: UInt64) -> HintWord { words[hash] ?? .other }

    private static let words: [UInt64: HintWord] = {
        var words: [UInt64: HintWord] = [:]
        for (word, spellings) in spellings {
            for spelling in spellings.split(separator: " ") {
                let hash = spelling.utf8.reduce(emptyHash, hash)
                precondition(spelling.utf8.count <= longestWord && words[hash] == nil, "HintVocabulary: \(spelling)")
                words[hash] = word
            }
        }
        return words
    }()

    private static let spellings: [(HintWord, String)] = [
        (.part(.learning), "learning"), (.part(.rate), "rate rates"),
        (.part(.learningRate), "lr learningrate stepsize η"), (.part(.step), "step"), (.part(.size), "size sizes"),
        (.part(.gradient), "gradient gradients grad grads"),
        (.part(.clip), "clip clipping clipthreshold gradientclipping gradclip"),
        (.part(.threshold), "threshold thresholds"), (.part(.maximum), "max maximum maximal"),
        (.part(.norm), "norm norms"),
        (.part(.ewc), "ewc"), (.part(.lambda), "lambda λ"), (.part(.consolidation), "consolidation"),
        (.part(.elastic), "elastic"), (.part(.weight), "weight weights"), (.part(.strength), "strength penalty"),

        (
            .otherQuantity,
            "decay schedule scheduler warmup multiplier bound bounds limit range floor ceiling policy ratio"
        ),
        (.otherQuantity, "fraction percentile frequency count"),

        (.verb(.reduce, .base), "reduce lower decrease"), (.verb(.reduce, .participle), "reduced lowered decreased"),
        (.verb(.reduce, .gerund), "reducing lowering decreasing reduces lowers decreases"),
        (.verb(.halve, .base), "halve"), (.verb(.halve, .participle), "halved"),
        (.verb(.halve, .gerund), "halving halves"),
        (.verb(.increase, .base), "increase raise"), (.verb(.increase, .participle), "increased raised"),
        (.verb(.increase, .gerund), "increasing raising increases raises"),
        (.verb(.double, .base), "double twice"), (.verb(.double, .participle), "doubled"),
        (.verb(.double, .gerund), "doubling doubles"),
        (.verb(.keep, .base), "keep leave"), (.verb(.keep, .participle), "kept left"),
        (.verb(.keep, .gerund), "keeping leaving keeps leaves"),
        (.verb(.assign, .base), "set use choose pick apply take make change adjust"),
        (.verb(.assign, .participle), "chosen changed adjusted"),
        (.verb(.assign, .gerund), "setting using choosing changing adjusting sets uses"),
        (.half, "half"),

        (
            .filler,
            "the a an about around approximately roughly value values new only just exactly equal its our your their"
        ),
        (.filler, "this current parameter coefficient please"),
        (.percent, "percent pct"), (.times, "times x"), (.factor, "factor"), (.link, "at equals are"), (.of, "of"),
        (.to, "to"), (.by, "by"),
        (.from, "from"), (.be, "be"), (.copula, "is was were does did has"),
        (.modal, "should must shall can could may might"),
        (.advises, "try consider recommend suggest advise recommends suggests advises"),
        (.blocksLink, "due according compared prior up relative similar subject thanks owing next because between"),
        (.endsObject, "with before after when for in while since as until where that which so then on during"),
        (.and, "and or plus also both"), (.than, "than"), (.but, "but however"), (.instead, "instead rather"),

        (
            .not,
            "not no never neither nor avoid avoids avoiding cannot dont cant wont shouldnt mustnt refrain stop prevent"
        ),
        (.not, "against nothing none"),
        (.without, "without"), (.isNot, "isn't wasn't doesn't didn't isnt wasnt doesnt didnt"), (.avoided, "avoided"),
        (.harms, "hurts hurt harms harmed diverges diverged fails failed"),
        (.condition, "if unless whether"),
        (
            .unreadNumber,
            "nan inf infinity infinite zero one two three four five six seven eight nine ten hundred thousand"
        ),
        (.unreadNumber, "third quarter tenth fifth"),
    ]
}
