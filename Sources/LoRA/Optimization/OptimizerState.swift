package import TensorCore

/// What an optimizer remembers of one adapter between updates.
package struct OptimizerState: Sendable {
    /// What optimizers' numbers are; those of one kind go on with each other's.
    enum Kind: UInt8 {
        case momentum, adaGrad, adam, adamW, doG

        var name: String {
            switch self {
            case .momentum: "momentum"
            case .adaGrad: "adagrad"
            case .adam: "adam"
            case .adamW: "adamw"
            case .doG: "dog"
            }
        }

        /// How many numbers it has for each parameter.
        var countPerParameter: Int {
            switch self {
            case .momentum, .adaGrad, .doG: 1
            case .adam, .adamW: 2
            }
        }
    }

    /// Whose numbers they are; another optimizer starts afresh.
    let kind: Kind
    package var name: String { kind.name }
    /// The steps taken since the state was made, which bias corrections count.
    package internal(set) var steps: UInt64 = 0
    /// `stateCountPerParameter` blocks of one number for each parameter.
    package internal(set) var storage: AlignedStorage<Float>
    /// DoG: the largest distance from the start.
    var distance = 0.0
    /// DoG: the sum of squared gradient norms.
    var squaredGradients = 0.0
    /// Adam: whether both moments are known to come of the same gradients, as those that were made here are.
    var hasProvenMoments = true

    /// State that was kept somewhere.
    init(
        kind: Kind, steps: UInt64, storage: AlignedStorage<Float>, distance: Double, squaredGradients: Double
    ) {
        self.kind = kind
        self.steps = steps
        self.storage = storage
        self.distance = distance
        self.squaredGradients = squaredGradients
        hasProvenMoments = false
    }

    /// - Returns: `nil` for an optimizer that keeps none.
    init?(for optimizer: Optimizer, parameters: AlignedStorage<Float>) {
        guard let kind = optimizer.stateKind else { return nil }
        self.kind = kind
        storage = AlignedStorage(
            count: optimizer.stateCountPerParameter * parameters.count, in: .shared)
        switch optimizer {
        case .adaGrad(_, let initial): storage.withBuffer { $0.fill(initial) }
        case .doG(let relative, _):
            let norm = parameters.withBuffer { all in
                storage.withBuffer { $0.copy(from: all) }
                return Kernels.squaredNorm(all)
            }
            distance = Double(relative) * (1 + Double(norm).squareRoot())
        default: break
        }
    }

    mutating func makeUnique() {
        if !isKnownUniquelyReferenced(&storage) { storage = storage.copy() }
    }

    var isFinite: Bool {
        distance.isFinite && squaredGradients.isFinite && storage.withBuffer { Kernels.allFinite($0) }
    }

    func combine(into hash: inout StableHash) {
        hash.combine(name)
        hash.combine(steps)
        hash.combine(distance.bitPattern)
        hash.combine(squaredGradients.bitPattern)
        hash.combine(storage)
    }
}

extension Optimizer {
    /// The kind of state that it keeps; Nesterov's form keeps the same velocity as heavy-ball momentum.
    var stateKind: OptimizerState.Kind? {
        switch self {
        case .sgd, .riemannian: nil
        case .momentum: .momentum
        case .adaGrad: .adaGrad
        case .adam: .adam
        case .adamW: .adamW
        case .doG: .doG
        }
    }
}

extension Optimizer {
    /// Takes one step with a dense gradient, in place.
    ///
    /// - Parameters:
    ///   - parameters: All parameters, laid out A, B transposed, b.
    ///   - gradient: ∂loss/∂parameters after clipping; overwritten.
    ///   - shape: Gives the layout.
    ///   - rate: The learning rate of this step.
    ///   - weightDecay: Added to the gradient, or decoupled for AdamW.
    ///   - state: The optimizer's state; `nil` exactly for optimizers that keep none.
    ///   - scratch: ``workCount(_:)`` floats, used by the Riemannian step.
    func apply(
        to parameters: FloatBuffer, gradient: FloatBuffer, shape: AdapterShape, rate: Double, weightDecay: Float,
        state: inout OptimizerState?, scratch: FloatBuffer
    ) {
        let decoupled = if case .adamW = self { true } else { false }
        if weightDecay > 0, !decoupled { Kernels.axpy(weightDecay, parameters, to: gradient) }
        state?.steps += 1
        let step = state?.steps ?? 0
        switch self {
        case .sgd: Kernels.axpy(Float(-rate), gradient, to: parameters)
        case .riemannian(let damping):
            Self.precondition(gradient, by: parameters, shape, damping, scratch)
            Kernels.axpy(Float(-rate), gradient, to: parameters)
        case .momentum(let coefficient, let dampening, let nesterov):
            state?.storage.withBuffer { velocity in
                Kernels.momentumStep(
                    parameters, velocity: velocity, gradient: gradient, rate: Float(rate), momentum: coefficient,
                    dampening: dampening, nesterov: nesterov, first: step == 1)
            }
        case .adaGrad(let epsilon, _):
            state?.storage.withBuffer { sum in
                Kernels.adaGradStep(parameters, sum: sum, gradient: gradient, rate: Float(rate), epsilon: epsilon)
            }
        case .adam, .adamW:
            guard let adam = adamScalars(at: step, rate: rate, weightDecay: weightDecay) else { return }
            state?.storage.withBuffer { moments in
                let n = parameters.count
                Kernels.adamStep(
                    parameters, first: moments.slice(0..<n), second: moments.slice(n..<(2 * n)), gradient: gradient,
                    adam)
            }
        case .doG(_, let epsilon):
            guard var own = state else { return }
            own.storage.withBuffer { start in
                // The distance so far, then the squared gradients including this one: eq. 2 of the paper.
                gradientDistance(parameters, start, &own.distance, using: scratch)
            }
            own.squaredGradients += Double(Kernels.squaredNorm(gradient))
            let dog = own.distance / (own.squaredGradients + Double(epsilon)).squareRoot()
            Kernels.axpy(Float(-rate * dog), gradient, to: parameters)
            state = own
        }
    }

