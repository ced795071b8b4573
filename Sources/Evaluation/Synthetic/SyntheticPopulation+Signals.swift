import TensorCore

extension SyntheticPopulation {
    /// A query and the embedding that the user wanted for it, with noise.
    public struct TargetSignal: Sendable, Hashable {
        /// The embedding x of an item, shape `[dimension]`.
        public let query: [Float]
        /// M_u·x plus independent normal noise, shape `[dimension]`.
        public let target: [Float]
    }

    /// A query and which of two items the user preferred for it.
    public struct PreferenceSignal: Sendable, Hashable {
        /// The item whose embedding is the query.
        public let query: Int
        /// The preferred item.
        public let preferred: Int
        /// The other item.
        public let other: Int
    }

    /// The target signal of a user at a step: a uniformly drawn item as query, noise of the given standard deviation in
    /// each component.
    public func target(of user: Int, step: Int, noise: Float) -> TargetSignal {
        var random = signalGenerator(user, step: step)
        let query = vectors.rowValues(random.integer(below: configuration.items))
        let target = personalized(query, for: user, step: step)
            .map { $0 + Float(random.normal(standardDeviation: Double(noise))) }
        return TargetSignal(query: query, target: target)
    }

    /// The preference of a user at a step: a uniformly drawn query and pair of items, the choice by the softmax of
    /// their two utilities (Bradley and Terry's model).
    public func preference(of user: Int, step: Int) -> PreferenceSignal {
        var random = signalGenerator(user, step: step)
        let query = random.integer(below: configuration.items)
        let pair = random.sample(2, of: configuration.items)
        let utilities = utilities(of: user, step: step, lastLike: query)
        let margin = Double(utilities[pair[0]] - utilities[pair[1]])
        let isFirst = random.bernoulli(1 / (1 + Elementary.exp(-margin)))
        return PreferenceSignal(
            query: query, preferred: isFirst ? pair[0] : pair[1], other: isFirst ? pair[1] : pair[0])
    }

    /// The target loss that a personalized embedding has beyond the least possible one, which noise alone causes.
    ///
    /// ```text
    /// E‖y − (M_u·x + noise)‖² / d − E‖noise‖² / d = ‖y − M_u·x‖² / d
    /// ```
    ///
    /// - Parameters:
    ///   - embedding: The embedding y to judge, shape `[dimension]`.
    ///   - query: The embedding x that it personalizes, shape `[dimension]`.
    /// - Returns: The exact excess, zero if and only if y = M_u·x.
    public func excessTargetLoss(of embedding: [Float], query: [Float], user: Int, step: Int) -> Double {
        let wanted = personalized(query, for: user, step: step)
        precondition(embedding.count == wanted.count, "SyntheticPopulation: shapes of embedding and query differ")
        var sum = 0.0
        for j in wanted.indices {
            let difference = Double(embedding[j]) - Double(wanted[j])
            sum += difference * difference
        }
        return sum / Double(wanted.count)
    }

    /// The expected AUC that ranking the unseen items by `scores` loses against ranking them by the user's true
    /// utilities.
    ///
    /// ```text
    /// p_i = softmax of the utilities over unseen items
    /// AUC_i(f) = share of the other unseen items that f ranks below i, ties counting half
    /// regret(f) = Σ_i p_i·AUC_i(utilities) − Σ_i p_i·AUC_i(f)
    /// ```
    ///
    /// Exact, in 0...1; zero if and only if `scores` orders the unseen items as the utilities do.
    ///
    /// - Parameters:
    ///   - scores: One score per item, shape `[items]`.
    ///   - likes: The user's likes so far in order of time, at least one: the last is the query, all are seen.
    /// - Complexity: O(items · (dimension + log(items))).
    public func rankingRegret(of scores: [Float], user: Int, likes: [Int]) -> Double {
        precondition(scores.count == configuration.items, "SyntheticPopulation: one score per item is needed")
        guard let last = likes.last else { preconditionFailure("SyntheticPopulation: no likes") }
        return ChoiceTruth(
            utilities: utilities(of: user, step: likes.count, lastLike: last), seen: likes[...]
        ).regret(of: scores)
    }
}

extension EvaluationData {
    /// The population as a data set: about half of the users are donors (``DataFolder/isDonor(_:seed:)``), the true
    /// preferences give the regret.
    ///
    /// - Throws: ``DataError`` (`notEnoughData`) when a half is empty.
    /// - Complexity: O(users · likes · items · dimension).
    public init(_ population: SyntheticPopulation) throws(DataError) {
        let configuration = population.configuration
        let users = 0..<configuration.users
        try self.init(
            name: "synthetic", embeddingsName: "", vectors: population.vectors,
            catalogueRows: Array(0..<configuration.items),
            likes: users.map { (SyntheticPopulation.userID($0), population.likes(of: $0)) },
            isDonor: users.map { DataFolder.isDonor(SyntheticPopulation.userID($0), seed: configuration.seed) },
            truth: SyntheticTruth(population: population))
        if let drift = configuration.driftStep, let back = configuration.returnStep {
            tasteChange = TasteChange(step: drift, returnStep: back)
        }
    }
}

/// The population's own utilities, by user id.
private struct SyntheticTruth: PreferenceTruth {
    let population: SyntheticPopulation

    func utilities(userID: String, step: Int, lastLike: Int) -> [Float] {
        guard let user = Int(userID.dropFirst(SyntheticPopulation.userID(0).count - 1)) else {
            preconditionFailure("SyntheticTruth: no user \(userID)")
        }
        return population.utilities(of: user, step: step, lastLike: lastLike)
    }
}
