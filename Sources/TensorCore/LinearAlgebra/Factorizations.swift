// Dense factorisations through LAPACKE. Inputs are views with any strides and are copied; sizes may be zero. A NaN or
// infinity in an input is refused, since LAPACK's answer to one is anything, an endless loop included. Sums are taken in
// an order that depends on the processor.

/// A = Q·R with orthonormal columns in Q and an upper-triangular R whose diagonal is not negative, which makes both unique
/// for a matrix of full rank.
package struct QRFactorization<E: BLASScalar>: Sendable {
    /// Shape `[m, min(m, n)]`, orthonormal columns.
    package let q: Matrix<E>
    /// Shape `[min(m, n), n]`, upper triangular (trapezoidal).
    package let r: Matrix<E>

    /// The thin factorisation of `a`, shape `[m, n]`; Householder reflections (`geqrf`, `orgqr`).
    ///
    /// - Throws: ``TensorError`` (`invalidArgument`: an element is NaN or infinite, or a size exceeds 32 bits).
    /// - Complexity: O(m · n · min(m, n)).
    package init(_ a: MatrixView<E>) throws(TensorError) {
        let operation = "QR"
        let (rows, columns, k) = (a.rows, a.columns, min(a.rows, a.columns))
        let (m, n) = (try blasSize(rows, operation), try blasSize(columns, operation))
        var factors = try finiteCopy(a, operation)
        var q = Matrix<E>(rows: rows, columns: k)
        var r = Matrix<E>(rows: k, columns: columns)
        guard k > 0 else {
            (self.q, self.r) = (q, r)
            return
        }
        BLASConfiguration.prepare()
        var tau = Vector<E>(count: k)
        var status: Int32 = 0
        unsafe factors.withMutablePointer { fp in
            unsafe tau.withMutablePointer { tp in status = unsafe E.lapackGeqrf(m, n, fp, tp) }
        }
        try checkArguments(status, operation)
        for i in 0..<rows { for j in 0..<min(k, i + 1) { q[i, j] = factors[i, j] } }
        for i in 0..<k { for j in i..<columns { r[i, j] = factors[i, j] } }
        unsafe q.withMutablePointer { qp in
            unsafe tau.withMutablePointer { tp in status = unsafe E.lapackOrgqr(m, Int32(k), qp, tp) }
        }
        try checkArguments(status, operation)
        for i in 0..<k where r[i, i] < 0 {
            for j in i..<columns { r[i, j] = -r[i, j] }
            for j in 0..<rows { q[j, i] = -q[j, i] }
        }
        (self.q, self.r) = (q, r)
    }
}

/// A = U·diag(s)·Vᵀ with orthonormal columns in U and rows in Vᵀ. The signs of each pair of vectors are LAPACK's choice.
package struct SingularValueDecomposition<E: BLASScalar>: Sendable {
    /// Shape `[m, min(m, n)]`, orthonormal columns.
    package let u: Matrix<E>
    /// The singular values, largest first, not negative.
    package let values: Vector<E>
    /// Shape `[min(m, n), n]`, orthonormal rows.
    package let vTransposed: Matrix<E>

    /// The thin decomposition of `a`, shape `[m, n]`; divide and conquer (`gesdd`).
    ///
    /// - Throws: ``TensorError``: `invalidArgument` (an element is NaN or infinite, or a size exceeds 32 bits);
    ///   `notConverged`.
    /// - Complexity: O(m · n · min(m, n)).
    package init(_ a: MatrixView<E>) throws(TensorError) {
        let operation = "SVD"
        let k = min(a.rows, a.columns)
        let (m, n) = (try blasSize(a.rows, operation), try blasSize(a.columns, operation))
        var copy = try finiteCopy(a, operation)
        var (u, values) = (Matrix<E>(rows: a.rows, columns: k), Vector<E>(count: k))
        var vTransposed = Matrix<E>(rows: k, columns: a.columns)
        if k > 0 {
            BLASConfiguration.prepare()
            var status: Int32 = 0
            unsafe copy.withMutablePointer { ap in
                unsafe values.withMutablePointer { sp in
                    unsafe u.withMutablePointer { up in
                        unsafe vTransposed.withMutablePointer { vp in
                            status = unsafe E.lapackGesdd(m, n, ap, sp, up, vp)
                        }
                    }
                }
            }
            try checkArguments(status, operation)
            guard status == 0 else {
                throw TensorError(.notConverged, operation, "the singular values did not converge (step \(status))")
            }
        }
        (self.u, self.values, self.vTransposed) = (u, values, vTransposed)
    }
}

