@testable import LoRA
import TensorCore
import Testing

/// One arithmetic behind several paths: a gradient kept as a product of two vectors, the same one formed, a batch of equal
/// samples, and the parts of an update driven by hand.
struct UpdatePathTests {
    static let seed: UInt64 = 31

    struct Setting: Sendable, CustomTestStringConvertible {
        let signal: SignalKind
        let clipping: Clipping
        let optimizer: Optimizer
        var protects = false

        var testDescription: String {
            "\(signal), \(clipping), \(optimizer.name)\(protects ? ", protected" : "")"
        }

        static let all: [Setting] = SignalKind.allCases.flatMap { signal in
            [Clipping.globalNorm, .perMatrix, .off].flatMap { clipping in
                [Optimizer.sgd, .riemannian(damping: 0.05)].map {
                    Setting(signal: signal, clipping: clipping, optimizer: $0)
                }
                    + [Optimizer.adam(epsilon: 0.01), .adamW(epsilon: 0.01)].map {
                        Setting(signal: signal, clipping: clipping, optimizer: $0)
                    }
                    + [Setting(signal: signal, clipping: clipping, optimizer: .sgd, protects: true)]
            }
        }
    }

    static func random(_ stream: Int) throws -> (RandomCase, LoRAAdapter, ItemCatalogue) {
        var random = RandomCase(seed: seed, stream)
        let shape = try AdapterShape(
            dimension: 19, rank: 3, alpha: 2, hasBias: stream % 2 == 0, normalizesOutput: stream % 3 == 0)
        let adapter = try random.adapter(shape)
        return (random, adapter, try random.catalogue(8, 19))
    }

    static func configuration(_ optimizer: Optimizer, _ clipping: Clipping) -> UpdateConfiguration {
        UpdateConfiguration.stated(
            optimizer: optimizer, learningRates: PerObjective(all: 0.2), clipping: clipping,
            clipThresholds: PerObjective(all: 0.1), fading: PerObjective(all: 0))
    }

