internal import TensorCore

/// How a bank turns what it holds into advice; the same for every bank.
package struct BankAnswers: Sendable {
    private let configuration: ReasoningBankConfiguration
    private let normals: [Double]

    package init(_ configuration: ReasoningBankConfiguration) {
        self.configuration = configuration
        normals = RateEvidence.normals(seed: configuration.seed)
    }

    /// What a bank knows for a task: all that an advice is made of.
    package struct Known: Sendable {
        fileprivate var sums: (resolved: Int, gain: UserMoments, arms: [Int: ArmMoments])?
        fileprivate var evidence: [EpisodeID]
        fileprivate var start: (initialization: Initialization, sentence: String)?
    }

    /// Reads what is known, under the bank's lock.
    ///
    /// - Complexity: O(rates + skills + local starts), whatever the number of episodes.
    package func known(of task: AdaptationTask, in kind: KindState?, _ knowledge: SkillShelf) -> Known {
        Known(
            sums: kind?.excluding(task.excluding), evidence: kind?.index.newest(5, excluding: task.excluding) ?? [],
            start: knowledge.initialization(
                for: AdapterKind(task.context), taste: task.context.taste, nearness: configuration.skillNearness,
                excluding: task.excluding))
    }

    /// The advice, outside it.
    package func advice(on task: AdaptationTask, _ known: Known) -> StrategyAdvice {
        var advice = StrategyAdvice(initialization: known.start?.initialization)
        if let sums = known.sums, sums.resolved > 0, let gain = sums.gain.interval {
            let rates = RateEvidence(arms: sums.arms, configuration: configuration)
            let configured = RateGrid.index(of: Double(task.configuredLearningRate)) ?? 0
            let centre = rates.centre(configured: configured)
            let users = Double(sums.gain.users)
            advice.hints.learningRate = .value(Double(RateGrid.rate(centre)))
            advice.confidence = users / (users + configuration.pseudoObservations)
            advice.episodes = sums.resolved
            advice.gain = gain
            advice.evidence = known.evidence
            advice.rateArms = rates.probabilities(centre: centre, normals: normals)
            advice.sentence = Self.sentence(
                centre: centre, configured: configured, task: task, users: sums.gain.users, episodes: sums.resolved,
                gain: gain)
        }
        if let start = known.start { advice.sentence += (advice.sentence.isEmpty ? "" : " ") + start.sentence }
        return advice
    }

    private static func sentence(
        centre: Int, configured: Int, task: AdaptationTask, users: Int, episodes: Int, gain: ConfidenceInterval
    ) -> String {
        let rate = brief(Double(task.configuredLearningRate))
        let advice =
            centre == configured
            ? "The configured learning rate \(rate) is the best that is known; it stays."
            : "Learning rate \(brief(Double(RateGrid.rate(centre)))) instead of \(rate): users with it did better."
        return advice + " \(users) users, \(episodes) episodes, mean gain \(brief(gain.mean))"
            + " (\(brief(gain.low)) to \(brief(gain.high)))."
    }
}

/// An episode on its way into an answer.
package struct PatternCandidate: Sendable {
    let episode: Episode
    let match: EpisodeIndex.Match
    /// `[80]`, or empty when no variety is asked for.
    let vector: [Float]

    package init(episode: Episode, match: EpisodeIndex.Match, vector: [Float]) {
        self.episode = episode
        self.match = match
        self.vector = vector
    }

    /// How many candidates a query needs: more than its limit where it wants variety among them.
    package static func pool(_ query: PatternQuery) -> Int {
        query.relevance < 1 ? max(200, 4 * query.limit) : query.limit
    }

    /// The answer to a query, of its candidates in the order of their scores.
    package static func patterns(_ pool: [PatternCandidate], _ query: PatternQuery, now: Timestamp)
        -> [RetrievedPattern]
    {
        let chosen =
            query.relevance < 1 ? varied(pool, limit: query.limit, relevance: query.relevance) : pool
        return chosen.compactMap { $0.pattern(now: now) }
    }

    private func pattern(now: Timestamp) -> RetrievedPattern? {
        guard let outcome = episode.outcome else { return nil }
        return RetrievedPattern(
            id: match.id, user: episode.user, input: episode.input, output: episode.output, reward: outcome.reward,
            success: outcome.success, similarity: Double(match.similarity),
            age: max(0, now.seconds(since: episode.recordedAt)), loss: episode.lossAfter, action: episode.action,
            rank: episode.context.rank)
    }

    /// Maximal marginal relevance: greedily the highest `λ·score − (1 − λ)·highest similarity to those chosen`; ties in
    /// the order given.
    private static func varied(_ pool: [PatternCandidate], limit: Int, relevance: Double) -> [PatternCandidate] {
        var left = pool
        // Nothing is chosen yet, so nothing is taken off the first scores.
        var likeness = [Float](repeating: 0, count: pool.count)
        var isFirst = true
        var chosen: [PatternCandidate] = []
        while chosen.count < limit, !left.isEmpty {
            var best = 0
            var highest = -Double.infinity
            for i in left.indices {
                let value = relevance * left[i].match.score - (1 - relevance) * Double(likeness[i])
                if value > highest { (best, highest) = (i, value) }
            }
            let next = left.remove(at: best)
            likeness.remove(at: best)
            chosen.append(next)
            for i in left.indices {
                let (a, b) = (next.vector, left[i].vector)
                let dot = a.span.withBuffer { a in b.span.withBuffer { Kernels.dot(a, $0) } }
                likeness[i] = isFirst ? dot : max(likeness[i], dot)
            }
            isFirst = false
        }
        return chosen
    }
}