/// A = L·Lᵀ of a symmetric, positive definite matrix.
package struct CholeskyFactorization<E: BLASScalar>: Sendable {
    /// L, shape `[n, n]`, lower triangular with zeros above.
    package let lower: Matrix<E>

    /// The factorisation of `a`, shape `[n, n]`, of which only the lower triangle is read (`potrf`).
    ///
    /// - Throws: ``TensorError``: `shapeMismatch` (not square); `invalidArgument` (an element is NaN or infinite, or a size
    ///   exceeds 32 bits); `notPositiveDefinite`, naming the pivot.
    /// - Complexity: O(n³).
    package init(_ a: MatrixView<E>) throws(TensorError) {
        let operation = "Cholesky"
        let n = try squareSize(a, operation)
        var lower = try finiteCopy(a, operation)
        if n > 0 {
            BLASConfiguration.prepare()
            var status: Int32 = 0
            unsafe lower.withMutablePointer { ap in status = unsafe E.lapackPotrf(n, ap) }
            try checkArguments(status, operation)
            guard status == 0 else {
                throw TensorError(
                    .notPositiveDefinite, operation,
                    "pivot \(status - 1) of \(n) (counting from 0) is not positive; add to the diagonal")
            }
        }
        for i in 0..<a.rows { for j in i + 1..<max(a.rows, i + 1) { lower[i, j] = 0 } }
        self.lower = lower
    }

    /// X with A·X = B, shape as `b`: `[n, any]` (`potrs`).
    ///
    /// - Throws: ``TensorError``: `shapeMismatch`; `invalidArgument` (an element is NaN or infinite).
    /// - Complexity: O(n² · b.columns).
    package func solve(_ b: MatrixView<E>) throws(TensorError) -> Matrix<E> {
        let operation = "Cholesky.solve"
        guard b.rows == lower.rows else {
            throw .shapeMismatch(operation, expected: [lower.rows, b.columns], actual: [b.rows, b.columns])
        }
        let (n, count) = (try blasSize(b.rows, operation), try blasSize(b.columns, operation))
        var x = try finiteCopy(b, operation)
        guard n > 0, count > 0 else { return x }
        BLASConfiguration.prepare()
        var status: Int32 = 0
        let factor = BLASOperand(lower.view)
        unsafe factor.withPointer { ap in
            unsafe x.withMutablePointer { xp in status = unsafe E.lapackPotrs(n, count, ap, xp) }
        }
        try checkArguments(status, operation)
        return x
    }

    /// x with A·x = b; as for a matrix.
    package func solve(_ b: VectorView<E>) throws(TensorError) -> Vector<E> {
        let column = MatrixView(
            storage: b.storage, offset: b.offset, rows: b.count, columns: 1, rowStride: b.stride, columnStride: 1)
        return try solve(column).view.column(0).copied()
    }
}

/// A = V·diag(w)·Vᵀ of a symmetric matrix.
package struct SymmetricEigendecomposition<E: BLASScalar>: Sendable {
    /// The eigenvalues, smallest first.
    package let values: Vector<E>
    /// V, shape `[n, n]`: column j belongs to value j. Orthonormal; signs are LAPACK's choice.
    package let vectors: Matrix<E>

    /// The decomposition of `a`, shape `[n, n]`, of which only the lower triangle is read (`syevd`).
    ///
    /// - Throws: ``TensorError``: `shapeMismatch` (not square); `invalidArgument` (an element is NaN or infinite, or a size
    ///   exceeds 32 bits); `notConverged`.
    /// - Complexity: O(n³).
    package init(_ a: MatrixView<E>) throws(TensorError) {
        let operation = "symmetric eigenvalues"
        let n = try squareSize(a, operation)
        var (vectors, values) = (try finiteCopy(a, operation), Vector<E>(count: a.rows))
        if n > 0 {
            BLASConfiguration.prepare()
            var status: Int32 = 0
            unsafe vectors.withMutablePointer { ap in
                unsafe values.withMutablePointer { wp in status = unsafe E.lapackSyevd(n, ap, wp) }
            }
            try checkArguments(status, operation)
            guard status == 0 else {
                throw TensorError(.notConverged, operation, "the eigenvalues did not converge (step \(status))")
            }
        }
        (self.values, self.vectors) = (values, vectors)
    }
}

