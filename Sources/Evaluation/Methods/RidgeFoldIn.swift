import TensorCore

/// Ridge regression of a user's likes on the item embeddings: what matrix factorisation with implicit feedback does to fold in
/// a new user, with older likes counting less.
///
/// ```text
/// w = argmin  Σ over likes k of c_k·(1 − w·e_k)² + wᵀ(λI + (ω/n)·EᵀE)w          c_k = βᵃᵍᵉ, the last like's age is 0
///   = (P⁻¹ + Σ c_k e_k e_kᵀ)⁻¹ Σ c_k e_k,   P = (λI + (ω/n)·EᵀE)⁻¹,  E all n items
/// y = w / ‖w‖
/// ```
///
/// With L the liked rows `[k, dimension]`, the push-through identity gives w = P Lᵀ (C⁻¹ + L P Lᵀ)⁻¹ 1: a system of the size of
/// the likes instead of the dimension. In the eigenbasis of EᵀE the matrix P is diagonal, so that one decomposition serves every
/// (ω, λ, β) of the grid.
///
/// **Source.** Hu, Koren, Volinsky 2008, *Collaborative filtering for implicit feedback datasets*, ICDM, §4, eq. 4,
/// [doi:10.1109/ICDM.2008.22](https://doi.org/10.1109/ICDM.2008.22); ω plays the weight of the items that were not liked.
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

    let basis: Basis
    let setting: Setting
    /// The query is not used; naming the cheapest keeps the profile from being computed.
    var query: QueryKind? { .last }

    /// The grid's best setting by NDCG@10 on the donors, with its κ.
    static func tuned(with tuner: Tuner) async throws -> Tuner.Choice {
        let basis = try Basis(vectors: tuner.data.vectors)
        var best: (choice: Tuner.Choice, ndcg10: Double)?
        for setting in grid {
            let method = RidgeFoldIn(basis: basis, setting: setting)
            let label = "ridge, omega \(setting.covariance), lambda \(setting.ridge), beta \(setting.decay)"
            let (kappa, value) = try await tuner.bestKappa(of: method, label: label)
            if best == nil || value > (best?.ndcg10 ?? 0) {
                let settings = [
                    ("omega", setting.covariance), ("lambda", setting.ridge), ("beta", setting.decay),
                ]
                best = (Tuner.Choice(method: method, kappa: kappa, settings: settings), value)
            }
        }
        guard let best else { throw DataError(.invalidConfiguration, "no settings to try for ridge") }
        return best.choice
    }

    func ranker(for userID: String, seed: Int) -> any Ranker { RidgeRanker(self) }
}

extension RidgeFoldIn {
    /// EᵀE in its eigenbasis, and the items in it.
    struct Basis: Sendable {
        /// The eigenvalues of EᵀE, none negative; shape `[dimension]`.
        let eigenvalues: [Double]
        /// The number of items.
        let itemCount: Int
        /// The eigenvectors as columns, shape `[dimension, dimension]`.
        private let eigenvectors: Matrix<Double>
        /// The items in the eigenbasis, shape `[items, dimension]`.
        private let rotated: Matrix<Double>

        /// - Complexity: O(items · dimension² + dimension³).
        init(vectors: Matrix<Float>) throws {
            var items = Matrix<Double>(rows: vectors.rows, columns: vectors.columns)
            vectors.withSpan { source in
                items.withMutableSpan { target in for i in source.indices { target[i] = Double(source[i]) } }
            }
            let gramian = try BLAS.product(items.view.transposed, items.view)
            let decomposition = try SymmetricEigendecomposition(gramian.view)
            eigenvalues = decomposition.values.array.map { max(0, $0) }
            eigenvectors = decomposition.vectors
            itemCount = vectors.rows
            rotated = try BLAS.product(items.view, decomposition.vectors.view)
        }

        /// An item's embedding in the eigenbasis, shape `[dimension]`.
        func rotated(item: Int) -> [Double] { rotated.row(item) }

        /// A vector of the eigenbasis in the embeddings' coordinates, divided by its length.
        func unrotated(_ vector: [Double]) throws -> [Float] {
            let result = try BLAS.product(eigenvectors.view, Vector(vector).view).array
            var squares = 0.0
            for value in result { squares += value * value }
            let norm = max(squares.squareRoot(), 1e-12)
            return result.map { Float($0 / norm) }
        }
    }

    private final class RidgeRanker: Ranker {
        private let basis: Basis
        private let decay: Double
        /// The diagonal of P in the eigenbasis.
        private let inverse: [Double]
        /// The liked items in the eigenbasis, one after another, oldest first.
        private var likes: [Double] = []
        private var count = 0
        /// The lower triangle of L P Lᵀ, row by row.
        private var kernel: [Double] = []

        init(_ method: RidgeFoldIn) {
            basis = method.basis
            decay = method.setting.decay
            let covariance = method.setting.covariance / Double(max(basis.itemCount, 1))
            inverse = basis.eigenvalues.map { 1 / (covariance * $0 + method.setting.ridge) }
        }

        func observe(item: Int) {
            let like = basis.rotated(item: item)
            let d = like.count
            likes += like
            count += 1
            for other in 0..<count {
                var sum = 0.0
                for k in 0..<d { sum += likes[other * d + k] * inverse[k] * like[k] }
                kernel.append(sum)
            }
        }

        func vector(for query: [Float]) throws -> [Float] {
            var factor = kernel
            var weights = [Double](repeating: 1, count: count)
            var age = 1.0
            for i in (0..<count).reversed() {
                factor[i * (i + 1) / 2 + i] += 1 / age
                age *= decay
            }
            Self.solve(&factor, &weights)
            let d = inverse.count
            var w = [Double](repeating: 0, count: d)
            for i in 0..<count { for k in 0..<d { w[k] += weights[i] * likes[i * d + k] } }
            for k in 0..<d { w[k] *= inverse[k] }
            return try basis.unrotated(w)
        }

        /// x ← A⁻¹x by Cholesky's factorisation of a positive definite A, of which `a` is the lower triangle, row by row.
        /// Pivots are at least 1 here: the matrix is C⁻¹ ≥ I plus a positive semidefinite one.
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
