import TensorCore
import Testing

@testable import LoRA

/// Another rank keeps the map as far as the rank allows, and says how far.
struct RankChangeTests {
    static let seed: UInt64 = 20_261_128

    /// scale · B·A, `[d][d]`, in plain loops.
    private func product(_ adapter: LoRAAdapter) -> [[Double]] {
        let (a, b, d) = (adapter.down, adapter.up, adapter.shape.dimension)
        return (0..<d).map { i in
            (0..<d).map { j in
                (0..<adapter.shape.rank).reduce(0.0) {
                    $0 + Double(adapter.shape.scale) * Double(b[$1, i]) * Double(a[$1, j])
                }
            }
        }
    }

    private func difference(_ a: [[Double]], _ b: [[Double]]) -> Double {
        norm(zip(a, b).flatMap { zip($0, $1).map { $0 - $1 } })
    }

    /// An adapter that learned, with everything an adapter can hold.
    private func learned(_ random: inout RandomCase, _ shape: AdapterShape, from prior: AdapterPrior? = nil) throws
        -> LoRAAdapter
    {
        var adapter = try random.adapter(shape)
        if let prior { adapter = try LoRAAdapter(shape: shape, identity: adapter.identity, startingFrom: prior) }
        let configuration = UpdateConfiguration(
            optimizer: .adam(), schedule: Schedule(.reduceOnPlateau()),
            elasticWeightConsolidation: ElasticWeightConsolidation(strength: 0.1))
        for _ in 0..<6 {
            let feedback = Feedback(
                embedding: random.numbers(shape.dimension), signal: .target(random.numbers(shape.dimension)))
            _ = try adapter.update(with: [feedback], configuration: configuration)
        }
        adapter.consolidate()
        return adapter
    }

    @Test func aHigherRankKeepsTheMapAndAddsFreeDirections() throws {
        for (number, scaling) in AdapterShape.Scaling.allCases.enumerated() {
            var random = RandomCase(seed: Self.seed, number)
            let adapter = try learned(
                &random, AdapterShape(dimension: 9, rank: 3, alpha: 2, scaling: scaling, hasBias: true))
            let change = try adapter.changed(rank: 5)
            let new = change.adapter
            #expect(change.discardedTail == 0 && change.relativeError == 0)
            #expect(new.shape.rank == 5 && new.shape.scaling == scaling && new.shape.hasBias)
            #expect(abs(new.shape.scale - adapter.shape.scale) <= 2 * adapter.shape.scale.ulp)
            let cold = new.shape.coldBound
            for k in 0..<3 { #expect(new.down.row(k) == adapter.down.row(k) && new.up.row(k) == adapter.up.row(k)) }
            for k in 3..<5 {
                let isZero = new.up.row(k).allSatisfy { $0 == 0 }
                let isCold = new.down.row(k).allSatisfy { $0.magnitude <= cold }
                #expect(isZero && isCold && norm(new.down.row(k).map(Double.init)) > 0)
            }
            #expect(new.bias == adapter.bias)
            let x = random.numbers(9)
            #expect(distance(try new.forward(x), try adapter.forward(x).map(Double.init)) < 1e-6)
        }
    }

    @Test func whatIsKeptAndWhatIsDropped() throws {
        var random = RandomCase(seed: Self.seed, 10)
        let adapter = try learned(&random, AdapterShape(dimension: 9, rank: 3, hasBias: true))
        #expect(adapter.optimizerState != nil && adapter.protection != nil && adapter.plateau != nil)
        for rank in [1, 2, 3, 4, 9] {
            let new = try adapter.changed(rank: rank).adapter
            #expect(new.version == adapter.version + 1 && new.steps == adapter.steps)
            #expect(new.identity == adapter.identity && new.bias == adapter.bias && new.plateau == adapter.plateau)
            #expect(new.optimizerState == nil && new.protection == nil && new.start == nil)
            // A value like any other: it goes into a snapshot, and learns on.
            var read = try LoRAAdapter(snapshot: new.snapshot())
            #expect(read.stateHash == new.stateHash)
            let feedback = Feedback(embedding: random.numbers(9), signal: .target(random.numbers(9)))
            _ = try read.update(with: [feedback], configuration: UpdateConfiguration())
        }
    }

    @Test func aLowerRankIsTheBestProductAndItsErrorIsStated() throws {
        for number in 0..<12 {
            var random = RandomCase(seed: Self.seed, 20 + number)
            let shape = try AdapterShape(
                dimension: 11, rank: 5, alpha: 3, scaling: number % 2 == 0 ? .standard : .rankStabilized,
                hasBias: number % 3 == 0, normalizesOutput: number % 4 == 0)
            let adapter = try random.adapter(shape)
            let before = product(adapter)
            var tail = 0.0
            for rank in stride(from: 4, through: 1, by: -1) {
                let change = try adapter.changed(rank: rank)
                let after = product(change.adapter)
                let size = norm(before.flatMap(\.self))
                #expect(change.adapter.shape.normalizesOutput == shape.normalizesOutput)
                #expect(abs(change.adapter.shape.scale - shape.scale) <= 2 * shape.scale.ulp)
                #expect(abs(difference(before, after) - change.discardedTail) < 1e-5 * size, "\(random.description)")
                #expect(abs(change.relativeError * size - change.discardedTail) < 1e-6 * size)
                // A best approximation is orthogonal to what it leaves out.
                let kept = norm(after.flatMap(\.self))
                #expect(
                    abs(kept * kept + change.discardedTail * change.discardedTail - size * size) < 1e-4 * size * size)
                #expect(change.discardedTail > tail)
                tail = change.discardedTail
            }
        }
    }

