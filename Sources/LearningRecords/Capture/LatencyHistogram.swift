/// How long calls took, to within 3 %: sixteen equal buckets for each doubling.
struct LatencyHistogram: Sendable {
    private var counts = [UInt64](repeating: 0, count: 16 * 60)
    private(set) var total: UInt64 = 0

    /// - Parameter microseconds: Not negative.
    mutating func add(_ microseconds: Int64) {
        counts[min(Self.bucket(UInt64(max(0, microseconds))), counts.count - 1)] += 1
        total += 1
    }

    private static func bucket(_ value: UInt64) -> Int {
        guard value >= 16 else { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        return (exponent - 3) * 16 + Int(value >> UInt64(exponent - 4) & 15)
    }

    private static func middle(_ bucket: Int) -> Double {
        guard bucket >= 16 else { return Double(bucket) }
        let (exponent, part) = (bucket / 16 + 3, bucket % 16)
        let width = Double(1 << UInt64(exponent - 4))
        return Double(1 << UInt64(exponent)) + (Double(part) + 0.5) * width - 0.5
    }

    /// The value that a share of all does not exceed, in microseconds; `nil` without any.
    func percentile(_ share: Double) -> Double? {
        guard total > 0 else { return nil }
        let rank = UInt64(max(1, (share * Double(total)).rounded(.up)))
        var seen: UInt64 = 0
        for (bucket, count) in counts.enumerated() {
            seen += count
            if seen >= rank { return Self.middle(bucket) }
        }
        return nil
    }
}
