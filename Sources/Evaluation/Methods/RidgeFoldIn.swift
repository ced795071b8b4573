import TensorCore

/// Ridge regression of a user's likes on the item embeddings: what matrix factorisation with implicit feedback does to fold in
/// a new user.
///
/// ```text
/// w = argmin  a·Σ over all items (w·e)² + Σ over liked items (1 − w·e)² + λ‖w‖²
///   = (a·EᵀE + Σ e eᵀ + λI)⁻¹ Σ e                         sums over the liked items
/// ```
///
/// With P = (a·EᵀE + λI)⁻¹ and L the liked rows `[k, dimension]`, the push-through identity gives
/// w = P Lᵀ (I + L P Lᵀ)⁻¹ 1: a system of size k that grows by one row per like, whose Cholesky factor is extended instead of
/// solved anew. In the eigenbasis of EᵀE the matrix P is diagonal, so that every (a, λ) of the grid shares one
/// decomposition.
///
/// **Source.** Hu, Koren, Volinsky 2008, *Collaborative filtering for implicit feedback datasets*, ICDM, §4, eq. 4,
/// [doi:10.1109/ICDM.2008.22](https://doi.org/10.1109/ICDM.2008.22).
struct RidgeFoldIn: RankingMethod {
    /// EᵀE in its eigenbasis, and the items in it.
    final class Basis: Sendable {
        let dimension: Int
        /// The eigenvalues of EᵀE, none negative; shape `[dimension]`.
        let eigenvalues: [Double]
        /// The eigenvectors as rows, shape `[dimension, dimension]`, row-major.
        let eigenvectors: [Double]
        private let vectors: Matrix<Float>

        init(vectors: Matrix<Float>) throws {
            self.vectors = vectors
            let d = vectors.columns
            dimension = d
            (eigenvalues, eigenvectors) = try Self.decomposition(ofGramian: vectors)
        }

        /// An item's embedding in the eigenbasis, shape `[dimension]`.
        func rotated(item: Int) -> [Double] {
            vectors.withRow(item) { row in
                (0..<dimension).map { k in
                    var sum = 0.0
                    for j in 0..<dimension { sum += eigenvectors[k * dimension + j] * Double(row[j]) }
                    return sum
                }
            }
        }

        /// A vector of the eigenbasis in the embeddings' coordinates.
        func unrotated(_ vector: [Double]) -> [Float] {
            var result = [Double](repeating: 0, count: dimension)
            for k in 0..<dimension {
                let value = vector[k]
                for j in 0..<dimension { result[j] += value * eigenvectors[k * dimension + j] }
            }
            return result.map { Float($0) }
        }
    }

    /// The settings that are tried on the donors: the weight of what was not liked, and the ridge.
    static let grid: [(unliked: Double, ridge: Double)] = [0, 0.001, 0.01, 0.1, 1].flatMap { a in
        [0.1, 1, 10, 100].map { (a, $0) }
    }

    let basis: Basis
    /// a, the weight of the items that were not liked.
    let unliked: Double
    /// λ.
    let ridge: Double
    /// The last-like query is not used; naming one keeps the profile from being computed.
    var query: QueryKind? { .last }

    /// The grid's best setting by NDCG@10 on the donors, with its κ.
    static func tuned(with tuner: Tuner) async throws -> Tuner.Choice {
        let basis = try Basis(vectors: tuner.data.vectors)
        var best: (choice: Tuner.Choice, ndcg10: Double)?
        for (a, ridge) in grid {
            let method = RidgeFoldIn(basis: basis, unliked: a, ridge: ridge)
            let (kappa, value) = try await tuner.bestKappa(of: method, label: "ridge, a \(a), lambda \(ridge)")
            if best == nil || value > (best?.ndcg10 ?? 0) {
                best = (Tuner.Choice(method: method, kappa: kappa, settings: [("a", a), ("lambda", ridge)]), value)
            }
        }
        guard let best else { throw DataError(.invalidConfiguration, "no settings to try for ridge") }
        return best.choice
    }

    func ranker(for userID: String, seed: Int) -> any Ranker { RidgeRanker(self) }

