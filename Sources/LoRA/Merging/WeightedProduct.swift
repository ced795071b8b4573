internal import TensorCore

/// `Σ w_u·s_u·B_u·A_u`, as two stacks of rows whose product it is, or in full where the stacks would be larger.
struct WeightedProduct {
    /// `M = upᵀ·down`: `up` the rows of B stored transposed times sign(w)·√abs(w·s), `down` those of A times √abs(w·s).
    private enum Form {
        case stacked(up: Matrix<Double>, down: Matrix<Double>)
        case dense(Matrix<Double>)
    }

    /// `M = Σ values[k]·left(k)·right(k)ᵀ`.
    struct Decomposition {
        let values: [Double]
        let leftVectors: MatrixView<Double>
        let rightVectors: MatrixView<Double>
        func left(_ k: Int) -> [Double] { leftVectors.column(k).copied().array }
        func right(_ k: Int) -> [Double] { rightVectors.column(k).copied().array }
    }

    private let form: Form

    /// The weighted sum of adapters' products.
    init(_ adapters: [LoRAAdapter], weights: [Double]) throws {
        let ranks = adapters.map(\.shape.rank)
        try self.init(dimension: adapters[0].shape.dimension, ranks: ranks) { i, row, up, down in
            Self.fill(&up, &down, from: row, adapters[i], weights[i])
        }
    }

    /// The weighted sum of priors.
    init(_ priors: [AdapterPrior], weights: [Double]) throws {
        try self.init(dimension: priors[0].dimension, ranks: priors.map(\.rank)) { i, row, up, down in
            Self.fill(&up, &down, from: row, priors[i], weights[i])
        }
    }

    /// The sum of terms of some ranks; `fill` writes the rows of term i into two stacks, from a row on.
    private init(
        dimension d: Int, ranks: [Int],
        _ fill: (_ i: Int, _ row: Int, _ up: inout Matrix<Double>, _ down: inout Matrix<Double>) -> Void
    ) throws {
        let total = ranks.reduce(0, +)
        if total < d {
            var up = Matrix<Double>(rows: total, columns: d)
            var down = Matrix<Double>(rows: total, columns: d)
            var row = 0
            for (i, rank) in ranks.enumerated() {
                fill(i, row, &up, &down)
                row += rank
            }
            form = .stacked(up: up, down: down)
            return
        }
        guard d <= 8192 else {
            throw LoRAError(
                .unsupported, "merge",
                "the ranks add up to \(total), at least the dimension \(d), which is above 8192: merge fewer at once")
        }
        var sum = Matrix<Double>(rows: d, columns: d)
        for (i, rank) in ranks.enumerated() {
            var up = Matrix<Double>(rows: rank, columns: d)
            var down = up
            fill(i, 0, &up, &down)
            try BLAS.gemm(1, up.view.transposed, down.view, 1, &sum)
        }
        form = .dense(sum)
    }

    private static func fill(
        _ up: inout Matrix<Double>, _ down: inout Matrix<Double>, from row: Int, _ prior: AdapterPrior,
        _ weight: Double
    ) {
        for k in 0..<prior.rank {
            let factor = weight * Double(prior.singularValues[k])
            let root = abs(factor).squareRoot()
            let sign: Double = factor < 0 ? -1 : 1
            for j in 0..<prior.dimension {
                down[row + k, j] = root * Double(prior.right[k][j])
                up[row + k, j] = sign * root * Double(prior.left[k][j])
            }
        }
    }

    private static func fill(
        _ up: inout Matrix<Double>, _ down: inout Matrix<Double>, from row: Int, _ adapter: LoRAAdapter,
        _ weight: Double
    ) {
        let factor = weight * Double(adapter.shape.scale)
        let root = abs(factor).squareRoot()
        let sign: Double = factor < 0 ? -1 : 1
        let (a, b) = (adapter.down, adapter.up)
        for k in 0..<adapter.shape.rank {
            for j in 0..<a.columns {
                down[row + k, j] = root * Double(a[k, j])
                up[row + k, j] = sign * root * Double(b[k, j])
            }
        }
    }

    /// ‖M‖², in the stacked form Σ (up·upᵀ ∘ down·downᵀ).
    func squaredNorm() throws -> Double {
        switch form {
        case .dense(let m): return m.withSpan { span in span.indices.reduce(0.0) { $0 + span[$1] * span[$1] } }
        case .stacked(let up, let down):
            let left = try BLAS.product(up.view, up.view.transposed)
            let right = try BLAS.product(down.view, down.view.transposed)
            return left.withSpan { l in right.withSpan { r in l.indices.reduce(0.0) { $0 + l[$1] * r[$1] } } }
        }
    }

    /// The singular value decomposition. Stacked: upᵀ = Q₁R₁, downᵀ = Q₂R₂, R₁·R₂ᵀ = U·S·Vᵀ (R × R), so M =
    /// (Q₁U)·S·(Q₂V)ᵀ.
    func decomposed() throws -> Decomposition {
        switch form {
        case .dense(let m):
            let svd = try SingularValueDecomposition(m.view)
            return Decomposition(
                values: svd.values.array, leftVectors: svd.u.view, rightVectors: svd.vTransposed.view.transposed)
        case .stacked(let up, let down):
            let left = try QRFactorization(up.view.transposed)
            let right = try QRFactorization(down.view.transposed)
            let core = try BLAS.product(left.r.view, right.r.view.transposed)
            let svd = try SingularValueDecomposition(core.view)
            return Decomposition(
                values: svd.values.array,
                leftVectors: try BLAS.product(left.q.view, svd.u.view).view,
                rightVectors: try BLAS.product(right.q.view, svd.vTransposed.view.transposed).view)
        }
    }
}
