import TensorCore

/// The scores of the whole catalogue for several vectors at once.
struct CatalogueScores {
    private let vectors: Matrix<Float>
    /// Shape `[rows, dimension]`.
    private var y: Matrix<Float>
    /// Shape `[active rows, items]`.
    private var products: Matrix<Float>

    init(vectors: Matrix<Float>, rows: Int) {
        self.vectors = vectors
        y = Matrix(rows: rows, columns: vectors.columns)
        products = Matrix(rows: rows, columns: vectors.rows)
    }

    mutating func setVector(_ vector: [Float], row: Int) {
        precondition(
            vector.count == y.columns, "CatalogueScores: a vector of \(vector.count) for dimension \(y.columns)")
        y.withMutableRow(row) { target in for j in target.indices { target[j] = vector[j] } }
    }

    /// `products[i] ← vectors · y[i]` for the first `rows` rows.
    mutating func compute(rows: Int) throws {
        // Users only ever leave, so the memory is made anew at most once for each length of a sequence.
        if products.rows != rows { products = Matrix(rows: rows, columns: vectors.rows) }
        let active = y.view.block(rows: 0..<rows, columns: 0..<y.columns)
        try BLAS.gemm(1, active, vectors.view.transposed, 0, &products)
    }

    /// All items' scores with their offsets, shape `[items]`.
    func scores(row: Int, offsets: [Float]) -> [Float] {
        products.withRow(row) { scores in scores.indices.map { scores[$0] + offsets[$0] } }
    }

    /// Where the target stands among the candidates: every item but the seen ones, which are counted with the others
    /// and taken off again. A score that is NaN counts against the target, its own too.
    func quality(
        row: Int, offsets: [Float], target: Int, seen: ArraySlice<Int>, candidates: Int
    ) -> RankingQuality {
        products.withRow(row) { scores in
            let threshold = scores[target] + offsets[target]
            var (greater, equal) = Kernels.countAbove(threshold, scores: scores, offsets: offsets.span)
            func takeOff(_ item: Int) {
                let score = scores[item] + offsets[item]
                if !(score <= threshold) { greater -= 1 }
                if score == threshold { equal -= 1 }
            }
            for item in seen { takeOff(item) }
            takeOff(target)
            return RankingQuality(greater: greater, ties: equal, candidates: candidates)
        }
    }
}