    private final class RidgeRanker: Ranker {
        private let basis: Basis
        /// The diagonal of P in the eigenbasis.
        private let inverse: [Double]
        private var likes: [[Double]] = []
        /// The rows of the Cholesky factor C of I + L P Lᵀ, row i of length i + 1.
        private var factor: [[Double]] = []
        /// z with C z = 1.
        private var forward: [Double] = []

        init(_ method: RidgeFoldIn) {
            basis = method.basis
            inverse = method.basis.eigenvalues.map { 1 / (method.unliked * $0 + method.ridge) }
        }

        func observe(item: Int) {
            let like = basis.rotated(item: item)
            let scaled = zip(like, inverse).map { $0 * $1 }
            var row: [Double] = []
            for (i, other) in likes.enumerated() {
                var value = Self.dot(other, scaled)
                for j in 0..<i { value -= row[j] * factor[i][j] }
                row.append(value / factor[i][i])
            }
            // The pivot is at least 1 in exact arithmetic: the matrix is I plus a positive semidefinite one.
            row.append(max(1 + Self.dot(like, scaled) - Self.dot(row, row), 1).squareRoot())
            forward.append((1 - Self.dot(row, forward)) / row[likes.count])
            likes.append(like)
            factor.append(row)
        }

        func vector(for query: [Float]) -> [Float] {
            // Cᵀ c = z, from the last row up.
            var c = forward
            for i in c.indices.reversed() {
                c[i] /= factor[i][i]
                for j in 0..<i { c[j] -= factor[i][j] * c[i] }
            }
            var w = [Double](repeating: 0, count: basis.dimension)
            for (i, like) in likes.enumerated() { for k in w.indices { w[k] += c[i] * like[k] } }
            for k in w.indices { w[k] *= inverse[k] }
            return basis.unrotated(w)
        }

        /// Σ aᵢbᵢ over the shorter of the two.
        private static func dot(_ a: [Double], _ b: [Double]) -> Double {
            var sum = 0.0
            for k in 0..<min(a.count, b.count) { sum += a[k] * b[k] }
            return sum
        }
    }
}

extension RidgeFoldIn.Basis {
    /// The eigenvalues (negative ones, from rounding, set to zero) and eigenvectors (as rows) of EᵀE.
    fileprivate static func decomposition(
        ofGramian vectors: Matrix<Float>
    ) throws -> (values: [Double], vectors: [Double]) {
        // TEMPORARY until TensorCore's symmetric eigenvalues are merged: Jacobi's rotations.
        let d = vectors.columns
        var g = [Double](repeating: 0, count: d * d)
        for i in 0..<vectors.rows {
            let e = vectors.row(i).map { Double($0) }
            for j in 0..<d { for k in 0..<d { g[j * d + k] += e[j] * e[k] } }
        }
        var v = [Double](repeating: 0, count: d * d)
        for j in 0..<d { v[j * d + j] = 1 }
        for _ in 0..<12 {
            for p in 0..<(d - 1) {
                for q in (p + 1)..<d where abs(g[p * d + q]) > 1e-14 {
                    let theta = (g[q * d + q] - g[p * d + p]) / (2 * g[p * d + q])
                    let t = (theta < 0 ? -1.0 : 1.0) / (abs(theta) + (theta * theta + 1).squareRoot())
                    let c = 1 / (t * t + 1).squareRoot()
                    let s = t * c
                    for k in 0..<d {
                        let a = g[k * d + p]
                        let b = g[k * d + q]
                        g[k * d + p] = c * a - s * b
                        g[k * d + q] = s * a + c * b
                    }
                    for k in 0..<d {
                        let a = g[p * d + k]
                        let b = g[q * d + k]
                        g[p * d + k] = c * a - s * b
                        g[q * d + k] = s * a + c * b
                        let x = v[p * d + k]
                        let y = v[q * d + k]
                        v[p * d + k] = c * x - s * y
                        v[q * d + k] = s * x + c * y
                    }
                }
            }
        }
        return ((0..<d).map { max(0, g[$0 * d + $0]) }, v)
    }
}
