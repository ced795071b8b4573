internal import CLapacke
internal import COpenBLAS

/// An element type for which BLAS and LAPACK have routines.
///
/// The requirements are those routines, row-major, with sizes already checked; ``BLAS`` and the factorisations are what to
/// call. `aT` and the like say that an operand lies transposed in memory.
package protocol BLASScalar: TensorScalar {
    static func cblasDot(
        _ n: Int32, _ x: UnsafePointer<Self>, _ xStride: Int32, _ y: UnsafePointer<Self>, _ yStride: Int32
    ) -> Self
    static func cblasAxpy(
        _ n: Int32, _ alpha: Self, _ x: UnsafePointer<Self>, _ xStride: Int32, _ y: UnsafeMutablePointer<Self>)
    static func cblasScal(_ n: Int32, _ alpha: Self, _ x: UnsafeMutablePointer<Self>)
    static func cblasNrm2(_ n: Int32, _ x: UnsafePointer<Self>, _ xStride: Int32) -> Self
    static func cblasAsum(_ n: Int32, _ x: UnsafePointer<Self>, _ xStride: Int32) -> Self
    static func cblasIamax(_ n: Int32, _ x: UnsafePointer<Self>, _ xStride: Int32) -> Int
    static func cblasGemv(
        _ aT: Bool, _ m: Int32, _ n: Int32, _ alpha: Self, _ a: UnsafePointer<Self>, _ aStride: Int32,
        _ x: UnsafePointer<Self>, _ xStride: Int32, _ beta: Self, _ y: UnsafeMutablePointer<Self>)
    static func cblasGer(
        _ m: Int32, _ n: Int32, _ alpha: Self, _ x: UnsafePointer<Self>, _ xStride: Int32, _ y: UnsafePointer<Self>,
        _ yStride: Int32, _ a: UnsafeMutablePointer<Self>, _ aStride: Int32)
    static func cblasGemm(
        _ aT: Bool, _ bT: Bool, _ m: Int32, _ n: Int32, _ k: Int32, _ alpha: Self, _ a: UnsafePointer<Self>,
        _ aStride: Int32, _ b: UnsafePointer<Self>, _ bStride: Int32, _ beta: Self, _ c: UnsafeMutablePointer<Self>,
        _ cStride: Int32)
    static func cblasSyrk(
        _ aT: Bool, _ n: Int32, _ k: Int32, _ alpha: Self, _ a: UnsafePointer<Self>, _ aStride: Int32, _ beta: Self,
        _ c: UnsafeMutablePointer<Self>, _ cStride: Int32)
    static func cblasTrsm(
        _ left: Bool, _ upper: Bool, _ aT: Bool, _ unitDiagonal: Bool, _ m: Int32, _ n: Int32,
        _ a: UnsafePointer<Self>, _ aStride: Int32, _ b: UnsafeMutablePointer<Self>, _ bStride: Int32)

    static func lapackGeqrf(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Self>, _ tau: UnsafeMutablePointer<Self>
    ) -> Int32
    static func lapackOrgqr(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Self>, _ tau: UnsafePointer<Self>
    ) -> Int32
    static func lapackGesdd(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Self>, _ s: UnsafeMutablePointer<Self>,
        _ u: UnsafeMutablePointer<Self>, _ vt: UnsafeMutablePointer<Self>
    ) -> Int32
    static func lapackPotrf(_ n: Int32, _ a: UnsafeMutablePointer<Self>) -> Int32
    static func lapackPotrs(
        _ n: Int32, _ count: Int32, _ a: UnsafePointer<Self>, _ b: UnsafeMutablePointer<Self>
    ) -> Int32
    static func lapackSyevd(_ n: Int32, _ a: UnsafeMutablePointer<Self>, _ w: UnsafeMutablePointer<Self>) -> Int32
    static func lapackGelsd(
        _ m: Int32, _ n: Int32, _ count: Int32, _ a: UnsafeMutablePointer<Self>, _ b: UnsafeMutablePointer<Self>,
        _ s: UnsafeMutablePointer<Self>, _ tolerance: Self, _ rank: UnsafeMutablePointer<Int32>
    ) -> Int32
}

private func transposition(_ transposed: Bool) -> CBLAS_TRANSPOSE { transposed ? CblasTrans : CblasNoTrans }

// The two extensions below differ in the letter s or d only.

