import TensorCore

/// A linear axis: from data to pixels, with ticks at round numbers.
struct PlotScale {
    let domain: ClosedRange<Double>
    let pixels: (from: Double, to: Double)
    let ticks: [Double]
    /// Decimals that tell the ticks apart.
    let digits: Int

    /// A scale that covers `values`, widened to whole ticks.
    ///
    /// - Parameter tickCount: About how many ticks; there will be between half and twice as many.
    init(covering values: [Double], pixels: (from: Double, to: Double), tickCount: Int, widens: Bool = true) {
        let finite = values.filter(\.isFinite)
        var low = finite.min() ?? 0
        var high = finite.max() ?? 1
        if high - low < 1e-9 {
            low -= 0.5e-2
            high += 0.5e-2
        }
        let raw = (high - low) / Double(max(tickCount, 1))
        let power = (Elementary.log(raw) / Elementary.log(10)).rounded(.down)
        var magnitude = 1.0
        for _ in 0..<Int(abs(power)) { magnitude *= power < 0 ? 0.1 : 10 }
        let step = [1.0, 2, 2.5, 5, 10].map { $0 * magnitude }.first { $0 >= raw * 0.999 } ?? 10 * magnitude
        let first = (low / step + (widens ? 1e-9 : -1e-9)).rounded(widens ? .down : .up)
        let last = (high / step - (widens ? 1e-9 : -1e-9)).rounded(widens ? .up : .down)
        ticks = last < first ? [low] : stride(from: first, through: last, by: 1).map { $0 * step }
        domain = widens ? (first * step)...(last * step) : low...high
        var digits = 0
        var scaled = step
        while digits < 9, abs(scaled - scaled.rounded()) > 1e-6 * scaled {
            digits += 1
            scaled *= 10
        }
        self.digits = digits
        self.pixels = pixels
    }

    /// Where a value lies, in pixels.
    func position(_ value: Double) -> Double {
        let share = (value - domain.lowerBound) / (domain.upperBound - domain.lowerBound)
        return pixels.from + share * (pixels.to - pixels.from)
    }
}

/// A coordinate with one decimal, enough for a screen.
func pixel(_ value: Double) -> String { decimal(value, digits: 1) }
