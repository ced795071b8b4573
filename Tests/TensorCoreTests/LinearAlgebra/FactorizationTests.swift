import Testing

@testable import TensorCore

/// Checked by reconstruction and orthogonality. Tolerance: 10 · max(m, n) ULPs of one, times the largest column sum of the
/// matrix where it is one of scale; the algorithms' own bounds are of this form with modest constants.
struct FactorizationTests {
    static let shapes = [
        (0, 0), (0, 3), (3, 0), (1, 1), (1, 3), (3, 1), (2, 2), (3, 3), (31, 3), (3, 31), (31, 31), (127, 31),
        (31, 127), (127, 127),
    ]

    static func random<E: BLASScalar>(_ kind: MatrixKind, _ m: Int, _ n: Int, stream: UInt64 = 1) -> MatrixView<E> {
        var generator = PhiloxGenerator(seed: 99, stream: stream, purpose: .simulation)
        return kind.view(m, n, &generator)
    }

    /// The largest difference of two matrices of equal shape.
    static func distance<E: BLASScalar>(_ a: MatrixView<E>, _ b: MatrixView<E>) -> Double {
        guard a.rows == b.rows, a.columns == b.columns else { return .infinity }
        var largest = 0.0
        for i in 0..<a.rows {
            for j in 0..<a.columns {
                let difference = abs(Double(a[i, j]) - Double(b[i, j]))
                if !(difference <= largest) { largest = difference.isNaN ? .infinity : difference }
            }
        }
        return largest
    }

    static func identity<E: BLASScalar>(_ n: Int, _: E.Type) -> Matrix<E> {
        var result = Matrix<E>(rows: n, columns: n)
        for i in 0..<n { result[i, i] = 1 }
        return result
    }

    static func tolerance<E: BLASScalar>(_ a: MatrixView<E>) -> Double {
        let sums = (0..<a.columns).map { j in (0..<a.rows).reduce(0.0) { $0 + Double(a[$1, j].magnitude) } }
        return 10 * Double(max(a.rows, a.columns, 1)) * Double(E.ulpOfOne) * max(sums.max() ?? 0, 1)
    }

    static func orthogonality<E: BLASScalar>(_: E.Type, _ n: Int) -> Double {
        10 * Double(max(n, 1)) * Double(E.ulpOfOne)
    }

    @Test(arguments: shapes, [MatrixKind.contiguous, .transposedBlock, .reversed])
    func qrReconstructs(shape: (Int, Int), kind: MatrixKind) throws {
        func check<E: BLASScalar>(_: E.Type) throws {
            let a: MatrixView<E> = Self.random(kind, shape.0, shape.1)
            let (k, qr) = (min(shape.0, shape.1), try QRFactorization(a))
            #expect([qr.q.rows, qr.q.columns, qr.r.rows, qr.r.columns] == [shape.0, k, k, shape.1])
            #expect(try Self.distance(BLAS.product(qr.q.view, qr.r.view).view, a) <= Self.tolerance(a))
            let gram = try BLAS.product(qr.q.view.transposed, qr.q.view)
            #expect(Self.distance(gram.view, Self.identity(k, E.self).view) <= Self.orthogonality(E.self, shape.0))
            for i in 0..<k {
                #expect(qr.r[i, i] >= 0)
                #expect((0..<i).allSatisfy { qr.r[i, $0] == 0 })
            }
        }
        try check(Float.self)
        try check(Double.self)
    }

