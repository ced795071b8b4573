internal import TensorCore

/// The value of one sample's loss at y, and what its gradient is like there.
struct ObjectiveValue {
    /// The loss.
    var loss: Double
    /// A bound of the largest eigenvalue of the loss's Hessian with respect to y, over all y; 0 when not asked for.
    var curvature: Double
}

/// Computes losses and their gradients with respect to the output y.
///
/// One evaluator serves one pass over a batch: negatives are drawn in the order of the samples from a generator that the
/// adapter's identity and step fix, so that a second pass with a fresh evaluator contrasts with the same items.
struct ObjectiveEvaluator {
    let configuration: ObjectiveConfiguration
    private var generator: PhiloxGenerator
    /// The draws set apart for one update: 2²⁰, more than any batch of sensible size takes. A larger batch reaches into the
    /// next update's, which does no harm; half of the period is left free, so that none reaches its end.
    private static let drawsPerStep: UInt64 = 1 << 20

    init(configuration: ObjectiveConfiguration, identity: AdapterIdentity, step: UInt64) {
        self.configuration = configuration
        generator = PhiloxGenerator(
            seed: identity.seed, stream: identity.stream, purpose: .sampling,
            position: (step &* Self.drawsPerStep) % (PhiloxGenerator.period / 2))
    }

    /// The position of the generator that negatives are drawn from.
    var position: UInt64 { generator.position }

    /// The kind of loss that a signal gets, which decides rate and clipping threshold.
    static func kind(of signal: Feedback.Signal, _ configuration: ObjectiveConfiguration) -> ObjectiveKind {
        switch signal {
        case .target, .scaledInput: .target
        case .preference: .preference
        case .ranking: .ranking
        case .reward, .watch: .reward
        case .like:
            switch configuration.like {
            case .pairwise: .preference
            case .sampledSoftmax, .catalogueSoftmax: .ranking
            }
        }
    }

    /// The floats of scratch that evaluating a signal takes.
    static func scratchCount(of signal: Feedback.Signal, _ configuration: ObjectiveConfiguration) -> Int {
        switch signal {
        case .target, .scaledInput, .reward, .watch: 0
        case .preference(_, let others): others.count + 1
        case .ranking(_, let others): others.count + 1
        case .like(_, let catalogue, _):
            switch configuration.like {
            case .pairwise(let n): n + 1
            case .sampledSoftmax(let n, let whole): max(n + 1, catalogue.count <= whole ? catalogue.count : 0)
            case .catalogueSoftmax: catalogue.count
            }
        }
    }

    /// Evaluates one sample.
    ///
    /// - Parameters:
    ///   - sample: The feedback; its vectors' lengths were checked.
    ///   - y: The personalized embedding.
    ///   - gradient: Receives ∂loss/∂y when given.
    ///   - scores: Scratch of ``scratchCount(of:_:)`` floats.
    ///   - wantsCurvature: Whether the curvature bound is needed.
    mutating func evaluate(
        _ sample: Feedback, y: FloatBuffer, gradient: FloatBuffer?, scores: FloatBuffer, wantsCurvature: Bool
    ) throws(LoRAError) -> ObjectiveValue {
        switch sample.signal {
        case .target(let target):
            return Self.target(target.span, scale: 1, y: y, gradient: gradient)
        case .scaledInput(let reward):
            return Self.target(sample.embedding.span, scale: reward, y: y, gradient: gradient)
        case .preference(let preferred, let others):
            return try preference(.items([preferred] + others), y, gradient, scores, wantsCurvature)
        case .ranking(let chosen, let others):
            return try softmax(.items([chosen] + others), y, gradient, scores, wantsCurvature, free: others.count)
        case .reward(let reward, let item):
            return try self.reward(reward - configuration.rewardBaseline, item, y, gradient, wantsCurvature)
        case .watch(let event, let item):
            return try reward(
                event.reward(neutral: configuration.neutralWatchScore), item, y, gradient, wantsCurvature)
        case .like(let index, let catalogue, let seen):
            switch configuration.like {
            case .pairwise(let count):
                let (rows, _) = try draw(count, index, catalogue, seen)
                return try preference(.rows(rows, catalogue), y, gradient, scores, wantsCurvature)
            case .sampledSoftmax(let count, let whole) where catalogue.count > max(whole, count + 1):
                let (rows, free) = try draw(count, index, catalogue, seen)
                return try softmax(.rows(rows, catalogue), y, gradient, scores, wantsCurvature, free: free)
            case .sampledSoftmax, .catalogueSoftmax:
                return try catalogueSoftmax(index, catalogue, seen, y, gradient, scores, wantsCurvature)
            }
        }
    }

