@testable import LoRA
import TensorCore
import Testing

/// Certified steps: neither block step raises its own loss. The losses are computed in Float64 by the reference model, at the
/// start, between the blocks (the new B and b with the old A) and at the end.
struct CertifiedStepTests {
    static let seed: UInt64 = 404
    /// Float32 rounds the parameters that a step leaves behind; a loss may rise by that much, relative to 1 + loss.
    static let tolerance = 2e-6

    static func configuration(_ objective: ObjectiveConfiguration, _ clipping: Clipping) -> UpdateConfiguration {
        // A rate that only the certificate limits, unless a clip does.
        UpdateConfiguration.stated(
            objective: objective, learningRates: PerObjective(all: 1000), clipping: clipping,
            clipThresholds: PerObjective(all: 0.05), certifiesSteps: true)
    }

    /// A random adapter, batch and its settings; items of a length that makes the losses curve.
    static func make(_ setting: GradientTests.Setting, _ trial: Int) throws
        -> (LoRAAdapter, [Feedback], ObjectiveConfiguration, String)
    {
        var random = RandomCase(seed: seed, trial)
        let dimension = 2 + random.generator.integer(below: 7)
        let shape = try AdapterShape(
            dimension: dimension, rank: 1 + random.generator.integer(below: 2), alpha: random.pick([0.5, 1, 4]),
            hasBias: random.generator.bernoulli(0.5))
        let adapter = try random.adapter(shape, random.pick([0.1, 0.7, 2]))
        let catalogue = try ItemCatalogue(
            vectors: random.matrix(8, dimension, random.pick([0.5, 1, 3])), offsets: random.numbers(8))
        let objective = ObjectiveConfiguration.stated(like: setting.like, temperature: random.pick([0.2, 1, 3]))
        // Sampled likes go alone: their contrast can be read off for the first sample of a batch only.
        let isSampled = setting.signal == .like && setting.like != .catalogueSoftmax
        let count = isSampled ? 1 : 1 + random.generator.integer(below: 3)
        let batch = (0..<count).map { _ in random.feedback(setting.signal, catalogue) }
        return (adapter, batch, objective, random.description)
    }

    @Test(arguments: GradientTests.Setting.all, [Clipping.off, .globalNorm, .perMatrix])
    func neitherBlockStepRaisesTheLoss(setting: GradientTests.Setting, clipping: Clipping) throws {
        for trial in 0..<60 {
            let (adapter, batch, objective, name) = try Self.make(setting, trial)
            let contrasts = try batch.map { try GradientTests.contrast(adapter, $0, objective) }
            let updated = try adapter.updated(with: batch, configuration: Self.configuration(objective, clipping))
            let blocks = adapter.shape.downRange.count
            var model = ReferenceModel(adapter)
            let start = model.loss(batch, objective, contrasts: contrasts)
            let moved = updated.adapter.values.map(Double.init)
            model.parameters.replaceSubrange(blocks..., with: moved[blocks...])
            let middle = model.loss(batch, objective, contrasts: contrasts)
            model.parameters = moved
            let end = model.loss(batch, objective, contrasts: contrasts)
            #expect(middle <= start + Self.tolerance * (1 + start), "\(name): \(start) to \(middle)")
            #expect(end <= middle + Self.tolerance * (1 + middle), "\(name): \(middle) to \(end)")
            #expect(abs(updated.report.lossBefore - start) < 1e-4 * (1 + start))
            #expect(abs(updated.report.lossAfter - end) < 1e-4 * (1 + end))
            #expect(updated.report.clipFactor <= 1 && abs(updated.report.learningRate - 1000) < 1e-9)
        }
    }

    /// That the test above can fail: the same blocks moved at once, each at 1/L, do raise the loss.
    @Test func simultaneousStepsRaiseTheLossInAMeasurableShare() throws {
        var raised = 0
        var total = 0
        for setting in GradientTests.Setting.all {
            for trial in 0..<60 {
                let (adapter, batch, objective, _) = try Self.make(setting, trial)
                let contrasts = try batch.map { try GradientTests.contrast(adapter, $0, objective) }
                let found = try Evaluation(adapter, batch, Self.configuration(objective, .off))
                let shape = adapter.shape
                let gram = Self.largestRowSum(adapter.up)
                var model = ReferenceModel(adapter)
                let start = model.loss(batch, objective, contrasts: contrasts)
                for i in model.parameters.indices {
                    let smoothness =
                        shape.downRange.contains(i) ? found.smoothnessOfDown * gram : found.smoothnessOfUp
                    model.parameters[i] -= Double(found.gradient[i]) / max(smoothness, 1e-12)
                }
                total += 1
                if model.loss(batch, objective, contrasts: contrasts) > start + Self.tolerance * (1 + start) {
                    raised += 1
                }
            }
        }
        let share = Double(raised) / Double(total)
        #expect(share > 0.05, "\(raised) of \(total)")
    }

