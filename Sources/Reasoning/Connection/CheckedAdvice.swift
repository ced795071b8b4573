package import LoRA
internal import TensorCore

/// A bank's answer to one look-up, checked and understood: what the cache holds and updates apply. What they do not need of it,
/// the sentence for people and the evidence, is let go.
package struct CheckedAdvice: Sendable {
    /// The rates to draw a user's from.
    package let rateArms: [RateArm]
    /// The hints to follow: the bank's typed ones, else those read from its sentence, else what similar successes did.
    package private(set) var hints: AdaptationHints
    /// How far they are followed, 0...1.
    package private(set) var confidence: Double
    /// What of the sentence was not understood or not followed.
    package private(set) var ignored: [IgnoredHint] = []
    /// What a new adapter may start from.
    package var initialization: Initialization?

    /// The most arms that an advice may have.
    static let mostArms = 64
    /// The rates that an update takes.
    private static let rates = 1e-6...1000.0

    /// Checks an answer.
    ///
    /// - Throws: ``ReasoningError`` (`malformedAnswer`) saying what cannot be.
    package init(_ advice: StrategyAdvice, shape: AdapterShape) throws(ReasoningError) {
        func refuse(_ message: String) -> ReasoningError { ReasoningError(.malformedAnswer, "look-up", message) }
        guard advice.confidence >= 0, advice.confidence <= 1 else {
            throw refuse("the confidence \(advice.confidence) is not in 0...1")
        }
        guard advice.sentence.utf8.count <= 1 << 20, advice.evidence.count <= 1 << 16 else {
            throw refuse("an advice of more than a mebibyte")
        }
        try Self.check(advice.rateArms)
        if let start = advice.initialization {
            guard start.prior.dimension == shape.dimension else {
                throw refuse("a prior of dimension \(start.prior.dimension) where \(shape.dimension) is needed")
            }
        }
        rateArms = advice.rateArms
        initialization = advice.initialization
        confidence = advice.confidence
        hints = advice.hints
        if confidence > 0, hints.isEmpty, advice.rateArms.isEmpty, !advice.sentence.isEmpty {
            let parsed = HintParser.parse(advice.sentence)
            hints = parsed.hints
            ignored = parsed.ignored
        }
    }

    /// Whether the strategy says nothing that an update could follow, so that similar successes are asked for.
    package var needsPatterns: Bool { confidence == 0 && rateArms.isEmpty }

    /// Follows what similar successes did.
    ///
    /// - Throws: ``ReasoningError`` (`malformedAnswer`) saying what cannot be.
    package mutating func follow(_ patterns: [RetrievedPattern], asked query: PatternQuery) throws(ReasoningError) {
        let patterns = try RetrievedPattern.checked(patterns, asked: query, "look-up")
        guard let found = Self.rate(of: patterns, limit: query.limit) else { return }
        hints = AdaptationHints(learningRate: .value(found.rate))
        confidence = found.confidence
    }

    private static func check(_ arms: [RateArm]) throws(ReasoningError) {
        guard !arms.isEmpty else { return }
        var sum = 0.0
        for arm in arms {
            guard arm.probability >= 0, rates.contains(Double(arm.learningRate)) else {
                throw ReasoningError(
                    .malformedAnswer, "look-up",
                    "an arm with rate \(arm.learningRate) and probability \(arm.probability)")
            }
            sum += arm.probability
        }
        guard arms.count <= mostArms, abs(sum - 1) < 1e-3 else {
            throw ReasoningError(
                .malformedAnswer, "look-up", "\(arms.count) arms whose probabilities sum to \(sum)")
        }
    }

    /// The geometric mean of the rates of similar successes before their schedules, weighted by likeness and reward; the fewer
    /// and the less alike, the less it counts.
    private static func rate(of patterns: [RetrievedPattern], limit: Int) -> (rate: Double, confidence: Double)? {
        var weight = 0.0
        var logarithms = 0.0
        for pattern in patterns where pattern.success && pattern.similarity > 0 {
            let rate = Double(pattern.action.learningRate) / Double(pattern.action.scheduleFactor)
            guard rate > 0, rate.isFinite else { continue }
            let share = min(1, pattern.similarity) * max(0, min(1, pattern.reward))
            weight += share
            logarithms += share * Elementary.log(rate)
        }
        guard weight > 0 else { return nil }
        return (Elementary.exp(logarithms / weight), min(1, weight / Double(limit)) * 0.5)
    }
}