    // MARK: - The losses

    /// ‖y − scale·t‖² / d; gradient 2/d·(y − scale·t).
    private static func target(_ target: Span<Float>, scale: Float, y: FloatBuffer, gradient: FloatBuffer?)
        -> ObjectiveValue
    {
        let d = Float(y.count)
        // Without a gradient buffer the residual is formed in y's place: nobody reads y after its loss.
        let residual = gradient ?? y
        if let gradient { gradient.copy(from: y) }
        target.withBuffer { Kernels.axpy(-scale, $0, to: residual) }
        let loss = Double(Kernels.squaredNorm(residual)) / Double(d)
        if gradient != nil { Kernels.scale(residual, by: 2 / d) }
        return ObjectiveValue(loss: loss, curvature: 2 / Double(d))
    }

    /// Mean over the others of log(1 + exp(−m)), m = score₊ − score₋. dloss/dm = −σ(−m).
    private func preference(
        _ candidates: Candidates, _ y: FloatBuffer, _ gradient: FloatBuffer?, _ scratch: FloatBuffer,
        _ wantsCurvature: Bool
    ) throws(LoRAError) -> ObjectiveValue {
        let scores = scratch.slice(0..<candidates.count)
        try candidates.score(y, into: scores)
        let share = 1 / Double(candidates.count - 1)
        let top = Double(scores[0])
        var value = ObjectiveValue(loss: 0, curvature: 0)
        var pull = 0.0
        for j in 1..<candidates.count {
            let (loss, slope) = Self.logistic(top - Double(scores[j]))
            value.loss += share * loss
            pull += share * slope
            scores[j] = Float(share * slope)
        }
        scores[0] = Float(-pull)
        if let gradient { candidates.combine(scores, into: gradient) }
        if wantsCurvature { value.curvature = 0.25 * candidates.squaredDistances().mean }
        return value
    }

    /// abs(ρ)·log(1 + exp(−sign(ρ)·score)).
    private func reward(
        _ raw: Float, _ item: Item, _ y: FloatBuffer, _ gradient: FloatBuffer?, _ wantsCurvature: Bool
    ) throws(LoRAError) -> ObjectiveValue {
        let reward = Double(min(1, max(-1, raw)))
        let sign: Double = reward < 0 ? -1 : 1
        let (loss, slope) = Self.logistic(sign * Double(try score(item, y)))
        if let gradient {
            gradient.fill(0)
            item.withVector { Kernels.axpy(Float(-reward * slope), $0, to: gradient) }
        }
        let curvature = wantsCurvature ? 0.25 * abs(reward) * item.withVector { Double(Kernels.squaredNorm($0)) } : 0
        return ObjectiveValue(loss: abs(reward) * loss, curvature: curvature)
    }

    /// Cross-entropy of the first item under softmax(score / τ). Its Hessian is the covariance of the items under the softmax,
    /// over τ²: at most R²/τ², R the largest distance of an item from the first (Popoviciu: a spread of 2R has variance R²).
    ///
    /// The others stand for `free` items of which they are a uniform sample: each exponential then counts free / sampled
    /// times, which makes the sum an unbiased estimate of the whole catalogue's (Bengio & Senécal 2008, *Adaptive importance
    /// sampling to accelerate training of a neural probabilistic language model*, §IV).
    private func softmax(
        _ candidates: Candidates, _ y: FloatBuffer, _ gradient: FloatBuffer?, _ scratch: FloatBuffer,
        _ wantsCurvature: Bool, free: Int
    ) throws(LoRAError) -> ObjectiveValue {
        let logits = scratch.slice(0..<candidates.count)
        try candidates.score(y, into: logits)
        let sampled = candidates.count - 1
        if free != sampled {
            let shift = Float(Double(configuration.temperature) * Elementary.log(Double(free) / Double(sampled)))
            for j in 1...sampled { logits[j] += shift }
        }
        let (loss, inverseSum) = crossEntropy(logits, chosen: 0)
        let inverseTemperature = 1 / configuration.temperature
        if let gradient {
            Kernels.scale(logits, by: inverseSum)
            logits[0] -= 1
            Kernels.scale(logits, by: inverseTemperature)
            candidates.combine(logits, into: gradient)
        }
        let sharpness = Double(inverseTemperature) * Double(inverseTemperature)
        return ObjectiveValue(
            loss: loss, curvature: wantsCurvature ? sharpness * candidates.squaredDistances().largest : 0)
    }

