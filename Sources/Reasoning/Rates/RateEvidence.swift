internal import TensorCore

/// What is known of one rate: its users' mean outcomes.
struct ArmMoments: Sendable, Hashable {
    var gain = UserMoments()
    var benefit = UserMoments()

    func moments(_ criterion: ReasoningBankConfiguration.Criterion) -> UserMoments {
        criterion == .benefit ? benefit : gain
    }
}

/// What is known of all rates for one kind of adapter, and what follows from it for the next user's rate.
///
/// Nothing but sums goes in: the centre and the probabilities are worked out anew from them each time, so leaving a
/// user out leaves no trace of them.
///
/// What it can't do: where all rates within reach bring next to nothing, users show no lead and the centre stays. In
/// simulation, with noise half as large as the best benefit, 500 users come within a tenth of it from rates 10 and 100
/// times off if the benefit is a parabola in the rate's log. If it rises in proportion to the rate, they do from 10 times
/// too small, and stay far below it (a tenth of it on average) from 100 times too small.
struct RateEvidence: Sendable {
    /// By number in ``RateGrid``.
    var arms: [Int: ArmMoments]
    let configuration: ReasoningBankConfiguration

    /// How far from the centre rates are tried: ¼, ½, 1, 2 and 4 times it.
    static let reach = 2
    /// The fewest users under either rate before the one may take the other's place as the centre.
    static let usersToMove = 10
    /// How often each distance from the centre is tried while nothing is known: 0.6 the centre itself, 0.14 each
    /// neighbour, 0.06 each of the outermost. They sum to 1 over the five.
    static let untriedShares = [0.6, 0.14, 0.06]
    /// The draws by which the probability of being the best rate is estimated: its standard error is below 0.023.
    static let draws = 512

    private func moments(_ index: Int) -> UserMoments {
        arms[index]?.moments(configuration.criterion) ?? UserMoments()
    }

    private func isOffered(_ index: Int) -> Bool {
        RateGrid.indices.contains(index) && configuration.rates.contains(RateGrid.rate(index))
    }

    /// The rate around which others are tried.
    ///
    /// It starts at the grid point nearest to the configured rate and moves to a challenger within reach when the lower
    /// 95 % bound of the challenger's lead is above 0 and both have 10 users; so on from there, until nobody beats it.
    /// Where users' episodes with the configured rate are no longer kept (or it was changed), the start is the rate
    /// with the most users, provided that its own mean is surely above 0; otherwise the evidence would be lost with its
    /// oldest part.
    func centre(configured: Int) -> Int {
        var centre = configured
        if moments(configured).users < Self.usersToMove {
            let known = arms.keys.filter { index in
                let own = moments(index)
                return own.users >= Self.usersToMove && isOffered(index) && (own.interval?.low ?? 0) > 0
            }
            // The most users; of equals the nearest to the configured rate, then the lower one.
            centre =
                known.min {
                    (-moments($0).users, abs($0 - configured), $0) < (-moments($1).users, abs($1 - configured), $1)
                } ?? configured
        }
        // Each move raises the mean, so no rate comes twice; the number of moves is bounded by that of the grid points.
        while let next = challenger(of: centre) { centre = next }
        return centre
    }

    /// The rate within reach that most surely beats `centre`; `nil` when none does. Of equals the lower.
    private func challenger(of centre: Int) -> Int? {
        let held = moments(centre)
        guard held.users >= Self.usersToMove else { return nil }
        var best: (index: Int, bound: Double)?
        for index in (centre - Self.reach)...(centre + Self.reach) where index != centre && isOffered(index) {
            let other = moments(index)
            guard other.users >= Self.usersToMove else { continue }
            let bound = held.lowerBound(ofLead: other)
            if bound > max(0, best?.bound ?? 0) { best = (index, bound) }
        }
        return best?.index
    }