    @Test(arguments: shapes, [MatrixKind.contiguous, .transposedBlock, .strided])
    func svdReconstructs(shape: (Int, Int), kind: MatrixKind) throws {
        func check<E: BLASScalar>(_: E.Type) throws {
            let a: MatrixView<E> = Self.random(kind, shape.0, shape.1)
            let (k, svd) = (min(shape.0, shape.1), try SingularValueDecomposition(a))
            #expect(svd.values.count == k && svd.u.columns == k && svd.vTransposed.rows == k)
            var scaled = svd.u
            for i in 0..<shape.0 { for j in 0..<k { scaled[i, j] *= svd.values[j] } }
            #expect(try Self.distance(BLAS.product(scaled.view, svd.vTransposed.view).view, a) <= Self.tolerance(a))
            let (left, right) = (
                try BLAS.product(svd.u.view.transposed, svd.u.view),
                try BLAS.product(svd.vTransposed.view, svd.vTransposed.view.transposed)
            )
            let identity = Self.identity(k, E.self)
            #expect(Self.distance(left.view, identity.view) <= Self.orthogonality(E.self, shape.0))
            #expect(Self.distance(right.view, identity.view) <= Self.orthogonality(E.self, shape.1))
            #expect(zip(svd.values.array, svd.values.array.dropFirst()).allSatisfy { $0 >= $1 })
            #expect(svd.values.array.allSatisfy { $0 >= 0 })
        }
        try check(Float.self)
        try check(Double.self)
    }

    @Test func svdFindsKnownValues() throws {
        let a = try Matrix<Double>(rows: [[3, 0], [4, 5]])
        let values = try SingularValueDecomposition(a.view).values
        #expect(abs(values[0] - 45.0.squareRoot()) < 1e-14)
        #expect(abs(values[1] - 5.0.squareRoot()) < 1e-14)
    }

    /// G·Gᵀ + n·1, well conditioned.
    static func positive<E: BLASScalar>(_ n: Int) throws -> Matrix<E> {
        let g: MatrixView<E> = random(.contiguous, n, n, stream: 2)
        var a = identity(n, E.self)
        try BLAS.syrk(1, g, E(n), &a)
        return a
    }

