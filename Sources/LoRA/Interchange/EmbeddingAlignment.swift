public import TensorCore

/// A linear map from the embeddings of a new model to those of an old one, fitted to items that both have embedded.
///
/// ```text
/// P = argmin Σ ‖x_old − P·x_new‖² + λ‖P‖²          P [oldDimension, newDimension]
/// ```
///
/// It carries adapters over: scores are dot products, and the changes of scores that an adapter M makes under the old
/// model, x_jᵀ·M·x_i for items i and j, are met by Pᵀ·M·P under the new one wherever P·x_new = x_old. That product has
/// no higher rank.
///
/// One item in five, by its index, is kept out of the fit; ``residual`` is measured on those, and λ is the one of five
/// that leaves least there. Two models see different things: what the new one does not see, no map brings back, and the
/// residual says so. At 1 the fit is worth nothing.
///
/// **Numerics.** Float64 through LAPACK; last bits may differ between machines. Computed once, not part of replay.
///
/// **Source.** Ridge regression: Hoerl & Kennard 1970; between embedding spaces: Mikolov, Le & Sutskever 2013, §4,
/// [arXiv:1309.4168](https://arxiv.org/abs/1309.4168).
public struct EmbeddingAlignment: Sendable {
    /// The number of values of an embedding of the old model.
    public var oldDimension: Int { map.rows }
    /// The number of values of an embedding of the new model.
    public var newDimension: Int { map.columns }
    /// The items that P was fitted to; those kept out are not counted.
    public let fittedItems: Int
    /// λ, as a multiple of the mean squared coordinate of the fitted new embeddings, summed over items.
    public let ridge: Double
    /// √(Σ‖x_old − P·x_new‖² / Σ‖x_old‖²) over the items that were kept out of the fit.
    public let residual: Double
    /// P, shape `[oldDimension, newDimension]`.
    let map: Matrix<Double>
    /// The mean squared length of the new embeddings over that of the old: scores grow by it.
    let gain: Double
    /// The items kept out, `[count, oldDimension]`, and P·x_new of them.
    let keptOld: Matrix<Double>
    let keptFitted: Matrix<Double>

    /// The fewest items that can be fitted.
    public static var fewestItems: Int { 10 }
    /// The values of λ that are tried.
    private static let ridges = [1e-6, 1e-4, 1e-2, 1e-1, 1]

    /// Fits a map.
    ///
    /// - Parameters:
    ///   - old: The items under the old model, shape `[items, oldDimension]`.
    ///   - new: The same items in the same order under the new model, shape `[items, newDimension]`.
    /// - Throws: ``LoRAError``: `shapeMismatch` for counts that differ or are below ``fewestItems``; `nonFinite`;
    ///   `unsupported` for dimensions above 8,192 or embeddings that are all zero.
    /// - Complexity: O(items · newDimension · (newDimension + oldDimension) + newDimension³).
    public init(old: Matrix<Float>, new: Matrix<Float>) throws(LoRAError) {
        let operation = "alignment"
        guard old.rows == new.rows, old.rows >= Self.fewestItems else {
            throw LoRAError(
                .shapeMismatch, operation,
                "\(old.rows) old and \(new.rows) new embeddings: give the same items, at least \(Self.fewestItems)"
            )
        }
        guard 1...8192 ~= old.columns, 1...8192 ~= new.columns else {
            throw LoRAError(
                .unsupported, operation, "dimensions \(old.columns) and \(new.columns) are not both in 1...8192")
        }
        for (name, matrix) in [("old", old), ("new", new)] {
            for i in 0..<matrix.rows where !matrix.row(i).allSatisfy(\.isFinite) {
                throw LoRAError(.nonFinite, operation, "the \(name) embedding holds a NaN or an infinity", position: i)
            }
        }
        let kept = (0..<old.rows).filter { $0 % 5 == 4 }
        let fitted = (0..<old.rows).filter { $0 % 5 != 4 }
        let (oldFitted, newFitted) = (Self.rows(fitted, of: old), Self.rows(fitted, of: new))
        let (oldKept, newKept) = (Self.rows(kept, of: old), Self.rows(kept, of: new))
        let (oldSize, newSize) = (Self.squaredNorm(oldFitted), Self.squaredNorm(newFitted))
        guard oldSize > 0, newSize > 0, Self.squaredNorm(oldKept) > 0 else {
            throw LoRAError(.unsupported, operation, "all embeddings of a model are zero: nothing can be fitted")
        }
        do {
            // (XᵀX + λI)·Pᵀ = XᵀY with X the new embeddings, Y the old ones.
            let gram = try BLAS.product(newFitted.view.transposed, newFitted.view)
            let cross = try BLAS.product(newFitted.view.transposed, oldFitted.view)
            var best: (residual: Double, ridge: Double, transposed: Matrix<Double>, fitted: Matrix<Double>)?
            for ridge in Self.ridges {
                var damped = gram
                let damping = ridge * newSize / Double(new.columns)
                for i in 0..<new.columns { damped[i, i] += damping }
                let transposed = try CholeskyFactorization(damped.view).solve(cross.view)
                let predicted = try BLAS.product(newKept.view, transposed.view)
                let residual = Self.distance(predicted, oldKept) / Self.squaredNorm(oldKept).squareRoot()
                if residual < best?.residual ?? .infinity { best = (residual, ridge, transposed, predicted) }
            }
            guard let best else { throw LoRAError(.nonFinite, operation, "no fit is finite: scale the embeddings") }
            map = best.transposed.view.transposed.copied()
            (ridge, residual, keptFitted) = (best.ridge, best.residual, best.fitted)
        } catch let error as LoRAError {
            throw error
        } catch {
            throw LoRAError(.nonFinite, operation, "the fit failed: \(error)")
        }
        keptOld = oldKept
        fittedItems = fitted.count
        gain = newSize / oldSize
    }

