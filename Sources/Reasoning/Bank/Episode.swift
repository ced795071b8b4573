public import LoRA

/// Names an episode within its bank.
public struct EpisodeID: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Rises with every episode stored.
    public let value: UInt64

    /// An identifier.
    public init(_ value: UInt64) { self.value = value }

    /// The number.
    public var description: String { "\(value)" }

    /// Whether `left` was stored before `right`.
    public static func < (left: EpisodeID, right: EpisodeID) -> Bool { left.value < right.value }
}

/// One update as the bank remembers it: in what situation, what was done, what came of it.
public struct Episode: Sendable, Hashable {
    /// Whose adapter was updated; a keyed hash.
    public var user: UserDigest
    /// The adapter's version after the update; with the user it names the episode.
    public var version: UInt64
    /// The engine session that made it.
    public var sessionID: String
    /// What was being done, without identity: the objective's name.
    public var task: String
    /// The situation before the update.
    public var context: AdaptationContext
    /// What was done.
    public var action: AdaptationAction
    /// The loss of the batch before its update.
    public var lossBefore: Double
    /// The loss of the same batch after it.
    public var lossAfter: Double
    /// What the next batch showed; `nil` while nobody knows, and for ever when there was no next batch.
    public var outcome: AdaptationOutcome?
    /// The situation in words.
    public var input: String
    /// What was done, in words.
    public var output: String
    /// What came of it, in words.
    public var critique: String
    /// How long the update took, look-up included, in nanoseconds; 0 when not measured.
    public var latency: Int64
    /// When the update happened.
    public var recordedAt: Timestamp

    /// An episode.
    public init(
        user: UserDigest, version: UInt64, sessionID: String = "", task: String, context: AdaptationContext,
        action: AdaptationAction, lossBefore: Double, lossAfter: Double, outcome: AdaptationOutcome? = nil,
        input: String = "", output: String = "", critique: String = "", latency: Int64 = 0, recordedAt: Timestamp
    ) {
        self.user = user
        self.version = version
        self.sessionID = sessionID
        self.task = task
        self.context = context
        self.action = action
        self.lossBefore = lossBefore
        self.lossAfter = lossAfter
        self.outcome = outcome
        self.input = input
        self.output = output
        self.critique = critique
        self.latency = latency
        self.recordedAt = recordedAt
    }
}

/// The situation of an adapter before an update, without anything that names its user.
public struct AdaptationContext: Sendable, Hashable {
    /// The number of values in ``taste``.
    public static let tasteDimension = 64

    /// The kind of objective of the batch; that with the most weight in it.
    public var objective: ObjectiveKind
    /// The feedbacks that the adapter had learned from.
    public var seen: Int
    /// The feedbacks of this batch.
    public var batchSize: Int
    /// The mean of the rewards so far, −1...1; a like counts 1.
    public var rewardMean: Float
    /// Their variance.
    public var rewardVariance: Float
    /// The direction of the mean of what the user liked, projected to 64 dimensions, of length 1; zeros before the first like.
    /// The projection is fixed for a dimension, so that tastes of different engines compare.
    public var taste: [Float]
    /// The liked items that the taste is the direction of. Fewer than ``seen`` where it was begun anew, after the adapter was
    /// unloaded or the engine started again.
    public var tasteLikes: Int
    /// How far the liked items are spread: 1 − ‖mean‖² / mean of ‖·‖² in the projection; 0 alike, near 1 in all directions.
    public var dispersion: Float
    /// The share of the gradients that is noise, 0...1: 1 − the mean cosine of successive ones, exponential over the last 10
    /// or so; for gradients of one length that estimates 1 − ‖mean g‖² / mean ‖g‖².
    public var gradientNoise: Float
    /// The cosine of the last two gradients with respect to the output; 0 when there were none.
    public var gradientCosine: Float
    /// The Page–Hinkley statistic of the loss before each update: how far it has risen above its lowest course.
    public var drift: Float
    /// The seconds since the user's last update; 0 at the first.
    public var idleSeconds: Double
    /// The adapter's dimension.
    public var dimension: Int
    /// The adapter's rank.
    public var rank: Int
    /// A stable hash of the embedding model's name.
    public var model: UInt64
    /// What the adapter started from; `nil` for a cold start.
    public var initialization: PriorID?

    /// A context. What is not given is that of a new adapter.
    public init(
        objective: ObjectiveKind = .ranking, seen: Int = 0, batchSize: Int = 1, rewardMean: Float = 0,
        rewardVariance: Float = 0, taste: [Float] = [], tasteLikes: Int = 0, dispersion: Float = 0,
        gradientNoise: Float = 0,
        gradientCosine: Float = 0, drift: Float = 0, idleSeconds: Double = 0, dimension: Int, rank: Int,
        model: UInt64 = 0, initialization: PriorID? = nil
    ) {
        self.objective = objective
        self.seen = seen
        self.batchSize = batchSize
        self.rewardMean = rewardMean
        self.rewardVariance = rewardVariance
        self.taste = taste.isEmpty ? [Float](repeating: 0, count: Self.tasteDimension) : taste
        self.tasteLikes = tasteLikes
        self.dispersion = dispersion
        self.gradientNoise = gradientNoise
        self.gradientCosine = gradientCosine
        self.drift = drift
        self.idleSeconds = idleSeconds
        self.dimension = dimension
        self.rank = rank
        self.model = model
        self.initialization = initialization
    }
}

/// What was done in an update.
public struct AdaptationAction: Sendable, Hashable {
    /// The rate that was applied, schedule included.
    public var learningRate: Float
    /// The factor that the schedule gave to the rate.
    public var scheduleFactor: Float
    /// The clipping threshold that was applied.
    public var clipThreshold: Float
    /// The strength λ of the protection that was applied; 0 without.
    public var consolidationStrength: Float
    /// What the adapter had started from; `nil` for a cold start.
    public var initialization: PriorID?
    /// The probability with which this action was chosen, in (0, 1]; 1 when nothing was drawn.
    public var propensity: Double

    /// An action.
    public init(
        learningRate: Float, scheduleFactor: Float = 1, clipThreshold: Float, consolidationStrength: Float = 0,
        initialization: PriorID? = nil, propensity: Double = 1
    ) {
        self.learningRate = learningRate
        self.scheduleFactor = scheduleFactor
        self.clipThreshold = clipThreshold
        self.consolidationStrength = consolidationStrength
        self.initialization = initialization
        self.propensity = propensity
    }
}

/// What the next batch showed, before it was learned from. With ℓ the loss of that batch:
public struct AdaptationOutcome: Sendable, Hashable {
    /// What the update brought: (ℓ(before it) − ℓ(after it)) / max(ℓ(no adapter), 1e-6), paired and out of sample.
    public var gain: Double
    /// What the adapter as a whole brings. Where the next batch chose among items: the share of the other items that it ranks
    /// below the chosen one, less that share without an adapter. Otherwise (ℓ(no adapter) − ℓ(after it)) /
    /// max(ℓ(no adapter), 1e-6). Ranks, because a softmax loss also falls when an adapter merely makes outputs longer.
    public var benefit: Double
    /// The rank of the gain among the population's recent gains, 0...1; ties count half.
    public var reward: Double
    /// Whether the gain was above the margin that the engine was configured with.
    public var success: Bool

    /// An outcome.
    public init(gain: Double, benefit: Double, reward: Double, success: Bool) {
        self.gain = gain
        self.benefit = benefit
        self.reward = reward
        self.success = success
    }
}