extension RetrievedPattern {
    /// Checks what a bank has retrieved.
    ///
    /// - Returns: The patterns that were asked for; others, the excluded user's own past above all, are left out.
    /// - Throws: ``ReasoningError`` (`malformedAnswer`) for more than were asked for, and for numbers that are not finite.
    package static func checked(
        _ patterns: [RetrievedPattern], asked query: PatternQuery, _ operation: String
    ) throws(ReasoningError) -> [RetrievedPattern] {
        guard patterns.count <= query.limit else {
            throw ReasoningError(
                .malformedAnswer, operation, "\(patterns.count) patterns where \(query.limit) were asked for")
        }
        for pattern in patterns {
            guard pattern.reward.isFinite, pattern.similarity.isFinite, pattern.loss.isFinite,
                pattern.action.learningRate.isFinite
            else { throw ReasoningError(.malformedAnswer, operation, "a pattern with a number that is not finite") }
        }
        return patterns.filter { pattern in
            pattern.user != query.excluding && pattern.reward >= query.minimumReward
                && (pattern.success || !query.onlySuccesses) && (!pattern.success || !query.onlyFailures)
        }
    }
}

/// What an answer makes of the settings of one update.
package struct AppliedHints: Sendable {
    /// What replaces the planned settings; empty where nothing changes.
    package var overrides = UpdateOverrides()
    /// The probability with which the rate was drawn; 1 when it was not.
    package var propensity = 1.0
    /// What was not followed.
    package var ignored: [IgnoredHint] = []
    /// Whether anything changes.
    package var isChanged = false

    package init() {}
}

extension CheckedAdvice {
    /// The settings of an update under this advice.
    ///
    /// - Parameters:
    ///   - planned: The settings without advice.
    ///   - dimension: The adapter's. The target loss carries 1/dimension, so its rates are bounded in units of the dimension.
    ///   - draw: The user's number in 0..<1, by which one of the arms is drawn: the same user draws the same arm as long as the
    ///     probabilities stay.
    package func applied(to planned: PlannedSettings, dimension: Int, draw: Double) -> AppliedHints {
        var result = AppliedHints()
        var hints = hints
        if let arm = arm(for: draw) {
            hints.learningRate = .value(Double(arm.learningRate))
            result.propensity = arm.probability
        }
        guard confidence > 0, !hints.isEmpty else {
            result.propensity = 1
            return result
        }
        let unit = planned.objective == .target ? Double(dimension) : 1
        if case .value(let rate)? = hints.learningRate { hints.learningRate = .value(rate / unit) }
        let before = EffectiveSettings(
            learningRate: planned.learningRate / unit, clipThreshold: planned.clipThreshold,
            consolidationStrength: planned.consolidationStrength)
        let (after, ignored) = HintResolver.resolve(hints, confidence: confidence, over: before)
        result.ignored = ignored
        if after.learningRate != before.learningRate {
            result.overrides.learningRate = Float(
                min(Self.rates.upperBound, max(1e-12, after.learningRate * unit * planned.scheduleFactor)))
        }
        if after.clipThreshold != before.clipThreshold { result.overrides.clipThreshold = Float(after.clipThreshold) }
        if let strength = after.consolidationStrength, strength != before.consolidationStrength {
            result.overrides.consolidationStrength = Float(strength)
        }
        result.isChanged = result.overrides != UpdateOverrides()
        return result
    }

    private func arm(for draw: Double) -> RateArm? {
        var left = draw
        for arm in rateArms {
            left -= arm.probability
            if left < 0 { return arm }
        }
        return rateArms.last { $0.probability > 0 }
    }
}
