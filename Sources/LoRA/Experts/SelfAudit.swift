/// A soft weight on each adapter, learned from its own record, so that an adapter that does harm fades from what is read.
///
/// Before each update the batch's loss ℓ is computed with the adapter and without one, and two weights follow by Hedge:
///
/// ```text
/// w_k ← w_k · exp(−rate · ℓ̃_k)          ℓ̃_k = ℓ_k − ℓ_none, held within ±range
/// y = a·adapter(x) + (1 − a)·x           a = w_adapter / (w_adapter + w_none)
/// ```
///
/// The adapter itself learns as it would without an audit; only reads are weighed.
///
/// **Regret.** Where no difference exceeds the range R, and the loss is convex in y (all are; a normalised output is not), the
/// losses of what was read add up, over T updates, to at most
///
/// ```text
/// min( Σℓ_none + ln(1 / (1 − prior)) / rate ,  Σℓ_adapter + ln(1 / prior) / rate ) + rate · T · R² / 8
/// ```
///
/// for any sequence of feedback, without a `share`. With the default rate and range the last term is 2 nats an update, which no
/// adapter loses on the mean: the default reacts within ten updates, and a promise over a thousand takes a rate of some hundredths.
/// Freund & Schapire 1997, *A decision-theoretic generalization of on-line
/// learning*, §2; the second-order term by Hoeffding's lemma: Cesa-Bianchi & Lugosi 2006, *Prediction, Learning, and Games*,
/// Theorem 2.2. With a `share` the bound holds against the best sequence that changes between the two now and then: Herbster &
/// Warmuth 1998, *Tracking the best expert*.
///
/// Losses of targets count `dimension` times: as the squared distance, which no dimension makes small.
public struct SelfAudit: Sendable, Hashable {
    /// The rate by which losses turn into weights, above 0 and at most 100, for each unit of loss (nat).
    public var rate: Float
    /// The adapter's weight before the first feedback, in 0.001...0.999.
    public var prior: Float
    /// The share of the weights that each update spreads again as at the beginning, 0 or 0.000001...0.5: what lets the weight come back
    /// soon after a change.
    public var share: Float
    /// The most that a loss may differ from that without an adapter, above 0 and at most 1,000.
    public var range: Float

    /// Settings of the audit.
    public init(rate: Float = 1, prior: Float = 0.9, share: Float = 0, range: Float = 4) {
        self.rate = rate
        self.prior = prior
        self.share = share
        self.range = range
    }

    package func validate() throws(LoRAError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(LoRAError) {
            guard holds else { throw LoRAError(.invalidConfiguration, "self-audit", message()) }
        }
        try check(rate > 0 && rate <= 100, "the rate \(rate) is not above 0 and at most 100")
        try check(prior >= 0.001 && prior <= 0.999, "the prior weight \(prior) is not in 0.001...0.999")
        // A smaller one is lost beside 1.
        try check(share == 0 || share >= 1e-6 && share <= 0.5, "the share \(share) is neither 0 nor in 0.000001...0.5")
        try check(range > 0 && range <= 1000, "the range \(range) is not above 0 and at most 1000")
    }
}

/// What happens when a user's taste changes: the adapter is set aside as it is and a copy goes on learning, and each read is
/// weighed between the two by how well they have done lately, so that a taste that comes back is served at once.
///
/// A change is told by the Page–Hinkley test on how much worse than no adapter the weighed reads do, x_t, held within ±range:
///
/// ```text
/// m_t = Σ (x_i − mean_i − tolerance)          alarm where m_t − min m > threshold
/// ```
///
/// (Page 1954, *Continuous inspection schemes*; in this form Gama et al. 2014, *A survey on concept drift adaptation*, §3.2.)
/// Comparing with no adapter takes out how hard each feedback is. After an alarm the test begins anew. One adapter is kept
/// aside. A further alarm replaces it by the one in use, unless it is read more than that one, as after the return of an old taste.
/// At the first alarm both are the same, so that a false one changes no read; at a further one what is read changes by what the
/// replaced one had. Weights follow as those of ``SelfAudit`` do, with this rate and share.
///
/// An adapter that was set aside takes as much memory as the one in use, and each update two or three more passes of the batch.
public struct DriftForking: Sendable, Hashable {
    /// δ: the rise of the mean loss that is no change, 0...100, in nats.
    public var tolerance: Float
    /// λ: how far the sum may rise, above 0 and at most 10,000, in nats.
    public var threshold: Float
    /// The updates since the beginning, or the last alarm, before which there is none; 2...1,000,000.
    public var minimumUpdates: Int
    /// The rate by which losses turn into the weights of the two adapters, above 0 and at most 100.
    public var rate: Float
    /// The share of their weights that each update spreads evenly again, above 0 and at most 0.5: how soon what was good long
    /// ago is forgotten.
    public var share: Float

    /// Settings of the test and of the weights.
    public init(
        tolerance: Float = 0.05, threshold: Float = 5, minimumUpdates: Int = 10, rate: Float = 3, share: Float = 0.05
    ) {
        self.tolerance = tolerance
        self.threshold = threshold
        self.minimumUpdates = minimumUpdates
        self.rate = rate
        self.share = share
    }

    /// How far losses may differ from those without an adapter where no audit says it.
    static let range = SelfAudit().range

    package func validate() throws(LoRAError) {
        func check(_ holds: Bool, _ message: @autoclosure () -> String) throws(LoRAError) {
            guard holds else { throw LoRAError(.invalidConfiguration, "drift forking", message()) }
        }
        try check(tolerance >= 0 && tolerance <= 100, "the tolerance \(tolerance) is not in 0...100")
        try check(threshold > 0 && threshold <= 10_000, "the threshold \(threshold) is not above 0 and at most 10000")
        try check(
            (2...1_000_000).contains(minimumUpdates), "the minimum of \(minimumUpdates) updates is not in 2...1000000")
        try check(rate > 0 && rate <= 100, "the rate \(rate) is not above 0 and at most 100")
        try check(share > 0 && share <= 0.5, "the share \(share) is not above 0 and at most 0.5")
    }
}
