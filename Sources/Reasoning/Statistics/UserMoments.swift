/// How many users there are, and the mean and spread of their means: each user counts once, however many episodes they
/// have.
///
/// Users are added and taken out in any order; the result depends only on who is in.
struct UserMoments: Sendable, Hashable {
    /// The number of users.
    private(set) var users = 0
    /// The sum of their means, in units of ``OutcomeUnits``.
    private var sum: Int64 = 0
    private var squares = ExactSquareSum()

    /// Adds a user with this mean, in units.
    mutating func add(_ mean: Int64) {
        users += 1
        sum += mean
        squares.add(mean)
    }

    /// Takes a user with this mean out.
    mutating func remove(_ mean: Int64) {
        users -= 1
        sum -= mean
        squares.remove(mean)
    }

    /// The mean over users; 0 without any.
    var mean: Double { users == 0 ? 0 : Double(sum) / Double(users) / OutcomeUnits.perOne }

    /// The unbiased variance over users; 0 below two.
    var variance: Double {
        guard users > 1 else { return 0 }
        let total = Double(sum)
        let deviations = squares.value - total * (total / Double(users))
        return max(0, deviations) / Double(users - 1) / (OutcomeUnits.perOne * OutcomeUnits.perOne)
    }

    /// The mean with its 95 % interval after Student; `nil` without users. One user tells nothing of the spread: the
    /// interval is then the whole range of an outcome.
    var interval: ConfidenceInterval? {
        guard users > 0 else { return nil }
        let limit = OutcomeUnits.limit
        guard users > 1 else { return ConfidenceInterval(mean: mean, low: -limit, high: limit) }
        let half = StudentT.twoSided95(degrees: Double(users - 1)) * (variance / Double(users)).squareRoot()
        return ConfidenceInterval(mean: mean, low: max(-limit, mean - half), high: min(limit, mean + half))
    }

    /// The lower bound of the 95 % interval of `challenger`'s mean less this one's, both with at least two users.
    ///
    /// **Source.** Welch 1947, *The generalization of Student's problem*, Biometrika 34; degrees of freedom after
    /// Satterthwaite 1946.
    func lowerBound(ofLead challenger: UserMoments) -> Double {
        let lead = challenger.mean - mean
        let (a, b) = (challenger.variance / Double(challenger.users), variance / Double(users))
        guard a + b > 0 else { return lead }
        let degrees =
            (a + b) * (a + b) / (a * a / Double(challenger.users - 1) + b * b / Double(users - 1))
        return lead - StudentT.twoSided95(degrees: degrees) * (a + b).squareRoot()
    }
}
