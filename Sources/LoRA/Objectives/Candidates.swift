internal import TensorCore

/// The items that one loss compares, the positive one first: given ones, or rows of a catalogue.
///
/// Rows are the fast way: the catalogue's memory is opened once for all of them, not once for each.
enum Candidates {
    case items([Item])
    case rows([Int], ItemCatalogue)

    var count: Int {
        switch self {
        case .items(let items): items.count
        case .rows(let rows, _): rows.count
        }
    }

    /// Runs `body` with each candidate's number, embedding and offset, in order.
    @inline(__always)
    func forEach(_ body: (Int, FloatBuffer, Float) -> Void) {
        switch self {
        case .items(let items):
            for (j, item) in items.enumerated() {
                let offset = item.offset
                item.withVector { body(j, $0, offset) }
            }
        case .rows(let rows, let catalogue):
            let d = catalogue.dimension
            catalogue.vectors.withSpan { vectors in
                vectors.withBuffer { vectors in
                    catalogue.offsets.withSpan { offsets in
                        offsets.withBuffer { offsets in
                            for (j, row) in rows.enumerated() {
                                body(j, vectors.slice((row * d)..<((row + 1) * d)), offsets[row])
                            }
                        }
                    }
                }
            }
        }
    }

    /// `scores[j] ← y·v_j + offset_j`.
    func score(_ y: FloatBuffer, into scores: FloatBuffer) throws(LoRAError) {
        forEach { j, vector, offset in scores[j] = Kernels.dot(vector, y) + offset }
        guard Kernels.allFinite(scores) else { throw LoRAAdapter.overflow("update") }
    }

    /// `sum ← Σ coefficients[j]·v_j`.
    func combine(_ coefficients: FloatBuffer, into sum: FloatBuffer) {
        sum.fill(0)
        forEach { j, vector, _ in Kernels.axpy(coefficients[j], vector, to: sum) }
    }

    /// The squared distances of the others from the first candidate, as their mean and the largest.
    func squaredDistances() -> (mean: Double, largest: Double) {
        var sum = 0.0
        var largest = 0.0
        var first: [Float] = []
        forEach { j, vector, _ in
            if j == 0 {
                first = vector.array
                return
            }
            var squared = 0.0
            for i in 0..<vector.count {
                let difference = Double(vector[i]) - Double(first[i])
                squared += difference * difference
            }
            sum += squared
            largest = max(largest, squared)
        }
        return (sum / Double(max(count - 1, 1)), largest)
    }
}

extension Item {
    /// Lends the item's embedding.
    func withVector<R>(_ body: (FloatBuffer) -> R) -> R {
        switch self {
        case .vector(let values, _): values.span.withBuffer(body)
        case .catalogued(let index, let catalogue): catalogue.vectors.withRow(index) { $0.withBuffer(body) }
        }
    }

    /// What is added to the item's score.
    var offset: Float {
        switch self {
        case .vector(_, let offset): offset
        case .catalogued(let index, let catalogue): catalogue.offsets[index]
        }
    }
}
