@testable import LoRA
import TensorCore
import Testing

/// A failed call leaves everything as it was, to the byte, and throws a typed error that names the place.
struct FailureTests {
    static let d = 6

    /// An adapter in the middle of its life, with optimizer state, protection and plateau, and what it learns by.
    static func used(_ optimizer: Optimizer, normalizes: Bool = false) throws -> (LoRAAdapter, UpdateConfiguration) {
        var random = RandomCase(seed: 8, 0)
        let shape = try AdapterShape(dimension: d, rank: 2, hasBias: true, normalizesOutput: normalizes)
        var adapter = try random.adapter(shape)
        let catalogue = try random.catalogue(5, d)
        let configuration = UpdateConfiguration.stated(
            optimizer: optimizer, schedule: Schedule(.reduceOnPlateau(patience: 0)),
            elasticWeightConsolidation: ElasticWeightConsolidation.stated())
        for _ in 0..<3 {
            _ = try adapter.update(with: [random.feedback(.target, catalogue)], configuration: configuration)
        }
        adapter.consolidate()
        return (adapter, configuration)
    }

    static let optimizers: [Optimizer] = [.sgd, .momentum(), .riemannian(), .adaGrad(), .adam(), .adamW(), .doG()]

    struct Bad: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let code: LoRAError.Code
        /// What the message must name.
        let names: String
        let feedback: @Sendable () throws -> Feedback
    }

    static let good = [Float](repeating: 0.5, count: d)

    static func vector(_ i: Int, _ value: Float) -> [Float] {
        var v = good
        v[i] = value
        return v
    }

    static func catalogue() throws -> ItemCatalogue {
        var random = RandomCase(seed: 8, 1)
        return try random.catalogue(5, d)
    }

    static var bad: [Bad] {
        func make(
            _ what: String, _ code: LoRAError.Code, _ names: String, embedding: [Float] = good,
            _ signal: @escaping @Sendable () throws -> Feedback.Signal
        ) -> Bad {
            Bad(testDescription: what, code: code, names: names) {
                Feedback(embedding: embedding, signal: try signal())
            }
        }
        let item = Item.vector(good)
        var all: [Bad] = []
        for (name, value) in [("NaN", Float.nan), ("infinity", .infinity), ("-infinity", -.infinity)] {
            all.append(
                make("\(name) in the embedding", .nonFinite, "value 2", embedding: vector(2, value)) { .target(good) })
            all.append(make("\(name) in the target", .nonFinite, "value 5") { .target(vector(5, value)) })
            all.append(make("\(name) in an item", .nonFinite, "value 0") { .reward(1, for: .vector(vector(0, value))) })
            all.append(
                make("\(name) in another item", .nonFinite, "item 1") {
                    .preference(item, over: [item, .vector(vector(0, value))])
                })
            all.append(
                make("\(name) as offset", .nonFinite, "offset") {
                    .ranking(.vector(good, offset: value), among: [item])
                })
            all.append(make("reward \(name)", .invalidFeedback, "reward") { .reward(value, for: item) })
            all.append(make("scaled input \(name)", .invalidFeedback, "reward") { .scaledInput(reward: value) })
            all.append(
                make("completion \(name)", .invalidFeedback, "completion") {
                    .watch(WatchEvent(completion: value), of: item)
                })
            all.append(
                make("rating \(name)", .invalidFeedback, "rating") {
                    .watch(WatchEvent(completion: 1, rating: value), of: item)
                })
        }
        all += [
            make("huge embedding", .nonFinite, "range", embedding: vector(1, 1e38)) { .target(good) },
            make("huge target", .nonFinite, "range") { .target(vector(3, 1e38)) },
            make("huge item", .nonFinite, "range") { .reward(1, for: .vector([Float](repeating: 3e38, count: d))) },
            make("huge offset", .nonFinite, "range") {
                .ranking(item, among: [.vector([Float](repeating: 2e38, count: d))])
            },
            make("short embedding", .shapeMismatch, "\(d)", embedding: [1, 2]) { .target(good) },
            make("empty embedding", .shapeMismatch, "\(d)", embedding: []) { .target(good) },
            make("long target", .shapeMismatch, "target") { .target(good + [1]) },
            make("short item", .shapeMismatch, "item") { .reward(1, for: .vector([])) },
            make("catalogue of another dimension", .shapeMismatch, "liked") {
                .like(0, in: try ItemCatalogue(vectors: Matrix(rows: 3, columns: d + 1)))
            },
            make("no other item", .invalidFeedback, "no other") { .preference(item, over: []) },
            make("no shown item", .invalidFeedback, "no other") { .ranking(item, among: []) },
            make("item above the catalogue", .invalidFeedback, "0..<5") { .like(5, in: try catalogue()) },
            make("item below the catalogue", .invalidFeedback, "0..<5") { .like(-1, in: try catalogue()) },
            make("item far outside", .invalidFeedback, "0..<5") { .reward(1, for: .catalogued(.max, try catalogue())) },
            make("seen item outside", .invalidFeedback, "seen item 5") { .like(0, in: try catalogue(), seen: [1, 5]) },
            make("seen item far outside", .invalidFeedback, "seen") { .like(0, in: try catalogue(), seen: [.min]) },
            make("catalogue of one", .invalidFeedback, "one item") {
                .like(0, in: try ItemCatalogue(vectors: Matrix(rows: 1, columns: d)))
            },
            make("reward above 1", .invalidFeedback, "1.1") { .reward(1.1, for: item) },
            make("rating of 6", .invalidFeedback, "6.0") { .watch(WatchEvent(completion: 1, rating: 6), of: item) },
        ]
        for (name, value) in [("negative", Float(-1)), ("NaN", .nan), ("infinite", .infinity)] {
            all.append(
                Bad(testDescription: "\(name) weight", code: .invalidFeedback, names: "weight") {
                    Feedback(embedding: good, signal: .target(good), weight: value)
                })
        }
        for value in [Float(0), -0.5, 1.5, .nan, .infinity] {
            all.append(
                Bad(testDescription: "propensity \(value)", code: .invalidFeedback, names: "propensity") {
                    Feedback(embedding: good, signal: .target(good), propensity: value)
                })
        }
        return all
    }

    @Test(arguments: bad)
    func badFeedbackIsNamedByItsPositionAndChangesNothing(bad: Bad) throws {
        let feedback = try bad.feedback()
        let fine = Feedback(embedding: Self.good, signal: .target(Self.vector(0, -1)))
        for optimizer in Self.optimizers {
            var (adapter, configuration) = try Self.used(optimizer)
            let before = Snapshot(adapter)
            for (position, batch) in [(0, [feedback]), (0, [feedback, fine]), (2, [fine, fine, feedback, fine])] {
                let error = #expect(throws: LoRAError.self) {
                    try adapter.update(with: batch, configuration: configuration)
                }
                #expect(
                    error?.code == bad.code && error?.message.contains(bad.names) == true,
                    "\(String(describing: error))")
                #expect(error?.position == position && error?.operation == "update")
                #expect(Snapshot(adapter) == before, "\(optimizer.name)")
            }
            // The adapter still learns.
            _ = try adapter.update(with: [fine], configuration: configuration)
            #expect(adapter.version == before.version + 1)
        }
    }

    /// A step beyond the range of Float, met only after parameters and state were written.
    @Test(arguments: optimizers, [false, true])
    func overflowOfTheStepItselfIsUndone(optimizer: Optimizer, isFresh: Bool) throws {
        var (adapter, configuration) = try Self.used(optimizer)
        if isFresh { configuration.optimizer = optimizer == .adam() ? .momentum() : .adam() }
        let parameters = adapter.values.enumerated().map { $0.offset % 2 == 0 ? $0.element : 1e18 * $0.element }
        adapter = adapter.with(parameters)
        configuration.clipping = .off
        configuration.weightDecay = 1
        let fine = Feedback(embedding: [Float](repeating: 0, count: Self.d), signal: .target(Self.good))
        var failures = 0
        for _ in 0..<12 {
            let before = Snapshot(adapter)
            do {
                _ = try adapter.update(
                    with: [fine, fine], configuration: configuration,
                    overrides: UpdateOverrides(learningRate: 1000, consolidationStrength: 0))
                #expect(adapter.values.allSatisfy { $0.isFinite })
            } catch {
                failures += 1
                #expect(error.code == .nonFinite && Snapshot(adapter) == before)
            }
        }
        let bounded: Set<String> = ["adam", "adagrad", "dog", "riemannian"]
        #expect(failures > 0 || bounded.contains(configuration.optimizer.name), "\(configuration.optimizer.name)")
    }

    /// The same of gradient descent alone, which keeps what the parameters were where its gradient was.
    @Test(arguments: [false, true]) func overflowOfPlainDescentIsUndone(hasTargets: Bool) throws {
        var (adapter, configuration) = try Self.used(.sgd)
        configuration.elasticWeightConsolidation = nil
        configuration.weightDecay = 0
        configuration.clipping = .off
        let signal: Feedback.Signal =
            hasTargets ? .target(Self.good) : .reward(-1, for: .vector([Float](repeating: 1e18, count: Self.d)))
        let sample = Feedback(embedding: Self.good, signal: signal)
        _ = try adapter.update(
            with: [Feedback(embedding: Self.good, signal: .target(Self.good))], configuration: configuration)
        adapter = adapter.with(adapter.values.map { hasTargets ? 1e6 * $0 : $0 })
        let before = Snapshot(adapter)
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(
                with: [Feedback](repeating: sample, count: 6), configuration: configuration,
                overrides: UpdateOverrides(learningRate: 1000))
        }
        #expect(error?.code == .nonFinite && error?.message.contains("range") == true)
        // Only the loss after the step names a sample without fault.
        #expect(error?.position == 0 && Snapshot(adapter) == before, "\(String(describing: error))")
    }

    /// The first update with an optimizer makes its state, and protection's; a failure gives both back.
    @Test(arguments: [Optimizer.sgd, .momentum(), .adamW()], [false, true])
    func stateMadeForAFailedUpdateIsGivenBack(optimizer: Optimizer, hadState: Bool) throws {
        var (adapter, configuration) = try Self.used(.adaGrad())
        if !hadState {
            adapter.optimizerState = nil
            adapter.protection = nil
        }
        adapter = adapter.with(adapter.values.map { 1e37 * $0 })
        configuration.optimizer = optimizer
        configuration.weightDecay = 1
        let held = adapter.byteCount
        let before = Snapshot(adapter)
        let fine = Feedback(embedding: [Float](repeating: 0, count: Self.d), signal: .target(Self.good))
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(
                with: [fine], configuration: configuration, overrides: UpdateOverrides(learningRate: 1000))
        }
        #expect(
            error?.code == .nonFinite && Snapshot(adapter) == before && adapter.byteCount == held
        )
    }

    /// DoG's sum of squares lies outside the vectors that are checked; infinite, it would freeze the adapter for good.
    @Test func anInfiniteSumOfSquaresIsRefused() throws {
        let shape = try AdapterShape(dimension: 1, rank: 1, hasBias: true)
        var adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, stream: 1)).with([0, 0, 1.7e19])
        let before = Snapshot(adapter)
        let sample = Feedback(embedding: [0], signal: .reward(-1, for: .vector([1.7e19])))
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(
                with: [sample],
                configuration: UpdateConfiguration.stated(optimizer: .doG(), clipping: .off, weightDecay: 1))
        }
        #expect(error?.code == .nonFinite && Snapshot(adapter) == before)
    }

    @Test func aBatchWithoutWeightIsRefused() throws {
        var (adapter, configuration) = try Self.used(.adam())
        let before = Snapshot(adapter)
        let silent = Feedback(embedding: Self.good, signal: .target(Self.good), weight: 0)
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(with: [silent, silent], configuration: configuration)
        }
        #expect(error?.code == .invalidFeedback && error?.message.contains("weights") == true)
        #expect(Snapshot(adapter) == before)
    }

    @Test func aCatalogueWithEverythingSeenIsNamedByItsPosition() throws {
        var (adapter, configuration) = try Self.used(.momentum())
        configuration.objective.like = .pairwise(negatives: 2)
        let before = Snapshot(adapter)
        let fine = Feedback(embedding: Self.good, signal: .target(Self.good))
        let like = Feedback(embedding: Self.good, signal: .like(0, in: try Self.catalogue(), seen: [1, 2, 3, 4]))
        let error = #expect(throws: LoRAError.self) {
            try adapter.update(with: [fine, like], configuration: configuration)
        }
        #expect(error?.code == .invalidFeedback && error?.position == 1 && Snapshot(adapter) == before)
    }

    @Test func forwardNamesTheRowAndTheValue() throws {
        let (adapter, _) = try Self.used(.sgd)
        let short = #expect(throws: LoRAError.self) { try adapter.forward([1, 2]) }
        #expect(short?.code == .shapeMismatch && short?.message.contains("2 values") == true)
        let nan = #expect(throws: LoRAError.self) { try adapter.forward(Self.vector(4, .nan)) }
        #expect(nan?.code == .nonFinite && nan?.message.contains("value 4 is nan") == true)
        #expect(throws: LoRAError.self) { try adapter.forward([Float](repeating: 3.4e38, count: Self.d)) }
        let rows = try Matrix(rows: [Self.good, Self.good, Self.vector(1, .infinity)])
        let row = #expect(throws: LoRAError.self) { try adapter.forward(rows) }
        #expect(row?.code == .nonFinite && row?.position == 2)
        let wide = #expect(throws: LoRAError.self) { try adapter.forward(Matrix(rows: 2, columns: Self.d + 1)) }
        #expect(wide?.code == .shapeMismatch && wide?.position == nil)
    }

    /// The norm of a huge output overflows though the output does not; that of a tiny one vanishes though it does not.
    @Test(arguments: [Float(1e19), 1e30, 3e37, 1e-18, 1e-23, 1e-30, 1e-38])
    func aNormalisedOutputIsOfLengthOneOrRefused(size: Float) throws {
        let shape = try AdapterShape(dimension: 3, rank: 1, normalizesOutput: true)
        let adapter = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 1, stream: 1))
        do {
            let y = try adapter.forward([size, -2 * size, 0.5 * size])
            #expect(abs(norm(y.map(Double.init)) - 1) < 1e-5, "\(y)")
        } catch {
            #expect(error.code == .nonFinite)
        }
        #expect(try adapter.forward([0, 0, 0]) == [0, 0, 0])
    }

    @Test func countersAtTheirEndAreRefusedAndDoNotTrap() throws {
        let shape = try AdapterShape(dimension: 2, rank: 1)
        let factor = Matrix<Float>(rows: 1, columns: 2)
        for (version, steps) in [(UInt64.max, UInt64(0)), (0, .max)] {
            let error = #expect(throws: LoRAError.self) {
                try LoRAAdapter(
                    shape: shape, identity: AdapterIdentity(seed: 1, stream: 1), down: factor, up: factor,
                    version: version, steps: steps)
            }
            #expect(error?.code == .invalidConfiguration)
        }
    }
}
