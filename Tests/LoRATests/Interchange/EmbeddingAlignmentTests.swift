import TensorCore
import Testing

@testable import LoRA

/// Adapters carried to another embedding model: exact where the models agree, and honest where they do not.
struct EmbeddingAlignmentTests {
    static let seed: UInt64 = 20_261_129

    /// Rows orthonormal, or columns where there are more rows; shape `[rows, columns]`.
    private func isometry(_ random: inout RandomCase, _ rows: Int, _ columns: Int) throws -> Matrix<Float> {
        let tall = random.matrix(max(rows, columns), min(rows, columns))
        let q = try QRFactorization(tall.view).q
        return rows >= columns ? q : q.view.transposed.copied()
    }

    /// The rows of `matrix`, each times `map` (`[old, new]`) and a factor.
    private func applied(_ map: Matrix<Float>, to matrix: Matrix<Float>, _ factor: Float = 1) throws -> Matrix<Float> {
        var result = try BLAS.product(matrix.view, map.view)
        result.withMutableSpan { span in for i in span.indices { span[i] *= factor } }
        return result
    }

    @Test func modelsThatDifferByATurnAndAFactorAreBridgedExactly() throws {
        for (number, (old, new, factor)) in [(8, 8, 1), (8, 8, 3), (6, 11, 0.5), (8, 8, 0.01)].enumerated() {
            var random = RandomCase(seed: Self.seed, number)
            let turn = try isometry(&random, old, new)
            let items = random.matrix(200, old)
            let embedded = try applied(turn, to: items, Float(factor))
            let alignment = try EmbeddingAlignment(old: items, new: embedded)
            #expect(alignment.oldDimension == old && alignment.newDimension == new && alignment.fittedItems == 160)
            #expect(alignment.residual < 1e-4 && alignment.ridge == 1e-6, "\(alignment.residual)")
            let adapter = try random.adapter(AdapterShape(dimension: old, rank: 3, alpha: 2, hasBias: true))
            let moved = try adapter.transported(by: alignment)
            #expect(moved.scoreError < 1e-4)
            // What the new model's embedding becomes is the new model's embedding of what it became.
            let x = random.matrix(1, old)
            let y = try Matrix(rows: [adapter.forward(x.row(0))])
            let expected = try applied(turn, to: y, Float(factor)).array
            let output = try moved.adapter.forward(applied(turn, to: x, Float(factor)).row(0))
            #expect(distance(output, expected.map(Double.init)) < 2e-4 * Double(factor), "\(random.description)")
        }
    }

    @Test func theErrorOfScoresIsThatOfAllPairs() throws {
        var random = RandomCase(seed: Self.seed, 20)
        let items = random.matrix(60, 9)
        // Sees six of nine coordinates, and something of its own.
        var map = random.matrix(9, 6, 0.2)
        for i in 0..<6 { map[i, i] += 1 }
        let embedded = try applied(map, to: items)
        let alignment = try EmbeddingAlignment(old: items, new: embedded)
        let adapter = try random.adapter(AdapterShape(dimension: 9, rank: 2, alpha: 3, hasBias: true))
        let moved = try adapter.transported(by: alignment)
        let kept = (0..<60).filter { $0 % 5 == 4 }
        func changes(_ adapter: LoRAAdapter, _ items: Matrix<Float>) throws -> [Double] {
            try kept.flatMap { i in
                let x = items.row(i)
                let y = try adapter.forward(x)
                return kept.map { j in
                    zip(zip(y, x), items.row(j)).reduce(0.0) { $0 + (Double($1.0.0) - Double($1.0.1)) * Double($1.1) }
                }
            }
        }
        func size(_ matrix: Matrix<Float>) -> Double {
            (0..<60).filter { $0 % 5 != 4 }.reduce(0.0) { sum, i in
                sum + matrix.row(i).reduce(0.0) { $0 + Double($1) * Double($1) }
            }
        }
        let gain = size(embedded) / size(items)
        let before = try changes(adapter, items).map { gain * $0 }
        let after = try changes(moved.adapter, embedded)
        let error = norm(zip(before, after).map { $0 - $1 }) / norm(before)
        #expect(abs(moved.scoreError - error) < 1e-4, "\(moved.scoreError) against \(error)")
        #expect(error > 0.1 && alignment.residual > 0.3 && alignment.residual < 0.9)
    }

