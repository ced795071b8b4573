internal import LoRA
internal import Reasoning

/// What became of the users who had started from priors that are stale.
public struct StarterReplay: Sendable {
    /// Those whose adapters were made again from another start, or from none, ascending. They contain nothing of the stale priors.
    public var replayed: [String] = []
    /// Those of them who start from nothing now: nothing stands in the place of what they had started from.
    public var fromNothing: [String] = []
    /// Those whose adapters are as they were, each with the reason; ``EngineError/user`` names them.
    public var left: [EngineError] = []

    /// Nobody.
    public init() {}
}

extension ForgettingReport {
    /// The successor of a prior for a user: what was made again in its place, unless they gave to it themselves.
    func successor(of prior: AdapterPrior, for user: UserDigest) -> AdapterPrior? {
        guard let found = successors[PriorID(of: prior)], !found.donors.contains(user) else { return nil }
        return found.prior
    }
}
