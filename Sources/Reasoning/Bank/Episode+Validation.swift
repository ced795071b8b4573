extension Episode {
    /// The longest text that an episode holds, in bytes of UTF-8: session, task, input, output and critique each.
    public static let longestText = 16_384

    /// Checks that every number is finite and in its range, the taste has ``AdaptationContext/tasteDimension`` values
    /// and no text is longer than ``longestText``.
    ///
    /// - Throws: ``ReasoningError`` (`invalidEpisode`) naming the field; texts and the user are never repeated.
    public func validate() throws(ReasoningError) {
        func refuse(_ message: String) -> ReasoningError { ReasoningError(.invalidEpisode, "storePattern", message) }
        if let fault = context.fault { throw refuse(fault) }
        guard version >= 1 else { throw refuse("the version is 0: no update has led to it") }
        guard latency >= 0 else { throw refuse("the latency \(latency) is below 0") }
        for (name, number) in [("loss before", lossBefore), ("loss after", lossAfter)] where !number.isFinite {
            throw refuse("the \(name) is \(number)")
        }
        for (name, number) in [
            ("learning rate", action.learningRate), ("schedule factor", action.scheduleFactor),
            ("clipping threshold", action.clipThreshold), ("consolidation strength", action.consolidationStrength),
        ] where !(number.isFinite && number >= 0) {
            throw refuse("the \(name) \(number) is not finite and at least 0")
        }
        guard action.propensity > 0, action.propensity <= 1 else {
            throw refuse("the propensity \(action.propensity) is not above 0 and at most 1")
        }
        if let outcome {
            for (name, number) in [("gain", outcome.gain), ("benefit", outcome.benefit)] where !number.isFinite {
                throw refuse("the \(name) is \(number)")
            }
            guard outcome.reward >= 0, outcome.reward <= 1 else {
                throw refuse("the reward \(outcome.reward) is not in 0...1")
            }
        }
        for (name, text) in [
            ("session", sessionID), ("task", task), ("input", input), ("output", output), ("critique", critique),
        ] where text.utf8.count > Self.longestText {
            throw refuse("the \(name) has \(text.utf8.count) bytes, more than \(Self.longestText)")
        }
    }
}

extension AdaptationContext {
    /// What is wrong with the context, in words; `nil` when nothing is.
    package var fault: String? {
        guard taste.count == Self.tasteDimension else {
            return "the taste has \(taste.count) values where \(Self.tasteDimension) are needed"
        }
        if let index = taste.firstIndex(where: { !$0.isFinite }) {
            return "value \(index) of the taste is \(taste[index])"
        }
        for (name, number) in [
            ("mean reward", rewardMean), ("reward variance", rewardVariance), ("dispersion", dispersion),
            ("gradient noise", gradientNoise), ("gradient cosine", gradientCosine), ("drift", drift),
        ] where !number.isFinite {
            return "the \(name) is \(number)"
        }
        guard idleSeconds.isFinite, idleSeconds >= 0 else {
            return "the idle time \(idleSeconds) is not finite and at least 0"
        }
        guard seen >= 0, batchSize >= 0, tasteLikes >= 0 else {
            return "\(seen) feedbacks seen, \(batchSize) in the batch or \(tasteLikes) likes are below 0"
        }
        guard dimension >= 1, rank >= 1 else { return "the dimension \(dimension) or the rank \(rank) is below 1" }
        return nil
    }
}

extension AdaptationTask {
    /// Checks that every number is finite and the rate is above 0.
    ///
    /// - Throws: ``ReasoningError`` (`invalidQuery`) naming the field.
    public func validate() throws(ReasoningError) {
        if let fault = context.fault { throw ReasoningError(.invalidQuery, "learnStrategy", fault) }
        guard configuredLearningRate.isFinite, configuredLearningRate > 0 else {
            throw ReasoningError(
                .invalidQuery, "learnStrategy", "the rate \(configuredLearningRate) is not finite and above 0")
        }
    }
}
