/// Protection of what an adapter has learned: parameters that mattered are held near an anchor.
///
/// After each data step `θ ← (θ + η·λ·F·θ*) / (1 + η·λ·F)`, the implicit step of the penalty `λ/2·Σ F (θ − θ*)²`, which is
/// stable for every λ. θ* are the parameters at the last consolidation; F, frozen there and scaled to mean 1, is the decayed
/// mean of squared per-sample data gradients (before clip and penalty, bias-corrected) up to it. A second F accumulates
/// until the next consolidation.
///
/// **Source.** Kirkpatrick et al. 2017, [arXiv:1612.00796](https://arxiv.org/abs/1612.00796), eq. 3; online form: Schwarz et
/// al. 2018, [arXiv:1805.06370](https://arxiv.org/abs/1805.06370), §3.
public struct ElasticWeightConsolidation: Sendable, Hashable {
    /// The strength λ of the penalty, 0...10,000.
    public var strength: Float
    /// The share of the old mean that each update keeps in the accumulating Fisher information, 0..<1.
    public var decay: Float

    /// Settings of the protection.
    public init(strength: Float = 0.01, decay: Float = 0.95) {
        self.strength = strength
        self.decay = decay
    }

    package func validate() throws(LoRAError) {
        guard strength >= 0, strength <= 10_000 else {
            throw LoRAError(.invalidConfiguration, "EWC", "strength \(strength) is not in 0...10000")
        }
        guard decay >= 0, decay < 1 else {
            throw LoRAError(.invalidConfiguration, "EWC", "decay \(decay) is not in 0..<1")
        }
    }
}
