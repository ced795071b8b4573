/// How a bank weighs what it knows.
public struct ReasoningBankConfiguration: Sendable, Hashable {
    /// By which outcome learning rates are compared and groups of users judged.
    public enum Criterion: String, Sendable, Hashable {
        /// ``AdaptationOutcome/benefit``: what the adapter as a whole brings. The long-run measure: a rate so high that
        /// each update undoes the last one can gain with every update and still bring little, and among users with several
        /// interests an update can lose on the next batch and still pay in the end.
        case benefit
        /// ``AdaptationOutcome/gain``: what the one update brought.
        case gain
    }

    /// By which outcome learning rates are compared and groups of users judged.
    public var criterion: Criterion
    /// The mean outcome, by the criterion, above which a user counts as a success of their group.
    public var successMargin: Double
    /// k: a rate's mean is drawn towards the mean of all rates as if by k users of it, and n users give the confidence
    /// n / (n + k).
    public var pseudoObservations: Double
    /// The least probability of each rate that is offered, so that none is written off for ever.
    public var explorationFloor: Double
    /// The rates that may be offered beside the configured one.
    public var rates: ClosedRange<Float>
    /// The weights of retrieval.
    public var retrieval: RetrievalWeights
    /// The least cosine between a user's taste and a skill's centroid for the user to start from the skill. Users of
    /// one group whose tastes are as much noise as signal are 0.7 from its middle; strangers in 64 dimensions hardly ever above 0.5.
    public var skillNearness: Double
    /// The factor by which the population's start and the local ones are drawn to the identity, 0...1. What donors have in
    /// common counts fully for nobody: at ½ fewer users end below no adapter, and t90 is the same.
    public var startStrength: Double
    /// The donors of a local start; fewer among fewer than ten times as many.
    public var neighbors: Int
    /// The most local starts.
    public var localStarts: Int
    /// The most adapters that are merged into one prior, 2...1,000,000. They are read twice, one at a time; none is held.
    /// Above 4,096 dimensions fewer, so that the ranks add up to at most 2,400. A donor who is forgotten costs one merge of all
    /// the others.
    public var maximumDonors: Int
    /// The seed of the numbers by which the probabilities of rates are estimated.
    public var seed: UInt64

    /// A configuration.
    public init(
        criterion: Criterion = .benefit, successMargin: Double = 0, pseudoObservations: Double = 30,
        explorationFloor: Double = 0.02,
        rates: ClosedRange<Float> = 1e-6...1, retrieval: RetrievalWeights = RetrievalWeights(),
        skillNearness: Double = 0.5, startStrength: Double = 0.5, neighbors: Int = 30, localStarts: Int = 64,
        maximumDonors: Int = 100_000, seed: UInt64 = 0
    ) {
        self.criterion = criterion
        self.successMargin = successMargin
        self.pseudoObservations = pseudoObservations
        self.explorationFloor = explorationFloor
        self.rates = rates
        self.retrieval = retrieval
        self.skillNearness = skillNearness
        self.startStrength = startStrength
        self.neighbors = neighbors
        self.localStarts = localStarts
        self.maximumDonors = maximumDonors
        self.seed = seed
    }

    /// Checks every setting.
    ///
    /// - Throws: ``ReasoningError`` (`invalidConfiguration`) naming the setting and its range.
    public func validate() throws(ReasoningError) {
        func refuse(_ message: String) -> ReasoningError { ReasoningError(.invalidConfiguration, "bank", message) }
        guard abs(successMargin) <= 1000 else {
            throw refuse("the success margin \(successMargin) is not within ±1000")
        }
        guard pseudoObservations > 0, pseudoObservations <= 1e6 else {
            throw refuse("\(pseudoObservations) pseudo-observations are not above 0 and at most 1000000")
        }
        guard explorationFloor >= 0, explorationFloor <= 0.2 else {
            throw refuse("the exploration floor \(explorationFloor) is not in 0...0.2")
        }
        guard rates.lowerBound > 0, rates.upperBound.isFinite else {
            throw refuse("the rates \(rates) are not above 0 and finite")
        }
        guard skillNearness >= -1, skillNearness <= 1 else {
            throw refuse("the nearness \(skillNearness) is not in -1...1")
        }
        guard startStrength >= 0, startStrength <= 1 else {
            throw refuse("the strength of starts \(startStrength) is not in 0...1")
        }
        guard (2...300).contains(neighbors), (0...4096).contains(localStarts) else {
            throw refuse("\(neighbors) neighbors are not in 2...300, or \(localStarts) local starts not in 0...4096")
        }
        guard (2...1_000_000).contains(maximumDonors) else {
            throw refuse("the number of donors \(maximumDonors) is not in 2...1000000")
        }
        try retrieval.validate()
    }
}

/// The one place where retrieval's weights stand.
///
/// ```text
/// score = similarity·s + recency·½^(age / half-life) + confidence·b / (b + 4)
/// ```
///
/// with s the cosine of the two contexts' features and b the feedbacks in the episode's batch: an update of many says
/// more than one of a single feedback. By default likeness decides, and age and batch only between contexts about as
/// alike.
public struct RetrievalWeights: Sendable, Hashable {
    /// The weight of the similarity, −1...1.
    public var similarity: Double
    /// The weight of the recency, 0...1.
    public var recency: Double
    /// The weight of the confidence, 0...1.
    public var confidence: Double
    /// The age in days at which the recency is ½.
    public var halfLifeDays: Double

    /// Weights.
    public init(
        similarity: Double = 1, recency: Double = 0.05, confidence: Double = 0.05, halfLifeDays: Double = 30
    ) {
        self.similarity = similarity
        self.recency = recency
        self.confidence = confidence
        self.halfLifeDays = halfLifeDays
    }

    func validate() throws(ReasoningError) {
        for (name, weight) in [("similarity", similarity), ("recency", recency), ("confidence", confidence)] {
            guard weight >= 0, weight <= 1000 else {
                throw ReasoningError(
                    .invalidConfiguration, "bank", "the weight \(weight) of the \(name) is not in 0...1000")
            }
        }
        guard halfLifeDays > 0, halfLifeDays <= 36_500 else {
            throw ReasoningError(
                .invalidConfiguration, "bank", "the half-life of \(halfLifeDays) days is not above 0 and at most 36500")
        }
    }
}
