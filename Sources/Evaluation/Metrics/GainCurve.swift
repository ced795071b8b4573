/// AUC gained over no adapter against the number of known likes, and how soon it is reached.
///
/// Element s is the mean gain at step s + 1 over the users who have such a step.
struct GainCurve: Equatable {
    let gains: [Double]

    /// The mean of the 7 values around each step; beyond the ends the end values are repeated.
    var smoothed: [Double] {
        guard let first = gains.first, let last = gains.last else { return [] }
        return gains.indices.map { i in
            var sum = 0.0
            for j in (i - 3)...(i + 3) { sum += j < 0 ? first : j >= gains.count ? last : gains[j] }
            return sum / 7
        }
    }

    /// What counts as converged: 0.9 times the mean smoothed gain over the last third of the steps (rounded up).
    var convergenceLevel: Double {
        guard !gains.isEmpty else { return 0 }
        let tail = smoothed.suffix((gains.count + 2) / 3)
        return 0.9 * tail.reduce(0, +) / Double(tail.count)
    }

    /// The first step, from 1, at which the smoothed gain reaches `level`; the number of steps when none does.
    ///
    /// A level that is not positive cannot be converged to (doing nothing would be there at once), so no step reaches
    /// it.
    func firstStep(reaching level: Double) -> Int {
        guard level > 0, let index = smoothed.firstIndex(where: { $0 >= level }) else { return gains.count }
        return index + 1
    }

    /// The area under the curve, one step wide per value: AUC · steps.
    var area: Double { gains.reduce(0, +) }
}