    /// The rates to draw the next user's from, with probabilities that sum to 1; ascending.
    ///
    /// Thompson sampling: the probability of a rate is that of being the best. A rate's mean over users is normal
    /// around the mean that κ users of average outcome would draw it to, with the pooled variance s² over users:
    ///
    /// ```text
    /// μ_a = (n_a·x̄_a + κ·x̄) / (n_a + κ)        v_a = s² / (n_a + κ)        κ = min(k, s² / τ²)
    /// ```
    ///
    /// τ² is the variance of the rates' true means, estimated from their scatter beyond what s² explains (one-way
    /// analysis of variance). With κ = k throughout, rates without users would be taken to lie within s/√k of the
    /// others, and far from the optimum, where rates differ by more than users do, nobody would try them.
    ///
    /// While there are few users the probabilities lean on ``untriedShares``: with n users under the rates within reach
    /// these weigh k / (n + k). No rate's probability is below the exploration floor.
    ///
    /// **Source.** Thompson 1933, *On the likelihood that one unknown probability exceeds another*, Biometrika 25;
    /// normal means: Agrawal & Goyal 2013, *Further optimal regret bounds for Thompson sampling*, §2,
    /// [arXiv:1209.3353](https://arxiv.org/abs/1209.3353).
    ///
    /// - Parameter normals: ``draws`` rows of standard normal numbers, one column for each distance −2…2.
    func probabilities(centre: Int, normals: [Double]) -> [RateArm] {
        let width = 2 * Self.reach + 1
        let offered = (0..<width).filter { $0 == Self.reach || isOffered(centre + $0 - Self.reach) }
        let held = offered.map { moments(centre + $0 - Self.reach) }
        let users = held.reduce(0) { $0 + $1.users }
        let untried = offered.map { Self.untriedShares[abs($0 - Self.reach)] }
        let untriedSum = untried.reduce(0, +)
        var shares = untried.map { $0 / untriedSum }
        if users > 0 {
            let k = configuration.pseudoObservations
            let best = winners(held, columns: offered, normals: normals)
            let weight = Double(users) / (Double(users) + k)
            shares = zip(shares, best).map { (1 - weight) * $0 + weight * $1 }
        }
        let floor = configuration.explorationFloor
        let free = 1 - floor * Double(offered.count)
        return zip(offered, shares).map { offset, share in
            RateArm(learningRate: RateGrid.rate(centre + offset - Self.reach), probability: floor + free * share)
        }
    }

    /// The share of draws in which each rate came out best; of equals the one nearest the centre.
    private func winners(_ held: [UserMoments], columns: [Int], normals: [Double]) -> [Double] {
        let k = configuration.pseudoObservations
        let users = Double(held.reduce(0) { $0 + $1.users })
        let overall = held.reduce(0.0) { $0 + Double($1.users) * $1.mean } / users
        let freedom = held.reduce(0.0) { $0 + Double(max(0, $1.users - 1)) }
        // Until two users share a rate nothing is known of the spread: 0.1, the order of benefits that were measured.
        // Above 0, so that what is divided by it stays finite where all users are alike.
        let pooled = max(
            1e-8,
            freedom > 0 ? held.reduce(0.0) { $0 + Double(max(0, $1.users - 1)) * $1.variance } / freedom : 0.01)
        let scatter = held.reduce(0.0) { $0 + Double($1.users) * ($1.mean - overall) * ($1.mean - overall) }
        let tried = held.count { $0.users > 0 }
        let size = users - held.reduce(0.0) { $0 + Double($1.users) * Double($1.users) } / users
        let between = size > 0 ? max(0, scatter - Double(tried - 1) * pooled) / size : 0
        let drawing = between > 0 ? min(k, pooled / between) : k
        let means = held.map { (Double($0.users) * $0.mean + drawing * overall) / (Double($0.users) + drawing) }
        let deviations = held.map { (pooled / (Double($0.users) + drawing)).squareRoot() }
        var order = Array(held.indices)
        order.sort { (abs(columns[$0] - Self.reach), $0) < (abs(columns[$1] - Self.reach), $1) }
        var wins = [Double](repeating: 0, count: held.count)
        let width = 2 * Self.reach + 1
        for draw in 0..<Self.draws {
            var best = order[0]
            var highest = -Double.infinity
            for i in order {
                let value = means[i] + deviations[i] * normals[draw * width + columns[i]]
                if value > highest { (best, highest) = (i, value) }
            }
            wins[best] += 1
        }
        return wins.map { $0 / Double(Self.draws) }
    }

    /// The numbers that ``probabilities(centre:normals:)`` is worked out with: the same for every call of a bank, so
    /// that advice changes only with the evidence.
    static func normals(seed: UInt64) -> [Double] {
        var generator = PhiloxGenerator(seed: seed, purpose: .exploration)
        return (0..<draws * (2 * reach + 1)).map { _ in generator.normal() }
    }
}