extension Float: BLASScalar {
    package static func cblasDot(
        _ n: Int32, _ x: UnsafePointer<Float>, _ xStride: Int32, _ y: UnsafePointer<Float>, _ yStride: Int32
    ) -> Float {
        unsafe cblas_sdot(n, x, xStride, y, yStride)
    }
    package static func cblasAxpy(
        _ n: Int32, _ alpha: Float, _ x: UnsafePointer<Float>, _ xStride: Int32, _ y: UnsafeMutablePointer<Float>
    ) {
        unsafe cblas_saxpy(n, alpha, x, xStride, y, 1)
    }
    package static func cblasScal(_ n: Int32, _ alpha: Float, _ x: UnsafeMutablePointer<Float>) {
        unsafe cblas_sscal(n, alpha, x, 1)
    }
    package static func cblasNrm2(_ n: Int32, _ x: UnsafePointer<Float>, _ xStride: Int32) -> Float {
        unsafe cblas_snrm2(n, x, xStride)
    }
    package static func cblasAsum(_ n: Int32, _ x: UnsafePointer<Float>, _ xStride: Int32) -> Float {
        unsafe cblas_sasum(n, x, xStride)
    }
    package static func cblasIamax(_ n: Int32, _ x: UnsafePointer<Float>, _ xStride: Int32) -> Int {
        Int(unsafe cblas_isamax(n, x, xStride))
    }
    package static func cblasGemv(
        _ aT: Bool, _ m: Int32, _ n: Int32, _ alpha: Float, _ a: UnsafePointer<Float>, _ aStride: Int32,
        _ x: UnsafePointer<Float>, _ xStride: Int32, _ beta: Float, _ y: UnsafeMutablePointer<Float>
    ) {
        unsafe cblas_sgemv(CblasRowMajor, transposition(aT), m, n, alpha, a, aStride, x, xStride, beta, y, 1)
    }
    package static func cblasGer(
        _ m: Int32, _ n: Int32, _ alpha: Float, _ x: UnsafePointer<Float>, _ xStride: Int32, _ y: UnsafePointer<Float>,
        _ yStride: Int32, _ a: UnsafeMutablePointer<Float>, _ aStride: Int32
    ) {
        unsafe cblas_sger(CblasRowMajor, m, n, alpha, x, xStride, y, yStride, a, aStride)
    }
    package static func cblasGemm(
        _ aT: Bool, _ bT: Bool, _ m: Int32, _ n: Int32, _ k: Int32, _ alpha: Float, _ a: UnsafePointer<Float>,
        _ aStride: Int32, _ b: UnsafePointer<Float>, _ bStride: Int32, _ beta: Float, _ c: UnsafeMutablePointer<Float>,
        _ cStride: Int32
    ) {
        unsafe cblas_sgemm(
            CblasRowMajor, transposition(aT), transposition(bT), m, n, k, alpha, a, aStride, b, bStride, beta, c,
            cStride)
    }
    package static func cblasSyrk(
        _ aT: Bool, _ n: Int32, _ k: Int32, _ alpha: Float, _ a: UnsafePointer<Float>, _ aStride: Int32, _ beta: Float,
        _ c: UnsafeMutablePointer<Float>, _ cStride: Int32
    ) {
        unsafe cblas_ssyrk(
            CblasRowMajor, CblasUpper, transposition(aT), n, k, alpha, a, aStride, beta, c, cStride)
    }
    package static func cblasTrsm(
        _ left: Bool, _ upper: Bool, _ aT: Bool, _ unitDiagonal: Bool, _ m: Int32, _ n: Int32,
        _ a: UnsafePointer<Float>, _ aStride: Int32, _ b: UnsafeMutablePointer<Float>, _ bStride: Int32
    ) {
        unsafe cblas_strsm(
            CblasRowMajor, left ? CblasLeft : CblasRight, upper ? CblasUpper : CblasLower, transposition(aT),
            unitDiagonal ? CblasUnit : CblasNonUnit, m, n, 1, a, aStride, b, bStride)
    }
    package static func lapackGeqrf(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Float>, _ tau: UnsafeMutablePointer<Float>
    ) -> Int32 {
        unsafe LAPACKE_sgeqrf(LAPACK_ROW_MAJOR, m, n, a, n, tau)
    }
    package static func lapackOrgqr(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Float>, _ tau: UnsafePointer<Float>
    ) -> Int32 {
        unsafe LAPACKE_sorgqr(LAPACK_ROW_MAJOR, m, n, n, a, n, tau)
    }
    package static func lapackGesdd(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Float>, _ s: UnsafeMutablePointer<Float>,
        _ u: UnsafeMutablePointer<Float>, _ vt: UnsafeMutablePointer<Float>
    ) -> Int32 {
        unsafe LAPACKE_sgesdd(LAPACK_ROW_MAJOR, CChar(ascii: "S"), m, n, a, n, s, u, min(m, n), vt, n)
    }
    package static func lapackPotrf(_ n: Int32, _ a: UnsafeMutablePointer<Float>) -> Int32 {
        unsafe LAPACKE_spotrf(LAPACK_ROW_MAJOR, CChar(ascii: "L"), n, a, n)
    }
    package static func lapackPotrs(
        _ n: Int32, _ count: Int32, _ a: UnsafePointer<Float>, _ b: UnsafeMutablePointer<Float>
    ) -> Int32 {
        unsafe LAPACKE_spotrs(LAPACK_ROW_MAJOR, CChar(ascii: "L"), n, count, a, n, b, count)
    }
    package static func lapackSyevd(
        _ n: Int32, _ a: UnsafeMutablePointer<Float>, _ w: UnsafeMutablePointer<Float>
    ) -> Int32 {
        unsafe LAPACKE_ssyevd(LAPACK_ROW_MAJOR, CChar(ascii: "V"), CChar(ascii: "L"), n, a, n, w)
    }
    package static func lapackGelsd(
        _ m: Int32, _ n: Int32, _ count: Int32, _ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>,
        _ s: UnsafeMutablePointer<Float>, _ tolerance: Float, _ rank: UnsafeMutablePointer<Int32>
    ) -> Int32 {
        unsafe LAPACKE_sgelsd(LAPACK_ROW_MAJOR, m, n, count, a, n, b, count, s, tolerance, rank)
    }
}

