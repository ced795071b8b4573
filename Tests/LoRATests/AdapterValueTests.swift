@testable import LoRA
import TensorCore
import Testing

/// The adapter as a value: what copies share, what is held, what is the same from run to run.
struct AdapterValueTests {
    static let identity = AdapterIdentity(seed: 9, user: "ada")
    static let shapes: [(Int, Int, Bool)] = [
        (1, 1, false), (3, 2, true), (17, 4, false), (127, 16, true), (384, 8, false),
    ]

    @Test(arguments: shapes)
    func aColdStartIsTheIdentityWithinItsBound(d: Int, r: Int, hasBias: Bool) throws {
        let shape = try AdapterShape(dimension: d, rank: r, hasBias: hasBias)
        let adapter = LoRAAdapter(shape: shape, identity: Self.identity)
        let bound = (6 / Double(d + r)).squareRoot()
        #expect(adapter.down.array.allSatisfy { abs(Double($0)) <= bound * 1.000_001 })
        #expect(adapter.up.array.allSatisfy { $0 == 0 } && adapter.bias?.allSatisfy { $0 == 0 } ?? !hasBias)
        #expect(adapter.version == 0 && adapter.steps == 0 && adapter.productNorm == 0)
        var random = RandomCase(seed: 1, d)
        let x = random.numbers(d)
        #expect(try adapter.forward(x).map(\.bitPattern) == x.map(\.bitPattern))
        if d * r > 1000 {
            // Uniform: mean 0 and variance bound² / 3, within four standard errors.
            let values = adapter.down.array.map { Double($0) / bound }
            let n = Double(values.count)
            #expect(abs(values.reduce(0, +) / n) < 4 / (3 * n).squareRoot())
            #expect(abs(values.reduce(0) { $0 + $1 * $1 } / n - 1.0 / 3) < 4 * (4 / 45.0 / n).squareRoot())
        }
    }

    @Test func anUpdateOfACopyLeavesTheOriginalsBytes() throws {
        for optimizer in [Optimizer.sgd, .momentum(), .adam(), .adaGrad(), .doG(), .riemannian()] {
            var random = RandomCase(seed: 2, 0)
            var original = try random.adapter(AdapterShape(dimension: 9, rank: 2, hasBias: true))
            let catalogue = try random.catalogue(5, 9)
            let configuration = UpdateConfiguration.stated(
                optimizer: optimizer, schedule: Schedule(.reduceOnPlateau()),
                elasticWeightConsolidation: ElasticWeightConsolidation.stated())
            // Once fresh and once with state, which is shared too.
            for _ in 0..<2 {
                let before = Snapshot(original)
                var copy = original
                for _ in 0..<3 {
                    let batch = [random.feedback(.target, catalogue), random.feedback(.reward, catalogue)]
                    _ = try copy.update(with: batch, configuration: configuration)
                }
                copy.consolidate()
                #expect(Snapshot(original) == before, "\(optimizer.name)")
                #expect(copy.values != original.values)
                let (other, _) = try original.updated(
                    with: [random.feedback(.target, catalogue)], configuration: configuration)
                #expect(Snapshot(original) == before && other.version == original.version + 1)
                original = copy
            }
        }
    }

    @Test func copiesMayBeUpdatedByManyTasksAtOnce() async throws {
        var random = RandomCase(seed: 2, 1)
        var start = try random.adapter(AdapterShape(dimension: 33, rank: 3, hasBias: true))
        let catalogue = try random.catalogue(9, 33)
        let batches = (0..<30).map { _ in [random.feedback(random.pick(SignalKind.allCases), catalogue)] }
        let configuration = UpdateConfiguration.stated(
            optimizer: .adam(), elasticWeightConsolidation: ElasticWeightConsolidation.stated())
        _ = try start.update(with: batches[0], configuration: configuration)
        let shared = start
        func life() throws -> UInt64 {
            var copy = shared
            for batch in batches { _ = try copy.update(with: batch, configuration: configuration) }
            copy.consolidate()
            return copy.stateHash
        }
        let alone = try life()
        let before = Snapshot(shared)
        let hashes = try await withThrowingTaskGroup(of: UInt64.self) { group in
            for _ in 0..<6 { group.addTask { try life() } }
            return try await group.reduce(into: [UInt64]()) { $0.append($1) }
        }
        #expect(hashes == [UInt64](repeating: alone, count: 6) && Snapshot(shared) == before)
    }