    private static func rows(_ indices: [Int], of matrix: Matrix<Float>) -> Matrix<Double> {
        var result = Matrix<Double>(rows: indices.count, columns: matrix.columns)
        for (row, index) in indices.enumerated() {
            for j in 0..<matrix.columns { result[row, j] = Double(matrix[index, j]) }
        }
        return result
    }

    private static func squaredNorm(_ matrix: Matrix<Double>) -> Double {
        matrix.withSpan { span in span.indices.reduce(0.0) { $0 + span[$1] * span[$1] } }
    }

    private static func distance(_ a: Matrix<Double>, _ b: Matrix<Double>) -> Double {
        a.withSpan { a in
            b.withSpan { b in a.indices.reduce(0.0) { $0 + (a[$1] - b[$1]) * (a[$1] - b[$1]) } }
        }.squareRoot()
    }
}

extension LoRAAdapter {
    /// An adapter carried over to another embedding model, and how well.
    public struct Transport: Sendable {
        /// The adapter for the new model.
        public let adapter: LoRAAdapter
        /// How far the changes of scores between the items that were kept out of the alignment's fit are from what they
        /// were under the old model, relative to these: √(Σ(Δ' − g·Δ)² / Σ(g·Δ)²) over all pairs, with g the growth of
        /// scores. 0 for a map that changes nothing.
        public let scoreError: Double
    }

    /// The adapter under another embedding model: M' = g·Pᵀ·M·P and b' = g·Pᵀ·b, with g the mean squared length of new
    /// embeddings over that of old ones, so that scores change by the same share of what they are.
    ///
    /// A becomes A·P and B becomes g·B·P (stored transposed), so rank and scale stay; so do identity, updates counted
    /// so far, what a schedule remembers of the loss, and what the adapter started from, carried over too. The version
    /// rises by one; optimizer state and protection are dropped, since their numbers belong to coordinates that are
    /// gone. Embeddings that are kept elsewhere (catalogues, journals) are not touched: feedback about old embeddings
    /// no longer fits.
    ///
    /// - Parameter alignment: Its old dimension must be the adapter's.
    /// - Throws: ``LoRAError``: `shapeMismatch` for another old dimension; `invalidShape` where the rank is above the
    ///   new dimension (lower it first, ``changed(rank:)``); `nonFinite` where numbers leave the range of Float.
    /// - Complexity: O(rank · oldDimension · newDimension), and of the kept items for the error.
    public func transported(by alignment: EmbeddingAlignment) throws(LoRAError) -> Transport {
        guard alignment.oldDimension == shape.dimension else {
            throw LoRAError(
                .shapeMismatch, "transport",
                "the alignment is from dimension \(alignment.oldDimension), the adapter has \(shape.dimension)")
        }
        let shape = try AdapterShape(
            dimension: alignment.newDimension, rank: shape.rank, alpha: shape.alpha, scaling: shape.scaling,
            hasBias: shape.hasBias, normalizesOutput: shape.normalizesOutput)
        let adapter: LoRAAdapter
        let error: Double
        let parameters: AlignedStorage<Float>
        do {
            parameters = try carried(self.parameters, by: alignment, shape)
            adapter = LoRAAdapter(
                shape: shape, identity: identity, version: version, steps: steps, parameters: parameters)
            error = try scoreError(under: alignment)
        } catch {
            throw LoRAError(.nonFinite, "transport", "the product failed: \(error)")
        }
        guard parameters.withBuffer({ Kernels.allFinite($0) }) else {
            throw LoRAError(.nonFinite, "transport", "the map leaves the range of Float: scale the embeddings")
        }
        var result = successor(adapter)
        if let start {
            do {
                result.start = WarmStart(
                    prior: start.prior, shape: shape, parameters: try carried(start.parameters, by: alignment, shape),
                    rows: start.rows)
            } catch {
                throw LoRAError(.nonFinite, "transport", "the product failed: \(error)")
            }
        }
        return Transport(adapter: result, scoreError: error)
    }

