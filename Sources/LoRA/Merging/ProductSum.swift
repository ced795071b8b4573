internal import TensorCore

/// `M = Σ w·s·B·A`, built term by term: two stacks of rows whose product it is, or, where those would be larger, in full.
///
/// ```text
/// M = full + upᵀ·down         up, down [count, d]; full [d, d] once the ranks add up to d or more
/// ```
///
/// In full, rows are gathered into blocks of 256 and added by one matrix product each, so that no more than d² + 512·d numbers
/// are held however many terms there are. Everything is Float64.
struct ProductSum: Sendable {
    /// `M = Σ values[k]·left(k)·right(k)ᵀ`.
    struct Decomposition {
        let values: [Double]
        let leftVectors: MatrixView<Double>
        let rightVectors: MatrixView<Double>
        func left(_ k: Int) -> [Double] { leftVectors.column(k).copied().array }
        func right(_ k: Int) -> [Double] { rightVectors.column(k).copied().array }
    }

    let dimension: Int
    /// What errors name.
    private let operation: String
    private let largestFull: Int
    /// The rows of B stored transposed, times w·s; those beyond ``count`` are room.
    private var up: Matrix<Double>
    /// The rows of A.
    private var down: Matrix<Double>
    private var count = 0
    /// Without rows as long as the stacks hold everything.
    private var full: Matrix<Double>

    /// The rows of a block; no term has more.
    static let blockRows = AdapterShape.highestRank
    /// The largest dimension at which a sum is formed in full.
    static let largestFull = 8192

    init(dimension: Int, operation: String, largestFull: Int = Self.largestFull) {
        self.dimension = dimension
        self.operation = operation
        self.largestFull = largestFull
        up = Matrix(rows: 0, columns: dimension)
        down = up
        full = up
    }

    private var isFull: Bool { full.rows > 0 }

    /// The numbers that are held.
    var heldNumbers: Int { dimension * (up.rows + down.rows + full.rows) }
}

extension ProductSum {
    /// Adds an adapter's product times a weight.
    ///
    /// - Throws: ``LoRAError`` (`unsupported`) where the sum would have to be formed in full beyond ``largestFull``; it is then
    ///   unchanged.
    mutating func add(_ adapter: LoRAAdapter, weight: Double) throws(LoRAError) {
        let shape = adapter.shape
        let start = try makeRoom(for: shape.rank) * dimension
        let factor = weight * Double(shape.scale)
        adapter.parameters.withBuffer { all in
            let (a, b) = (all.slice(shape.downRange), all.slice(shape.upRange))
            down.withMutableSpan { span in for i in 0..<a.count { span[start + i] = Double(a[i]) } }
            up.withMutableSpan { span in for i in 0..<b.count { span[start + i] = factor * Double(b[i]) } }
        }
    }

    /// Adds a prior times a weight; as for an adapter.
    mutating func add(_ prior: AdapterPrior, weight: Double) throws(LoRAError) {
        let d = dimension
        let first = try makeRoom(for: prior.rank)
        for k in 0..<prior.rank {
            let factor = weight * Double(prior.singularValues[k])
            let (left, right, start) = (prior.left[k], prior.right[k], (first + k) * d)
            down.withMutableSpan { span in for j in 0..<d { span[start + j] = Double(right[j]) } }
            up.withMutableSpan { span in for j in 0..<d { span[start + j] = factor * Double(left[j]) } }
        }
    }

    /// Makes room for a term's rows and counts them; the first of them.
    private mutating func makeRoom(for rank: Int) throws(LoRAError) -> Int {
        let needed = count + rank
        if !isFull && needed >= dimension {
            guard dimension <= largestFull else {
                throw LoRAError(
                    .unsupported, operation,
                    "the ranks add up to \(needed), at least the dimension \(dimension), which is above "
                        + "\(largestFull): merge fewer at once")
            }
            full = Matrix(rows: dimension, columns: dimension)
            try Self.add(up, down, count, to: &full, operation)
            (up, down, count) = (Matrix(rows: 0, columns: dimension), Matrix(rows: 0, columns: dimension), 0)
        } else if isFull && needed > Self.blockRows {
            try Self.add(up, down, count, to: &full, operation)
            count = 0
        }
        let first = count
        count += rank
        if count > up.rows {
            let rows = max(count, min(2 * up.rows, isFull ? Self.blockRows : dimension))
            (up, down) = (Self.resized(up, rows: rows), Self.resized(down, rows: rows))
        }
        return first
    }

