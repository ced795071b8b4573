import TestSupport
import Testing

@testable import TensorCore

struct BLASTests {
    static func generator(_ stream: Int) -> PhiloxGenerator {
        PhiloxGenerator(seed: 77, stream: UInt64(stream), purpose: .simulation)
    }

    @Test(arguments: VectorKind.allCases, VectorKind.allCases)
    func levelOneAgreesWithNaiveLoops(x: VectorKind, y: VectorKind) throws {
        func check<E: BLASScalar>(_: E.Type, _ n: Int) throws {
            var generator = Self.generator(n)
            let xs: VectorView<E> = x.view(n, &generator)
            let ys: VectorView<E> = y.view(n, &generator)
            let (xr, yr) = (Reference(xs), Reference(ys))
            let one = Reference(([1] as Vector<E>).view)

            let dot: Vector<E> = [try BLAS.dot(xs, ys)]
            expectProduct(dot.columnView, 1, xr.transposed, yr, 0, one)
            var sum = ys.copied()
            try BLAS.axpy(-2.5, xs, &sum)
            expectProduct(sum.columnView, -2.5, xr, one, 1, yr)
            var scaled = xs.copied()
            try BLAS.scal(3, &scaled)
            expectProduct(scaled.columnView, 3, xr, one, 0, xr)

            // n + 8 half ULPs, as above: all terms are positive.
            let tolerance = Double(n + 8) * Double(E.ulpOfOne) / 2
            let squares = xr.elements.reduce(0) { $0 + $1 * $1 }
            #expect(abs(Double(try BLAS.nrm2(xs)) - squares.squareRoot()) <= tolerance * squares.squareRoot())
            let magnitudes = xr.elements.reduce(0) { $0 + $1.magnitude }
            #expect(abs(Double(try BLAS.asum(xs)) - magnitudes) <= tolerance * magnitudes)
            let largest = xr.elements.map(\.magnitude).max()
            #expect(try BLAS.iamax(xs) == largest.flatMap { l in xr.elements.firstIndex { $0.magnitude == l } })
        }
        for n in testedSizes {
            try check(Float.self, n)
            try check(Double.self, n)
        }
    }

    @Test func iamaxGivesTheFirstOfEquals() throws {
        let view = ([1, -3, 2, 3, 3] as Vector<Float>).view
        #expect(try BLAS.iamax(view) == 1)
        #expect(try BLAS.iamax(view.reversed) == 0)
    }

    @Test func nrm2DoesNotOverflow() throws {
        let large = try BLAS.nrm2(([3e200, 4e200] as Vector<Double>).view)
        #expect(abs(large - 5e200) <= 2 * (5e200).ulp)
        let largeFloat = try BLAS.nrm2(([3e30, 4e30] as Vector<Float>).view.reversed)
        #expect(abs(largeFloat - 5e30) <= 2 * (5e30 as Float).ulp)
    }

    @Test(arguments: MatrixKind.allCases, VectorKind.allCases)
    func matrixTimesVectorAgreesWithNaiveLoops(a: MatrixKind, x: VectorKind) throws {
        func check<E: BLASScalar>(_: E.Type, _ m: Int, _ n: Int) throws {
            var generator = Self.generator(100 * m + n)
            let av: MatrixView<E> = a.view(m, n, &generator)
            let xv: VectorView<E> = x.view(n, &generator)
            let y0: Vector<E> = VectorKind.contiguous.view(m, &generator).copied()
            for (alpha, beta) in [(1, 0), (-1.5, 1), (2, -0.5), (0, 2), (0, 0)] as [(E, E)] {
                var y = y0
                try BLAS.gemv(alpha, av, xv, beta, &y)
                expectProduct(
                    y.columnView, Double(alpha), Reference(av), Reference(xv), Double(beta), Reference(y0.view))
            }
            // The outer product, of the same shapes.
            let left: VectorView<E> = y0.view
            var c = av.copied()
            try BLAS.ger(-0.5, left, xv, &c)
            expectProduct(c.view, -0.5, Reference(left), Reference(xv).transposed, 1, Reference(av))
        }
        for m in testedSizes {
            for n in testedSizes where m * n < 5000 || a == .block {
                try check(Float.self, m, n)
                try check(Double.self, m, n)
            }
        }
    }

    static let triples = [
        (1, 1, 1), (2, 2, 2), (3, 2, 127), (31, 127, 3), (127, 31, 2), (1, 127, 31), (31, 1, 127), (31, 31, 31),
        (0, 3, 2),
        (3, 0, 2), (2, 3, 0), (0, 0, 0), (127, 3, 1), (1, 3, 2), (3, 1, 2),
    ]

