internal import CKernels

extension Kernels {
    /// How many of `scores[i] + offsets[i]` are greater than `threshold`, and how many equal it. NaN on either side counts as
    /// greater: a score that is no number never helps its owner.
    package static func countAbove(
        _ threshold: Float, scores: Span<Float>, offsets: Span<Float>
    ) -> (greater: Int, equal: Int) {
        precondition(
            scores.count == offsets.count && scores.count < 1 << 32,
            "Kernels.countAbove: counts differ or are too large")
        var greater: UInt32 = 0
        var equal: UInt32 = 0
        unsafe scores.withUnsafeBufferPointer { scores in
            unsafe offsets.withUnsafeBufferPointer { offsets in
                guard let s = scores.baseAddress, let o = offsets.baseAddress else { return }
                unsafe attune_count_above(s, o, scores.count, threshold, &greater, &equal)
            }
        }
        return (Int(greater), Int(equal))
    }
}