    private static func resized(_ matrix: Matrix<Double>, rows: Int) -> Matrix<Double> {
        var result = Matrix<Double>(rows: rows, columns: matrix.columns)
        result.withMutableSpan { target in
            matrix.withSpan { source in for i in source.indices { target[i] = source[i] } }
        }
        return result
    }

    /// The sum times a factor.
    func scaled(by factor: Double) -> ProductSum {
        var result = self
        result.up.withMutableSpan { span in for i in span.indices { span[i] *= factor } }
        result.full.withMutableSpan { span in for i in span.indices { span[i] *= factor } }
        return result
    }
}

extension ProductSum {
    private func rows(_ matrix: Matrix<Double>, _ range: Range<Int>) -> MatrixView<Double> {
        matrix.view.block(rows: range, columns: 0..<dimension)
    }

    /// Adds `upᵀ·down`. Not of `self`, which would be copied with the sum that it adds to.
    private static func add(
        _ up: Matrix<Double>, _ down: Matrix<Double>, _ count: Int, to sum: inout Matrix<Double>, _ operation: String
    ) throws(LoRAError) {
        let columns = 0..<up.columns
        do throws(TensorError) {
            try BLAS.gemm(
                1, up.view.block(rows: 0..<count, columns: columns).transposed,
                down.view.block(rows: 0..<count, columns: columns), 1, &sum)
        } catch {
            throw LoRAError(.nonFinite, operation, "the factorisation failed: \(error)")
        }
    }

    private func inFull() throws(LoRAError) -> Matrix<Double> {
        var sum = full
        try Self.add(up, down, count, to: &sum, operation)
        return sum
    }

    /// ‖M‖².
    ///
    /// - Complexity: O(R²·d) for R rows; in full O(d²).
    func squaredNorm() throws(LoRAError) -> Double {
        guard isFull else { return try squaredNorm(of: 0..<count) }
        return try inFull().withSpan { span in span.indices.reduce(0.0) { $0 + span[$1] * span[$1] } }
    }

    /// ‖w·s·B·A‖² of the term that was added last, of this rank.
    func squaredNorm(ofLast rank: Int) throws(LoRAError) -> Double { try squaredNorm(of: (count - rank)..<count) }

    /// Σ (up·upᵀ ∘ down·downᵀ) of some rows.
    private func squaredNorm(of range: Range<Int>) throws(LoRAError) -> Double {
        let (u, v) = (rows(up, range), rows(down, range))
        let (left, right) = try computing { () throws(TensorError) in
            (try BLAS.product(u, u.transposed), try BLAS.product(v, v.transposed))
        }
        return left.withSpan { l in right.withSpan { r in l.indices.reduce(0.0) { $0 + l[$1] * r[$1] } } }
    }

    /// The singular value decomposition. Of stacks: upᵀ = Q₁R₁, downᵀ = Q₂R₂, R₁·R₂ᵀ = U·S·Vᵀ (R × R), so M =
    /// (Q₁U)·S·(Q₂V)ᵀ.
    ///
    /// - Throws: ``LoRAError`` (`nonFinite`) where a number is not finite.
    /// - Complexity: O(R²·d + R³) for R rows; in full O(d³).
    func decomposed() throws(LoRAError) -> Decomposition {
        guard isFull else {
            return try computing { () throws(TensorError) in
                let left = try QRFactorization(rows(up, 0..<count).transposed)
                let right = try QRFactorization(rows(down, 0..<count).transposed)
                let core = try BLAS.product(left.r.view, right.r.view.transposed)
                let svd = try SingularValueDecomposition(core.view)
                return Decomposition(
                    values: svd.values.array, leftVectors: try BLAS.product(left.q.view, svd.u.view).view,
                    rightVectors: try BLAS.product(right.q.view, svd.vTransposed.view.transposed).view)
            }
        }
        let sum = try inFull()
        return try computing { () throws(TensorError) in
            let svd = try SingularValueDecomposition(sum.view)
            return Decomposition(
                values: svd.values.array, leftVectors: svd.u.view, rightVectors: svd.vTransposed.view.transposed)
        }
    }

    private func computing<R>(_ body: () throws(TensorError) -> R) throws(LoRAError) -> R {
        do {
            return try body()
        } catch {
            throw LoRAError(.nonFinite, operation, "the factorisation failed: \(error)")
        }
    }
}
