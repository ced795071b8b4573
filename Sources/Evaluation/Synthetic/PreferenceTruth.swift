/// A population whose true preferences are known, so that a method's regret is exact.
protocol PreferenceTruth: Sendable {
    /// The true probability of each item, seen ones included, to be the next like of a user.
    ///
    /// - Parameters:
    ///   - userID: A user of the population.
    ///   - step: How many likes lie behind the user, from 1.
    ///   - query: The user's last like, a row of the catalogue.
    /// - Returns: Unnormalised utilities, shape `[items]`; the choice is the softmax of them over the unseen items.
    func utilities(userID: String, step: Int, lastLike: Int) -> [Float]
}
