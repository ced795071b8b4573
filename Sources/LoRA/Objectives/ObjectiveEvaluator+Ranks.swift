internal import TensorCore

extension ObjectiveEvaluator {
    /// The share of the other items that score below the chosen one, ties counting half; `nil` for a signal that chooses
    /// nothing. The items are those that the loss contrasts with. Unlike the loss it does not reward longer outputs.
    ///
    /// - Parameters:
    ///   - sample: The feedback; its vectors' lengths were checked.
    ///   - y: The personalized embedding.
    ///   - scores: Scratch of ``scratchCount(of:_:)`` floats.
    mutating func shareBelow(_ sample: Feedback, y: FloatBuffer, scores: FloatBuffer) throws(LoRAError) -> Double? {
        switch sample.signal {
        case .target, .scaledInput, .reward, .watch: return nil
        case .preference(let chosen, let others), .ranking(let chosen, let others):
            return try Self.shareBelow(.items([chosen] + others), y, scores)
        case .like(let index, let catalogue, let seen):
            let wholeUpTo: Int
            let count: Int
            switch configuration.like {
            case .pairwise(let negatives): (wholeUpTo, count) = (0, negatives)
            case .sampledSoftmax(let negatives, let whole): (wholeUpTo, count) = (max(whole, negatives + 1), negatives)
            case .catalogueSoftmax: (wholeUpTo, count) = (Int.max, 0)
            }
            if catalogue.count > wholeUpTo {
                return try Self.shareBelow(.rows(draw(count, index, catalogue, seen).rows, catalogue), y, scores)
            }
            let all = scores.slice(0..<catalogue.count)
            catalogue.vectors.withSpan { $0.withBuffer { Kernels.rowDots($0, y, into: all) } }
            catalogue.offsets.withSpan { $0.withBuffer { Kernels.axpy(1, $0, to: all) } }
            guard Kernels.allFinite(all) else { throw LoRAAdapter.overflow("outcome") }
            var below = Self.countBelow(all, all[index])
            below.free -= 1
            below.count -= 0.5
            for item in Set(seen) where item != index {
                below.free -= 1
                below.count -= all[item] < all[index] ? 1 : all[item] == all[index] ? 0.5 : 0
            }
            return below.free > 0 ? below.count / Double(below.free) : nil
        }
    }

    /// Of candidates, the first of which was chosen.
    private static func shareBelow(_ candidates: Candidates, _ y: FloatBuffer, _ scratch: FloatBuffer)
        throws(LoRAError) -> Double?
    {
        let scores = scratch.slice(0..<candidates.count)
        try candidates.score(y, into: scores)
        let below = countBelow(scores.slice(1..<scores.count), scores[0])
        return below.free > 0 ? below.count / Double(below.free) : nil
    }

    private static func countBelow(_ scores: FloatBuffer, _ score: Float) -> (count: Double, free: Int) {
        var doubled = 0
        for i in 0..<scores.count { doubled += scores[i] < score ? 2 : scores[i] == score ? 1 : 0 }
        return (Double(doubled) / 2, scores.count)
    }
}
