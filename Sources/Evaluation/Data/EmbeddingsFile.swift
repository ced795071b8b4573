import TensorCore

/// `embeddings-NAME.npy`: one row per item.
enum EmbeddingsFile {
    /// Reads and checks a file: one row per item, a dimension within the limits, every number finite.
    static func read(
        _ name: String, in folder: String, items: Int, limits: DataLimits
    ) throws(DataError) -> Matrix<Float> {
        let matrix: Matrix<Float>
        do {
            let file = try NumPyFile(path: folder + "/" + name)
            try check(shape: file.shape, name: name, items: items, limits: limits)
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