    @Test func aProductOfLowerRankLosesNothing() throws {
        var random = RandomCase(seed: Self.seed, 40)
        let two = try random.adapter(AdapterShape(dimension: 8, rank: 2))
        let four = try two.changed(rank: 4).adapter
        let change = try four.changed(rank: 2)
        #expect(change.relativeError < 1e-6)
        let x = random.numbers(8)
        #expect(distance(try change.adapter.forward(x), try two.forward(x).map(Double.init)) < 1e-5)
        let cold = LoRAAdapter(shape: two.shape, identity: two.identity)
        let lower = try cold.changed(rank: 1)
        #expect(lower.relativeError == 0)
        #expect(try lower.adapter.forward(x) == x)
    }

    /// Fading goes on towards what the adapter started from.
    @Test func theStartIsCarriedOver() throws {
        var random = RandomCase(seed: Self.seed, 50)
        let shape = try AdapterShape(dimension: 9, rank: 4, hasBias: true)
        let prior = try AdapterPrior(merging: [(random.adapter(shape), 1)], rank: 4)
        let untouched = try LoRAAdapter(
            shape: shape, identity: AdapterIdentity(seed: 1, stream: 2), startingFrom: prior)
        for rank in [2, 4, 6] {
            // Where nothing was learned, the start is the map itself.
            let new = try untouched.changed(rank: rank).adapter
            let start = try #require(new.start)
            #expect(start.prior == prior.contentHash && start.shape == new.shape && start.rows == min(rank, 4))
            let up = start.parameters.withBuffer { $0.slice(new.shape.upRange).array }
            #expect(distance(up, new.up.array.map(Double.init)) < 1e-5)
            #expect(start.parameters.withBuffer { $0.slice(new.shape.biasRange).array } == prior.bias)
        }
        // After learning, the start is another map, and fading leads there: B at the start, under the A that is there.
        let learned = try learned(&random, shape, from: prior)
        let (old, new) = (learned, try learned.changed(rank: 9).adapter)
        let x = random.numbers(9)
        func faded(_ adapter: LoRAAdapter) throws -> [Float] {
            let start = try #require(adapter.start)
            let down = adapter.shape.downRange
            let rest = start.parameters.withBuffer(\.array)[down.upperBound...]
            return try adapter.with(Array(adapter.values[down]) + rest).forward(x)
        }
        #expect(distance(try faded(new), try faded(old).map(Double.init)) < 1e-5)
    }

    @Test func ranksOutOfRangeAreRefused() throws {
        var random = RandomCase(seed: Self.seed, 60)
        let adapter = try random.adapter(AdapterShape(dimension: 6, rank: 3))
        for rank in [Int.min, -1, 0, 7, 257, Int.max] {
            let error = #expect(throws: LoRAError.self) { try adapter.changed(rank: rank) }
            #expect(error?.code == .invalidShape && error?.message.contains("rank \(rank) is not in 1...6") == true)
        }
        let loud = try random.adapter(AdapterShape(dimension: 6, rank: 2, alpha: 60_000))
        let error = #expect(throws: LoRAError.self) { try loud.changed(rank: 6) }
        #expect(error?.message.contains("alpha") == true)
    }
}
