extension BLAS {
    /// C ← alpha·A·B + beta·C; pass transposed views for transposed factors.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`); `c` is then unchanged.
    /// - Complexity: O(rows · columns · inner); copies a factor only when neither of its strides is one.
    package static func gemm<E: BLASScalar>(
        _ alpha: E, _ a: MatrixView<E>, _ b: MatrixView<E>, _ beta: E, _ c: inout Matrix<E>
    ) throws(TensorError) {
        guard a.columns == b.rows else {
            throw .shapeMismatch("gemm, inner dimensions", expected: [a.columns], actual: [b.rows])
        }
        guard c.rows == a.rows, c.columns == b.columns else {
            throw .shapeMismatch("gemm, c", expected: [a.rows, b.columns], actual: [c.rows, c.columns])
        }
        let (m, n, k) = (
            try blasSize(a.rows, "gemm"), try blasSize(b.columns, "gemm"), try blasSize(a.columns, "gemm")
        )
        guard m > 0, n > 0 else { return }
        guard k > 0, alpha != 0 else { return scale(&c, by: beta) }
        BLASConfiguration.prepare()
        let (a, b) = (BLASOperand(a), BLASOperand(b))
        unsafe a.withPointer { ap in
            unsafe b.withPointer { bp in
                unsafe c.withMutablePointer { cp in
                    unsafe E.cblasGemm(
                        a.isTransposed, b.isTransposed, m, n, k, alpha, ap, a.stride, bp, b.stride, beta, cp, n)
                }
            }
        }
    }

    /// A·B, shape `[a.rows, b.columns]`.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`).
    package static func product<E: BLASScalar>(
        _ a: MatrixView<E>, _ b: MatrixView<E>
    ) throws(TensorError) -> Matrix<E> {
        var c = Matrix<E>(rows: a.rows, columns: b.columns)
        try gemm(1, a, b, 0, &c)
        return c
    }

    /// A·x, length `a.rows`.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`).
    package static func product<E: BLASScalar>(
        _ a: MatrixView<E>, _ x: VectorView<E>
    ) throws(TensorError) -> Vector<E> {
        var y = Vector<E>(count: a.rows)
        try gemv(1, a, x, 0, &y)
        return y
    }

    /// C ← alpha·A·Aᵀ + beta·C with a symmetric C, of which the upper triangle is read; both triangles are written.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`); `c` is then unchanged.
    /// - Complexity: Half of ``gemm(_:_:_:_:_:)``'s.
    package static func syrk<E: BLASScalar>(
        _ alpha: E, _ a: MatrixView<E>, _ beta: E, _ c: inout Matrix<E>
    ) throws(TensorError) {
        guard c.rows == a.rows, c.columns == a.rows else {
            throw .shapeMismatch("syrk", expected: [a.rows, a.rows], actual: [c.rows, c.columns])
        }
        let (n, k) = (try blasSize(a.rows, "syrk"), try blasSize(a.columns, "syrk"))
        guard n > 0 else { return }
        if k == 0 || alpha == 0 {
            scale(&c, by: beta)
        } else {
            BLASConfiguration.prepare()
            let a = BLASOperand(a)
            unsafe a.withPointer { ap in
                unsafe c.withMutablePointer { cp in
                    unsafe E.cblasSyrk(a.isTransposed, n, k, alpha, ap, a.stride, beta, cp, n)
                }
            }
        }
        let count = c.rows
        c.withMutableSpan { span in
            for i in 1..<max(count, 1) { for j in 0..<i { span[i * count + j] = span[j * count + i] } }
        }
    }

    /// Which triangle of a matrix holds the numbers; the other is not read.
    package enum Triangle: Sendable { case lower, upper }

    /// On which side of the unknown the triangular matrix stands.
    package enum Side: Sendable { case left, right }

    /// B ← X with A·X = B (`left`) or X·A = B (`right`), A triangular.
    ///
    /// - Parameters:
    ///   - a: Square, shape `[n, n]`. For Aᵀ pass `a.transposed` and the triangle of that.
    ///   - triangle: The triangle of `a` to read.
    ///   - unitDiagonal: Takes the diagonal as ones without reading it.
    ///   - b: `[n, any]` on the left, `[any, n]` on the right.
    /// - Throws: ``TensorError``: `shapeMismatch`; `invalidArgument` naming the first zero on the diagonal. `b` is then
    ///   unchanged.
    package static func trsm<E: BLASScalar>(
        _ side: Side, _ triangle: Triangle, unitDiagonal: Bool = false, _ a: MatrixView<E>, _ b: inout Matrix<E>
    ) throws(TensorError) {
        guard a.rows == a.columns else {
            throw .shapeMismatch("trsm, a", expected: [a.rows, a.rows], actual: [a.rows, a.columns])
        }
        guard (side == .left ? b.rows : b.columns) == a.rows else {
            let expected = side == .left ? [a.rows, b.columns] : [b.rows, a.rows]
            throw .shapeMismatch("trsm, b", expected: expected, actual: [b.rows, b.columns])
        }
        if !unitDiagonal, let zero = (0..<a.rows).first(where: { a[$0, $0] == 0 }) {
            throw TensorError(.invalidArgument, "trsm", "the matrix is singular: element (\(zero), \(zero)) is zero")
        }
        let (m, n) = (try blasSize(b.rows, "trsm"), try blasSize(b.columns, "trsm"))
        guard m > 0, n > 0 else { return }
        BLASConfiguration.prepare()
        let a = BLASOperand(a)
        // BLAS names the triangle as it lies in memory.
        let upper = (triangle == .upper) != a.isTransposed
        unsafe a.withPointer { ap in
            unsafe b.withMutablePointer { bp in
                unsafe E.cblasTrsm(side == .left, upper, a.isTransposed, unitDiagonal, m, n, ap, a.stride, bp, n)
            }
        }
    }

    private static func scale<E: BLASScalar>(_ c: inout Matrix<E>, by beta: E) {
        guard beta != 1 else { return }
        c.withMutableSpan { span in
            for i in span.indices { span[i] = beta == 0 ? 0 : beta * span[i] }
        }
    }
}