    /// Adam's scalars of the given step, the first being 1; `nil` for other optimizers.
    private func adamScalars(at step: UInt64, rate: Double, weightDecay: Float) -> AdamScalars? {
        guard case .adam(let beta1, let beta2, let epsilon) = asAdam else { return nil }
        let (correction1, correction2) = (Self.biasCorrection(beta1, step), Self.biasCorrection(beta2, step))
        return AdamScalars(
            beta1: beta1, beta2: beta2, epsilon: epsilon, step: Float(rate / correction1),
            inverseRootCorrection: Float(1 / correction2.squareRoot()), keep: Float(kept(rate, weightDecay)))
    }

    /// 1 − βᵗ. βᵗ ≤ e^(−t·(1 − β)), which is less than 1 can tell once the exponent is below −40.
    private static func biasCorrection(_ beta: Float, _ step: UInt64) -> Double {
        Double(step) * (1 - Double(beta)) > 40 ? 1 : 1 - Elementary.power(Double(beta), step)
    }

    /// Counts a step of Adam and gives its scalars; `nil` for other optimizers.
    func nextAdam(_ state: inout OptimizerState?, rate: Double, weightDecay: Float) -> AdamScalars? {
        state?.steps += 1
        return adamScalars(at: state?.steps ?? 1, rate: rate, weightDecay: weightDecay)
    }

    /// For moments that come of the same gradients, starting from zero, abs(m) is at most this times √v, by Cauchy and Schwarz;
    /// infinite where β₁² ≥ β₂, which tells nothing, and for other optimizers.
    var momentRatio: Double {
        guard case .adam(let beta1, let beta2, _) = asAdam else { return .infinity }
        let (first, second) = (Double(beta1), Double(beta2))
        guard first * first < second else { return .infinity }
        return (1 - first) / ((1 - second) * (1 - first * first / second)).squareRoot()
    }

    /// Bounds of a step of Adam: the most that a parameter changes by, and the factor that it is multiplied by before; `nil` for
    /// other optimizers. Good for proven moments; bias correction adds at most 1 / (1 − β₁).
    func adamBound(rate: Double, weightDecay: Float) -> (change: Double, growth: Double)? {
        guard case .adam(let beta1, _, _) = asAdam else { return nil }
        let ratio = momentRatio / (1 - Double(beta1))
        // And some for rounding: moments are a few hundred of them deep, and those below the least normal number are zero.
        return (1.01 * rate * ratio + 1e-6 * rate, max(1, abs(kept(rate, weightDecay))))
    }

    /// Adam for Adam and AdamW, whose moments are the same.
    private var asAdam: Optimizer {
        if case .adamW(let beta1, let beta2, let epsilon) = self {
            return .adam(beta1: beta1, beta2: beta2, epsilon: epsilon)
        }
        return self
    }

    /// What AdamW multiplies the parameters by before a step; 1 for Adam.
    private func kept(_ rate: Double, _ weightDecay: Float) -> Double {
        if case .adamW = self { 1 - rate * Double(weightDecay) } else { 1 }
    }

    private func gradientDistance(
        _ parameters: FloatBuffer, _ start: FloatBuffer, _ distance: inout Double, using scratch: FloatBuffer
    ) {
        // In parts no longer than the scratch, so that one buffer serves every optimizer.
        var squared = 0.0
        var from = 0
        while from < parameters.count {
            let range = from..<min(parameters.count, from + scratch.count)
            let difference = scratch.slice(0..<range.count)
            difference.copy(from: parameters.slice(range))
            Kernels.axpy(-1, start.slice(range), to: difference)
            squared += Double(Kernels.squaredNorm(difference))
            from = range.upperBound
        }
        distance = max(distance, squared.squareRoot())
    }
}
