/// What one user's episodes within the window of a consolidation showed: one trial, however many episodes.
package struct UserTrial: Sendable, Hashable {
    package let user: UserDigest
    private(set) var sums = UserSums()
    /// The direction of the taste with the most likes behind it, of those the latest, `[64]`; `nil` before the first like. Not
    /// simply the latest: after a restart a taste begins anew.
    private(set) var taste: [Float]?
    private var tasteOrder: (likes: Int, recordedAt: Timestamp, version: UInt64)?

    let criterion: ReasoningBankConfiguration.Criterion
    /// What the mean outcome must be above, in units of ``OutcomeUnits``.
    private let margin: Int64

    init(user: UserDigest, criterion: ReasoningBankConfiguration.Criterion = .benefit, margin: Double = 0) {
        self.user = user
        self.criterion = criterion
        self.margin = OutcomeUnits.units(margin)
    }

    /// A trial as it was counted.
    init(
        user: UserDigest, sums: UserSums, taste: [Float]?, criterion: ReasoningBankConfiguration.Criterion,
        margin: Double
    ) {
        self.init(user: user, criterion: criterion, margin: margin)
        (self.sums, self.taste) = (sums, taste)
    }

    /// Counts a resolved episode in, in whatever order they come.
    mutating func count(_ episode: Episode, _ outcome: AdaptationOutcome) {
        let (gain, benefit) = (OutcomeUnits.units(outcome.gain), OutcomeUnits.units(outcome.benefit))
        sums.episodes += 1
        sums.gain += gain
        sums.benefit += benefit
        if let index = episode.action.rateIndex {
            var arm = sums.arms[index] ?? UserSums.Arm()
            arm.episodes += 1
            arm.gain += gain
            arm.benefit += benefit
            sums.arms[index] = arm
        }
        let order = (episode.context.tasteLikes, episode.recordedAt, episode.version)
        guard tasteOrder.map({ $0 < order }) ?? true,
            let direction = ContextFeatures.direction(episode.context.taste)
        else { return }
        (tasteOrder, taste) = (order, direction)
    }

    /// The mean outcome by the criterion, in units of ``OutcomeUnits``.
    var meanGain: Int64 { OutcomeUnits.mean(criterion == .benefit ? sums.benefit : sums.gain, sums.episodes) }
    /// Whether the mean outcome is above the margin.
    var isSuccess: Bool { meanGain > margin }

    package static func == (left: UserTrial, right: UserTrial) -> Bool {
        (left.user, left.sums, left.taste) == (right.user, right.sums, right.taste)
            && (left.criterion, left.margin) == (right.criterion, right.margin)
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(user) }
}

/// Collects episodes as one trial for each user.
package struct TrialCollector: Sendable {
    private var found: [UserDigest: UserTrial] = [:]
    private let configuration: ReasoningBankConfiguration

    package init(_ configuration: ReasoningBankConfiguration) { self.configuration = configuration }

    /// Counts an episode, in whatever order they come; one without an outcome does not count.
    package mutating func count(_ episode: Episode) {
        guard let outcome = episode.outcome else { return }
        let new = UserTrial(
            user: episode.user, criterion: configuration.criterion, margin: configuration.successMargin)
        found[episode.user, default: new].count(episode, outcome)
    }

    /// The trials, ascending by user.
    package var trials: [UserTrial] { found.values.sorted { $0.user < $1.user } }
}

extension GroupEvidence {
    /// What users' trials show together; of no trials, nothing.
    init(_ trials: [UserTrial]) {
        var gain = UserMoments()
        for trial in trials { gain.add(trial.meanGain) }
        let successes = trials.count { $0.isSuccess }
        self.init(
            users: trials.count, uses: trials.reduce(0) { $0 + $1.sums.episodes },
            successRate: trials.isEmpty ? 0 : Double(successes) / Double(trials.count),
            wilsonLow: wilsonLowerBound(successes: successes, of: trials.count),
            gain: gain.interval ?? ConfidenceInterval(mean: 0, low: 0, high: 0))
    }

    /// Why a policy refuses a group with this evidence, in words with all numbers; `nil` when it does not.
    func refusal(by policy: ConsolidationPolicy) -> String? {
        var reasons: [String] = []
        if users < policy.minimumUsers {
            reasons.append("\(users) users are fewer than the \(policy.minimumUsers) asked for")
        }
        if uses < policy.minimumUses {
            reasons.append("\(uses) episodes are fewer than the \(policy.minimumUses) asked for")
        }
        if successRate < policy.minimumSuccessRate {
            reasons.append("the success rate \(brief(successRate)) is below \(brief(policy.minimumSuccessRate))")
        }
        switch policy.gate {
        case .gain where !(gain.low > 0):
            reasons.append("the mean gain's lower bound \(brief(gain.low)) is not above 0")
        case .wilson where wilsonLow < policy.minimumSuccessRate:
            reasons.append(
                "the success rate's lower bound \(brief(wilsonLow)) is below \(brief(policy.minimumSuccessRate))")
        default: break
        }
        guard !reasons.isEmpty else { return nil }
        return reasons.joined(separator: "; ")
            + ": \(users) users, \(uses) episodes, success rate \(brief(successRate))"
            + " (lower bound \(brief(wilsonLow))), mean gain \(brief(gain.mean)) (\(brief(gain.low)) to \(brief(gain.high)))"
    }
}

/// The middle of unit vectors, of length 1; the first one where they cancel.
func middle(of directions: [[Float]]) -> [Float] {
    var sum = [Double](repeating: 0, count: AdaptationContext.tasteDimension)
    for direction in directions { for i in sum.indices { sum[i] += Double(direction[i]) } }
    let norm = sum.reduce(0.0) { $0 + $1 * $1 }.squareRoot()
    guard norm > 1e-9 else { return directions.first ?? sum.map { Float($0) } }
    return sum.map { Float($0 / norm) }
}

/// The cosine of two vectors of length 1.
func cosine(_ left: [Float], _ right: [Float]) -> Double {
    zip(left, right).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
}
