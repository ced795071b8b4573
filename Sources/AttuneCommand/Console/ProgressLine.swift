/// Decides when a progress line is drawn and what it says; draws nothing itself.
///
/// A line appears as soon as the work is expected to take more than two seconds in all (judged after half a second), and
/// is renewed at most ten times a second.
struct ProgressLine: Sendable {
    private let label: String
    private let total: Int
    private let start: Duration
    private var done = 0
    private var lastDrawn: Duration?

    init(label: String, total: Int, start: Duration) {
        self.label = label
        self.total = max(total, 1)
        self.start = start
    }

    /// Takes the number of steps done at a time; returns the line to draw, or nil to leave the screen as it is.
    mutating func advance(to count: Int, at time: Duration) -> String? {
        done = min(max(done, count), total)
        let elapsed = time - start
        if let lastDrawn, time - lastDrawn < .milliseconds(100), done < total { return nil }
        guard elapsed >= .milliseconds(500) else { return nil }
        let remaining = done > 0 ? elapsed * (Double(total - done) / Double(done)) : nil
        guard elapsed + (remaining ?? .zero) > .seconds(2) else { return nil }
        lastDrawn = time
        return text(remaining: remaining)
    }

    private func text(remaining: Duration?) -> String {
        let share = Int((Double(done) / Double(total) * 100).rounded(.down))
        var text = "\(label.prefix(30)): \(done) of \(total) (\(share) %)"
        if let remaining, done < total { text += ", \(Self.rounded(remaining)) left" }
        return text
    }

    /// `about 12 s`, `about 3 min`, `about 2 h`: no more digits than an estimate deserves.
    static func rounded(_ duration: Duration) -> String {
        let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
        switch seconds {
        case ..<1: return "under 1 s"
        case ..<89.5: return "about \(Int(seconds.rounded())) s"
        case ..<5_370: return "about \(Int((seconds / 60).rounded())) min"
        default: return "about \(Int((seconds / 3_600).rounded())) h"
        }
    }
}
