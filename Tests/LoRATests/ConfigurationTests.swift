@testable import LoRA
import TensorCore
import Testing

/// Settings, shapes and parts outside their ranges: typed errors that name the value, and nothing changed.
struct ConfigurationTests {
    struct Bad: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let change: @Sendable (inout UpdateConfiguration) -> Void

        init(_ name: String, _ change: @escaping @Sendable (inout UpdateConfiguration) -> Void) {
            testDescription = name
            self.change = change
        }
    }

    static var bad: [Bad] {
        var all: [Bad] = []
        for kind in ObjectiveKind.allCases {
            for value in [Float(0), -1, .nan, .infinity, 1001] {
                all.append(Bad("\(kind) rate \(value)") { $0.learningRates[kind] = value })
            }
            for value in [Float(1), -0.1, .nan, .infinity] {
                all.append(Bad("\(kind) fading \(value)") { $0.fading[kind] = value })
            }
            for value in [Float(0), -1, .nan, .infinity, 2e6] {
                all.append(Bad("\(kind) threshold \(value)") { $0.clipThresholds[kind] = value })
            }
        }
        for value in [Float.nan, .infinity, -1] {
            all += [
                Bad("weight decay \(value)") { $0.weightDecay = value },
                Bad("temperature \(value)") { $0.objective.temperature = value },
                Bad("baseline \(value * 2)") { $0.objective.rewardBaseline = value * 2 },
                Bad("neutral \(value)") { $0.objective.neutralWatchScore = value },
                Bad("inverse propensity \(value)") { $0.objective.highestInversePropensity = value },
                Bad("strength \(value)") {
                    $0.elasticWeightConsolidation = ElasticWeightConsolidation.stated(strength: value)
                },
                Bad("decay \(value)") {
                    $0.elasticWeightConsolidation = ElasticWeightConsolidation.stated(decay: value)
                },
                Bad("audit rate \(value)") { $0.selfAudit = SelfAudit(rate: value) },
                Bad("audit prior \(value)") { $0.selfAudit = SelfAudit(prior: value) },
                Bad("audit share \(value)") { $0.selfAudit = SelfAudit(share: value) },
                Bad("audit range \(value)") { $0.selfAudit = SelfAudit(range: value) },
                Bad("fork tolerance \(value)") { $0.driftForking = DriftForking(tolerance: value) },
                Bad("fork threshold \(value)") { $0.driftForking = DriftForking(threshold: value) },
                Bad("fork rate \(value)") { $0.driftForking = DriftForking(rate: value) },
                Bad("fork share \(value)") { $0.driftForking = DriftForking(share: value) },
                Bad("momentum \(value)") { $0.optimizer = .momentum(coefficient: value) },
                Bad("dampening \(value)") { $0.optimizer = .momentum(dampening: value) },
                Bad("damping \(value)") { $0.optimizer = .riemannian(damping: value) },
                Bad("AdaGrad epsilon \(value)") { $0.optimizer = .adaGrad(epsilon: value) },
                Bad("AdaGrad start \(value)") { $0.optimizer = .adaGrad(initialAccumulator: value) },
                Bad("beta1 \(value)") { $0.optimizer = .adam(beta1: value) },
                Bad("beta2 \(value)") { $0.optimizer = .adamW(beta2: value) },
                Bad("Adam epsilon \(value)") { $0.optimizer = .adam(epsilon: value) },
                Bad("DoG distance \(value)") { $0.optimizer = .doG(relativeInitialDistance: value) },
                Bad("DoG epsilon \(value)") { $0.optimizer = .doG(epsilon: value) },
            ]
        }
        for value in [Double.nan, .infinity, -1, 2] {
            all += [
                Bad("step factor \(value)") { $0.schedule = Schedule(.step(size: 2, factor: value)) },
                Bad("exponential \(value)") { $0.schedule = Schedule(.exponential(factor: value)) },
                Bad("cosine minimum \(value)") { $0.schedule = Schedule(.cosine(period: 2, minimum: value)) },
                Bad("restart minimum \(value)") {
                    $0.schedule = Schedule(.cosineWithRestarts(period: 2, minimum: value))
                },
                Bad("plateau factor \(value)") { $0.schedule = Schedule(.reduceOnPlateau(factor: value)) },
                Bad("plateau threshold \(value)") { $0.schedule = Schedule(.reduceOnPlateau(threshold: value)) },
                Bad("plateau minimum \(value)") { $0.schedule = Schedule(.reduceOnPlateau(minimum: value)) },
                Bad("offset \(-abs(value))") { $0.schedule = Schedule(.inverseSquareRoot(offset: -abs(value))) },
                Bad("warm-up start \(value)") { $0.schedule = Schedule(warmupStart: value) },
            ]
        }
        for value in [0, -1, .min, .max] {
            all += [
                Bad("step size \(value)") { $0.schedule = Schedule(.step(size: value, factor: 0.5)) },
                Bad("period \(value)") { $0.schedule = Schedule(.cosine(period: value)) },
                Bad("restart period \(value)") { $0.schedule = Schedule(.cosineWithRestarts(period: value)) },
                Bad("multiplier \(value)") {
                    $0.schedule = Schedule(.cosineWithRestarts(period: 1, multiplier: value))
                },
                Bad("pairwise \(value)") { $0.objective.like = .pairwise(negatives: value) },
                Bad("softmax \(value)") { $0.objective.like = .sampledSoftmax(negatives: value) },
            ]
        }
        all += [
            Bad("warm-up below 0") { $0.schedule = Schedule(warmupSteps: -1) },
            Bad("warm-up beyond 1e9") { $0.schedule = Schedule(warmupSteps: .max) },
            Bad("patience below 0") { $0.schedule = Schedule(.reduceOnPlateau(patience: -1)) },
            Bad("cooldown below 0") { $0.schedule = Schedule(.reduceOnPlateau(cooldown: -1)) },
            Bad("momentum 1") { $0.optimizer = .momentum(coefficient: 1) },
            Bad("Nesterov dampened") { $0.optimizer = .momentum(dampening: 0.1, nesterov: true) },
            Bad("Nesterov without coefficient") { $0.optimizer = .momentum(coefficient: 0, nesterov: true) },
            Bad("beta 1") { $0.optimizer = .adam(beta1: 1) },
            Bad("temperature 0") { $0.objective.temperature = 0 },
            Bad("neutral 0") { $0.objective.neutralWatchScore = 0 },
            Bad("neutral 1") { $0.objective.neutralWatchScore = 1 },
            Bad("decay 1") { $0.elasticWeightConsolidation = ElasticWeightConsolidation.stated(decay: 1) },
            Bad("audit prior 1") { $0.selfAudit = SelfAudit(prior: 1) },
            Bad("audit prior 0") { $0.selfAudit = SelfAudit(prior: 0) },
            Bad("audit share 0.6") { $0.selfAudit = SelfAudit(share: 0.6) },
            Bad("audit share 1e-9") { $0.selfAudit = SelfAudit(share: 1e-9) },
            Bad("fork share 0") { $0.driftForking = DriftForking(share: 0) },
            Bad("fork after 1") { $0.driftForking = DriftForking(minimumUpdates: 1) },
            Bad("fork threshold 0") { $0.driftForking = DriftForking(threshold: 0) },
            Bad("strength 10,001") {
                $0.elasticWeightConsolidation = ElasticWeightConsolidation.stated(strength: 10_001)
            },
        ]
        return all
    }

    @Test(arguments: bad)
    func aSettingOutsideItsRangeIsRefusedAndNothingChanges(bad: Bad) throws {
        var (adapter, configuration) = try FailureTests.used(.adam())
        bad.change(&configuration)
        let before = Snapshot(adapter)
        let sample = Feedback(embedding: FailureTests.good, signal: .target(FailureTests.good))
        let error = #expect(throws: LoRAError.self) { try adapter.update(with: [sample], configuration: configuration) }
        #expect(error?.code == .invalidConfiguration && error?.message.isEmpty == false)
        #expect(Snapshot(adapter) == before)
    }

    @Test(arguments: [
        UpdateOverrides(learningRate: 0), UpdateOverrides(learningRate: .nan), UpdateOverrides(learningRate: 1001),
        UpdateOverrides(clipThreshold: 0), UpdateOverrides(clipThreshold: .infinity),
        UpdateOverrides(consolidationStrength: -1), UpdateOverrides(consolidationStrength: .nan),
        UpdateOverrides(consolidationStrength: 10_001),
    ])
    func anOverrideOutsideItsRangeIsRefusedAndNothingChanges(overrides: UpdateOverrides) throws {
        var (adapter, configuration) = try FailureTests.used(.doG())
        let before = Snapshot(adapter)
        let sample = Feedback(embedding: FailureTests.good, signal: .target(FailureTests.good))
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(with: [sample], configuration: configuration, overrides: overrides)
        }
        #expect(error?.code == .invalidConfiguration && Snapshot(adapter) == before)
        configuration.optimizer = .sgd
        #expect(throws: LoRAError.self) {
            try adapter.update(with: [], configuration: configuration, overrides: overrides)
        }
    }

    @Test(arguments: [
        (0, 1, Float(1)), (-1, 1, 1), (65_537, 1, 1), (.max, 1, 1), (4, 0, 1), (4, 5, 1), (1000, 257, 1), (4, .min, 1),
        (4, 2, 0), (4, 2, -1), (4, 2, .nan), (4, 2, .infinity), (4, 2, 65_537),
    ])
    func aShapeOutsideTheLimitsIsRefused(dimension: Int, rank: Int, alpha: Float) {
        let error = #expect(throws: LoRAError.self) {
            try AdapterShape(dimension: dimension, rank: rank, alpha: alpha)
        }
        #expect(error?.code == .invalidShape)
    }

    @Test func shapesAtTheLimitsAreAccepted() throws {
        #expect(try AdapterShape(dimension: 1, rank: 1).scale == 1)
        #expect(try AdapterShape(dimension: 65_536, rank: 256).scale == 1)
        let stabilized = try AdapterShape(dimension: 16, rank: 4, alpha: 8, scaling: .rankStabilized)
        #expect(stabilized.scale == 4 && stabilized.parameterCount == 128)
        #expect(try AdapterShape(dimension: 16, rank: 4, alpha: 8, hasBias: true).scale == 2)
        #expect(try AdapterShape(dimension: 16, rank: 4, hasBias: true).parameterCount == 144)
    }

    @Test func factorsOfAnotherShapeOrWithoutANumberAreRefused() throws {
        let shape = try AdapterShape(dimension: 3, rank: 2, hasBias: true)
        let good = Matrix<Float>(rows: 2, columns: 3)
        var spoiled = good
        spoiled[1, 2] = .nan
        func make(_ down: Matrix<Float>, _ up: Matrix<Float>, _ bias: [Float]?) throws(LoRAError) -> LoRAAdapter {
            try LoRAAdapter(
                shape: shape, identity: AdapterIdentity(seed: 1, stream: 1), down: down, up: up, bias: bias)
        }
        _ = try make(good, good, [0, 0, 0])
        let wrong = Matrix<Float>(rows: 3, columns: 2)
        for (down, up, bias) in [
            (wrong, good, [0, 0, 0]), (good, wrong, [0, 0, 0]), (good, good, nil), (good, good, [0]),
        ] as [(Matrix<Float>, Matrix<Float>, [Float]?)] {
            let error = #expect(throws: LoRAError.self) { try make(down, up, bias) }
            #expect(error?.code == .shapeMismatch)
        }
        for (down, up, bias) in [
            (spoiled, good, [0, 0, 0]), (good, spoiled, [0, 0, 0]), (good, good, [0, .infinity, 0]),
        ]
            as [(Matrix<Float>, Matrix<Float>, [Float]?)]
        {
            let error = #expect(throws: LoRAError.self) { try make(down, up, bias) }
            #expect(error?.code == .nonFinite)
        }
    }

    @Test func aCatalogueNamesItsFirstBadItem() throws {
        var vectors = Matrix<Float>(rows: 4, columns: 3)
        #expect(throws: LoRAError.self) { try ItemCatalogue(vectors: Matrix(rows: 0, columns: 3)) }
        #expect(throws: LoRAError.self) { try ItemCatalogue(vectors: Matrix(rows: 3, columns: 0)) }
        #expect(throws: LoRAError.self) { try ItemCatalogue(vectors: vectors, offsets: [1]) }
        let offset = #expect(throws: LoRAError.self) { try ItemCatalogue(vectors: vectors, offsets: [0, 1, .nan, 2]) }
        #expect(offset?.code == .nonFinite && offset?.message.contains("item 2") == true)
        for value in [Float.nan, .infinity, 3e38] {
            vectors[3, 1] = value
            let error = #expect(throws: LoRAError.self) { try ItemCatalogue(vectors: vectors) }
            #expect(error?.code == .nonFinite && error?.message.contains("item 3") == true)
        }
    }

    @Test func theDefaultsAreValidForEveryShape() throws {
        for normalizes in [false, true] {
            try UpdateConfiguration().validate(for: AdapterShape(dimension: 4, rank: 2, normalizesOutput: normalizes))
        }
    }
}