    @Test func equalSeedsGiveEqualBytesAndOthersDoNot() throws {
        let shape = try AdapterShape(dimension: 16, rank: 4)
        func bits(_ seed: UInt64, _ user: String) -> [UInt32] {
            LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: seed, user: user)).parameters.bits
        }
        #expect(bits(1, "a") == bits(1, "a"))
        #expect(bits(1, "a") != bits(2, "a") && bits(1, "a") != bits(1, "b"))
        // A stable hash of the id: this number must never change.
        #expect(AdapterIdentity(seed: 1, user: "ada").stream == StableHash.hash("ada"))
    }

    @Test(
        arguments: [
            (Optimizer.sgd, 0), (.riemannian(), 0), (.momentum(), 1), (.momentum(coefficient: 0.5, nesterov: true), 1),
            (.adaGrad(), 1), (.doG(), 1), (.adam(), 2), (.adamW(), 2),
        ], [false, true])
    func byteCountIsWhatIsHeldAndStateCostsNothingWhenOff(held: (optimizer: Optimizer, blocks: Int), protects: Bool)
        throws
    {
        var random = RandomCase(seed: 3, 0)
        var adapter = try random.adapter(AdapterShape(dimension: 32, rank: 4, hasBias: true))
        let n = 2 * 4 * 32 + 32
        #expect(adapter.byteCount == 4 * n && adapter.optimizerState == nil && adapter.protection == nil)
        var configuration = UpdateConfiguration.stated(
            optimizer: held.optimizer,
            elasticWeightConsolidation: protects ? ElasticWeightConsolidation.stated() : nil)
        let sample = random.feedback(.target, try random.catalogue(2, 32))
        _ = try adapter.update(with: [sample], configuration: configuration)
        #expect(held.optimizer.stateCountPerParameter == held.blocks)
        #expect(adapter.byteCount == 4 * n * (1 + held.blocks + (protects ? 3 : 0)))
        #expect(adapter.optimizerState?.storage.count ?? 0 == held.blocks * n)
        // Back to settings that need no state: the next update gives it back.
        configuration.optimizer = .sgd
        configuration.elasticWeightConsolidation = nil
        _ = try adapter.update(with: [sample], configuration: configuration)
        #expect(adapter.byteCount == 4 * n && adapter.optimizerState == nil && adapter.protection == nil)
    }

    @Test func anotherOptimizerStartsAfreshAndNesterovGoesOn() throws {
        var random = RandomCase(seed: 3, 1)
        var adapter = try random.adapter(AdapterShape(dimension: 5, rank: 2))
        let sample = random.feedback(.target, try random.catalogue(2, 5))
        func update(_ optimizer: Optimizer) throws -> OptimizerState? {
            _ = try adapter.update(with: [sample], configuration: UpdateConfiguration.stated(optimizer: optimizer))
            return adapter.optimizerState
        }
        #expect(try update(.momentum())?.steps == 1)
        #expect(try update(.momentum(coefficient: 0.5, nesterov: true))?.steps == 2)
        let adam = try update(.adam())
        #expect(adam?.steps == 1 && adam?.name == "adam")
        #expect(try update(.adamW())?.steps == 1)
        #expect(try update(.adamW())?.steps == 2)
        #expect(adapter.steps == 5 && adapter.version == 5)
    }

    @Test func theStateHashTellsAdaptersApart() throws {
        var random = RandomCase(seed: 4, 0)
        let adapter = try random.adapter(AdapterShape(dimension: 6, rank: 2, hasBias: true))
        let sample = random.feedback(.target, try random.catalogue(2, 6))
        var hashes: Set<UInt64> = [adapter.stateHash]
        var count = 1
        func isNew(_ other: LoRAAdapter) -> Bool {
            hashes.insert(other.stateHash)
            count += 1
            return hashes.count == count
        }
        #expect(adapter.stateHash == adapter.with(adapter.values).stateHash)
        for i in adapter.values.indices {
            var values = adapter.values
            values[i] = values[i].nextUp
            #expect(isNew(adapter.with(values)), "parameter \(i)")
        }
        var other = adapter
        other.version += 1
        #expect(isNew(other))
        other.steps += 1
        #expect(isNew(other))
        let settings = [
            UpdateConfiguration.stated(optimizer: .adam()), UpdateConfiguration.stated(optimizer: .adamW()),
            UpdateConfiguration.stated(optimizer: .momentum()), UpdateConfiguration.stated(optimizer: .doG()),
            UpdateConfiguration.stated(schedule: Schedule(.reduceOnPlateau())),
            UpdateConfiguration.stated(elasticWeightConsolidation: ElasticWeightConsolidation.stated()),
        ]
        for configuration in settings {
            var updated = try adapter.updated(with: [sample], configuration: configuration).adapter
            #expect(isNew(updated))
            // Without its state it is another adapter, though it maps alike.
            updated.optimizerState = nil
            updated.protection = nil
            updated.plateau = nil
            #expect(
                updated.stateHash
                    != (try adapter.updated(with: [sample], configuration: configuration).adapter.stateHash))
        }
        let wide = try AdapterShape(dimension: 6, rank: 2, alpha: 3, hasBias: true)
        let (a, b) = (Self.identity, AdapterIdentity(seed: 10, user: "ada"))
        #expect(isNew(LoRAAdapter(shape: wide, identity: a)) && isNew(LoRAAdapter(shape: wide, identity: b)))
    }

    @Test func manyRowsAtOnceAreTheRowsOneByOne() throws {
        var random = RandomCase(seed: 4, 1)
        for normalizes in [false, true] {
            let adapter = try random.adapter(
                AdapterShape(dimension: 21, rank: 3, hasBias: true, normalizesOutput: normalizes))
            let inputs = random.matrix(9, 21)
            let outputs = try adapter.forward(inputs)
            for i in 0..<9 {
                #expect(try outputs.row(i).map(\.bitPattern) == adapter.forward(inputs.row(i)).map(\.bitPattern))
                if normalizes { #expect(abs(norm(outputs.row(i).map(Double.init)) - 1) < 1e-6) }
            }
            #expect(try adapter.forward(Matrix(rows: 0, columns: 21)).rows == 0)
        }
    }

    @Test func theProductNormIsThatOfTheProduct() throws {
        var random = RandomCase(seed: 4, 2)
        let shape = try AdapterShape(dimension: 7, rank: 3, alpha: 2, scaling: .rankStabilized)
        let adapter = try random.adapter(shape)
        var squares = 0.0
        for i in 0..<7 {
            for j in 0..<7 {
                let entry = (0..<3).reduce(0.0) { $0 + Double(adapter.up[$1, i]) * Double(adapter.down[$1, j]) }
                squares += entry * entry
            }
        }
        #expect(abs(adapter.productNorm - Double(shape.scale) * squares.squareRoot()) < 1e-6)
    }
}
