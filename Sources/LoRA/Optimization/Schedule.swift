internal import TensorCore

/// How an adapter's learning rate changes with its own count of updates.
///
/// Values equal those of PyTorch's schedulers of the same name for the same settings (tested to 1e-5 over 200 steps).
public struct Schedule: Sendable, Hashable {
    /// The curve after the warm-up. `step` below counts updates from 0 at the end of the warm-up.
    public enum Curve: Sendable, Hashable {
        /// The base rate.
        case constant
        /// Multiplied by `factor` every `size` updates.
        case step(size: Int, factor: Double)
        /// Multiplied by `factor` at each update.
        case exponential(factor: Double)
        /// From 1 down to `minimum` (a share of the base rate) over `period` updates along a half cosine, and up again.
        case cosine(period: Int, minimum: Double = 0)
        /// The half cosine, restarted at 1 after `period` updates, then after `period · multiplier`, and so on.
        /// Source: Loshchilov & Hutter 2017, [arXiv:1608.03983](https://arxiv.org/abs/1608.03983), §3.
        case cosineWithRestarts(period: Int, multiplier: Int = 1, minimum: Double = 0)
        /// `1 / √(1 + step / offset)`.
        case inverseSquareRoot(offset: Double)
        /// Multiplied by `factor`, not below `minimum` (a share of the base rate), when the loss has not fallen by the
        /// relative `threshold` for more than `patience` updates; then `cooldown` updates pass before counting again.
        case reduceOnPlateau(
            factor: Double = 0.1, patience: Int = 10, threshold: Double = 1e-4, cooldown: Int = 0, minimum: Double = 0)
    }

    /// The curve after the warm-up.
    public var curve: Curve
    /// The updates over which the rate rises linearly from `warmupStart` to 1; 0 for none.
    public var warmupSteps: Int
    /// The share of the base rate at the first update of the warm-up, above 0 and at most 1.
    public var warmupStart: Double

    /// A schedule; constant without warm-up by default.
    public init(_ curve: Curve = .constant, warmupSteps: Int = 0, warmupStart: Double = 0.1) {
        self.curve = curve
        self.warmupSteps = warmupSteps
        self.warmupStart = warmupStart
    }

    /// The factor on the base rate for update number `step`, counted from 0.
    ///
    /// - Parameter plateau: The factor that ``PlateauState`` has reached; used by ``Curve/reduceOnPlateau(factor:patience:threshold:cooldown:minimum:)`` alone.
    /// - Complexity: O(log step).
    package func multiplier(at step: UInt64, plateau: Double = 1) -> Double {
        if step < UInt64(warmupSteps) {
            return warmupStart + (1 - warmupStart) * Double(step) / Double(warmupSteps)
        }
        let step = step - UInt64(warmupSteps)
        switch curve {
        case .constant: return 1
        case .step(let size, let factor): return Elementary.power(factor, step / UInt64(size))
        case .exponential(let factor): return Elementary.power(factor, step)
        case .cosine(let period, let minimum):
            // Beyond the period the curve rises again, symmetric, as its closed form does.
            let phase = step % UInt64(2 * period)
            let folded = phase <= UInt64(period) ? phase : UInt64(2 * period) - phase
            return Self.halfCosine(Double(folded) / Double(period), minimum)
        case .cosineWithRestarts(let period, let multiplier, let minimum):
            var left = step
            var length = UInt64(period)
            if multiplier == 1 {
                left %= length
            } else {
                while left >= length {
                    left -= length
                    length =
                        length.multipliedReportingOverflow(by: UInt64(multiplier)).overflow
                        ? .max : length * UInt64(multiplier)
                }
            }
            return Self.halfCosine(Double(left) / Double(length), minimum)
        case .inverseSquareRoot(let offset): return 1 / (1 + Double(step) / offset).squareRoot()
        case .reduceOnPlateau: return plateau
        }
    }

    private static func halfCosine(_ share: Double, _ minimum: Double) -> Double {
        minimum + (1 - minimum) * (1 + Elementary.cosine(.pi * share)) / 2
    }

    package func validate() throws(LoRAError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(LoRAError) {
            if !holds { throw LoRAError(.invalidConfiguration, "schedule", message()) }
        }
        let counts = 1...1_000_000_000
        try check(warmupSteps >= 0 && warmupSteps <= counts.upperBound, "\(warmupSteps) warm-up steps")
        try check(warmupStart > 0 && warmupStart <= 1, "warm-up start \(warmupStart) is not above 0 and at most 1")
        switch curve {
        case .constant: break
        case .step(let size, let factor):
            try check(counts.contains(size), "step size \(size) is not in 1...1e9")
            try check(factor > 0 && factor <= 1, "factor \(factor) is not above 0 and at most 1")
        case .exponential(let factor):
            try check(factor > 0 && factor <= 1, "factor \(factor) is not above 0 and at most 1")
        case .cosine(let period, let minimum):
            try check(counts.contains(period), "period \(period) is not in 1...1e9")
            try check(minimum >= 0 && minimum <= 1, "minimum \(minimum) is not in 0...1")
        case .cosineWithRestarts(let period, let multiplier, let minimum):
            try check(counts.contains(period), "period \(period) is not in 1...1e9")
            try check((1...1000).contains(multiplier), "multiplier \(multiplier) is not in 1...1000")
            try check(minimum >= 0 && minimum <= 1, "minimum \(minimum) is not in 0...1")
        case .inverseSquareRoot(let offset):
            try check(offset > 0 && offset <= 1e9, "offset \(offset) is not above 0 and at most 1e9")
        case .reduceOnPlateau(let factor, let patience, let threshold, let cooldown, let minimum):
            try check(factor > 0 && factor < 1, "factor \(factor) is not between 0 and 1")
            try check(patience >= 0 && cooldown >= 0, "patience \(patience) and cooldown \(cooldown) are not 0 or more")
            try check(threshold >= 0 && threshold < 1, "threshold \(threshold) is not in 0..<1")
            try check(minimum >= 0 && minimum <= 1, "minimum \(minimum) is not in 0...1")
        }
    }
}

/// What ``Schedule/Curve/reduceOnPlateau(factor:patience:threshold:cooldown:minimum:)`` remembers.
package struct PlateauState: Sendable, Hashable {
    package var best = Double.infinity
    package var badSteps = 0
    package var cooldown = 0
    package var factor = 1.0

    package init() {}

    /// Takes the loss of one update into account.
    package mutating func observe(_ loss: Double, under curve: Schedule.Curve) {
        guard case .reduceOnPlateau(let reduction, let patience, let threshold, let pause, let minimum) = curve else {
            return
        }
        if loss < best * (1 - threshold) {
            best = loss
            badSteps = 0
        } else {
            badSteps += 1
        }
        if cooldown > 0 {
            cooldown -= 1
            badSteps = 0
        }
        if badSteps > patience {
            factor = max(factor * reduction, minimum)
            cooldown = pause
            badSteps = 0
        }
    }
}
