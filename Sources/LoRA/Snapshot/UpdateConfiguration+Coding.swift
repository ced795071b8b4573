internal import TensorCore

// How adapters learned, as bytes: a replay needs the very same settings. The format is in docs/formats.md.

extension UpdateConfiguration {
    /// The settings as bytes; equal settings give equal bytes.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 160)
        switch objective.like {
        case .pairwise(let n): writer.append(UInt8(0), UInt64(n))
        case .sampledSoftmax(let n, let whole): writer.append(UInt8(1), UInt64(n), UInt64(whole))
        case .catalogueSoftmax: writer.append(UInt8(2))
        }
        writer.append(
            objective.temperature, objective.rewardBaseline, objective.neutralWatchScore,
            objective.highestInversePropensity)
        switch optimizer {
        case .sgd: writer.append(UInt8(0))
        case .momentum(let coefficient, let dampening, let nesterov):
            writer.append(UInt8(1))
            writer.append(coefficient, dampening)
            writer.append(UInt8(nesterov ? 1 : 0))
        case .riemannian(let damping):
            writer.append(UInt8(2))
            writer.append(damping)
        case .adaGrad(let epsilon, let initial):
            writer.append(UInt8(3))
            writer.append(epsilon, initial)
        case .adam(let beta1, let beta2, let epsilon):
            writer.append(UInt8(4))
            writer.append(beta1, beta2, epsilon)
        case .adamW(let beta1, let beta2, let epsilon):
            writer.append(UInt8(5))
            writer.append(beta1, beta2, epsilon)
        case .doG(let distance, let epsilon):
            writer.append(UInt8(6))
            writer.append(distance, epsilon)
        }
        writer.append(learningRates)
        switch schedule.curve {
        case .constant: writer.append(UInt8(0))
        case .step(let size, let factor):
            writer.append(UInt8(1), UInt64(size))
            writer.append(factor)
        case .exponential(let factor):
            writer.append(UInt8(2))
            writer.append(factor)
        case .cosine(let period, let minimum):
            writer.append(UInt8(3), UInt64(period))
            writer.append(minimum)
        case .cosineWithRestarts(let period, let multiplier, let minimum):
            writer.append(UInt8(4), UInt64(period), UInt64(multiplier))
            writer.append(minimum)
        case .inverseSquareRoot(let offset):
            writer.append(UInt8(5))
            writer.append(offset)
        case .reduceOnPlateau(let factor, let patience, let threshold, let cooldown, let minimum):
            writer.append(UInt8(6), UInt64(patience), UInt64(cooldown))
            for number in [factor, threshold, minimum] { writer.append(number) }
        }
        writer.append(UInt64(schedule.warmupSteps))
        writer.append(schedule.warmupStart)
        let clippings: [Clipping] = [.globalNorm, .perMatrix, .byValue, .off]
        writer.append(UInt8(clippings.firstIndex(of: clipping) ?? 0))
        writer.append(clipThresholds)
        writer.append(weightDecay)
        writer.append(fading)
        writer.append(UInt8(elasticWeightConsolidation == nil ? 0 : 1))
        if let protection = elasticWeightConsolidation { writer.append(protection.strength, protection.decay) }
        writer.append(UInt8(certifiesSteps ? 1 : 0))
        writer.append(UInt8(measuresLossAfter ? 1 : 0))
        // Only where there is one: the bytes of the others stay what they were.
        if weighs {
            writer.append(UInt8(selfAudit == nil ? 0 : 1))
            if let audit = selfAudit { writer.append(audit.rate, audit.prior, audit.share, audit.range) }
            writer.append(UInt8(driftForking == nil ? 0 : 1))
            if let forking = driftForking {
                writer.append(forking.tolerance, forking.threshold)
                writer.append(UInt64(forking.minimumUpdates))
                writer.append(forking.rate, forking.share)
            }
        }
        return writer.bytes
    }

    /// The settings that ``encoded()`` gave the bytes of. Their ranges are checked by ``validate(for:)``.
    ///
    /// - Throws: ``LoRAError`` (`malformedSnapshot`).
    package init(encoded bytes: [UInt8]) throws(LoRAError) {
        var reader = ContentReader(bytes, of: "settings from a journal")
        self.init()
        switch try reader.byte() {
        case 0: objective.like = .pairwise(negatives: try reader.count())
        case 1:
            let negatives = try reader.count()
            objective.like = .sampledSoftmax(negatives: negatives, wholeUpTo: try reader.count())
        case 2: objective.like = .catalogueSoftmax
        case let other: throw reader.refuse("what likes are contrasted with is unknown (\(other))")
        }
        objective.temperature = try reader.float()
        objective.rewardBaseline = try reader.float()
        objective.neutralWatchScore = try reader.float()
        objective.highestInversePropensity = try reader.float()
        optimizer = try reader.optimizer()
        learningRates = try reader.perObjective()
        let curve = try reader.curve()
        let warmupSteps = try reader.count()
        schedule = Schedule(curve, warmupSteps: warmupSteps, warmupStart: try reader.double())
        switch try reader.byte() {
        case 0: clipping = .globalNorm
        case 1: clipping = .perMatrix
        case 2: clipping = .byValue
        case 3: clipping = .off
        case let other: throw reader.refuse("a clipping of kind \(other) is unknown")
        }
        clipThresholds = try reader.perObjective()
        weightDecay = try reader.float()
        fading = try reader.perObjective()
        if try reader.flag() {
            let strength = try reader.float()
            elasticWeightConsolidation = ElasticWeightConsolidation(strength: strength, decay: try reader.float())
        }
        certifiesSteps = try reader.flag()
        measuresLossAfter = try reader.flag()
        if reader.remaining > 0 {
            if try reader.flag() {
                let values = try reader.floats(4)
                selfAudit = SelfAudit(rate: values[0], prior: values[1], share: values[2], range: values[3])
            }
            if try reader.flag() {
                let limits = try reader.floats(2)
                let minimum = try reader.count()
                let values = try reader.floats(2)
                driftForking = DriftForking(
                    tolerance: limits[0], threshold: limits[1], minimumUpdates: minimum, rate: values[0],
                    share: values[1])
            }
            guard weighs else { throw reader.refuse("it says twice that reads are not weighed") }
        }
        try reader.end()
    }
}

