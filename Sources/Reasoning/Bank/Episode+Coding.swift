package import LoRA
internal import TensorCore

/// Numbers and texts in the order of the fields, the least significant byte first; texts come last, so that what look-ups need is
/// read without them. The user, version, time and kind stand beside the bytes, in columns of their own.
extension Episode {
    private static let format: UInt8 = 1

    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let outcome = Flags(rawValue: 1 << 0)
        static let success = Flags(rawValue: 1 << 1)
        static let taste = Flags(rawValue: 1 << 2)
        static let startOfContext = Flags(rawValue: 1 << 3)
        static let startOfAction = Flags(rawValue: 1 << 4)
        static let all = Flags(rawValue: (1 << 5) - 1)
    }

    /// Everything but the user, version, time and kind.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 640)
        writer.append(Self.format)
        let hasTaste = context.taste.contains { $0 != 0 }
        var flags: Flags = []
        if let outcome { flags.formUnion(outcome.success ? [.outcome, .success] : .outcome) }
        if hasTaste { flags.insert(.taste) }
        if context.initialization != nil { flags.insert(.startOfContext) }
        if action.initialization != nil { flags.insert(.startOfAction) }
        writer.append(flags.rawValue)
        for number in [context.seen, context.batchSize, context.tasteLikes] { writer.append(short: UInt(number)) }
        for number in [
            context.rewardMean, context.rewardVariance, context.dispersion, context.gradientNoise,
            context.gradientCosine, context.drift,
        ] { writer.append(number) }
        writer.append(context.idleSeconds)
        if hasTaste { for value in context.taste { writer.append(value) } }
        if let start = context.initialization { writer.append(start.value) }
        for number in [
            action.learningRate, action.scheduleFactor, action.clipThreshold, action.consolidationStrength,
        ] { writer.append(number) }
        writer.append(action.propensity)
        if let start = action.initialization { writer.append(start.value) }
        writer.append(lossBefore)
        writer.append(lossAfter)
        if let outcome { for number in [outcome.gain, outcome.benefit, outcome.reward] { writer.append(number) } }
        writer.append(latency)
        for text in [sessionID, task, input, output, critique] { writer.append(text) }
        return writer.bytes
    }

    /// An episode as it was; `nil` for bytes that are none, or that no bank would have stored.
    ///
    /// - Parameter readsTexts: Whether its texts are wanted.
    package init?(
        encoded bytes: [UInt8], user: UserDigest, version: UInt64, recordedAt: Timestamp, kind: AdapterKind,
        readsTexts: Bool = true
    ) {
        var reader = ByteReader(bytes)
        guard reader.take(UInt8.self) == Self.format, let flags = reader.take(UInt8.self).map(Flags.init),
            Flags.all.isSuperset(of: flags),
            let seen = reader.takeCount(), let batchSize = reader.takeCount(), let tasteLikes = reader.takeCount(),
            let situation = reader.takeFloats(6), let idle = reader.takeDouble()
        else { return nil }
        var taste: [Float] = []
        if flags.contains(.taste) {
            guard let found = reader.takeFloats(AdaptationContext.tasteDimension) else { return nil }
            taste = found
        }
        var context = AdaptationContext(
            objective: kind.objective, seen: seen, batchSize: batchSize, rewardMean: situation[0],
            rewardVariance: situation[1], taste: taste, tasteLikes: tasteLikes, dispersion: situation[2],
            gradientNoise: situation[3], gradientCosine: situation[4], drift: situation[5], idleSeconds: idle,
            dimension: kind.dimension, rank: kind.rank, model: kind.model)
        if flags.contains(.startOfContext) {
            guard let start: UInt64 = reader.take() else { return nil }
            context.initialization = PriorID(start)
        }
        guard let settings = reader.takeFloats(4), let propensity = reader.takeDouble() else { return nil }
        var action = AdaptationAction(
            learningRate: settings[0], scheduleFactor: settings[1], clipThreshold: settings[2],
            consolidationStrength: settings[3], propensity: propensity)
        if flags.contains(.startOfAction) {
            guard let start: UInt64 = reader.take() else { return nil }
            action.initialization = PriorID(start)
        }
        guard let before = reader.takeDouble(), let after = reader.takeDouble() else { return nil }
        var outcome: AdaptationOutcome?
        if flags.contains(.outcome) {
            guard let gain = reader.takeDouble(), let benefit = reader.takeDouble(), let reward = reader.takeDouble()
            else { return nil }
            outcome = AdaptationOutcome(
                gain: gain, benefit: benefit, reward: reward, success: flags.contains(.success))
        }
        guard let latency: Int64 = reader.take() else { return nil }
        self.init(
            user: user, version: version, task: "", context: context, action: action, lossBefore: before,
            lossAfter: after, outcome: outcome, latency: latency, recordedAt: recordedAt)
        if readsTexts {
            var texts: [String] = []
            for _ in 0..<5 {
                guard let text = reader.takeText(limit: Self.longestText) else { return nil }
                texts.append(text)
            }
            guard reader.remaining == 0 else { return nil }
            (sessionID, task, input, output, critique) = (texts[0], texts[1], texts[2], texts[3], texts[4])
        }
        do throws(ReasoningError) { try validate() } catch { return nil }
    }
}

extension UserDigest {
    /// Its 16 bytes, as files hold them.
    package var bytes: [UInt8] {
        var writer = ByteWriter(capacity: 16)
        writer.append(high)
        writer.append(low)
        return writer.bytes
    }

    /// `nil` for other than 16 bytes.
    package init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        guard bytes.count == 16, let high: UInt64 = reader.take(), let low: UInt64 = reader.take() else { return nil }
        self.init(high: high, low: low)
    }
}

extension AdapterKind {
    /// A kind by its parts.
    package init(objective: ObjectiveKind, dimension: Int, rank: Int, model: UInt64) {
        self.objective = objective
        self.dimension = dimension
        self.rank = rank
        self.model = model
    }
}

extension ByteReader {
    /// The next number that was appended short, as a count.
    mutating func takeCount() -> Int? { takeShort().flatMap { Int(exactly: $0) } }
}