    @Test(arguments: testedSizes)
    func choleskyReconstructsAndSolves(n: Int) throws {
        func check<E: BLASScalar>(_: E.Type) throws {
            let a: Matrix<E> = try Self.positive(n)
            // The upper triangle is not to be read.
            var lowerOnly = a
            for i in 0..<n { for j in i + 1..<max(n, i + 1) { lowerOnly[i, j] = 1e30 } }
            let factor = try CholeskyFactorization(lowerOnly.view)
            for i in 0..<n { #expect((i + 1..<max(n, i + 1)).allSatisfy { factor.lower[i, $0] == 0 }) }
            #expect(
                try Self.distance(BLAS.product(factor.lower.view, factor.lower.view.transposed).view, a.view)
                    <= Self.tolerance(a.view))
            let b: MatrixView<E> = Self.random(.transposedBlock, n, 3, stream: 3)
            let x = try factor.solve(b)
            #expect(try Self.distance(BLAS.product(a.view, x.view).view, b) <= Self.tolerance(a.view))
            for j in 0..<3 {
                #expect(
                    try Self.distance(
                        factor.solve(b.column(j)).columnView, x.view.block(rows: 0..<n, columns: j..<j + 1)) < 1e-5)
            }
            #expect(try factor.solve(b.column(0).reversed).count == n)
            #expect(try factor.solve(Matrix<E>(rows: n, columns: 0).view).columns == 0)
        }
        try check(Float.self)
        try check(Double.self)
    }

    @Test func choleskyNamesThePivot() throws {
        var a = Self.identity(5, Double.self)
        a[3, 3] = -1
        let error = tensorErrorOf { _ = try CholeskyFactorization(a.view) }
        #expect(error?.code == .notPositiveDefinite)
        #expect(error?.message.contains("pivot 3 of 5") == true)
    }

    @Test(arguments: testedSizes)
    func symmetricEigenvectorsDiagonalise(n: Int) throws {
        func check<E: BLASScalar>(_: E.Type) throws {
            let g: MatrixView<E> = Self.random(.contiguous, n, n, stream: 4)
            var a = Matrix<E>(rows: n, columns: n)
            for i in 0..<n { for j in 0..<n { a[i, j] = g[i, j] + g[j, i] } }
            // A symmetric matrix may come transposed or backwards.
            for view in [a.view, a.view.transposed] {
                let eigen = try SymmetricEigendecomposition(view)
                var scaled = eigen.vectors
                for i in 0..<n { for j in 0..<n { scaled[i, j] *= eigen.values[j] } }
                #expect(
                    try Self.distance(BLAS.product(scaled.view, eigen.vectors.view.transposed).view, a.view)
                        <= Self.tolerance(a.view))
                let gram = try BLAS.product(eigen.vectors.view.transposed, eigen.vectors.view)
                #expect(Self.distance(gram.view, Self.identity(n, E.self).view) <= Self.orthogonality(E.self, n))
                #expect(zip(eigen.values.array, eigen.values.array.dropFirst()).allSatisfy { $0 <= $1 })
            }
        }
        try check(Float.self)
        try check(Double.self)
    }

    @Test(arguments: [(0, 0), (0, 2), (2, 0), (1, 1), (3, 2), (2, 3), (31, 3), (127, 31), (31, 127)])
    func leastSquaresSatisfiesTheNormalEquations(m: Int, n: Int) throws {
        func check<E: BLASScalar>(_: E.Type) throws {
            let a: MatrixView<E> = Self.random(.transposedBlock, m, n, stream: 5)
            let b: MatrixView<E> = Self.random(.strided, m, 3, stream: 6)
            let x = try LeastSquares.solve(a, b)
            #expect([x.rows, x.columns] == [n, 3])
            var residual = b.copied()
            try BLAS.gemm(1, a, x.view, -1, &residual)
            let gradient = try BLAS.product(a.transposed, residual.view)
            #expect(Self.distance(gradient.view, Matrix<E>(rows: n, columns: 3).view) <= 10 * Self.tolerance(a))
            if m < n {
                // The least norm: x lies in the row space, so x = Aᵀ·(A·Aᵀ)⁻¹·b.
                let gram = try BLAS.product(a, a.transposed)
                let least = try BLAS.product(a.transposed, CholeskyFactorization(gram.view).solve(b).view)
                #expect(Self.distance(x.view, least.view) <= 10 * Self.tolerance(a))
            }
            for j in 0..<3 {
                let column = try LeastSquares.solve(a, b.column(j))
                #expect(
                    Self.distance(column.columnView, x.view.block(rows: 0..<n, columns: j..<j + 1)) <= Self.tolerance(a)
                )
            }
        }
        try check(Float.self)
        try check(Double.self)
    }

    @Test func leastSquaresNamesTheRank() throws {
        let a = try Matrix<Double>(rows: [[1, 2, 3], [2, 4, 1], [3, 6, 2], [1, 2, 5]])
        let error = tensorErrorOf { _ = try LeastSquares.solve(a.view, Vector<Double>(count: 4).view) }
        #expect(error?.code == .rankDeficient)
        #expect(error?.message.contains("rank 2") == true)
    }

    @Test(arguments: [Double.nan, .infinity, -.infinity])
    func refusesWhatIsNotFinite(value: Double) throws {
        var a = Self.identity(3, Double.self)
        a[1, 2] = value
        let good = Self.identity(3, Double.self)
        let errors = [
            tensorErrorOf { _ = try QRFactorization(a.view) },
            tensorErrorOf { _ = try SingularValueDecomposition(a.view) },
            tensorErrorOf { _ = try CholeskyFactorization(a.view) },
            tensorErrorOf { _ = try SymmetricEigendecomposition(a.view) },
            tensorErrorOf { _ = try LeastSquares.solve(a.view, good.view) },
            tensorErrorOf { _ = try LeastSquares.solve(good.view, a.view) },
            tensorErrorOf { _ = try CholeskyFactorization(good.view).solve(a.view) },
        ]
        for error in errors {
            #expect(error?.code == .invalidArgument)
            #expect(error?.message.contains("(1, 2)") == true)
        }
    }

    @Test func refusesMatricesThatAreNotSquare() {
        let a = Matrix<Float>(rows: 2, columns: 3)
        #expect(tensorErrorOf { _ = try CholeskyFactorization(a.view) }?.code == .shapeMismatch)
        #expect(tensorErrorOf { _ = try SymmetricEigendecomposition(a.view) }?.code == .shapeMismatch)
        #expect(
            tensorErrorOf { _ = try LeastSquares.solve(a.view, Vector<Float>(count: 3).view) }?.code == .shapeMismatch)
    }
}
