internal import TensorCore

// Bounds that tell, before a step is written, that nothing it leads to leaves the range of Float.

extension LoRAAdapter {
    /// Below this in magnitude, sums over the largest dimension of products of two numbers stay within the range of Float.
    private static var safeMagnitude: Double { 1e15 }

    /// Whether a step is known to stay within the range of Float, and its output after it too. Takes the step into the bound of
    /// the parameters' magnitudes, which is found anew where it has grown too large to tell.
    ///
    /// - Parameters:
    ///   - change: The most that any parameter changes by, after it was multiplied by `growth` at most.
    ///   - output: A bound of the output after the step, given one of the parameters.
    mutating func isSafe(change: Double, growth: Double = 1, output: (_ magnitude: Double) -> Double) -> Bool {
        // A little more for what rounding adds, in this sum too.
        let factor = growth * 1.000_001
        var next = Double(magnitude) * factor + change
        if !(next < Self.safeMagnitude && output(next) < Self.safeMagnitude) {
            magnitude = largestMagnitude
            next = Double(magnitude) * factor + change
            guard next < Self.safeMagnitude, output(next) < Self.safeMagnitude else { return false }
        }
        magnitude = Float(next).nextUp
        return true
    }

    /// The bound is found anew by the next step.
    mutating func forgetBounds() { magnitude = .infinity }

    /// The largest magnitude among the parameters and what they are drawn to.
    private var largestMagnitude: Float {
        func largest(_ storage: AlignedStorage<Float>?) -> Float {
            storage?.withBuffer { Kernels.largestMagnitude($0) } ?? 0
        }
        return max(largest(parameters), largest(start?.parameters), largest(protection?.storage))
    }

    /// Whether an elementwise step can be taken without a way back.
    ///
    /// - Parameters:
    ///   - largest: The most that an entry of the clipped gradient can be.
    ///   - raw: The gradient's norm before clipping, whose square the protection accumulates.
    mutating func isSafe(
        _ step: SingleStep, _ configuration: UpdateConfiguration, largest: Double, raw: Double
    ) -> Bool {
        guard largest < Self.safeMagnitude, raw < Self.safeMagnitude, hasProvenMoments(configuration.optimizer) else {
            return false
        }
        let rate = step.settings.rate
        let (change, growth) =
            configuration.optimizer.adamBound(rate: rate, weightDecay: configuration.weightDecay)
            ?? (rate * largest, 1)
        return isSafe(
            change: change, growth: growth, largestInput: Double(step.gradient.squaredInput).squareRoot())
    }

    /// Whether Adam's moments are such as the optimizer's own steps make, which the bound of a step rests on. Moments that come
    /// from elsewhere are looked at once; where they are not, every step is tried on a copy.
    private mutating func hasProvenMoments(_ optimizer: Optimizer) -> Bool {
        if extras?.hasProvenMoments ?? true { return true }
        let ratio = optimizer.momentRatio
        return lendExtras { own in
            guard let state = own.optimizerState, ratio.isFinite else { return true }
            let isProven = state.storage.withBuffer { moments in
                let n = moments.count / 2
                // Rounding is far below a hundredth; the last term is far below any optimizer's ε.
                return (0..<n).allSatisfy {
                    abs(Double(moments[$0])) <= 1.01 * ratio * Double(moments[n + $0]).squareRoot() + 1e-18
                }
            }
            own.optimizerState?.hasProvenMoments = isProven
            return isProven
        }
    }

    /// Whether a step is known to stay within the range of Float, and its outputs for embeddings up to a length.
    mutating func isSafe(change: Double, growth: Double = 1, largestInput size: Double) -> Bool {
        let reach = Double(shape.scale) * Double(shape.rank) * Double(shape.dimension).squareRoot() * size
        return isSafe(change: change, growth: growth) { (reach * $0 + 1) * $0 + size }
    }
}
