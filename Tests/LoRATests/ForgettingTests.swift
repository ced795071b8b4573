@testable import LoRA
import TensorCore
import Testing

/// Elastic weight consolidation against NumPy (Tests/Fixtures/ewc.py) and against Float64 written out here.
struct ForgettingTests {
    struct Renewal: Decodable, Sendable {
        let fisher, anchor, accumulated: [Double]
    }
    struct Step: Decodable, Sendable {
        let step: Int
        let penalty: Double
        let values: [Double]
    }
    struct Case: Decodable, Sendable, CustomTestStringConvertible {
        let name, firstFisher: String
        let lambda: Double
        let clipThreshold: Double?
        let theta: [Step]
        let renewal: Renewal
        let accumulatedAtEnd: [Double]

        var testDescription: String { name }
    }
    struct Content: Decodable, Sendable {
        let learningRate, gamma: Double
        let renewalAfterStep: Int
        let firstFishers: [String: [Double]]
        let cases: [Case]
    }
    static let content = Fixture.load("ewc", as: Content.self)

    @Test(arguments: content.cases)
    func stepsAnchorAndFisherEqualThoseOfNumPy(c: Case) throws {
        let shape = try AdapterShape(dimension: 7, rank: 3, hasBias: true)
        let start = try #require(Fixture.load("optimizers", as: OptimizerTests.Content.self).theta0)
        let parameters = Floats(start.map { Float($0) })
        let first = try #require(Self.content.firstFishers[c.firstFisher])
        var protection = ProtectionState(anchoredAt: parameters.storage)
        protection.withParts { _, fisher, _ in for i in 0..<fisher.count { fisher[i] = Float(first[i]) } }
        let (rate, decay) = (Self.content.learningRate, Float(Self.content.gamma))
        let work = Floats(count: 49)
        var state: OptimizerState?
        for t in 1...50 {
            let g = OptimizerTests.gradient(t, parameters.array)
            let gradient = Floats(g)
            Floats(g.map { $0 * $0 }).lend { protection.accumulate($0, decay: decay) }
            gradient.lend { g in
                if let threshold = c.clipThreshold {
                    guard let norms = try? GradientNorms(g, shape) else { return }
                    _ = norms.clip(g, shape, .globalNorm, threshold)
                }
                parameters.lend { p in
                    work.lend {
                        Optimizer.sgd.apply(
                            to: p, gradient: g, shape: shape, rate: rate, weightDecay: 0, state: &state, scratch: $0)
                    }
                    protection.withParts { anchor, fisher, _ in
                        Kernels.anchorStep(
                            p, anchor: anchor, fisher: fisher, strength: Float(rate) * Float(c.lambda))
                    }
                }
            }
            if let saved = c.theta.first(where: { $0.step == t }) {
                // Absolute: parameters are of order 1.
                #expect(distance(parameters.array, saved.values) < 1e-5, "step \(t)")
            }
            if t == Self.content.renewalAfterStep {
                protection.withParts { _, _, next in
                    #expect(distance(next.array, c.renewal.accumulated) < 1e-5)
                }
                protection.consolidate(parameters.storage)
                protection.withParts { anchor, fisher, next in
                    #expect(distance(anchor.array, c.renewal.anchor) < 1e-5)
                    #expect(distance(fisher.array, c.renewal.fisher) < 1e-4)
                    #expect(next.array.allSatisfy { $0 == 0 })
                }
                #expect(protection.accumulated == 0)
            }
        }
        protection.withParts { _, _, next in #expect(distance(next.array, c.accumulatedAtEnd) < 1e-5) }
        #expect(protection.accumulated == 25)
    }

    /// The whole update of an adapter, SGD with protection, against Float64 with gradients by differences.
    @Test(arguments: [Float(0), 0.01, 1, 100])
    func anAdapterUnderProtectionFollowsTheFormulas(strength: Float) throws {
        var random = RandomCase(seed: 5, 1)
        let shape = try AdapterShape(dimension: 4, rank: 2, hasBias: true)
        var adapter = try random.adapter(shape)
        let catalogue = try random.catalogue(5, 4)
        let ewc = ElasticWeightConsolidation.stated(strength: strength, decay: 0.9)
        let configuration = UpdateConfiguration.stated(
            learningRates: PerObjective(all: 0.1), clipThresholds: PerObjective(all: 0.2),
            elasticWeightConsolidation: ewc)
        var model = ReferenceModel(adapter)
        let n = shape.parameterCount
        var (anchor, fisher) = (model.parameters, [Double](repeating: 0, count: n))
        var next = fisher
        for step in 0..<24 {
            let sample = random.feedback(random.pick(SignalKind.allCases), catalogue)
            let g = model.gradient([sample], configuration.objective)
            let factor = min(1, Double(Float(0.2)) / norm(g))
            for i in 0..<n {
                next[i] = 0.9 * next[i] + 0.1 * g[i] * g[i]
                let pull = Double(Float(0.1)) * Double(strength) * fisher[i]
                let explicit = model.parameters[i] - Double(Float(0.1)) * factor * g[i]
                model.parameters[i] = (explicit + pull * anchor[i]) / (1 + pull)
            }
            _ = try adapter.update(with: [sample], configuration: configuration)
            #expect(distance(adapter.values, model.parameters) < 1e-5, "step \(step), \(random.description)")
            if step % 8 == 7 {
                let version = adapter.version
                adapter.consolidate()
                #expect(adapter.version == version + 1 && adapter.steps == UInt64(step + 1))
                let mean = next.reduce(0, +) / Double(n)
                fisher = next.map { $0 / mean }
                anchor = model.parameters
                next = [Double](repeating: 0, count: n)
            }
        }
    }

    @Test(arguments: [Float(1), 100, 10_000])
    func theImplicitStepIsStableForEveryStrength(strength: Float) throws {
        var random = RandomCase(seed: 5, 2)
        var adapter = try random.adapter(AdapterShape(dimension: 8, rank: 2))
        let catalogue = try random.catalogue(5, 8)
        var configuration = UpdateConfiguration.stated(
            learningRates: PerObjective(all: 1),
            elasticWeightConsolidation: ElasticWeightConsolidation.stated(strength: strength))
        for _ in 0..<5 {
            _ = try adapter.update(with: [random.feedback(.target, catalogue)], configuration: configuration)
        }
        adapter.consolidate()
        let anchor = adapter.values.map(Double.init)
        configuration.learningRates = PerObjective(all: 1000)
        let protection = try #require(adapter.protection)
        let fisher: [Double] = protection.withParts { _, fisher, _ in fisher.array.map(Double.init) }
        #expect(abs(fisher.reduce(0, +) / Double(fisher.count) - 1) < 1e-5)
        for _ in 0..<50 {
            _ = try adapter.update(
                with: [random.feedback(.reward, catalogue)], configuration: configuration,
                overrides: UpdateOverrides(clipThreshold: 1e-3))
            // A step of at most 1 from the clip, then the pull: parameters that matter stay within rate·g / (1 + rate·λ·F).
            for (i, value) in adapter.values.enumerated() where fisher[i] > 0.5 {
                let bound: Double = 2.2 / (1000 * Double(strength) * fisher[i]) + 1e-6
                #expect(abs(Double(value) - anchor[i]) < bound)
            }
        }
    }

    @Test func consolidatingWithoutProtectionChangesNothing() throws {
        var random = RandomCase(seed: 5, 3)
        var adapter = try random.adapter(AdapterShape(dimension: 3, rank: 1))
        let before = Snapshot(adapter)
        adapter.consolidate()
        #expect(Snapshot(adapter) == before)
    }

    @Test func consolidatingTwiceKeepsWhatMattered() throws {
        var random = RandomCase(seed: 5, 4)
        var adapter = try random.adapter(AdapterShape(dimension: 3, rank: 1))
        let catalogue = try random.catalogue(4, 3)
        let configuration = UpdateConfiguration.stated(
            elasticWeightConsolidation: ElasticWeightConsolidation.stated(decay: 0))
        _ = try adapter.update(with: [random.feedback(.target, catalogue)], configuration: configuration)
        adapter.consolidate()
        let once = adapter.protection?.storage.bits
        adapter.consolidate()
        #expect(adapter.protection?.storage.bits == once && once?.contains { $0 != 0 } == true)
    }

    @Test func protectionHoldsWhatWasLearnedBefore() throws {
        /// How much of the first task's gain is lost after the second.
        func forgotten(_ ewc: ElasticWeightConsolidation?) throws -> Double {
            var random = RandomCase(seed: 5, 5)
            var adapter = LoRAAdapter(
                shape: try AdapterShape(dimension: 8, rank: 2), identity: AdapterIdentity(seed: 5, user: "u"))
            let configuration = UpdateConfiguration.stated(
                learningRates: PerObjective(all: 0.5), elasticWeightConsolidation: ewc)
            func task() -> [Feedback] {
                (0..<3).map { _ in Feedback(embedding: random.numbers(8), signal: .target(random.numbers(8))) }
            }
            let (first, second) = (task(), task())
            for _ in 0..<60 { _ = try adapter.update(with: first, configuration: configuration) }
            adapter.consolidate()
            let learned = try Evaluation(adapter, first, configuration).loss
            for _ in 0..<60 { _ = try adapter.update(with: second, configuration: configuration) }
            return try Evaluation(adapter, first, configuration).loss - learned
        }
        let unprotected = try forgotten(nil)
        let protected = try forgotten(ElasticWeightConsolidation.stated(strength: 1))
        #expect(protected < 0.7 * unprotected, "\(protected) against \(unprotected)")
    }
}