    @Test(arguments: MatrixKind.allCases, MatrixKind.allCases)
    func matrixProductAgreesWithNaiveLoops(a: MatrixKind, b: MatrixKind) throws {
        func check<E: BLASScalar>(_: E.Type, _ m: Int, _ n: Int, _ k: Int) throws {
            var generator = Self.generator(m + 1000 * n + 1_000_000 * k)
            let av: MatrixView<E> = a.view(m, k, &generator)
            let bv: MatrixView<E> = b.view(k, n, &generator)
            let c0: Matrix<E> = MatrixKind.contiguous.view(m, n, &generator).copied()
            for (alpha, beta) in (m * n * k < 100_000 ? [(1, 0), (-1.5, 1), (2, -0.5), (0, 3)] : [(2, -0.5)])
                as [(E, E)]
            {
                var c = c0
                try BLAS.gemm(alpha, av, bv, beta, &c)
                expectProduct(c.view, Double(alpha), Reference(av), Reference(bv), Double(beta), Reference(c0.view))
            }
        }
        for (m, n, k) in Self.triples where m * n * k <= underSanitizer(1_000, otherwise: .max) {
            try check(Float.self, m, n, k)
            try check(Double.self, m, n, k)
        }
        let large = underSanitizer(17, otherwise: 127)
        if a == b || a == .transposed && b == .contiguous { try check(Float.self, large, large, large) }
    }

    @Test(arguments: MatrixKind.allCases)
    func symmetricProductAgreesWithNaiveLoops(a: MatrixKind) throws {
        func check<E: BLASScalar>(_: E.Type, _ n: Int, _ k: Int) throws {
            var generator = Self.generator(n + 1000 * k)
            let av: MatrixView<E> = a.view(n, k, &generator)
            let g: MatrixView<E> = MatrixKind.contiguous.view(n, n, &generator)
            var c0 = Matrix<E>(rows: n, columns: n)
            for i in 0..<n { for j in 0..<n { c0[i, j] = g[i, j] + g[j, i] } }
            for (alpha, beta) in [(1, 0), (-1.5, 1), (2, -0.5), (0, 3)] as [(E, E)] {
                var c = c0
                try BLAS.syrk(alpha, av, beta, &c)
                let reference = Reference(av)
                expectProduct(c.view, Double(alpha), reference, reference.transposed, Double(beta), Reference(c0.view))
                #expect(c.view.transposed.copied() == c)
            }
        }
        for n in [0, 1, 2, 3, underSanitizer(17, otherwise: 31)] {
            for k in testedSizes {
                try check(Float.self, n, k)
                try check(Double.self, n, k)
            }
        }
        try check(Double.self, underSanitizer(37, otherwise: 127), 3)
    }

    @Test(arguments: MatrixKind.allCases, [BLAS.Triangle.lower, .upper])
    func triangularSystemsAreSolved(kind: MatrixKind, triangle: BLAS.Triangle) throws {
        func check<E: BLASScalar>(_: E.Type, _ n: Int, _ count: Int, _ side: BLAS.Side, unit: Bool) throws {
            var generator = Self.generator(n + 1000 * count)
            // Small off the diagonal, so that the system is well conditioned; the other triangle is NaN: it must not be read.
            var storage = Matrix<E>(rows: n, columns: n)
            storage.withMutableSpan { generator.fillNormal(&$0, standardDeviation: 0.5 / Double(max(n, 1))) }
            for i in 0..<n {
                storage[i, i] = unit ? .nan : 2 + storage[i, i]
                for j in 0..<n where triangle == .lower ? j > i : j < i { storage[i, j] = .nan }
            }
            let view: MatrixView<E> = kind.view(n, n, &generator)
            var backing = Matrix<E>(rows: 1, columns: view.storage.count)
            func index(_ i: Int, _ j: Int) -> Int { view.offset + i * view.rowStride + j * view.columnStride }
            for i in 0..<n { for j in 0..<n { backing[0, index(i, j)] = storage[i, j] } }
            let a = MatrixView(
                storage: backing.view.storage, offset: view.offset, rows: n, columns: n, rowStride: view.rowStride,
                columnStride: view.columnStride)
            let b: Matrix<E> =
                (side == .left
                ? MatrixKind.contiguous.view(n, count, &generator) : MatrixKind.contiguous.view(count, n, &generator))
                .copied()
            var x = b
            try BLAS.trsm(side, triangle, unitDiagonal: unit, a, &x)
            var t = Reference(a)
            for i in 0..<n {
                for j in 0..<n where storage[i, j].isNaN { t.elements[i * n + j] = unit && i == j ? 1 : 0 }
            }
            // Backward stable: A·x reproduces b to a few ULPs of the magnitudes.
            let product = side == .left ? (t, Reference(x.view)) : (Reference(x.view), t)
            let expected = Reference(b.view)
            let scale = 4 * max(expected.elements.map(\.magnitude).max() ?? 0, 1) * Double(n + 8) * Double(E.ulpOfOne)
            for i in 0..<expected.rows {
                for j in 0..<expected.columns {
                    let sum = (0..<n).reduce(0.0) { $0 + product.0[i, $1] * product.1[$1, j] }
                    if !(abs(sum - expected[i, j]) <= scale) {
                        Issue.record("\(E.self) n \(n) count \(count) \(side) unit \(unit): (\(i), \(j))")
                        return
                    }
                }
            }
        }
        for (n, count) in [(0, 3), (1, 1), (2, 0), (2, 3), (3, 31), (31, 2), (underSanitizer(37, otherwise: 127), 1)] {
            for side in [BLAS.Side.left, .right] {
                for unit in [false, true] {
                    try check(Float.self, n, count, side, unit: unit)
                    try check(Double.self, n, count, side, unit: unit)
                }
            }
        }
    }

