/// How the data gradient is limited before a penalty is added and the optimizer sees it.
public enum Clipping: Sendable, Hashable {
    /// The Euclidean norm of all gradients together (A, B and b) is at most the objective's threshold.
    case globalNorm
    /// The Frobenius norms of ∂A, ∂B and ∂b are each at most the objective's threshold.
    case perMatrix
    /// Each entry is within ± the objective's threshold.
    case byValue
    /// Not limited.
    case off

    /// The rule's name, as `attune config` prints it.
    public var name: String {
        switch self {
        case .globalNorm: "global norm"
        case .perMatrix: "per-matrix norm"
        case .byValue: "by value"
        case .off: "off"
        }
    }

    /// The factor that brings `norm` down to `threshold`; never above 1, and exactly 1 within the threshold.
    ///
    /// A branch, which processors predict, and no selection: while nothing is clipped, no step waits for a norm.
    package static func factor(norm: Double, threshold: Double) -> Double {
        if _slowPath(norm > threshold) { return threshold / norm }
        return 1
    }
}
