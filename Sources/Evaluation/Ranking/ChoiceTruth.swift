import TensorCore

/// The true choice probabilities of one event, and what a ranking loses against them.
///
/// ```text
/// p_i = exp(u_i) / Σ_j exp(u_j)                       over the candidates (items not seen)
/// AUC_i(f) = share of the other candidates that f ranks below i, ties counting half
/// E(f) = Σ_i p_i · AUC_i(f)                           the AUC that ranking by f has in expectation
/// regret(f) = E(u) − E(f) ≥ 0
/// ```
///
/// Sorting by the true utilities u maximises E (rearrangement inequality: the largest weights meet the largest AUC_i),
/// so the regret is exact, not an estimate, and zero if and only if f orders candidates of different probability as u
/// does.
struct ChoiceTruth {
    /// For each item its true probability; 0 for seen ones.
    private let probabilities: [Double]
    private let isSeen: [Bool]
    private let optimum: Double

    /// - Complexity: O(items · log(items)).
    init(utilities: [Float], seen: ArraySlice<Int>) {
        var isSeen = [Bool](repeating: false, count: utilities.count)
        for item in seen { isSeen[item] = true }
        self.isSeen = isSeen
        var largest = -Float.infinity
        for i in utilities.indices where !isSeen[i] { largest = max(largest, utilities[i]) }
        var weights = utilities.indices.map { isSeen[$0] ? 0 : Elementary.exp(Double(utilities[$0]) - Double(largest)) }
        let total = weights.reduce(0, +)
        for i in weights.indices { weights[i] /= total }
        probabilities = weights
        optimum = Self.expectedAUC(of: utilities, probabilities: weights, isSeen: isSeen)
    }

    /// The expected AUC that ranking by `scores` loses against ranking by the true utilities, in 0...1.
    func regret(of scores: [Float]) -> Double {
        max(0, optimum - Self.expectedAUC(of: scores, probabilities: probabilities, isSeen: isSeen))
    }

    /// Σ p_i · AUC_i by one sort; NaN ranks last.
    static func expectedAUC(of scores: [Float], probabilities: [Double], isSeen: [Bool]) -> Double {
        var order = scores.indices.filter { !isSeen[$0] }
        func key(_ i: Int) -> Float { scores[i].isNaN ? -.infinity : scores[i] }
        order.sort { key($0) > key($1) }
        let others = Double(order.count - 1)
        guard others > 0 else { return 1 }
        var expected = 0.0
        var start = 0
        while start < order.count {
            var end = start + 1
            var weight = probabilities[order[start]]
            while end < order.count, key(order[end]) == key(order[start]) {
                weight += probabilities[order[end]]
                end += 1
            }
            // `start` items above, and half of the group's others level.
            expected += weight * (1 - (Double(start) + 0.5 * Double(end - start - 1)) / others)
            start = end
        }
        return expected
    }
}