extension ContentReader {
    /// A count that was written in eight bytes.
    fileprivate mutating func count() throws(LoRAError) -> Int {
        let value = try number()
        guard value < 1 << 62 else { throw refuse("a count is \(value), 2^62 or more") }
        return Int(value)
    }

    fileprivate mutating func perObjective() throws(LoRAError) -> PerObjective {
        let values = try floats(4)
        return PerObjective(target: values[0], preference: values[1], ranking: values[2], reward: values[3])
    }

    fileprivate mutating func optimizer() throws(LoRAError) -> Optimizer {
        switch try byte() {
        case 0: return .sgd
        case 1:
            let values = try floats(2)
            return .momentum(coefficient: values[0], dampening: values[1], nesterov: try flag())
        case 2: return .riemannian(damping: try float())
        case 3:
            let values = try floats(2)
            return .adaGrad(epsilon: values[0], initialAccumulator: values[1])
        case 4:
            let values = try floats(3)
            return .adam(beta1: values[0], beta2: values[1], epsilon: values[2])
        case 5:
            let values = try floats(3)
            return .adamW(beta1: values[0], beta2: values[1], epsilon: values[2])
        case 6:
            let values = try floats(2)
            return .doG(relativeInitialDistance: values[0], epsilon: values[1])
        case let other: throw refuse("an optimizer of kind \(other) is unknown")
        }
    }

    fileprivate mutating func curve() throws(LoRAError) -> Schedule.Curve {
        switch try byte() {
        case 0: return .constant
        case 1:
            let size = try count()
            return .step(size: size, factor: try double())
        case 2: return .exponential(factor: try double())
        case 3:
            let period = try count()
            return .cosine(period: period, minimum: try double())
        case 4:
            let (period, multiplier) = (try count(), try count())
            return .cosineWithRestarts(period: period, multiplier: multiplier, minimum: try double())
        case 5: return .inverseSquareRoot(offset: try double())
        case 6:
            let (patience, cooldown) = (try count(), try count())
            let (factor, threshold, minimum) = (try double(), try double(), try double())
            return .reduceOnPlateau(
                factor: factor, patience: patience, threshold: threshold, cooldown: cooldown, minimum: minimum)
        case let other: throw refuse("a schedule of kind \(other) is unknown")
        }
    }
}

extension ByteWriter {
    fileprivate mutating func append(_ kind: UInt8, _ count: UInt64, _ more: UInt64...) {
        append(kind)
        append(count)
        for count in more { append(count) }
    }

    fileprivate mutating func append(_ first: Float, _ second: Float, _ more: Float...) {
        append(first)
        append(second)
        for value in more { append(value) }
    }

    fileprivate mutating func append(_ values: PerObjective) {
        append(values.target, values.preference, values.ranking, values.reward)
    }
}