    @Test func aZeroBetaOverwritesNaN() throws {
        let a = try Matrix<Double>(rows: [[1, 2], [3, 4]])
        var c = try Matrix<Double>(rows: [[.nan, .infinity], [.nan, .nan]])
        try BLAS.gemm(1, a.view, a.view, 0, &c)
        #expect(try c == Matrix(rows: [[7, 10], [15, 22]]))
        c[0, 0] = .nan
        try BLAS.gemm(0, a.view, a.view, 0, &c)
        #expect(c == Matrix(rows: 2, columns: 2))
        c[0, 0] = .nan
        try BLAS.syrk(1, a.view, 0, &c)
        #expect(try c == Matrix(rows: [[5, 11], [11, 25]]))
        var y: Vector<Double> = [.nan, .infinity]
        try BLAS.gemv(1, a.view, ([1, 1] as Vector<Double>).view, 0, &y)
        #expect(y == [3, 7])
        y[0] = .nan
        try BLAS.gemv(1, Matrix<Double>(rows: 2, columns: 0).view, Vector<Double>(count: 0).view, 0, &y)
        #expect(y == [0, 0])
        y[0] = .nan
        try BLAS.scal(0, &y)
        #expect(y == [0, 0])
    }

    @Test func nanInAFactorReachesTheResult() throws {
        let a = try Matrix<Float>(rows: [[.nan, 0], [1, 1]])
        #expect(try BLAS.product(a.view, a.view)[0, 0].isNaN)
        #expect(try BLAS.product(a.view, ([0, 0] as Vector<Float>).view)[0].isNaN)
    }

    @Test func anOutputMayBeAmongTheInputs() throws {
        var a = try Matrix<Double>(rows: [[1, 2], [3, 4]])
        try BLAS.gemm(1, a.view.transposed, a.view, 0, &a)
        #expect(try a == Matrix(rows: [[10, 14], [14, 20]]))
        var x: Vector<Double> = [1, 2]
        try BLAS.gemv(1, a.view, x.view.reversed, 1, &x)
        #expect(x == [35, 50])
    }

    @Test func refusesShapesThatDisagreeAndChangesNothing() throws {
        let a = Matrix<Float>(rows: 2, columns: 3)
        let x = Vector<Float>([1, 2])
        var y = Vector<Float>([1, 2])
        var c = try Matrix<Float>(rows: [[1, 2], [3, 4]])
        let (y0, c0) = (y, c)
        #expect(tensorErrorOf { _ = try BLAS.dot(x.view, a.view.row(0)) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.axpy(1, a.view.row(0), &y) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.gemv(1, a.view, x.view, 0, &y) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.gemv(1, a.view.transposed, x.view, 0, &y) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.ger(1, x.view, a.view.row(0), &c) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.gemm(1, a.view, a.view, 0, &c) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.gemm(1, a.view.transposed, a.view, 0, &c) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.syrk(1, a.view.transposed, 0, &c) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { try BLAS.trsm(.left, .lower, a.view, &c) }?.code == .shapeMismatch)
        #expect(
            tensorErrorOf { try BLAS.trsm(.left, .lower, Matrix<Float>(rows: 3, columns: 3).view, &c) }?.code
                == .shapeMismatch)
        let singular = tensorErrorOf { try BLAS.trsm(.left, .lower, Matrix<Float>(rows: 2, columns: 2).view, &c) }
        #expect(singular?.code == .invalidArgument)
        #expect(singular?.message.contains("(0, 0)") == true)
        #expect(y == y0 && c == c0)
    }

    @Test func runsOnOneThreadAndSaysWhatItIs() throws {
        _ = try BLAS.dot(([1] as Vector<Float>).view, ([1] as Vector<Float>).view)
        let configuration = BLASConfiguration.current
        #expect(configuration.threads == 1)
        #expect(configuration.library.contains("OpenBLAS"))
        #expect(!configuration.core.isEmpty)
    }
}
