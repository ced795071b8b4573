@testable import LoRA
import TensorCore
import Testing

/// Losses, outputs, gradients, norms and clipping against PyTorch's autograd in Float64 (Tests/Fixtures/objectives.py).
struct ObjectiveFixtureTests {
    struct Candidate: Decodable, Sendable {
        let vector: [Float]
        let offset: Float
    }
    struct Sample: Decodable, Sendable {
        let name, objective: String
        let x: [Float]
        var target, item: [Float]?
        var positive: Candidate?
        var negatives: [Candidate]?
        var temperature, reward, baseline, completion, rating, rewatch, neutral: Float?
    }
    struct Blocks<Value: Decodable & Sendable>: Decodable, Sendable {
        let A, Bt: Value
        let b: Value?
        let global: Value?
    }
    typealias Gradient = Blocks<Rows>
    /// A matrix, or a vector as one row, in row-major order.
    struct Rows: Decodable, Sendable {
        let values: [Double]
        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let rows = try? container.decode([[Double]].self) {
                values = rows.flatMap(\.self)
            } else {
                values = try container.decode([Double].self)
            }
        }
    }
    struct GlobalClip: Decodable, Sendable {
        let factor: Double
        let gradient: Gradient
    }
    struct PerMatrixClip: Decodable, Sendable {
        let factors: Blocks<Double>
        let gradient: Gradient
    }
    struct Case: Decodable, Sendable, CustomTestStringConvertible {
        let name, scaleRule: String
        let samples: [String]
        let weights: [Float]
        let normalize, bias: Bool
        let outputs: [[Double]]
        let loss: Double
        let gradient: Gradient
        let norms: Blocks<Double>
        let globalClip: GlobalClip
        let perMatrixClip: PerMatrixClip

        var testDescription: String { name }
        /// Logits or scores in the hundreds, which Float32 rounds to about 1e-5: their losses keep four digits.
        var isSaturated: Bool { name.contains("saturated") }
    }
    struct Content: Decodable, Sendable {
        let alpha: Float
        let adapter: Blocks<Rows>
        let samples: [Sample]
        let cases: [Case]
        let globalClipThreshold, perMatrixClipThreshold: Double
    }
    static let content = Fixture.load("objectives", as: Content.self)

    static func flat(_ g: Gradient) -> [Double] { g.A.values + g.Bt.values + (g.b?.values ?? []) }

    static func adapter(_ c: Case) throws -> LoRAAdapter {
        let shape = try AdapterShape(
            dimension: 7, rank: 3, alpha: content.alpha,
            scaling: c.scaleRule == "alpha/r" ? .standard : .rankStabilized,
            hasBias: c.bias, normalizesOutput: c.normalize)
        let values = content.adapter.A.values + content.adapter.Bt.values
        let bias = content.adapter.b?.values ?? []
        return LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, stream: 1))
            .with((values + (c.bias ? bias : [])).map { Float($0) })
    }

    static func feedback(_ c: Case) throws -> ([Feedback], ObjectiveConfiguration) {
        var objective = ObjectiveConfiguration.stated()
        func item(_ c: Candidate) -> Item { .vector(c.vector, offset: c.offset) }
        let feedback = try zip(c.samples, c.weights).map { name, weight in
            let s = try #require(content.samples.first { $0.name == name })
            objective.temperature = s.temperature ?? objective.temperature
            objective.rewardBaseline = s.baseline ?? objective.rewardBaseline
            objective.neutralWatchScore = s.neutral ?? objective.neutralWatchScore
            let signal: Feedback.Signal =
                switch s.objective {
                case "target": .target(s.target ?? [])
                case "scaledInput": .scaledInput(reward: s.reward ?? .nan)
                case "preference": .preference(item(try #require(s.positive)), over: (s.negatives ?? []).map(item))
                case "ranking": .ranking(item(try #require(s.positive)), among: (s.negatives ?? []).map(item))
                case "reward": .reward(s.reward ?? .nan, for: .vector(s.item ?? []))
                default:
                    .watch(
                        WatchEvent(
                            completion: s.completion ?? .nan, rating: s.rating ?? .nan, rewatched: (s.rewatch ?? 0) > 0),
                        of: .vector(s.item ?? []))
                }
            return Feedback(embedding: s.x, signal: signal, weight: weight)
        }
        return (feedback, objective)
    }

    @Test func everyObjectiveIsInTheFixture() {
        #expect(Set(Self.content.samples.map(\.objective)).count == 6)
        #expect(Self.content.cases.count == 78)
    }

    @Test(arguments: content.cases)
    func lossOutputsAndGradientEqualThoseOfPyTorch(c: Case) throws {
        let adapter = try Self.adapter(c)
        let (feedback, objective) = try Self.feedback(c)
        for (sample, expected) in zip(feedback, c.outputs) {
            #expect(distance(try adapter.forward(sample.embedding), expected) < 1e-6)
        }
        let found = try Evaluation(adapter, feedback, UpdateConfiguration.stated(objective: objective))
        // Relative to the loss and the gradient's norm, with 1 as the floor: outputs are of order 1.
        let tolerance = c.isSaturated ? 1e-4 : 2e-6
        #expect(abs(found.loss - c.loss) < tolerance * max(1, c.loss))
        let expected = Self.flat(c.gradient)
        #expect(distance(found.gradient, expected) < tolerance * max(1, norm(expected)))
    }

    @Test(arguments: content.cases)
    func normsAndClippingEqualThoseOfPyTorch(c: Case) throws {
        let adapter = try Self.adapter(c)
        let (feedback, objective) = try Self.feedback(c)
        let found = try Evaluation(adapter, feedback, UpdateConfiguration.stated(objective: objective))
        let tolerance = c.isSaturated ? 1e-4 : 2e-6
        let gradient = Floats(found.gradient)
        let norms = try gradient.lend { try GradientNorms($0, adapter.shape) }
        let scale = max(1, c.norms.global ?? 0)
        #expect(abs(norms.down - c.norms.A) < tolerance * scale)
        #expect(abs(norms.up - c.norms.Bt) < tolerance * scale)
        #expect(abs(norms.bias - (c.norms.b ?? 0)) < tolerance * scale)
        #expect(abs(norms.global - (c.norms.global ?? 0)) < tolerance * scale)

        let global = gradient.lend {
            norms.clip($0, adapter.shape, .globalNorm, Self.content.globalClipThreshold)
        }
        #expect(abs(global - c.globalClip.factor) < 10 * tolerance * c.globalClip.factor)
        #expect(distance(gradient.array, Self.flat(c.globalClip.gradient)) < 10 * tolerance)

        let second = Floats(found.gradient)
        let threshold = Self.content.perMatrixClipThreshold
        let smallest = second.lend { norms.clip($0, adapter.shape, .perMatrix, threshold) }
        let factors = c.perMatrixClip.factors
        #expect(abs(smallest - min(factors.A, factors.Bt, factors.b ?? 1)) < 10 * tolerance)
        let each = norms.factors(.perMatrix, threshold)
        #expect(abs(each.down - factors.A) < 10 * tolerance && abs(each.up - factors.Bt) < 10 * tolerance)
        #expect(abs(each.bias - (factors.b ?? 1)) < 10 * tolerance)
        #expect(distance(second.array, Self.flat(c.perMatrixClip.gradient)) < 10 * tolerance)
    }

    /// The public path: an update at rate 1 moves the parameters by minus PyTorch's clipped gradient, whether the gradient is
    /// kept as a product of two vectors (SGD, one sample) or formed (momentum's first step is SGD's).
    @Test(arguments: content.cases, [Optimizer.sgd, .momentum()])
    func anUpdateMovesByTheClippedGradient(c: Case, optimizer: Optimizer) throws {
        let adapter = try Self.adapter(c)
        let (feedback, objective) = try Self.feedback(c)
        for clipping in [Clipping.globalNorm, .perMatrix, .off] {
            let threshold =
                clipping == .perMatrix ? Self.content.perMatrixClipThreshold : Self.content.globalClipThreshold
            let (updated, report) = try adapter.updated(
                with: feedback,
                configuration: UpdateConfiguration.stated(
                    objective: objective, optimizer: optimizer, learningRates: PerObjective(all: 1), clipping: clipping,
                    clipThresholds: PerObjective(all: Float(threshold)), fading: PerObjective(all: 0)))
            let expected: [Double] =
                switch clipping {
                case .globalNorm: Self.flat(c.globalClip.gradient)
                case .perMatrix: Self.flat(c.perMatrixClip.gradient)
                default: Self.flat(c.gradient)
                }
            let moved = zip(adapter.values, updated.values).map { Double($0) - Double($1) }
            let tolerance = (c.isSaturated ? 1e-4 : 5e-6) * max(1, norm(expected))
            #expect(distance(moved, expected) < tolerance, "\(clipping)")
            #expect(abs(report.lossBefore - c.loss) < (c.isSaturated ? 1e-4 : 2e-6) * max(1, c.loss))
            #expect(abs(report.gradientNorm - (c.norms.global ?? 0)) < tolerance)
            #expect(report.samples == feedback.count && report.version == 1 && report.step == 1)
        }
    }
}
