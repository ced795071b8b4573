/// Level 1 and 2 of the Basic Linear Algebra Subprograms, over vectors, matrices and views.
///
/// Inputs are views with any strides; outputs are whole vectors and matrices. A view keeps the memory as it was, so an
/// output may also be among the inputs. Single-threaded (``BLASConfiguration``). NaN and infinity propagate, except that a
/// zero `alpha` or `beta` means "do not look": `beta = 0` overwrites an output whatever it held.
///
/// Sums are taken in an order that depends on the processor: results agree between machines to rounding, not to the bit.
///
/// **Source.** Lawson et al. 1979, Dongarra et al. 1988 and 1990 (ACM TOMS 5, 14, 16); routine names are theirs.
package enum BLAS {
    /// The inner product Σ xᵢ·yᵢ; zero for no elements. Not conjugated, not compensated.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`).
    package static func dot<E: BLASScalar>(_ x: VectorView<E>, _ y: VectorView<E>) throws(TensorError) -> E {
        guard x.count == y.count else { throw .shapeMismatch("dot", expected: [x.count], actual: [y.count]) }
        guard x.count > 0 else { return 0 }
        let n = try blasSize(x.count, "dot")
        BLASConfiguration.prepare()
        let (x, y) = (BLASVector(x), BLASVector(y))
        return unsafe x.withPointer { xp in
            unsafe y.withPointer { yp in unsafe E.cblasDot(n, xp, x.stride, yp, y.stride) }
        }
    }

    /// y ← alpha·x + y.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`); `y` is then unchanged.
    package static func axpy<E: BLASScalar>(_ alpha: E, _ x: VectorView<E>, _ y: inout Vector<E>) throws(TensorError) {
        guard x.count == y.count else { throw .shapeMismatch("axpy", expected: [y.count], actual: [x.count]) }
        guard x.count > 0, alpha != 0 else { return }
        let n = try blasSize(x.count, "axpy")
        BLASConfiguration.prepare()
        let x = BLASVector(x)
        unsafe x.withPointer { xp in
            unsafe y.withMutablePointer { yp in unsafe E.cblasAxpy(n, alpha, xp, x.stride, yp) }
        }
    }

    /// x ← alpha·x; a zero `alpha` sets zeros, also where x is NaN (OpenBLAS versions differ there).
    package static func scal<E: BLASScalar>(_ alpha: E, _ x: inout Vector<E>) throws(TensorError) {
        let n = try blasSize(x.count, "scal")
        BLASConfiguration.prepare()
        unsafe x.withMutablePointer { xp in
            if alpha == 0 {
                unsafe xp.update(repeating: 0, count: Int(n))
            } else {
                unsafe E.cblasScal(n, alpha, xp)
            }
        }
    }

    /// The Euclidean norm, without overflow on the way.
    package static func nrm2<E: BLASScalar>(_ x: VectorView<E>) throws(TensorError) -> E {
        guard x.count > 0 else { return 0 }
        let n = try blasSize(x.count, "nrm2")
        BLASConfiguration.prepare()
        // BLAS returns 0 for a negative stride here; the order does not matter.
        let x = BLASVector(x.stride < 0 ? x.reversed : x)
        return unsafe x.withPointer { xp in unsafe E.cblasNrm2(n, xp, x.stride) }
    }

    /// The sum of magnitudes.
    package static func asum<E: BLASScalar>(_ x: VectorView<E>) throws(TensorError) -> E {
        guard x.count > 0 else { return 0 }
        let n = try blasSize(x.count, "asum")
        BLASConfiguration.prepare()
        let x = BLASVector(x.stride < 0 ? x.reversed : x)
        return unsafe x.withPointer { xp in unsafe E.cblasAsum(n, xp, x.stride) }
    }

    /// The first index of the element with the largest magnitude; `nil` for no elements. Unspecified when one is NaN.
    package static func iamax<E: BLASScalar>(_ x: VectorView<E>) throws(TensorError) -> Int? {
        guard x.count > 0 else { return nil }
        let n = try blasSize(x.count, "iamax")
        BLASConfiguration.prepare()
        // Backwards the first of equals would be the last; a copy keeps the order.
        let x = BLASVector(x.stride < 0 ? x.copied().view : x)
        return unsafe x.withPointer { xp in unsafe E.cblasIamax(n, xp, x.stride) }
    }
}

extension BLAS {
    /// y ← alpha·A·x + beta·y, with A of shape `[rows, columns]`; pass `a.transposed` for Aᵀ.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`); `y` is then unchanged.
    package static func gemv<E: BLASScalar>(
        _ alpha: E, _ a: MatrixView<E>, _ x: VectorView<E>, _ beta: E, _ y: inout Vector<E>
    ) throws(TensorError) {
        guard a.columns == x.count else { throw .shapeMismatch("gemv, x", expected: [a.columns], actual: [x.count]) }
        guard a.rows == y.count else { throw .shapeMismatch("gemv, y", expected: [a.rows], actual: [y.count]) }
        let (rows, columns) = (try blasSize(a.rows, "gemv"), try blasSize(a.columns, "gemv"))
        // BLAS leaves y alone, unscaled, when A has no columns; and not every version clears NaN at beta = 0.
        if beta != 1 && (beta == 0 || columns == 0 || alpha == 0) { try scal(beta, &y) }
        guard rows > 0, columns > 0, alpha != 0 else { return }
        BLASConfiguration.prepare()
        let (a, x) = (BLASOperand(a), BLASVector(x))
        // The sizes that BLAS gets are those of A as it lies in memory.
        let (m, n) = a.isTransposed ? (columns, rows) : (rows, columns)
        unsafe a.withPointer { ap in
            unsafe x.withPointer { xp in
                unsafe y.withMutablePointer { yp in
                    unsafe E.cblasGemv(a.isTransposed, m, n, alpha, ap, a.stride, xp, x.stride, beta, yp)
                }
            }
        }
    }

    /// A ← alpha·x·yᵀ + A, with A of shape `[x.count, y.count]`.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`); `a` is then unchanged.
    package static func ger<E: BLASScalar>(
        _ alpha: E, _ x: VectorView<E>, _ y: VectorView<E>, _ a: inout Matrix<E>
    ) throws(TensorError) {
        guard a.rows == x.count, a.columns == y.count else {
            throw .shapeMismatch("ger", expected: [x.count, y.count], actual: [a.rows, a.columns])
        }
        let (m, n) = (try blasSize(x.count, "ger"), try blasSize(y.count, "ger"))
        guard m > 0, n > 0, alpha != 0 else { return }
        BLASConfiguration.prepare()
        let (x, y) = (BLASVector(x), BLASVector(y))
        unsafe x.withPointer { xp in
            unsafe y.withPointer { yp in
                unsafe a.withMutablePointer { ap in
                    unsafe E.cblasGer(m, n, alpha, xp, x.stride, yp, y.stride, ap, n)
                }
            }
        }
    }
}