/// Least squares.
package enum LeastSquares {
    /// X that minimises ‖A·X − B‖ column by column; of several the one of least norm (only when `a` has fewer rows than
    /// columns). Singular values decide the rank (`gelsd`).
    ///
    /// - Parameters:
    ///   - a: Shape `[m, n]`, of full rank.
    ///   - b: Shape `[m, count]`.
    /// - Returns: Shape `[n, count]`.
    /// - Throws: ``TensorError``: `shapeMismatch`; `invalidArgument` (an element is NaN or infinite, or a size exceeds
    ///   32 bits); `rankDeficient`, naming the rank found: singular values below `max(m, n)` ULPs of the largest count as
    ///   zero; `notConverged`.
    /// - Complexity: O(m · n · min(m, n)).
    package static func solve<E: BLASScalar>(
        _ a: MatrixView<E>, _ b: MatrixView<E>
    ) throws(TensorError) -> Matrix<E> {
        let operation = "least squares"
        guard a.rows == b.rows else {
            throw .shapeMismatch(operation, expected: [a.rows, b.columns], actual: [b.rows, b.columns])
        }
        let (m, n) = (try blasSize(a.rows, operation), try blasSize(a.columns, operation))
        let count = try blasSize(b.columns, operation)
        var copy = try finiteCopy(a, operation)
        let right = try finiteCopy(b, operation)
        guard m > 0, n > 0, count > 0 else { return Matrix<E>(rows: a.columns, columns: b.columns) }
        // B comes in and X goes out through one matrix, as tall as the taller.
        var x = Matrix<E>(rows: max(a.rows, a.columns), columns: b.columns)
        for i in 0..<b.rows { for j in 0..<b.columns { x[i, j] = right[i, j] } }
        var singularValues = Vector<E>(count: min(a.rows, a.columns))
        var (rank, status): (Int32, Int32) = (0, 0)
        let tolerance = E.ulpOfOne * E(max(a.rows, a.columns))
        BLASConfiguration.prepare()
        unsafe copy.withMutablePointer { ap in
            unsafe x.withMutablePointer { xp in
                unsafe singularValues.withMutablePointer { sp in
                    status = unsafe E.lapackGelsd(m, n, count, ap, xp, sp, tolerance, &rank)
                }
            }
        }
        try checkArguments(status, operation)
        guard status == 0 else {
            throw TensorError(.notConverged, operation, "the singular values did not converge (step \(status))")
        }
        guard rank == min(m, n) else {
            throw TensorError(
                .rankDeficient, operation,
                "the [\(m), \(n)] matrix has rank \(rank); drop dependent columns or add a ridge term")
        }
        return x.view.block(rows: 0..<a.columns, columns: 0..<b.columns).copied()
    }

    /// x that minimises ‖A·x − b‖; as for a matrix.
    package static func solve<E: BLASScalar>(
        _ a: MatrixView<E>, _ b: VectorView<E>
    ) throws(TensorError) -> Vector<E> {
        let column = MatrixView(
            storage: b.storage, offset: b.offset, rows: b.count, columns: 1, rowStride: b.stride, columnStride: 1)
        return try solve(a, column).view.column(0).copied()
    }
}

/// A contiguous copy, all of whose elements are finite.
private func finiteCopy<E: BLASScalar>(_ a: MatrixView<E>, _ operation: String) throws(TensorError) -> Matrix<E> {
    let copy = a.copied()
    let bad = copy.withSpan { span in span.indices.first { !span[$0].isFinite } }
    if let bad {
        throw TensorError(
            .invalidArgument, operation, "element (\(bad / a.columns), \(bad % a.columns)) is NaN or infinite")
    }
    return copy
}

private func squareSize<E: BLASScalar>(_ a: MatrixView<E>, _ operation: String) throws(TensorError) -> Int32 {
    guard a.rows == a.columns else {
        throw .shapeMismatch(operation, expected: [a.rows, a.rows], actual: [a.rows, a.columns])
    }
    return try blasSize(a.rows, operation)
}

/// A negative status names an argument that LAPACK refused, or −1010 and below: no memory for its workspace.
private func checkArguments(_ status: Int32, _ operation: String) throws(TensorError) {
    guard status >= 0 else {
        let reason = status <= -1010 ? "no memory for LAPACK's workspace" : "LAPACK refused argument \(-status)"
        throw TensorError(.invalidArgument, operation, reason)
    }
}
