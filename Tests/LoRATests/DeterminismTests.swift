@testable import LoRA
import TensorCore
import Testing

/// The same bytes for the same feedback on every machine. The hashes below may change only with a new numerics version.
@Suite(.serialized)
struct DeterminismTests {
    struct Run: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let configuration: UpdateConfiguration
        var hasBias = true
        var normalizes = false
        let hash: UInt64
    }

    static func settings(
        _ optimizer: Optimizer, _ like: ObjectiveConfiguration.Like, _ curve: Schedule.Curve = .constant,
        _ clipping: Clipping = .globalNorm, protects: Bool = false, certifies: Bool = false, fading: Float = 0
    ) -> UpdateConfiguration {
        UpdateConfiguration.stated(
            objective: ObjectiveConfiguration.stated(like: like, temperature: 0.5), optimizer: optimizer,
            learningRates: PerObjective(all: 0.05), schedule: Schedule(curve, warmupSteps: 5), clipping: clipping,
            fading: PerObjective(all: fading),
            elasticWeightConsolidation: protects ? ElasticWeightConsolidation.stated() : nil, certifiesSteps: certifies)
    }

    static let runs = [
        Run(
            testDescription: "SGD, cosine", configuration: settings(.sgd, .catalogueSoftmax, .cosine(period: 60)),
            hash: 9_057_261_681_119_623_676),
        Run(
            testDescription: "SGD, certified", configuration: settings(.sgd, .pairwise(negatives: 3), certifies: true),
            hash: 6_160_930_908_687_714_113),
        Run(
            testDescription: "SGD, protected, normalised",
            configuration: settings(.sgd, .sampledSoftmax(negatives: 3), protects: true), normalizes: true,
            hash: 8_674_588_814_836_721_887),
        Run(
            testDescription: "Riemannian, per matrix",
            configuration: settings(.riemannian(), .catalogueSoftmax, .constant, .perMatrix), hasBias: false,
            hash: 1_098_878_865_056_143_330),
        Run(
            testDescription: "Nesterov, restarts",
            configuration: settings(
                .momentum(nesterov: true), .pairwise(negatives: 2), .cosineWithRestarts(period: 7, multiplier: 2)),
            hash: 15_991_641_305_929_936_961),
        Run(
            testDescription: "AdaGrad, by value",
            configuration: settings(.adaGrad(), .catalogueSoftmax, .constant, .byValue),
            hash: 13_935_525_386_670_423_426),
        Run(
            testDescription: "Adam, exponential",
            configuration: settings(.adam(), .catalogueSoftmax, .exponential(factor: 0.99)),
            hash: 2_351_233_602_097_638_175),
        Run(
            testDescription: "AdamW, inverse square root",
            configuration: settings(.adamW(), .sampledSoftmax(negatives: 2), .inverseSquareRoot(offset: 9)),
            hash: 4_084_382_486_442_564_834),
        Run(
            testDescription: "DoG, plateau",
            configuration: settings(.doG(), .catalogueSoftmax, .reduceOnPlateau(patience: 2), fading: 0.02),
            hash: 17_021_132_568_481_707_620),
    ]

    /// 200 updates with mixed feedback, in batches of one to three; the state's hash at the end.
    static func hash(_ run: Run) throws -> UInt64 {
        var random = RandomCase(seed: 2_718, 28)
        let shape = try AdapterShape(
            dimension: 37, rank: 5, alpha: 3, hasBias: run.hasBias, normalizesOutput: run.normalizes)
        var adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, user: "reference"))
        let catalogue = try random.catalogue(11, 37)
        let scratch = UpdateScratch()
        for step in 0..<200 {
            let batch = (0...random.generator.integer(below: 3)).map { _ in
                random.feedback(random.pick(SignalKind.allCases), catalogue)
            }
            _ = try adapter.update(
                with: batch, configuration: run.configuration, overrides: UpdateOverrides(), scratch: scratch)
            if step % 50 == 49 { adapter.consolidate() }
        }
        return adapter.stateHash
    }

    @Test(arguments: runs)
    func aReferenceRunEndsInTheSameBytesOnEveryInstructionSet(run: Run) throws {
        let best = Kernels.select(.avx512)
        defer { _ = Kernels.select(best) }
        for set in Kernels.InstructionSet.allCases {
            let selected = Kernels.select(set)
            let found = try Self.hash(run)
            #expect(found == run.hash, "\(selected.rawValue)")
        }
    }

    @Test func aFreshScratchAndAUsedOneGiveTheSameBytes() throws {
        var random = RandomCase(seed: 3, 14)
        let shape = try AdapterShape(dimension: 9, rank: 2, hasBias: true)
        let start = try random.adapter(shape)
        let catalogue = try random.catalogue(30, 9)
        var configuration = UpdateConfiguration.stated(optimizer: .adam(), elasticWeightConsolidation: .stated())
        let used = UpdateScratch()
        var (a, b) = (start, start)
        for step in 0..<40 {
            configuration.optimizer = step % 3 == 0 ? .riemannian() : .adam()
            configuration.objective.like = random.pick(ObjectiveConfiguration.Like.all)
            let batch = (0...random.generator.integer(below: 3)).map { _ in
                random.feedback(random.pick(SignalKind.allCases), catalogue)
            }
            _ = try a.update(with: batch, configuration: configuration)
            _ = try b.update(with: batch, configuration: configuration, overrides: .init(), scratch: used)
            #expect(Snapshot(a) == Snapshot(b), "step \(step)")
        }
        #expect(used.byteCount > 0)
    }
}
