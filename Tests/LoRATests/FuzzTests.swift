@testable import LoRA
import TensorCore
import TestSupport
import Testing

/// Random settings and feedback with hostile numbers: an update throws and changes nothing, or everything stays finite.
struct FuzzTests {
    static let seed: UInt64 = 0xF422
    static let shards = 8
    static let casesPerShard = underSanitizer(250, otherwise: 2_500)

    struct Hostile {
        var random: RandomCase
        /// How likely a number is hostile; 0 in half of the cases, so that many updates succeed.
        let share: Double

        init(_ stream: Int) {
            random = RandomCase(seed: FuzzTests.seed, stream)
            share = random.pick([0, 0, 0.01, 0.2])
        }

        mutating func float(_ ordinary: Range<Float> = -1..<1) -> Float {
            guard random.generator.bernoulli(share) else { return random.generator.uniform(in: ordinary) }
            return random.pick([
                .nan, .infinity, -.infinity, 0, -0.0, 1, -1, .leastNonzeroMagnitude, -.leastNormalMagnitude, 1e-30,
                1e10,
                -1e18, 1e19, 1e30, -1e38, .greatestFiniteMagnitude, Float(1).nextUp,
            ])
        }

        mutating func double(_ ordinary: Range<Double>) -> Double {
            guard random.generator.bernoulli(share) else { return random.generator.uniform(in: ordinary) }
            return random.pick([.nan, .infinity, -1, 0, 1, 1e-300, 1e300, .leastNonzeroMagnitude])
        }

        mutating func int(_ ordinary: Range<Int>) -> Int {
            guard random.generator.bernoulli(share) else { return random.generator.integer(in: ordinary) }
            return random.pick([.min, -1, 0, 1, 2, 1000, 1_000_000_000, .max])
        }

        mutating func vector(_ d: Int) -> [Float] {
            let count = random.generator.bernoulli(share / 4) ? random.generator.integer(below: 9) : d
            let amplitude: Float = random.generator.bernoulli(share) ? random.pick([0, 1e-20, 1e9, 1e18]) : 1
            return (0..<count).map { _ in float() * amplitude }
        }

        mutating func item(_ catalogue: ItemCatalogue, _ d: Int) -> Item {
            random.generator.bernoulli(0.5)
                ? .catalogued(int(0..<catalogue.count), catalogue) : .vector(vector(d), offset: float())
        }

        mutating func items(_ catalogue: ItemCatalogue, _ d: Int) -> [Item] {
            (0..<(random.generator.bernoulli(share / 4) ? 0 : 1 + random.generator.integer(below: 3)))
                .map { _ in item(catalogue, d) }
        }

        mutating func feedback(_ catalogue: ItemCatalogue, _ d: Int) -> Feedback {
            let signal: Feedback.Signal =
                switch random.pick(SignalKind.allCases) {
                case .target: .target(vector(d))
                case .scaledInput: .scaledInput(reward: float())
                case .preference: .preference(item(catalogue, d), over: items(catalogue, d))
                case .ranking: .ranking(item(catalogue, d), among: items(catalogue, d))
                case .like:
                    .like(
                        int(0..<catalogue.count), in: catalogue,
                        seen: (0..<random.generator.integer(below: 3)).map { _ in int(0..<catalogue.count) })
                case .reward: .reward(float(), for: item(catalogue, d))
                case .watch:
                    .watch(
                        WatchEvent(
                            completion: float(0..<1), rating: float(0..<5), rewatched: random.generator.bernoulli(0.5)),
                        of: item(catalogue, d))
                }
            return Feedback(
                embedding: vector(d), signal: signal, weight: float(0..<2),
                propensity: random.generator.bernoulli(0.3) ? float(0.01..<1) : nil)
        }

        mutating func optimizer() -> Optimizer {
            switch random.generator.integer(below: 8) {
            case 0, 1: .sgd
            case 2:
                .momentum(
                    coefficient: float(0..<1), dampening: random.pick([0, 0.1]),
                    nesterov: random.generator.bernoulli(0.3))
            case 3: .riemannian(damping: float(1e-6..<1))
            case 4: .adaGrad(epsilon: float(1e-12..<1e-3), initialAccumulator: float(0..<1))
            case 5: .adam(beta1: float(0..<1), beta2: float(0..<1), epsilon: float(1e-12..<1e-3))
            case 6: .adamW(beta1: float(0..<1), beta2: float(0..<1), epsilon: float(1e-12..<1e-3))
            default: .doG(relativeInitialDistance: float(1e-6..<1), epsilon: float(1e-12..<1e-3))
            }
        }

        mutating func schedule() -> Schedule {
            let curve: Schedule.Curve =
                switch random.generator.integer(below: 8) {
                case 0: .step(size: int(1..<5), factor: double(0.1..<1))
                case 1: .exponential(factor: double(0.1..<1))
                case 2: .cosine(period: int(1..<9), minimum: double(0..<1))
                case 3: .cosineWithRestarts(period: int(1..<9), multiplier: int(1..<3), minimum: double(0..<1))
                case 4: .inverseSquareRoot(offset: double(0.1..<9))
                case 5:
                    .reduceOnPlateau(
                        factor: double(0.1..<1), patience: int(0..<3), threshold: double(0..<0.1), cooldown: int(0..<2),
                        minimum: double(0..<1))
                default: .constant
                }
            return Schedule(
                curve, warmupSteps: random.generator.bernoulli(0.2) ? int(0..<5) : 0, warmupStart: double(0.1..<1))
        }