    /// The rows of parameters, each times P; those of B and b also times the gain.
    private func carried(
        _ parameters: AlignedStorage<Float>, by alignment: EmbeddingAlignment, _ shape: AdapterShape
    ) throws(TensorError) -> AlignedStorage<Float> {
        let moved = try BLAS.product(rows(parameters).view, alignment.map.view)
        let result = AlignedStorage<Float>(count: shape.parameterCount)
        result.withBuffer { target in
            moved.withSpan { span in
                for i in span.indices {
                    target[i] = Float(i < shape.upRange.lowerBound ? span[i] : alignment.gain * span[i])
                }
            }
        }
        return result
    }

    /// A, B transposed and the bias as rows of one matrix, `[2·rank (+ 1), dimension]`: as they lie.
    private func rows(_ parameters: AlignedStorage<Float>) -> Matrix<Double> {
        var result = Matrix<Double>(rows: parameters.count / shape.dimension, columns: shape.dimension)
        parameters.withBuffer { source in
            result.withMutableSpan { span in for i in span.indices { span[i] = Double(source[i]) } }
        }
        return result
    }

    /// ``Transport/scoreError``. The change of the score of j for i is Δ = (s·B·A·x_i + b)·x_j = L_i·R_j with rows L_i
    /// = (s·A·x_i, 1) and R_j = (Bᵀ·x_j, b·x_j). Under the new model the same of P·x_new, times g, which cancels. No
    /// matrix of all pairs is formed: ‖L·Rᵀ‖² = Σ (LᵀL ∘ RᵀR), with both models' side by side for the difference.
    private func scoreError(under alignment: EmbeddingAlignment) throws(TensorError) -> Double {
        let (rank, all) = (shape.rank, rows(parameters))
        let oldScores = try BLAS.product(alignment.keptOld.view, all.view.transposed)
        let newScores = try BLAS.product(alignment.keptFitted.view, all.view.transposed)
        let width = rank + 1
        var left = Matrix<Double>(rows: oldScores.rows, columns: 2 * width)
        var right = left
        for (block, scores, sign) in [(0, newScores, 1.0), (1, oldScores, -1.0)] {
            for i in 0..<scores.rows {
                for k in 0..<rank {
                    left[i, block * width + k] = sign * Double(shape.scale) * scores[i, k]
                    right[i, block * width + k] = scores[i, rank + k]
                }
                left[i, block * width + rank] = sign
                right[i, block * width + rank] = shape.hasBias ? scores[i, 2 * rank] : 0
            }
        }
        func squaredNorm(_ columns: Range<Int>) throws(TensorError) -> Double {
            let l = left.view.block(rows: 0..<left.rows, columns: columns)
            let r = right.view.block(rows: 0..<right.rows, columns: columns)
            let (ll, rr) = (try BLAS.product(l.transposed, l), try BLAS.product(r.transposed, r))
            return ll.withSpan { a in rr.withSpan { b in a.indices.reduce(0.0) { $0 + a[$1] * b[$1] } } }
        }
        let size = try squaredNorm(width..<(2 * width))
        return size > 0 ? (max(0, try squaredNorm(0..<(2 * width))) / size).squareRoot() : 0
    }
}