    @Test(arguments: Setting.all)
    func oneSampleMovesTheAdapterLikeTwoEqualOnes(setting: Setting) throws {
        for stream in 0..<6 {
            var (random, adapter, catalogue) = try Self.random(stream)
            let sample = random.feedback(setting.signal, catalogue)
            var configuration = Self.configuration(setting.optimizer, setting.clipping)
            if case .adamW = setting.optimizer { configuration.weightDecay = 0.1 }
            if setting.protects {
                configuration.elasticWeightConsolidation = .stated(strength: 2)
                // An anchor elsewhere, and a Fisher information that is not zero.
                for _ in 0..<2 {
                    _ = try adapter.update(
                        with: [random.feedback(.target, catalogue)], configuration: configuration)
                    adapter.consolidate()
                }
                _ = try adapter.update(with: [random.feedback(.like, catalogue)], configuration: configuration)
            }
            let single = try adapter.updated(with: [sample], configuration: configuration)
            let double = try adapter.updated(with: [sample, sample], configuration: configuration)
            // A few roundings of numbers of order 1; the preconditioner, about 1/δ = 20, magnifies them.
            let tolerance = setting.optimizer == .sgd ? 2e-6 : 4e-5
            #expect(
                distance(single.adapter.values, double.adapter.values.map(Double.init)) < tolerance,
                "\(random.description)")
            #expect(abs(single.report.gradientNorm - double.report.gradientNorm) < 1e-5)
            #expect(abs(single.report.clipFactor - double.report.clipFactor) < 1e-5)
            #expect(abs(single.report.lossBefore - double.report.lossBefore) < 1e-6)
            #expect(abs(single.report.lossAfter - double.report.lossAfter) < 1e-4)
            for (a, b) in [
                (single.adapter.optimizerState?.storage, double.adapter.optimizerState?.storage),
                (single.adapter.protection?.storage, double.adapter.protection?.storage),
            ] {
                let (a, b) = (a?.withBuffer(\.array) ?? [], b?.withBuffer(\.array) ?? [])
                #expect(distance(a, b.map(Double.init)) < 1e-5)
            }
            #expect(single.adapter.values != adapter.values || single.report.gradientNorm == 0)
        }
    }

    @Test(arguments: 0..<6)
    func theNormOfTheFactorsIsTheNormOfTheGradient(stream: Int) throws {
        var (random, adapter, catalogue) = try Self.random(stream)
        for signal in SignalKind.allCases {
            let sample = random.feedback(signal, catalogue)
            let configuration = Self.configuration(.sgd, .off)
            let report = try adapter.updated(with: [sample], configuration: configuration).report
            let gradient = try Evaluation(adapter, [sample], configuration).gradient
            let exact = norm(gradient.map(Double.init))
            #expect(abs(report.gradientNorm - exact) < 1e-6 * max(exact, 1e-3), "\(signal), \(random.description)")
        }
    }

    @Test func theWeightOfASingleSampleCancels() throws {
        var (random, adapter, catalogue) = try Self.random(2)
        var sample = random.feedback(.ranking, catalogue)
        let configuration = Self.configuration(.sgd, .globalNorm)
        let one = try adapter.updated(with: [sample], configuration: configuration)
        for weight: Float in [7.3, 0.1, 3e-7, 999_999, 1.0 / 3] {
            sample.weight = weight
            sample.propensity = random.generator.uniform(in: 0.1..<1)
            let other = try adapter.updated(with: [sample], configuration: configuration)
            #expect(Snapshot(one.adapter) == Snapshot(other.adapter) && one.report == other.report, "weight \(weight)")
        }
    }

    @Test func aSampleOfWeightZeroTeachesNothing() throws {
        var (random, adapter, catalogue) = try Self.random(4)
        let sample = random.feedback(.reward, catalogue)
        var silent = random.feedback(.target, catalogue)
        silent.weight = 0
        let configuration = Self.configuration(.sgd, .globalNorm)
        let one = try adapter.updated(with: [sample], configuration: configuration)
        let both = try adapter.updated(with: [silent, sample], configuration: configuration)
        #expect(distance(one.adapter.values, both.adapter.values.map(Double.init)) < 1e-6)
        #expect(abs(one.report.lossBefore - both.report.lossBefore) < 1e-7)
    }

    /// Every optimizer through the public call, and its parts by hand: gradient, clip, step.
    @Test(
        arguments: [
            Optimizer.sgd, .momentum(), .momentum(coefficient: 0.8, nesterov: true), .riemannian(), .adaGrad(), .adam(),
            .adamW(), .doG(),
        ], [Clipping.globalNorm, .perMatrix, .byValue, .off])
    func anUpdateIsGradientThenClipThenStep(optimizer: Optimizer, clipping: Clipping) throws {
        var (random, adapter, catalogue) = try Self.random(3)
        var configuration = Self.configuration(optimizer, clipping)
        configuration.weightDecay = 0.01
        let shape = adapter.shape
        var state: OptimizerState?
        var byHand = adapter
        let work = Floats(count: Optimizer.workCount(shape))
        for step in 0..<12 {
            let batch = (0..<3).map { _ in random.feedback(random.pick(SignalKind.allCases), catalogue) }
            if step == 0, optimizer.stateCountPerParameter > 0 {
                state = OptimizerState(for: optimizer, parameters: byHand.parameters)
            }
            let resolved = try Batch(batch, configuration)
            byHand.steps = UInt64(step)
            let found = try Evaluation(byHand, batch, configuration, wants: .gradient)
            let gradient = Floats(found.gradient)
            let parameters = Floats(byHand.values)
            let norms = try gradient.lend { try GradientNorms($0, shape) }
            let factor = gradient.lend { norms.clip($0, shape, clipping, resolved.clipThreshold) }
            parameters.lend { p in
                gradient.lend { g in
                    work.lend { work in
                        optimizer.apply(
                            to: p, gradient: g, shape: shape, rate: resolved.learningRate, weightDecay: 0.01,
                            state: &state, scratch: work)
                    }
                }
            }
            byHand = byHand.with(parameters.array)
            let report = try adapter.update(with: batch, configuration: configuration)
            #expect(adapter.parameters.bits == byHand.parameters.bits, "step \(step), \(random.description)")
            #expect(adapter.optimizerState?.storage.bits == state?.storage.bits)
            #expect(report.clipFactor == factor && report.lossBefore == found.loss)
            byHand.steps = UInt64(step)
            #expect(try report.lossAfter == Evaluation(byHand, batch, configuration, wants: .lossOnly).loss)
            if clipping == .byValue {
                #expect(gradient.array.count == shape.parameterCount && factor <= 1)
            }
        }
    }

    @Test func clippingByValueBoundsEveryEntry() throws {
        var (random, adapter, catalogue) = try Self.random(1)
        let sample = random.feedback(.target, catalogue)
        var configuration = Self.configuration(.sgd, .byValue)
        configuration.learningRates = PerObjective(all: 1)
        configuration.clipThresholds = PerObjective(all: 0.005)
        let gradient = try Evaluation(adapter, [sample], configuration).gradient
        let updated = try adapter.updated(with: [sample], configuration: configuration)
        let expected = zip(adapter.values, gradient).map { Double($0) - Double(max(-0.005, min(0.005, $1))) }
        #expect(gradient.contains { abs($0) > 0.005 } && gradient.contains { abs($0) < 0.005 })
        #expect(distance(updated.adapter.values, expected) < 1e-7)
        #expect(updated.report.clipFactor < 1)
    }

    @Test func overridesReplaceRateAndThreshold() throws {
        var (random, adapter, catalogue) = try Self.random(5)
        let sample = random.feedback(.target, catalogue)
        var configuration = Self.configuration(.sgd, .globalNorm)
        configuration.schedule = Schedule(.exponential(factor: 0.5), warmupSteps: 10)
        let overridden = try adapter.updated(
            with: [sample], configuration: configuration,
            overrides: UpdateOverrides(learningRate: 0.7, clipThreshold: 0.02))
        configuration.schedule = Schedule()
        configuration.learningRates = PerObjective(all: 0.7)
        configuration.clipThresholds = PerObjective(all: 0.02)
        let configured = try adapter.updated(with: [sample], configuration: configuration)
        #expect(overridden.report == configured.report && overridden.report.learningRate == Double(Float(0.7)))
        #expect(Snapshot(overridden.adapter) == Snapshot(configured.adapter))
    }

    /// After the step B and b are multiplied by 1 − share, the share weighted over the kinds in the batch; A stays.
    @Test(arguments: [Optimizer.sgd, .adam()], [1, 3])
    func fadingDrawsTheMapTowardsTheIdentity(optimizer: Optimizer, count: Int) throws {
        var (random, adapter, catalogue) = try Self.random(6)
        let batch = [SignalKind.like, .target, .watch].prefix(count).map { random.feedback($0, catalogue) }
        var configuration = Self.configuration(optimizer, .globalNorm)
        let plain = try adapter.updated(with: batch, configuration: configuration)
        configuration.fading = PerObjective(target: 0.5, preference: 0.9, ranking: 0.25, reward: 0.125)
        let faded = try adapter.updated(with: batch, configuration: configuration)
        let shares = try Batch.shares(batch, configuration.objective)
        let share = zip(shares, [0.25, 0.5, 0.125]).reduce(0) { $0 + $1.0 * $1.1 }
        let split = adapter.shape.downRange.upperBound
        var expected = plain.adapter.values
        for i in split..<expected.count { expected[i] *= Float(1 - share) }
        #expect(faded.adapter.values == expected && (count > 1 || share == 0.25))
        #expect(faded.report.lossBefore == plain.report.lossBefore)
        var after = faded.adapter
        after.steps = adapter.steps
        // One feedback's output after the step is formed with the step, in another order.
        let lossAfter = try Evaluation(after, batch, configuration, wants: .lossOnly).loss
        #expect(abs(faded.report.lossAfter - lossAfter) <= 1e-6 * abs(lossAfter))
    }

    @Test func noFeedbackChangesNothing() throws {
        var (random, adapter, catalogue) = try Self.random(7)
        var configuration = Self.configuration(.adam(), .globalNorm)
        configuration.elasticWeightConsolidation = ElasticWeightConsolidation.stated()
        let fresh = Snapshot(adapter)
        let report = try adapter.update(with: [], configuration: configuration)
        #expect(Snapshot(adapter) == fresh && adapter.optimizerState == nil && adapter.protection == nil)
        #expect(report.lossBefore.isNaN && report.samples == 0 && report.version == 0 && report.step == 0)
        _ = try adapter.update(with: [random.feedback(.target, catalogue)], configuration: configuration)
        let used = Snapshot(adapter)
        _ = try adapter.update(with: [], configuration: Self.configuration(.sgd, .off))
        #expect(Snapshot(adapter) == used)
    }

    @Test func learningLowersTheLossOfEveryObjective() throws {
        for signal in SignalKind.allCases {
            var (random, adapter, catalogue) = try Self.random(8)
            let sample = random.feedback(signal, catalogue)
            let configuration = Self.configuration(.sgd, .globalNorm)
            let first = try adapter.update(with: [sample], configuration: configuration)
            for _ in 0..<30 { _ = try adapter.update(with: [sample], configuration: configuration) }
            let last = try adapter.update(with: [sample], configuration: configuration)
            #expect(first.lossAfter < first.lossBefore && last.lossAfter < 0.98 * first.lossBefore, "\(signal)")
        }
    }
}
