/// What one user's resolved episodes of one kind sum to, by rate. Whole numbers, so that taking an episode out is
/// exact.
struct UserSums: Sendable, Hashable {
    struct Arm: Sendable, Hashable {
        var episodes = 0
        var gain: Int64 = 0
        var benefit: Int64 = 0
    }
    var episodes = 0
    var gain: Int64 = 0
    var benefit: Int64 = 0
    /// Episodes whose rate was 0 are in none.
    var arms = Arms()

    /// Whether sums may be those of so many episodes; with more than 2²⁹ of one user nobody comes.
    static func isPossible(_ episodes: Int, _ gain: Int64, _ benefit: Int64) -> Bool {
        guard (1...1 << 29).contains(episodes) else { return false }
        let largest = OutcomeUnits.units(OutcomeUnits.limit) * Int64(episodes)
        return max(gain.magnitude, benefit.magnitude) <= largest.magnitude
    }

    /// The sums by number in ``RateGrid``, ascending. An array and no dictionary: there is one for each of very many users, mostly of
    /// a rate or two.
    struct Arms: Sendable, Hashable, Sequence {
        private struct Entry: Hashable {
            let index: Int
            var arm: Arm
        }
        private var entries: [Entry] = []

        var count: Int { entries.count }

        subscript(index: Int) -> Arm? {
            get { entries.first { $0.index == index }?.arm }
            set {
                let place = entries.firstIndex { $0.index >= index } ?? entries.endIndex
                if place < entries.endIndex, entries[place].index == index { entries.remove(at: place) }
                if let newValue { entries.insert(Entry(index: index, arm: newValue), at: place) }
            }
        }

        func makeIterator() -> some IteratorProtocol<(index: Int, arm: Arm)> {
            entries.lazy.map { (index: $0.index, arm: $0.arm) }.makeIterator()
        }
    }
}

extension AdaptationAction {
    /// The number in ``RateGrid`` of the rate before the schedule.
    var rateIndex: Int? {
        scheduleFactor > 0 ? RateGrid.index(of: Double(learningRate) / Double(scheduleFactor)) : nil
    }
}

/// What a bank holds of one kind of adapters.
package struct KindState: Sendable {
    package private(set) var index: EpisodeIndex
    private(set) var sums: [UserDigest: UserSums] = [:]
    private(set) var resolved = 0
    /// Over users' mean gains.
    private(set) var gain = UserMoments()
    private(set) var arms: [Int: ArmMoments] = [:]

    package init(_ plan: GraphPlan = GraphPlan()) { index = EpisodeIndex(plan) }

    /// One piece of work on the index's graphs; see ``EpisodeIndex/indexMore()``. Says whether more is left.
    package mutating func indexMore() -> Bool { index.indexMore() }

    /// Adds an episode, whose identifier is the highest so far. An unresolved one counts toward no sum.
    package mutating func append(_ id: EpisodeID, _ episode: Episode) {
        index.append(id, episode)
        change(episode, by: 1)
    }

    /// Takes an episode out: what is left is what would be there without it.
    package mutating func remove(_ id: EpisodeID, _ episode: Episode) {
        if index.remove(id) { change(episode, by: -1) }
    }

    private mutating func change(_ episode: Episode, by one: Int) {
        guard let outcome = episode.outcome else { return }
        let (gainUnits, benefitUnits) = (OutcomeUnits.units(outcome.gain), OutcomeUnits.units(outcome.benefit))
        var user = sums[episode.user] ?? UserSums()
        Self.withdraw(user, from: &gain)
        resolved += one
        user.episodes += one
        user.gain += Int64(one) * gainUnits
        user.benefit += Int64(one) * benefitUnits
        if let index = episode.action.rateIndex {
            var arm = user.arms[index] ?? UserSums.Arm()
            var moments = arms[index] ?? ArmMoments()
            Self.withdraw(arm, from: &moments)
            arm.episodes += one
            arm.gain += Int64(one) * gainUnits
            arm.benefit += Int64(one) * benefitUnits
            if arm.episodes > 0 {
                moments.gain.add(OutcomeUnits.mean(arm.gain, arm.episodes))
                moments.benefit.add(OutcomeUnits.mean(arm.benefit, arm.episodes))
            }
            user.arms[index] = arm.episodes > 0 ? arm : nil
            arms[index] = moments.gain.users > 0 ? moments : nil
        }
        if user.episodes > 0 { gain.add(OutcomeUnits.mean(user.gain, user.episodes)) }
        sums[episode.user] = user.episodes > 0 ? user : nil
    }

    private static func withdraw(_ user: UserSums, from moments: inout UserMoments) {
        if user.episodes > 0 { moments.remove(OutcomeUnits.mean(user.gain, user.episodes)) }
    }

    private static func withdraw(_ arm: UserSums.Arm, from moments: inout ArmMoments) {
        guard arm.episodes > 0 else { return }
        moments.gain.remove(OutcomeUnits.mean(arm.gain, arm.episodes))
        moments.benefit.remove(OutcomeUnits.mean(arm.benefit, arm.episodes))
    }

    /// The sums without a user's share.
    ///
    /// - Complexity: O(rates), whatever the number of episodes and users.
    func excluding(_ user: UserDigest?) -> (resolved: Int, gain: UserMoments, arms: [Int: ArmMoments]) {
        guard let user, let own = sums[user] else { return (resolved, gain, arms) }
        var (rest, others) = (gain, arms)
        Self.withdraw(own, from: &rest)
        for (index, arm) in own.arms {
            var moments = others[index] ?? ArmMoments()
            Self.withdraw(arm, from: &moments)
            others[index] = moments.gain.users > 0 ? moments : nil
        }
        return (resolved - own.episodes, rest, others)
    }
}
