/// How feedback becomes a loss.
public struct ObjectiveConfiguration: Sendable, Hashable {
    /// What a like is contrasted with.
    public enum Like: Sendable, Hashable {
        /// Pairwise logistic loss against `negatives` items drawn uniformly: raises the area under the ROC curve most.
        case pairwise(negatives: Int)
        /// Softmax over the liked item and `negatives` items drawn uniformly, each standing for its share of the catalogue; over
        /// the whole catalogue where that has at most `wholeUpTo` items. The cost does not grow with the catalogue.
        case sampledSoftmax(negatives: Int, wholeUpTo: Int = 0)
        /// Softmax over the whole catalogue: raises the top of the list most; costs three passes over the catalogue.
        case catalogueSoftmax
    }

    /// What a like is contrasted with.
    public var like: Like
    /// The temperature τ of the softmax losses: logits are `(y·v + offset) / τ`. Above 0.
    public var temperature: Float
    /// Subtracted from a reward before it is used, −1...1. Not from a watch event, whose neutral point is
    /// ``neutralWatchScore``.
    public var rewardBaseline: Float
    /// The score of a watch event that says nothing, in (0, 1).
    public var neutralWatchScore: Float
    /// The largest factor that a logged propensity may give a sample, at least 1.
    public var highestInversePropensity: Float

    /// Objective settings; every default is stated here and nowhere else.
    public init(
        like: Like = .sampledSoftmax(negatives: 512, wholeUpTo: 4096), temperature: Float = 0.5,
        rewardBaseline: Float = 0,
        neutralWatchScore: Float = 0.5, highestInversePropensity: Float = 10
    ) {
        self.like = like
        self.temperature = temperature
        self.rewardBaseline = rewardBaseline
        self.neutralWatchScore = neutralWatchScore
        self.highestInversePropensity = highestInversePropensity
    }

    package func validate() throws(LoRAError) {
        func refuse(_ message: String) -> LoRAError { LoRAError(.invalidConfiguration, "objective", message) }
        switch like {
        case .pairwise(let n), .sampledSoftmax(let n, _):
            guard (1...10_000).contains(n) else { throw refuse("\(n) negatives are not in 1...10000") }
        case .catalogueSoftmax: break
        }
        guard temperature >= 1e-3, temperature <= 1e3 else {
            throw refuse("temperature \(temperature) is not in 0.001...1000")
        }
        guard rewardBaseline >= -1, rewardBaseline <= 1 else {
            throw refuse("reward baseline \(rewardBaseline) is not in -1...1")
        }
        guard neutralWatchScore > 0, neutralWatchScore < 1 else {
            throw refuse("neutral watch score \(neutralWatchScore) is not between 0 and 1")
        }
        guard highestInversePropensity >= 1, highestInversePropensity <= 1e6 else {
            throw refuse("highest inverse propensity \(highestInversePropensity) is not in 1...1000000")
        }
    }
}

/// The kinds of objective, each with a learning rate and a clipping threshold of its own.
public enum ObjectiveKind: String, Sendable, Hashable, CaseIterable, Codable {
    /// ``Feedback/Signal/target(_:)`` and ``Feedback/Signal/scaledInput(reward:)``.
    case target
    /// ``Feedback/Signal/preference(_:over:)``, and likes with pairwise loss.
    case preference
    /// ``Feedback/Signal/ranking(_:among:)``, and likes with softmax loss.
    case ranking
    /// ``Feedback/Signal/reward(_:for:)`` and ``Feedback/Signal/watch(_:of:)``.
    case reward
}

extension ObjectiveConfiguration.Like {
    /// The loss's name, as `attune config` prints it.
    public var name: String {
        switch self {
        case .pairwise: "pairwise"
        case .sampledSoftmax(_, let whole): whole > 0 ? "softmax, sampled above \(whole) items" : "sampled softmax"
        case .catalogueSoftmax: "catalogue softmax"
        }
    }

    /// How many items a like is contrasted with; `nil` for all of them.
    public var negatives: Int? {
        switch self {
        case .pairwise(let count), .sampledSoftmax(let count, _): count
        case .catalogueSoftmax: nil
        }
    }
}