        mutating func configuration() -> UpdateConfiguration {
            var objective = ObjectiveConfiguration.stated(
                like: random.pick([.catalogueSoftmax, .pairwise(negatives: 2), .sampledSoftmax(negatives: 2)]))
            objective.temperature = float(0.01..<3)
            objective.rewardBaseline = float()
            objective.neutralWatchScore = float(0.1..<0.9)
            objective.highestInversePropensity = float(1..<20)
            var configuration = UpdateConfiguration.stated(
                objective: objective, optimizer: optimizer(), schedule: schedule(),
                clipping: random.pick([.globalNorm, .perMatrix, .byValue, .off]))
            // Rates from timid to absurd.
            configuration.learningRates = PerObjective(all: float(0.001..<1) * random.pick([1, 1, 1000]))
            configuration.clipThresholds = PerObjective(all: float(0.001..<2))
            configuration.weightDecay = random.generator.bernoulli(0.3) ? float(0..<1) : 0
            configuration.fading = PerObjective(all: random.generator.bernoulli(0.3) ? float(0..<1) : 0)
            if random.generator.bernoulli(0.3) {
                configuration.elasticWeightConsolidation = ElasticWeightConsolidation.stated(
                    strength: float(0..<10_000), decay: float(0..<1))
            }
            configuration.certifiesSteps = random.generator.bernoulli(0.2)
            return configuration
        }
    }

    @Test(arguments: 0..<shards)
    func anUpdateThrowsAndChangesNothingOrStaysFinite(shard: Int) throws {
        var succeeded = 0
        var failures: [String: Int] = [:]
        var adapter: LoRAAdapter?
        var catalogue: ItemCatalogue?
        for i in 0..<Self.casesPerShard {
            var hostile = Hostile(shard * Self.casesPerShard + i)
            // A life of 25 updates, then another adapter.
            if i % 25 == 0 {
                let d = 1 + hostile.random.generator.integer(below: 6)
                let shape = try AdapterShape(
                    dimension: d, rank: 1 + hostile.random.generator.integer(below: min(d, 3)),
                    alpha: hostile.random.pick([1, 0.001, 65_536]), hasBias: hostile.random.generator.bernoulli(0.5),
                    normalizesOutput: hostile.random.generator.bernoulli(0.3))
                adapter = try hostile.random.adapter(shape, hostile.random.pick([0, 1, 1, 1e6, 1e15]))
                catalogue = try ItemCatalogue(
                    vectors: hostile.random.matrix(4, d, hostile.random.pick([1, 1, 1e12])),
                    offsets: hostile.random.pick([nil, [0, 1e30, -1e30, 3e38]]))
            }
            guard var current = adapter, let items = catalogue else { continue }
            adapter = nil
            let configuration = hostile.configuration()
            let batch = (0..<hostile.random.generator.integer(below: 4)).map { _ in
                hostile.feedback(items, current.shape.dimension)
            }
            let before = Snapshot(current)
            // The same without the loss after the step, which decides nothing.
            var other = current
            var bare = configuration
            bare.measuresLossAfter = false
            let otherFailure = failure { _ = try other.update(with: batch, configuration: bare) }
            do {
                let report = try current.update(with: batch, configuration: configuration)
                succeeded += 1
                let isEmpty = batch.isEmpty
                let numbers = [report.gradientNorm, report.clipFactor, report.learningRate, report.clipThreshold]
                let losses = [report.lossBefore, report.lossAfter]
                #expect(
                    numbers.allSatisfy { $0.isFinite } && losses.allSatisfy { $0.isFinite != isEmpty },
                    "\(name(hostile))")
                #expect(report.clipFactor >= 0 && report.clipFactor <= 1 && losses.allSatisfy { isEmpty || $0 >= 0 })
                #expect(isFinite(current), "\(name(hostile)): \(configuration)")
                #expect(current.version == before.version + (isEmpty ? 0 : 1))
            } catch {
                failures[error.code.description, default: 0] += 1
                #expect(Snapshot(current) == before, "\(name(hostile)): \(error)")
                #expect(!error.message.isEmpty && (error.position.map { $0 < batch.count } ?? true))
            }
            #expect(Snapshot(other) == Snapshot(current), "\(name(hostile)): \(String(describing: otherFailure))")
            if hostile.random.generator.bernoulli(0.1) { current.consolidate() }
            #expect(isFinite(current))
            adapter = current
        }
        // Both outcomes occur often enough to mean something.
        #expect(succeeded > Self.casesPerShard / 5 && failures.values.reduce(0, +) > Self.casesPerShard / 5)
        #expect(
            Set(failures.keys).isSuperset(of: ["nonFinite", "invalidConfiguration", "invalidFeedback", "unsupported"]))
    }

    private func failure(_ body: () throws -> Void) -> (any Error)? {
        do { try body() } catch { return error }
        return nil
    }

    private func name(_ hostile: Hostile) -> String { hostile.random.description }

    private func isFinite(_ adapter: LoRAAdapter) -> Bool {
        let state = adapter.optimizerState
        let protection = adapter.protection
        return adapter.parameters.withBuffer { Kernels.allFinite($0) }
            && state?.storage.withBuffer { Kernels.allFinite($0) } ?? true
            && protection?.storage.withBuffer { Kernels.allFinite($0) } ?? true
            && state?.distance.isFinite ?? true && state?.squaredGradients.isFinite ?? true
    }
}
