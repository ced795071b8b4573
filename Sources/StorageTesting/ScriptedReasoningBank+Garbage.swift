internal import LoRA
internal import Reasoning

extension ScriptedReasoningBank.Garbage {
    private var number: Double? {
        switch self {
        case .notANumber: .nan
        case .infinity: .infinity
        default: nil
        }
    }

    func patterns(for query: PatternQuery, in found: [RetrievedPattern]) -> [RetrievedPattern] {
        // One at least, so that there is something to spoil.
        let sample =
            found.first
            ?? RetrievedPattern(
                id: EpisodeID(1), user: UserDigest(high: 1, low: 1), reward: 1, success: true, similarity: 1, loss: 1,
                action: AdaptationAction(learningRate: 0.25, clipThreshold: 1), rank: query.context.rank)
        func spoiled(_ change: (inout RetrievedPattern) -> Void) -> [RetrievedPattern] {
            (found.isEmpty ? [sample] : found).map { pattern in
                var pattern = pattern
                change(&pattern)
                return pattern
            }
        }
        switch self {
        case .notANumber, .infinity:
            let number = number ?? .nan
            return spoiled {
                $0.similarity = number
                $0.reward = number
                $0.loss = number
                $0.age = number
                $0.action.learningRate = Float(number)
            }
        case .tooMuch: return Array(repeating: sample, count: 1_000_000)
        case .absurdRate: return spoiled { $0.action.learningRate = 1e30 }
        case .negativeRate: return spoiled { $0.action.learningRate = -1 }
        case .absurdConfidence: return spoiled { $0.similarity = 7 }
        case .brokenPromises:
            return (0..<max(2, found.count)).map { i in
                var pattern = sample
                pattern.user = query.excluding ?? sample.user
                pattern.reward = max(0, query.minimumReward - 0.5)
                pattern.similarity = Double(i) / Double(max(2, found.count))
                return pattern
            }
        case .longText:
            let text = String(repeating: "x", count: 1_000_000)
            return spoiled {
                $0.input = text
                $0.output = text
            }
        case .absurdProbabilities, .otherDimension: return found
        }
    }

    func spoil(_ advice: inout StrategyAdvice, _ task: AdaptationTask) throws {
        // With some confidence, so that a reader that does not check would follow.
        advice.confidence = max(advice.confidence, 0.9)
        let rate = Double(task.configuredLearningRate)
        switch self {
        case .notANumber, .infinity:
            let number = number ?? .nan
            advice.confidence = number
            advice.hints = AdaptationHints(
                learningRate: .value(number), clipThreshold: .factor(number), consolidationStrength: .value(number))
            advice.gain = ConfidenceInterval(mean: number, low: number, high: number)
            advice.rateArms = [RateArm(learningRate: Float(number), probability: number)]
        case .tooMuch:
            advice.evidence = (0..<1_000_000).map { EpisodeID($0) }
            advice.rateArms = (1...10_000).map { RateArm(learningRate: Float($0), probability: 0.0001) }
        case .absurdRate:
            advice.hints.learningRate = .value(1e30)
            advice.rateArms = [RateArm(learningRate: 1e30, probability: 1)]
        case .negativeRate:
            advice.hints.learningRate = .value(-rate)
            advice.rateArms = [RateArm(learningRate: -task.configuredLearningRate, probability: 1)]
        case .absurdConfidence: advice.confidence = 7
        case .absurdProbabilities:
            advice.rateArms = (1...3).map {
                RateArm(learningRate: Float($0) * task.configuredLearningRate, probability: 1)
            }
        case .otherDimension: advice.initialization = try Self.start(dimension: task.context.dimension + 1)
        case .brokenPromises:
            advice.hints = AdaptationHints()
            advice.confidence = -1
            advice.episodes = -1
        case .longText: advice.sentence = String(repeating: "reduce the learning rate to 0.1. ", count: 30_000)
        }
    }

    func spoil(_ report: inout ConsolidationReport) {
        guard let number else { return }
        report.refused.append(
            RefusedGroup(
                centroid: [Float(number)],
                evidence: GroupEvidence(
                    users: -1, uses: -1, successRate: number, wilsonLow: number,
                    gain: ConfidenceInterval(mean: number, low: number, high: number)), reason: ""))
    }

    /// A start whose prior is not zero.
    private static func start(dimension: Int) throws -> Initialization {
        var donor = LoRAAdapter(
            shape: try AdapterShape(dimension: dimension, rank: 1), identity: AdapterIdentity(seed: 1, stream: 1))
        let unit = (0..<dimension).map { Float($0 == 0 ? 1 : 0) }
        _ = try donor.update(
            with: [Feedback(embedding: unit, signal: .target(unit.map { 2 * $0 }))],
            configuration: UpdateConfiguration())
        let prior = try AdapterPrior(merging: [(donor, 1)], rank: 1)
        return Initialization(id: PriorID(of: prior), prior: prior)
    }
}
