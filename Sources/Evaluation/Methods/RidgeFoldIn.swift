import TensorCore

/// Ridge regression of a user's likes on the item embeddings: what matrix factorisation with implicit feedback does to
/// fold in a new user, with older likes counting less.
///
/// ```text
/// w = argmin  Σ over likes k of c_k·(1 − w·e_k)² + wᵀ(λI + (ω/n)·EᵀE)w          c_k = βᵃᵍᵉ, the last like's age is 0
///   = (P⁻¹ + Σ c_k e_k e_kᵀ)⁻¹ Σ c_k e_k,   P = (λI + (ω/n)·EᵀE)⁻¹,  E all n items
/// y = w / ‖w‖
/// ```
///
/// With L the liked rows `[k, dimension]`, the push-through identity gives w = P Lᵀ (C⁻¹ + L P Lᵀ)⁻¹ 1: a system of the
/// size of the likes instead of the dimension. One eigendecomposition of EᵀE serves every (ω, λ) of the grid.
///
/// **Source.** Hu, Koren, Volinsky 2008, *Collaborative filtering for implicit feedback datasets*, ICDM, §4, eq. 4,
/// [doi:10.1109/ICDM.2008.22](https://doi.org/10.1109/ICDM.2008.22); ω plays the weight of the items that were not
/// liked.
struct RidgeFoldIn: RankingMethod {
    /// One setting of the grid.
    struct Setting: Sendable {
        /// ω, the weight of the items' covariance.
        let covariance: Double
        /// λ.
        let ridge: Double
        /// β, the weight of a like against the next one's.
        let decay: Double
    }

    /// The settings that are tried on the donors.
    static let grid: [Setting] = [0, 100, 1_000].flatMap { covariance in
        [1, 10, 100].flatMap { ridge in
            [1, 0.9].map { Setting(covariance: covariance, ridge: ridge, decay: $0) }
        }
    }

    private let vectors: Matrix<Float>
    /// E·P, shape `[items, dimension]`.
    private let projected: Matrix<Float>
    let setting: Setting
    /// The query is not used; naming the cheapest keeps the profile from being computed.
    var query: QueryKind? { .last }
    var bytesPerAdapter: Int? { nil }

    /// - Complexity: O(items · dimension²).
    init(vectors: Matrix<Float>, gramian: SymmetricEigendecomposition<Double>, setting: Setting) throws {
        self.vectors = vectors
        self.setting = setting
        projected = try BLAS.product(vectors.view, Self.inverse(gramian, items: vectors.rows, setting).view)
    }

    /// P = V·diag(1 / (λ + (ω/n)·eigenvalue))·Vᵀ, shape `[dimension, dimension]`, rounded to Float.
    private static func inverse(
        _ gramian: SymmetricEigendecomposition<Double>, items: Int, _ setting: Setting
    ) throws -> Matrix<Float> {
        let d = gramian.values.count
        let weight = setting.covariance / Double(max(items, 1))
        var scaled = gramian.vectors
        for k in 0..<d {
            // Rounding may leave a tiny negative eigenvalue.
            let factor = 1 / (setting.ridge + weight * max(0, gramian.values[k]))
            for j in 0..<d { scaled[j, k] *= factor }
        }
        let product = try BLAS.product(scaled.view, gramian.vectors.view.transposed)
        return try Matrix(rows: d, columns: d, elements: product.array.map { Float($0) })
    }

    /// EᵀE, decomposed.
    static func gramian(of vectors: Matrix<Float>) throws -> SymmetricEigendecomposition<Double> {
        var items = Matrix<Double>(rows: vectors.rows, columns: vectors.columns)
        vectors.withSpan { source in
            items.withMutableSpan { target in for i in source.indices { target[i] = Double(source[i]) } }
        }
        return try SymmetricEigendecomposition(BLAS.product(items.view.transposed, items.view).view)
    }

    /// The grid's best setting by NDCG@10 on the donors, with its κ.
    ///
    /// - Parameter kappas: The popularity weights to try; `nil` for the configuration's.
    static func tuned(with tuner: Tuner, owner: String, kappas: [Double]? = nil) async throws -> Tuner.Choice {
        let gramian = try gramian(of: tuner.data.vectors)
        var best: (choice: Tuner.Choice, ndcg10: Double)?
        for setting in grid {
            let method = { try RidgeFoldIn(vectors: tuner.data.vectors, gramian: gramian, setting: setting) }
            let settings = [
                ("omega", setting.covariance), ("lambda", setting.ridge), ("beta", setting.decay),
            ]
            let shown = settings.map { ($0.0, "\($0.1)") }
            let trial = Trial(owner, shown, basis: Trial("ridge", shown).label, ofGrid: kappas != nil)
            let (kappa, value) = try await tuner.bestKappa(trial, among: kappas) { try method() }
            if best == nil || value > (best?.ndcg10 ?? 0) {
                best = (Tuner.Choice(trial: trial, kappa: kappa, settings: settings) { try method() }, value)
            }
        }
        guard let best else { throw DataError(.invalidConfiguration, "no settings to try for ridge") }
        return best.choice
    }

    func ranker(for userID: String, seed: Int) -> any Ranker { RidgeRanker(self) }
    private final class RidgeRanker: Ranker {
        private let method: RidgeFoldIn
        private var likes: [Int] = []
        /// The lower triangle of L P Lᵀ, row by row.
        private var kernel: [Double] = []

        init(_ method: RidgeFoldIn) { self.method = method }

        func observe(item: Int) {
            likes.append(item)
            for other in likes {
                let value = method.vectors.withRow(other) { a in
                    method.projected.withRow(item) { b in a.withBuffer { a in b.withBuffer { Kernels.dot(a, $0) } } }
                }
                kernel.append(Double(value))
            }
        }

        func vector(for query: [Float]) -> [Float] {
            var factor = kernel
            var weights = [Double](repeating: 1, count: likes.count)
            var age = 1.0
            for i in likes.indices.reversed() {
                factor[i * (i + 1) / 2 + i] += 1 / age
                age *= method.setting.decay
            }
            Self.solve(&factor, &weights)
            return AlignedStorage<Float>(count: method.vectors.columns).withBuffer { w in
                for (item, weight) in zip(likes, weights) {
                    method.projected.withRow(item) { row in row.withBuffer { Kernels.axpy(Float(weight), $0, to: w) } }
                }
                let norm = max(Kernels.squaredNorm(w).squareRoot(), 1e-12)
                return w.array.map { $0 / norm }
            }
        }

        /// x ← A⁻¹x by Cholesky's factorisation of a positive definite A, of which `a` is the lower triangle, row by
        /// row. Pivots are at least 1 here: the matrix is C⁻¹ ≥ I plus a positive semidefinite one.
        private static func solve(_ a: inout [Double], _ x: inout [Double]) {
            for i in x.indices {
                let row = i * (i + 1) / 2
                for j in 0...i {
                    let other = j * (j + 1) / 2
                    var sum = a[row + j]
                    for k in 0..<j { sum -= a[row + k] * a[other + k] }
                    a[row + j] = i == j ? max(sum, 1).squareRoot() : sum / a[other + j]
                }
                for j in 0..<i { x[i] -= a[row + j] * x[j] }
                x[i] /= a[row + i]
            }
            for i in x.indices.reversed() {
                let row = i * (i + 1) / 2
                x[i] /= a[row + i]
                for j in 0..<i { x[j] -= a[row + j] * x[i] }
            }
        }
    }
}