    /// The bound is of use: at the certified rate a target is nearly reached in a few steps.
    @Test func certifiedStepsMakeProgress() throws {
        var random = RandomCase(seed: Self.seed, 1000)
        var adapter = try random.adapter(AdapterShape(dimension: 8, rank: 3, hasBias: true))
        let sample = random.feedback(.target, try random.catalogue(2, 8))
        let configuration = Self.configuration(ObjectiveConfiguration.stated(), .off)
        let first = try adapter.update(with: [sample], configuration: configuration).lossBefore
        var last = first
        for _ in 0..<20 {
            let report = try adapter.update(with: [sample], configuration: configuration)
            #expect(report.lossAfter <= last + 1e-7)
            last = report.lossAfter
        }
        #expect(last < 1e-3 * first)
    }

    /// Fading would be a step of its own: under a certificate nothing fades.
    @Test func nothingFadesUnderACertificate() throws {
        var random = RandomCase(seed: Self.seed, 1001)
        let adapter = try random.adapter(AdapterShape(dimension: 5, rank: 2))
        let sample = random.feedback(.ranking, try random.catalogue(4, 5))
        var configuration = Self.configuration(.stated(), .off)
        let plain = try adapter.updated(with: [sample], configuration: configuration)
        configuration.fading = PerObjective(all: 0.5)
        let fading = try adapter.updated(with: [sample], configuration: configuration)
        #expect(Snapshot(plain.adapter) == Snapshot(fading.adapter))
    }

    /// A flat loss (a preference between equal items) times an infinite norm is no number to certify by.
    @Test func aBoundBeyondTheRangeOfFloatIsRefused() throws {
        let shape = try AdapterShape(dimension: 2, rank: 1)
        let identity = AdapterIdentity(seed: 1, stream: 1)
        var adapter = LoRAAdapter(shape: shape, identity: identity).with([10, 10, 0, 0])
        let before = Snapshot(adapter)
        let item = Item.vector([1e-3, 0])
        let batch = [
            Feedback(embedding: [1e19, 0], signal: .preference(item, over: [item])),
            Feedback(embedding: [1, 1], signal: .target([3, 3])),
        ]
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(with: batch, configuration: Self.configuration(ObjectiveConfiguration.stated(), .off))
        }
        #expect(error?.code == .nonFinite && Snapshot(adapter) == before)
    }

    private static func largestRowSum(_ b: Matrix<Float>) -> Double {
        (0..<b.rows).map { k in
            (0..<b.rows).reduce(0.0) { sum, l in
                sum + abs(zip(b.row(k), b.row(l)).reduce(0.0) { $0 + Double($1.0) * Double($1.1) })
            }
        }.max() ?? 0
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let change: @Sendable (inout UpdateConfiguration) -> Void
        var normalizes = false
    }

    @Test(arguments: [
        Refused(testDescription: "normalised output", change: { _ in }, normalizes: true),
        Refused(testDescription: "momentum", change: { $0.optimizer = .momentum() }),
        Refused(testDescription: "Adam", change: { $0.optimizer = .adam() }),
        Refused(testDescription: "Riemannian", change: { $0.optimizer = .riemannian() }),
        Refused(testDescription: "DoG", change: { $0.optimizer = .doG() }),
        Refused(testDescription: "weight decay", change: { $0.weightDecay = 0.1 }),
        Refused(
            testDescription: "protection",
            change: { $0.elasticWeightConsolidation = ElasticWeightConsolidation.stated() }),
        Refused(testDescription: "clipping by value", change: { $0.clipping = .byValue }),
    ])
    func combinationsWithoutACertificateAreRefused(refused: Refused) throws {
        var random = RandomCase(seed: Self.seed, 2000)
        let shape = try AdapterShape(dimension: 4, rank: 2, normalizesOutput: refused.normalizes)
        var adapter = try random.adapter(shape)
        var configuration = UpdateConfiguration.stated(certifiesSteps: true)
        refused.change(&configuration)
        let before = Snapshot(adapter)
        let sample = random.feedback(.target, try random.catalogue(2, 4))
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(with: [sample], configuration: configuration)
        }
        #expect(error?.code == .unsupported && error?.operation == "certified steps")
        #expect(Snapshot(adapter) == before)
    }
}