extension Double: BLASScalar {
    package static func cblasDot(
        _ n: Int32, _ x: UnsafePointer<Double>, _ xStride: Int32, _ y: UnsafePointer<Double>, _ yStride: Int32
    ) -> Double {
        unsafe cblas_ddot(n, x, xStride, y, yStride)
    }
    package static func cblasAxpy(
        _ n: Int32, _ alpha: Double, _ x: UnsafePointer<Double>, _ xStride: Int32, _ y: UnsafeMutablePointer<Double>
    ) {
        unsafe cblas_daxpy(n, alpha, x, xStride, y, 1)
    }
    package static func cblasScal(_ n: Int32, _ alpha: Double, _ x: UnsafeMutablePointer<Double>) {
        unsafe cblas_dscal(n, alpha, x, 1)
    }
    package static func cblasNrm2(_ n: Int32, _ x: UnsafePointer<Double>, _ xStride: Int32) -> Double {
        unsafe cblas_dnrm2(n, x, xStride)
    }
    package static func cblasAsum(_ n: Int32, _ x: UnsafePointer<Double>, _ xStride: Int32) -> Double {
        unsafe cblas_dasum(n, x, xStride)
    }
    package static func cblasIamax(_ n: Int32, _ x: UnsafePointer<Double>, _ xStride: Int32) -> Int {
        Int(unsafe cblas_idamax(n, x, xStride))
    }
    package static func cblasGemv(
        _ aT: Bool, _ m: Int32, _ n: Int32, _ alpha: Double, _ a: UnsafePointer<Double>, _ aStride: Int32,
        _ x: UnsafePointer<Double>, _ xStride: Int32, _ beta: Double, _ y: UnsafeMutablePointer<Double>
    ) {
        unsafe cblas_dgemv(CblasRowMajor, transposition(aT), m, n, alpha, a, aStride, x, xStride, beta, y, 1)
    }
    package static func cblasGer(
        _ m: Int32, _ n: Int32, _ alpha: Double, _ x: UnsafePointer<Double>, _ xStride: Int32,
        _ y: UnsafePointer<Double>,
        _ yStride: Int32, _ a: UnsafeMutablePointer<Double>, _ aStride: Int32
    ) {
        unsafe cblas_dger(CblasRowMajor, m, n, alpha, x, xStride, y, yStride, a, aStride)
    }
    package static func cblasGemm(
        _ aT: Bool, _ bT: Bool, _ m: Int32, _ n: Int32, _ k: Int32, _ alpha: Double, _ a: UnsafePointer<Double>,
        _ aStride: Int32, _ b: UnsafePointer<Double>, _ bStride: Int32, _ beta: Double,
        _ c: UnsafeMutablePointer<Double>,
        _ cStride: Int32
    ) {
        unsafe cblas_dgemm(
            CblasRowMajor, transposition(aT), transposition(bT), m, n, k, alpha, a, aStride, b, bStride, beta, c,
            cStride)
    }
    package static func cblasSyrk(
        _ aT: Bool, _ n: Int32, _ k: Int32, _ alpha: Double, _ a: UnsafePointer<Double>, _ aStride: Int32,
        _ beta: Double,
        _ c: UnsafeMutablePointer<Double>, _ cStride: Int32
    ) {
        unsafe cblas_dsyrk(
            CblasRowMajor, CblasUpper, transposition(aT), n, k, alpha, a, aStride, beta, c, cStride)
    }
    package static func cblasTrsm(
        _ left: Bool, _ upper: Bool, _ aT: Bool, _ unitDiagonal: Bool, _ m: Int32, _ n: Int32,
        _ a: UnsafePointer<Double>, _ aStride: Int32, _ b: UnsafeMutablePointer<Double>, _ bStride: Int32
    ) {
        unsafe cblas_dtrsm(
            CblasRowMajor, left ? CblasLeft : CblasRight, upper ? CblasUpper : CblasLower, transposition(aT),
            unitDiagonal ? CblasUnit : CblasNonUnit, m, n, 1, a, aStride, b, bStride)
    }
    package static func lapackGeqrf(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Double>, _ tau: UnsafeMutablePointer<Double>
    ) -> Int32 {
        unsafe LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, m, n, a, n, tau)
    }
    package static func lapackOrgqr(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Double>, _ tau: UnsafePointer<Double>
    ) -> Int32 {
        unsafe LAPACKE_dorgqr(LAPACK_ROW_MAJOR, m, n, n, a, n, tau)
    }
    package static func lapackGesdd(
        _ m: Int32, _ n: Int32, _ a: UnsafeMutablePointer<Double>, _ s: UnsafeMutablePointer<Double>,
        _ u: UnsafeMutablePointer<Double>, _ vt: UnsafeMutablePointer<Double>
    ) -> Int32 {
        unsafe LAPACKE_dgesdd(LAPACK_ROW_MAJOR, CChar(ascii: "S"), m, n, a, n, s, u, min(m, n), vt, n)
    }
    package static func lapackPotrf(_ n: Int32, _ a: UnsafeMutablePointer<Double>) -> Int32 {
        unsafe LAPACKE_dpotrf(LAPACK_ROW_MAJOR, CChar(ascii: "L"), n, a, n)
    }
    package static func lapackPotrs(
        _ n: Int32, _ count: Int32, _ a: UnsafePointer<Double>, _ b: UnsafeMutablePointer<Double>
    ) -> Int32 {
        unsafe LAPACKE_dpotrs(LAPACK_ROW_MAJOR, CChar(ascii: "L"), n, count, a, n, b, count)
    }
    package static func lapackSyevd(
        _ n: Int32, _ a: UnsafeMutablePointer<Double>, _ w: UnsafeMutablePointer<Double>
    ) -> Int32 {
        unsafe LAPACKE_dsyevd(LAPACK_ROW_MAJOR, CChar(ascii: "V"), CChar(ascii: "L"), n, a, n, w)
    }
    package static func lapackGelsd(
        _ m: Int32, _ n: Int32, _ count: Int32, _ a: UnsafeMutablePointer<Double>, _ b: UnsafeMutablePointer<Double>,
        _ s: UnsafeMutablePointer<Double>, _ tolerance: Double, _ rank: UnsafeMutablePointer<Int32>
    ) -> Int32 {
        unsafe LAPACKE_dgelsd(LAPACK_ROW_MAJOR, m, n, count, a, n, b, count, s, tolerance, rank)
    }
}

extension CChar {
    fileprivate init(ascii scalar: Unicode.Scalar) { self = CChar(bitPattern: UInt8(ascii: scalar)) }
}
