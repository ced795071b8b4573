@testable import LoRA
import TensorCore
import Testing

/// Analytical gradients of A, B and b against central differences of an independent Float64 implementation of map and losses.
/// Tolerance: 5e-6 of the gradient's norm (at least 1), about fifty roundings of Float32.
struct GradientTests {
    static let seed: UInt64 = 2_024
    static let tolerance = 5e-6

    struct Setting: Sendable, CustomTestStringConvertible {
        let signal: SignalKind
        let like: ObjectiveConfiguration.Like

        var testDescription: String { signal == .like ? "like, \(like)" : signal.rawValue }

        static var all: [Setting] {
            SignalKind.allCases.flatMap { signal in
                signal == .like
                    ? ObjectiveConfiguration.Like.all.map { Setting(signal: signal, like: $0) }
                    : [Setting(signal: signal, like: .catalogueSoftmax)]
            }
        }
    }

    static func objective(_ random: inout RandomCase, _ like: ObjectiveConfiguration.Like) -> ObjectiveConfiguration {
        ObjectiveConfiguration.stated(
            like: like, temperature: random.pick([0.3, 1, 2.5]), rewardBaseline: random.pick([0, 0.25, -0.4]),
            neutralWatchScore: random.pick([0.5, 0.3]), highestInversePropensity: random.pick([2, 10]))
    }

    /// The items drawn for a like under a sampled loss, for the first sample of an update.
    static func contrast(_ adapter: LoRAAdapter, _ sample: Feedback, _ objective: ObjectiveConfiguration) throws
        -> [Int]
    {
        guard case .like(let liked, let catalogue, let seen) = sample.signal else { return [] }
        switch objective.like {
        case .sampledSoftmax(let n, let whole) where catalogue.count <= max(whole, n + 1): return []
        case .pairwise(let n), .sampledSoftmax(let n, _):
            return try Evaluation.negatives(
                n, liked: liked, of: catalogue.count, seen: seen, identity: adapter.identity, step: adapter.steps)
        case .catalogueSoftmax: return []
        }
    }

    @Test(arguments: Setting.all, [false, true])
    func theGradientOfEveryObjectiveIsTheSlopeOfItsLoss(setting: Setting, normalizes: Bool) throws {
        for trial in 0..<12 {
            var random = RandomCase(seed: Self.seed, trial)
            let dimension = 1 + random.generator.integer(below: 8)
            let shape = try AdapterShape(
                dimension: dimension, rank: 1 + random.generator.integer(below: min(3, dimension)), alpha: 1.5,
                scaling: random.pick([.standard, .rankStabilized]), hasBias: random.generator.bernoulli(0.5),
                normalizesOutput: normalizes)
            let adapter = try random.adapter(shape)
            let catalogue = try random.catalogue(9, dimension)
            let objective = Self.objective(&random, setting.like)
            let sample = random.feedback(setting.signal, catalogue)
            let model = ReferenceModel(adapter)
            // The division by the norm curves too sharply near zero for differences to be exact.
            if normalizes, norm(model.unnormalized(sample.embedding)) < 0.3 { continue }
            let contrast = try Self.contrast(adapter, sample, objective)
            let found = try Evaluation(adapter, [sample], UpdateConfiguration.stated(objective: objective))
            let loss = model.loss([sample], objective, contrasts: [contrast])
            #expect(abs(found.loss - loss) < 2e-6 * max(1, loss), "\(random.description)")
            let slope = model.gradient([sample], objective, contrasts: [contrast])
            #expect(distance(found.gradient, slope) < Self.tolerance * max(1, norm(slope)), "\(random.description)")
            // One sample: the squares are the gradient's, which the protection accumulates.
            #expect(distance(found.squares, slope.map { $0 * $0 }) < Self.tolerance * max(1, norm(slope) * norm(slope)))
        }
    }

