/// How a gradient becomes a step.
public enum Optimizer: Sendable, Hashable {
    /// Plain gradient descent. With small tight clips the best for the 20 to 60 feedbacks that a user gives; no state.
    case sgd
    /// Heavy-ball or Nesterov momentum, in PyTorch's form (velocity without the rate). One number of state a parameter.
    case momentum(coefficient: Float = 0.9, dampening: Float = 0, nesterov: Bool = false)
    /// Scaled gradient descent on the factors: ∂A is preconditioned by (BᵀB + δI)⁻¹, ∂B by (AAᵀ + δI)⁻¹, which makes a step
    /// depend on the product BA and hardly on how it is split; it suffers less than SGD from a rate that is too large. No state.
    /// Source: Zhang & Pilanci 2024, §3, [arXiv:2402.02347](https://arxiv.org/abs/2402.02347).
    case riemannian(damping: Float = 1e-2)
    /// AdaGrad (Duchi et al. 2011, JMLR 12, fig. 1). One number of state a parameter.
    case adaGrad(epsilon: Float = 1e-10, initialAccumulator: Float = 0)
    /// Adam (Kingma & Ba 2015, [arXiv:1412.6980](https://arxiv.org/abs/1412.6980), algorithm 1). Two numbers of state a
    /// parameter; weight decay is added to the gradient.
    case adam(beta1: Float = 0.9, beta2: Float = 0.999, epsilon: Float = 1e-8)
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019, [arXiv:1711.05101](https://arxiv.org/abs/1711.05101),
    /// algorithm 2).
    case adamW(beta1: Float = 0.9, beta2: Float = 0.999, epsilon: Float = 1e-8)
    /// DoG, distance over gradients: the rate is the largest distance from the start over the root of the sum of squared
    /// gradient norms; the configured rate multiplies it, so 1 is DoG as published. One number of state a parameter.
    /// Source: Ivgi et al. 2023, §2, eq. 1 and 2, [arXiv:2302.12022](https://arxiv.org/abs/2302.12022).
    case doG(relativeInitialDistance: Float = 1e-6, epsilon: Float = 1e-8)

    /// The optimizer's name, as `attune config` prints it.
    public var name: String {
        switch self {
        case .sgd: "sgd"
        case .momentum(_, _, let nesterov): nesterov ? "nesterov" : "momentum"
        case .riemannian: "riemannian"
        case .adaGrad: "adagrad"
        case .adam: "adam"
        case .adamW: "adamw"
        case .doG: "dog"
        }
    }

    /// How many numbers of state it keeps for each parameter.
    public var stateCountPerParameter: Int {
        switch self {
        case .sgd, .riemannian: 0
        case .momentum, .adaGrad, .doG: 1
        case .adam, .adamW: 2
        }
    }

    package func validate() throws(LoRAError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(LoRAError) {
            if !holds { throw LoRAError(.invalidConfiguration, "optimizer \(name)", message()) }
        }
        func isShare(_ x: Float) -> Bool { x >= 0 && x < 1 }
        switch self {
        case .sgd: break
        case .momentum(let coefficient, let dampening, let nesterov):
            try check(isShare(coefficient), "coefficient \(coefficient) is not in 0..<1")
            try check(dampening >= 0 && dampening <= 1, "dampening \(dampening) is not in 0...1")
            try check(
                !nesterov || (coefficient > 0 && dampening == 0), "Nesterov needs a coefficient and no dampening")
        case .riemannian(let damping):
            try check(damping >= 1e-8 && damping <= 1e4, "damping \(damping) is not in 1e-8...1e4")
        case .adaGrad(let epsilon, let initial):
            try check(epsilon >= 1e-12 && epsilon <= 1, "epsilon \(epsilon) is not in 1e-12...1")
            try check(initial >= 0 && initial <= 1e6, "initial accumulator \(initial) is not in 0...1e6")
        case .adam(let beta1, let beta2, let epsilon), .adamW(let beta1, let beta2, let epsilon):
            try check(isShare(beta1) && isShare(beta2), "betas \(beta1) and \(beta2) are not in 0..<1")
            try check(epsilon >= 1e-12 && epsilon <= 1, "epsilon \(epsilon) is not in 1e-12...1")
        case .doG(let relative, let epsilon):
            try check(relative > 0 && relative <= 1, "relative initial distance \(relative) is not above 0, at most 1")
            try check(epsilon >= 1e-12 && epsilon <= 1, "epsilon \(epsilon) is not in 1e-12...1")
        }
    }
}
