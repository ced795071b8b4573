public import LoRA

/// What a bank is asked to advise on.
public struct AdaptationTask: Sendable, Hashable {
    /// The situation.
    public var context: AdaptationContext
    /// The rate that would be applied without advice, before the schedule.
    public var configuredLearningRate: Float
    /// A user whose past is left out of the advice.
    public var excluding: UserDigest?

    /// A task.
    public init(context: AdaptationContext, configuredLearningRate: Float, excluding: UserDigest? = nil) {
        self.context = context
        self.configuredLearningRate = configuredLearningRate
        self.excluding = excluding
    }
}

/// A change to one setting.
public enum Adjustment: Sendable, Hashable {
    /// This value.
    case value(Double)
    /// The effective value times this.
    case factor(Double)
}

/// Changes to the settings of an update.
public struct AdaptationHints: Sendable, Hashable {
    /// For the learning rate, before the schedule.
    public var learningRate: Adjustment?
    /// For the clipping threshold.
    public var clipThreshold: Adjustment?
    /// For the strength λ of elastic weight consolidation, where that is on.
    public var consolidationStrength: Adjustment?

    /// Hints; none unless given.
    public init(
        learningRate: Adjustment? = nil, clipThreshold: Adjustment? = nil, consolidationStrength: Adjustment? = nil
    ) {
        self.learningRate = learningRate
        self.clipThreshold = clipThreshold
        self.consolidationStrength = consolidationStrength
    }

    /// Whether nothing is to change.
    public var isEmpty: Bool { learningRate == nil && clipThreshold == nil && consolidationStrength == nil }
}

/// One of the learning rates that a bank lets users try.
public struct RateArm: Sendable, Hashable {
    /// The rate, before the schedule.
    public var learningRate: Float
    /// The probability with which it is to be tried, 0...1; those of an advice sum to 1.
    public var probability: Double

    /// An arm.
    public init(learningRate: Float, probability: Double) {
        self.learningRate = learningRate
        self.probability = probability
    }
}

/// Names a prior by its content.
public struct PriorID: Sendable, Hashable, CustomStringConvertible {
    /// A stable hash of the prior's numbers.
    public let value: UInt64

    /// An identifier.
    public init(_ value: UInt64) { self.value = value }

    /// Sixteen hexadecimal digits.
    public var description: String { fixedHex(value) }
}

/// What a new adapter may start from.
public struct Initialization: Sendable, Hashable {
    /// Names the prior.
    public var id: PriorID
    /// The prior.
    public var prior: AdapterPrior
    /// The skill that it belongs to; `nil` for that of the whole population.
    public var skill: SkillID?

    /// A start. Its name is made from its content.
    ///
    /// - Complexity: O(rank · dimension).
    public init(prior: AdapterPrior, skill: SkillID? = nil) {
        self.init(id: PriorID(prior.contentHash), prior: prior, skill: skill)
    }

    /// A start as it was stored, with the name that it had then.
    public init(id: PriorID, prior: AdapterPrior, skill: SkillID? = nil) {
        self.id = id
        self.prior = prior
        self.skill = skill
    }

    /// Whether the numbers are finite and what the name says.
    ///
    /// - Complexity: O(rank · dimension).
    public var isIntact: Bool { prior.isFinite && id.value == prior.contentHash }
}

/// What has worked in contexts like that of a task.
public struct StrategyAdvice: Sendable, Hashable {
    /// The changes that are advised. A bank that answers in prose alone leaves them empty and fills ``sentence``, which is then
    /// read by ``HintParser``.
    public var hints: AdaptationHints
    /// How far the hints are to be followed, 0...1: a setting becomes `default^(1 − c)·hint^c`. At 0 they are not.
    public var confidence: Double
    /// The number of episodes behind the advice.
    public var episodes: Int
    /// The mean gain of these episodes with its 95 % interval; `nil` without any.
    public var gain: ConfidenceInterval?
    /// Some of these episodes.
    public var evidence: [EpisodeID]
    /// The advice in words.
    public var sentence: String
    /// Rates to draw from, in place of the hint's; empty when there is nothing to try.
    public var rateArms: [RateArm]
    /// What a new adapter may start from.
    public var initialization: Initialization?

    /// An advice.
    public init(
        hints: AdaptationHints = AdaptationHints(), confidence: Double = 0, episodes: Int = 0,
        gain: ConfidenceInterval? = nil, evidence: [EpisodeID] = [], sentence: String = "", rateArms: [RateArm] = [],
        initialization: Initialization? = nil
    ) {
        self.hints = hints
        self.confidence = confidence
        self.episodes = episodes
        self.gain = gain
        self.evidence = evidence
        self.sentence = sentence
        self.rateArms = rateArms
        self.initialization = initialization
    }

    /// The advice of a bank that knows nothing.
    public static let none = StrategyAdvice()
}

/// An estimate with an interval.
public struct ConfidenceInterval: Sendable, Hashable {
    /// The estimate.
    public var mean: Double
    /// The lower bound.
    public var low: Double
    /// The upper bound.
    public var high: Double

    /// An estimate and its bounds.
    public init(mean: Double, low: Double, high: Double) {
        self.mean = mean
        self.low = low
        self.high = high
    }
}
