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
        case .preference(_, let others): others.count
        case .ranking(_, let others): others.count + 1
        case .like(_, let catalogue, _):
            switch configuration.like {
            case .pairwise(let n): n
            case .sampledSoftmax(let n): n + 1
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
            return try preference(preferred, others, y, gradient, scores, wantsCurvature)
        case .ranking(let chosen, let others):
            return try softmax([chosen] + others, y, gradient, scores, wantsCurvature)
        case .reward(let reward, let item):
            return try self.reward(reward - configuration.rewardBaseline, item, y, gradient, wantsCurvature)
        case .watch(let event, let item):
            return try reward(
                event.reward(neutral: configuration.neutralWatchScore), item, y, gradient, wantsCurvature)
        case .like(let index, let catalogue, let seen):
            let liked = Item.catalogued(index, catalogue)
            switch configuration.like {
            case .pairwise(let count):
                let others = try negatives(count, index, catalogue, seen)
                return try preference(liked, others, y, gradient, scores, wantsCurvature)
            case .sampledSoftmax(let count):
                let others = try negatives(count, index, catalogue, seen)
                return try softmax([liked] + others, y, gradient, scores, wantsCurvature)
            case .catalogueSoftmax:
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
        _ preferred: Item, _ others: [Item], _ y: FloatBuffer, _ gradient: FloatBuffer?, _ scores: FloatBuffer,
        _ wantsCurvature: Bool
    ) throws(LoRAError) -> ObjectiveValue {
        let share = 1 / Double(others.count)
        let top = Double(try score(preferred, y))
        for (j, other) in others.enumerated() { scores[j] = try score(other, y) }
        var value = ObjectiveValue(loss: 0, curvature: 0)
        var pull = 0.0
        gradient?.fill(0)
        for (j, other) in others.enumerated() {
            let (loss, slope) = Self.logistic(top - Double(scores[j]))
            value.loss += share * loss
            if let gradient {
                other.withVector { Kernels.axpy(Float(share * slope), $0, to: gradient) }
                pull += share * slope
            }
            if wantsCurvature { value.curvature += share * 0.25 * preferred.squaredDistance(to: other) }
        }
        if let gradient { preferred.withVector { Kernels.axpy(Float(-pull), $0, to: gradient) } }
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
    private func softmax(
        _ items: [Item], _ y: FloatBuffer, _ gradient: FloatBuffer?, _ scores: FloatBuffer, _ wantsCurvature: Bool
    ) throws(LoRAError) -> ObjectiveValue {
        let logits = scores.slice(0..<items.count)
        for (j, item) in items.enumerated() { logits[j] = try score(item, y) }
        let (loss, inverseSum) = crossEntropy(logits, chosen: 0)
        let inverseTemperature = 1 / configuration.temperature
        var curvature = 0.0
        gradient?.fill(0)
        for (j, item) in items.enumerated() {
            if let gradient {
                let share = logits[j] * inverseSum - (j == 0 ? 1 : 0)
                item.withVector { Kernels.axpy(share * inverseTemperature, $0, to: gradient) }
            }
            if wantsCurvature { curvature = max(curvature, items[0].squaredDistance(to: item)) }
        }
        let sharpness = Double(inverseTemperature) * Double(inverseTemperature)
        return ObjectiveValue(loss: loss, curvature: curvature * sharpness)
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
        for item in seen where item != index { logits[item] = -.infinity }
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

    /// Uniform draws, with replacement, from the catalogue without the liked and the seen items.
    private mutating func negatives(_ count: Int, _ liked: Int, _ catalogue: ItemCatalogue, _ seen: [Int])
        throws(LoRAError) -> [Item]
    {
        let known = seen.isEmpty ? [] : Set(seen)
        let free = catalogue.count - 1 - known.count + (known.contains(liked) ? 1 : 0)
        guard free > 0 else {
            throw LoRAError(
                .invalidFeedback, "update", "every item of the catalogue is liked or seen: nothing is left for contrast"
            )
        }
        // Rejection while it is quick; a list of what is free when most of the catalogue was seen.
        let list =
            free * 4 < catalogue.count
            ? (0..<catalogue.count).filter { $0 != liked && !known.contains($0) } : nil
        var items: [Item] = []
        items.reserveCapacity(count)
        while items.count < count {
            let drawn = list.map { $0[generator.integer(below: $0.count)] } ?? generator.integer(below: catalogue.count)
            if list == nil, drawn == liked || known.contains(drawn) { continue }
            items.append(.catalogued(drawn, catalogue))
        }
        return items
    }
}

extension Item {
    /// Lends the item's embedding.
    func withVector<R>(_ body: (FloatBuffer) -> R) -> R {
        switch self {
        case .vector(let values, _): values.span.withBuffer(body)
        case .catalogued(let index, let catalogue): catalogue.vectors.withRow(index) { $0.withBuffer(body) }
        }
    }

    /// What is added to the item's score.
    var offset: Float {
        switch self {
        case .vector(_, let offset): offset
        case .catalogued(let index, let catalogue): catalogue.offsets[index]
        }
    }

    func squaredDistance(to other: Item) -> Double {
        withVector { a in
            other.withVector { b in
                var sum = 0.0
                for i in 0..<a.count {
                    let difference = Double(a[i]) - Double(b[i])
                    sum += difference * difference
                }
                return sum
            }
        }
    }
}
