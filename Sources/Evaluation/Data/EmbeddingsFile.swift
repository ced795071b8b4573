import TensorCore

/// `embeddings-NAME.npy`: one row per item.
enum EmbeddingsFile {
    static func read(
        _ name: String, in folder: String, items: Int, limits: DataLimits
    ) throws(DataError) -> Matrix<Float> {
        let bytes = try FileAccess.requiredBytes(of: name, in: folder, limits: limits)
        let matrix = try parsed(bytes, name)
        try check(matrix, name: name, items: items, limits: limits)
        return matrix
    }

    // TEMPORARY until TensorCore's reader is merged.
    private static func parsed(_ bytes: [UInt8], _ name: String) throws(DataError) -> Matrix<Float> {
        guard bytes.count > 10 else { throw DataError(.embeddings, file: name, "too short") }
        let headerLength = Int(bytes[8]) | Int(bytes[9]) << 8
        let header = String(decoding: bytes[10..<(10 + headerLength)], as: UTF8.self)
        let shape = header.split(separator: "(")[1].split(separator: ")")[0].split(separator: ",")
            .compactMap { Int($0.filter(\.isNumber)) }
        var values: [Float] = []
        var k = 10 + headerLength
        while k + 4 <= bytes.count {
            let bits = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[k + $1]) << UInt32(8 * $1) }
            values.append(Float(bitPattern: bits))
            k += 4
        }
        do { return try Matrix(rows: shape[0], columns: shape[1], elements: values) } catch {
            throw DataError(.embeddings, file: name, "\(error)")
        }
    }

    /// One row per item, a dimension within the limits, every number finite.
    static func check(
        _ matrix: borrowing Matrix<Float>, name: String, items: Int, limits: DataLimits
    ) throws(DataError) {
        guard matrix.rows == items else {
            throw DataError(
                .embeddings, file: name, "\(matrix.rows) rows for \(items) items; there must be one row for each item")
        }
        guard (1...limits.dimension).contains(matrix.columns) else {
            throw DataError(
                .limitExceeded, file: name, "dimension \(matrix.columns) is outside 1...\(limits.dimension)")
        }
        var bad = BadRows()
        for i in 0..<matrix.rows {
            let column = matrix.withRow(i) { row in row.indices.first { !row[$0].isFinite } }
            if let column {
                bad.add(DataError(.embeddings, file: name, line: i + 1, column: column + 1, "the number is not finite"))
            }
        }
        try bad.check()
    }
}