    @Test(arguments: 0..<12)
    func aBatchIsTheWeightedMeanOfItsSamples(trial: Int) throws {
        var random = RandomCase(seed: Self.seed + 1, trial)
        let shape = try AdapterShape(
            dimension: 6, rank: 2, hasBias: trial % 2 == 0, normalizesOutput: trial % 3 == 0)
        let adapter = try random.adapter(shape)
        let catalogue = try random.catalogue(7, 6)
        let objective = Self.objective(&random, .catalogueSoftmax)
        let configuration = UpdateConfiguration.stated(objective: objective)
        let batch = SignalKind.allCases.map { random.feedback($0, catalogue) }
        let found = try Evaluation(adapter, batch, configuration)
        let model = ReferenceModel(adapter)
        let slope = model.gradient(batch, objective)
        #expect(abs(found.loss - model.loss(batch, objective)) < 2e-6 * max(1, found.loss))
        #expect(distance(found.gradient, slope) < Self.tolerance * max(1, norm(slope)), "\(random.description)")

        // The squares are the weighted mean of the samples' squared gradients, not the square of their mean.
        let weights = batch.map { sample in
            Double(sample.weight)
                * (sample.propensity.map { min(1 / Double($0), Double(objective.highestInversePropensity)) } ?? 1)
        }
        let total = weights.reduce(0, +)
        var squares = [Double](repeating: 0, count: shape.parameterCount)
        for (sample, weight) in zip(batch, weights) {
            for (i, g) in model.gradient([sample], objective).enumerated() { squares[i] += weight / total * g * g }
        }
        #expect(distance(found.squares, squares) < Self.tolerance * max(1, largest(squares)))
        // Rates and thresholds are the weighted means of those of the kinds.
        var mixed = configuration
        mixed.learningRates = PerObjective(target: 1, preference: 2, ranking: 4, reward: 8)
        mixed.clipThresholds = PerObjective(target: 3, preference: 5, ranking: 7, reward: 11)
        let resolved = try Batch(batch, mixed)
        let kinds: [(Double, Double)] = [(1, 3), (1, 3), (2, 5), (4, 7), (4, 7), (8, 11), (8, 11)]
        let rate = zip(weights, kinds).reduce(0) { $0 + $1.0 * $1.1.0 } / total
        let threshold = zip(weights, kinds).reduce(0) { $0 + $1.0 * $1.1.1 } / total
        #expect(abs(resolved.learningRate - rate) < 1e-12 * rate)
        #expect(abs(resolved.clipThreshold - threshold) < 1e-12 * threshold)
    }

    @Test func seenItemsAreOutsideTheSoftmaxAndTheLikedOneInside() throws {
        var random = RandomCase(seed: Self.seed, 99)
        let adapter = try random.adapter(AdapterShape(dimension: 5, rank: 2))
        let catalogue = try random.catalogue(6, 5)
        let x = random.numbers(5)
        func loss(_ seen: [Int]) throws -> Double {
            let sample = Feedback(embedding: x, signal: .like(2, in: catalogue, seen: seen))
            return try Evaluation(adapter, [sample], UpdateConfiguration.stated()).loss
        }
        let whole = try loss([])
        #expect(try loss([0, 4]) < whole)
        #expect(try loss([2]) == whole)
        #expect(try loss([0, 0, 4]) == loss([0, 4]))
        #expect(throws: LoRAError.self) { try loss([0, 1, 3, 4, 5]) }
    }

    @Test func aLikeIsTheRankingOverItsCatalogue() throws {
        var random = RandomCase(seed: Self.seed, 100)
        let adapter = try random.adapter(AdapterShape(dimension: 5, rank: 2, hasBias: true))
        let catalogue = try random.catalogue(6, 5)
        let x = random.numbers(5)
        let like = try Evaluation(
            adapter, [Feedback(embedding: x, signal: .like(2, in: catalogue))], UpdateConfiguration.stated())
        let others = [0, 1, 3, 4, 5].map { Item.catalogued($0, catalogue) }
        let ranking = try Evaluation(
            adapter, [Feedback(embedding: x, signal: .ranking(.catalogued(2, catalogue), among: others))],
            UpdateConfiguration.stated())
        #expect(abs(like.loss - ranking.loss) < 1e-6)
        #expect(distance(like.gradient, ranking.gradient.map(Double.init)) < 1e-6)
    }
}