    @Test func modelsThatHaveNothingInCommonAreSeenToHaveNothing() throws {
        var random = RandomCase(seed: Self.seed, 30)
        let alignment = try EmbeddingAlignment(old: random.matrix(100, 8), new: random.matrix(100, 12))
        #expect(alignment.residual > 0.9 && alignment.ridge == 1)
        let adapter = try random.adapter(AdapterShape(dimension: 8, rank: 2))
        #expect(try adapter.transported(by: alignment).scoreError > 0.9)
    }

    @Test func fewItemsAreDampedAndStillMeasuredOnOthers() throws {
        var random = RandomCase(seed: Self.seed, 40)
        let turn = try isometry(&random, 16, 16)
        let items = random.matrix(12, 16)
        let alignment = try EmbeddingAlignment(old: items, new: applied(turn, to: items))
        // Nine items fix nine of sixteen directions: fitted without error, and wrong elsewhere.
        #expect(alignment.residual > 0.3)
    }

    @Test func whatIsKeptAndWhatIsDropped() throws {
        var random = RandomCase(seed: Self.seed, 50)
        let items = random.matrix(50, 6)
        let turn = try isometry(&random, 6, 6)
        let alignment = try EmbeddingAlignment(old: items, new: applied(turn, to: items, 2))
        let shape = try AdapterShape(dimension: 6, rank: 2, alpha: 3, scaling: .rankStabilized, hasBias: true)
        let prior = try AdapterPrior(merging: [(random.adapter(shape), 1)], rank: 2)
        var adapter = try LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: 3, stream: 4), startingFrom: prior)
        let untouched = try adapter.transported(by: alignment).adapter
        let start = try #require(untouched.start)
        #expect(start.parameters.withBuffer(\.array) == untouched.values && start.prior == prior.contentHash)
        let feedback = Feedback(embedding: random.numbers(6), signal: .target(random.numbers(6)))
        _ = try adapter.update(with: [feedback], configuration: UpdateConfiguration(optimizer: .momentum()))
        let moved = try adapter.transported(by: alignment).adapter
        #expect(moved.shape == shape && moved.identity == adapter.identity)
        #expect(moved.version == adapter.version + 1 && moved.steps == adapter.steps)
        #expect(adapter.optimizerState != nil && moved.optimizerState == nil && moved.protection == nil)
        let cold = LoRAAdapter(shape: shape, identity: adapter.identity)
        #expect(try cold.transported(by: alignment).scoreError == 0)
        #expect(try cold.transported(by: alignment).adapter.start == nil)
    }

    @Test func whatCannotBeFittedIsRefused() throws {
        var random = RandomCase(seed: Self.seed, 60)
        func refuses(_ code: LoRAError.Code, _ old: Matrix<Float>, _ new: Matrix<Float>) {
            let error = #expect(throws: LoRAError.self) { try EmbeddingAlignment(old: old, new: new) }
            #expect(error?.code == code, "\(error?.description ?? "")")
        }
        let items = random.matrix(20, 4)
        refuses(.shapeMismatch, items, random.matrix(19, 4))
        refuses(.shapeMismatch, random.matrix(9, 4), random.matrix(9, 4))
        refuses(.unsupported, items, Matrix(rows: 20, columns: 0))
        refuses(.unsupported, items, Matrix(rows: 20, columns: 4))
        refuses(.unsupported, Matrix(rows: 20, columns: 4), items)
        refuses(.unsupported, items, Matrix(rows: 20, columns: 8193))
        var broken = items
        broken[3, 1] = .nan
        refuses(.nonFinite, broken, items)
        refuses(.nonFinite, items, broken)
        let alignment = try EmbeddingAlignment(old: items, new: random.matrix(20, 3))
        let other = try random.adapter(AdapterShape(dimension: 5, rank: 2))
        var error = #expect(throws: LoRAError.self) { try other.transported(by: alignment) }
        #expect(error?.code == .shapeMismatch)
        let high = try random.adapter(AdapterShape(dimension: 4, rank: 4))
        error = #expect(throws: LoRAError.self) { try high.transported(by: alignment) }
        #expect(error?.code == .invalidShape)
    }
}
