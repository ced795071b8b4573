internal import TensorCore

/// A context as a vector of length 1, so that likeness is a cosine: one row of an ``EpisodeIndex``.
///
/// ```text
/// 0 ..< 64    the taste's direction; zeros without one
/// 64          1, so that no two contexts are wholly unlike and none is zero
/// 65 ..< 74   each in −1…1, times 0.5: log of feedbacks seen, log of batch size, mean and variance of the reward,
///             dispersion, gradient noise, gradient cosine, drift, log of idle time
/// 74 ..< 80   zeros, so that a row is five cache lines
/// ```
///
/// The taste outweighs the rest: two contexts alike in all but opposite tastes have a cosine near 0.
enum ContextFeatures {
    static let count = 80

    /// The features, `[80]`, of length 1.
    static func vector(_ context: AdaptationContext) -> [Float] {
        var row = [Float](repeating: 0, count: count)
        if let direction = direction(context.taste) { for i in direction.indices { row[i] = direction[i] } }
        let base = AdaptationContext.tasteDimension
        row[base] = 1
        let drift = Double(context.drift)
        let situation: [Double] = [
            // 1,000 feedbacks, batches of 100 and a month away are the scale's ends.
            Elementary.log1p(Double(context.seen)) / Elementary.log1p(1000),
            Elementary.log1p(Double(context.batchSize)) / Elementary.log1p(100),
            Double(context.rewardMean), Double(context.rewardVariance), Double(context.dispersion),
            Double(context.gradientNoise), Double(context.gradientCosine), drift / (1 + abs(drift)),
            Elementary.log1p(context.idleSeconds) / Elementary.log1p(30 * 86_400),
        ]
        for (i, value) in situation.enumerated() { row[base + 1 + i] = 0.5 * Float(min(max(value, -1), 1)) }
        let norm = row.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        return row.map { Float(Double($0) / norm) }
    }

    /// A taste scaled to length 1; `nil` for one of zeros.
    static func direction(_ taste: [Float]) -> [Float]? {
        // Scaled by the largest value first, so that squares neither vanish nor overflow.
        let largest = taste.reduce(0.0) { max($0, Double(abs($1))) }
        guard largest > 0 else { return nil }
        let scaled = taste.map { Double($0) / largest }
        let norm = scaled.reduce(0.0) { $0 + $1 * $1 }.squareRoot()
        return scaled.map { Float($0 / norm) }
    }
}