    /// The same over a whole catalogue: one pass over it for the scores, one for the gradient.
    private func catalogueSoftmax(
        _ index: Int, _ catalogue: ItemCatalogue, _ seen: [Int], _ y: FloatBuffer, _ gradient: FloatBuffer?,
        _ scores: FloatBuffer, _ wantsCurvature: Bool
    ) throws(LoRAError) -> ObjectiveValue {
        let logits = scores.slice(0..<catalogue.count)
        catalogue.vectors.withSpan { $0.withBuffer { Kernels.rowDots($0, y, into: logits) } }
        catalogue.offsets.withSpan { $0.withBuffer { Kernels.axpy(1, $0, to: logits) } }
        guard Kernels.allFinite(logits) else { throw LoRAAdapter.overflow("update") }
        var free = catalogue.count - 1
        for item in seen where item != index && logits[item] > -.infinity {
            logits[item] = -.infinity
            free -= 1
        }
        guard free > 0 else { throw Self.nothingLeft }
        let (loss, inverseSum) = crossEntropy(logits, chosen: index)
        let inverseTemperature = 1 / configuration.temperature
        if let gradient {
            Kernels.scale(logits, by: inverseSum)
            logits[index] -= 1
            Kernels.scale(logits, by: inverseTemperature)
            gradient.fill(0)
            catalogue.vectors.withSpan { $0.withBuffer { Kernels.addRows($0, logits, to: gradient) } }
        }
        var curvature = 0.0
        if wantsCurvature {
            let own = catalogue.vectors.withRow(index) { $0.withBuffer { Kernels.squaredNorm($0).squareRoot() } }
            let reach = Double((own + catalogue.largestNorm) * inverseTemperature)
            curvature = reach * reach
        }
        return ObjectiveValue(loss: loss, curvature: curvature)
    }

    // MARK: - Parts

    /// Turns logits into exp((logit − largest)/τ); returns the chosen one's cross-entropy and one over the sum.
    private func crossEntropy(_ logits: FloatBuffer, chosen: Int) -> (loss: Double, inverseSum: Float) {
        let shift = Kernels.maximum(logits)
        let gap = Double(shift - logits[chosen]) / Double(configuration.temperature)
        let sum = Kernels.expSum(logits, shift: shift, inverseTemperature: 1 / configuration.temperature)
        return (gap + Elementary.log(Double(sum)), 1 / sum)
    }

    /// log(1 + exp(−m)) and σ(−m), without overflow on either side.
    private static func logistic(_ margin: Double) -> (loss: Double, slope: Double) {
        let t = Elementary.exp(-abs(margin))
        return margin > 0
            ? (Elementary.log1p(t), t / (1 + t))
            : (-margin + Elementary.log1p(t), 1 / (1 + t))
    }

    private func score(_ item: Item, _ y: FloatBuffer) throws(LoRAError) -> Float {
        let score = item.withVector { Kernels.dot($0, y) } + item.offset
        guard score.isFinite else { throw LoRAAdapter.overflow("update") }
        return score
    }

    private static var nothingLeft: LoRAError {
        LoRAError(
            .invalidFeedback, "update", "every item of the catalogue is liked or seen: nothing is left for contrast")
    }

    /// The liked row, then uniform draws, with replacement, from the catalogue without the liked and the seen items; and how
    /// many items that leaves.
    mutating func draw(_ count: Int, _ liked: Int, _ catalogue: ItemCatalogue, _ seen: [Int])
        throws(LoRAError) -> (rows: [Int], free: Int)
    {
        let known = seen.isEmpty ? [] : Set(seen)
        let free = catalogue.count - 1 - known.count + (known.contains(liked) ? 1 : 0)
        guard free > 0 else { throw Self.nothingLeft }
        // Rejection while it is quick; a list of what is free when most of the catalogue was seen.
        let list =
            free * 4 < catalogue.count
            ? (0..<catalogue.count).filter { $0 != liked && !known.contains($0) } : nil
        var rows = [liked]
        rows.reserveCapacity(count + 1)
        while rows.count <= count {
            let drawn = list.map { $0[generator.integer(below: $0.count)] } ?? generator.integer(below: catalogue.count)
            if list == nil, drawn == liked || known.contains(drawn) { continue }
            rows.append(drawn)
        }
        return (rows, free)
    }
}
