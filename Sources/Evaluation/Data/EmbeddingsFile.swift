import TensorCore

/// `embeddings-NAME.npy`, one row per item, and `queries-NAME.npy`, one row per query.
enum EmbeddingsFile {
    /// Reads and checks a file: one row per item, a dimension within the limits, every number finite.
    static func read(
        _ name: String, in folder: String, items: Int, limits: DataLimits
    ) throws(DataError) -> Matrix<Float> {
        try read(name, in: folder) { shape throws(DataError) in
            try check(shape: shape, name: name, items: items, limits: limits)
        }
    }

    /// Reads and checks the queries: as many rows as there are, of the items' dimension, every number finite.
    static func queries(
        _ name: String, in folder: String, dimension: Int, limits: DataLimits
    ) throws(DataError) -> Matrix<Float> {
        try read(name, in: folder) { shape throws(DataError) in
            guard shape.count == 2, shape[1] == dimension, shape[0] > 0 else {
                throw DataError(
                    .embeddings, file: name,
                    "the shape \(shape) is not [queries, \(dimension)]: queries need the items' dimension")
            }
            guard shape[0] <= limits.interactions else {
                throw DataError(.limitExceeded, file: name, "\(shape[0]) queries are more than \(limits.interactions)")
            }
        }
    }

    private static func read(
        _ name: String, in folder: String, check: ([Int]) throws(DataError) -> Void
    ) throws(DataError) -> Matrix<Float> {
        let matrix: Matrix<Float>
        do {
            let file = try NumPyFile(path: folder + "/" + name)
            try check(file.shape)
            matrix = try file.matrix(of: Float.self, requireFinite: false)
        } catch let error as TensorFileError {
            throw DataError(error.code == .inputOutput ? .unreadable : .embeddings, file: name, error.message)
        } catch let error as DataError {
            throw error
        } catch {
            throw DataError(.embeddings, file: name, "\(error)")
        }
        var bad = BadRows()
        for i in 0..<matrix.rows {
            let column = matrix.withRow(i) { row in
                row.withBuffer { Kernels.allFinite($0) } ? nil : row.indices.first { !row[$0].isFinite }
            }
            if let column {
                bad.add(DataError(.embeddings, file: name, line: i + 1, column: column + 1, "the number is not finite"))
            }
        }
        try bad.check()
        return matrix
    }

    private static func check(shape: [Int], name: String, items: Int, limits: DataLimits) throws(DataError) {
        guard shape.count == 2 else {
            throw DataError(.embeddings, file: name, "the array has \(shape.count) dimensions; two are needed")
        }
        guard shape[0] == items else {
            throw DataError(
                .embeddings, file: name, "\(shape[0]) rows for \(items) items; there must be one row for each item")
        }
        guard (1...limits.dimension).contains(shape[1]) else {
            throw DataError(.limitExceeded, file: name, "dimension \(shape[1]) is not in 1...\(limits.dimension)")
        }
    }
}
