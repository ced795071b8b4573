import TensorCore

extension Matrix {
    /// Row `i` as an array. Unlike ``TensorCore/Matrix/row(_:)`` this is compiled for its element type here, in the
    /// module that calls it: hot loops of the evaluation spend a quarter of their time otherwise.
    @inline(__always)
    func rowValues(_ i: Int) -> [Element] {
        withRow(i) { row in
            var values: [Element] = []
            values.reserveCapacity(row.count)
            for j in row.indices { values.append(row[j]) }
            return values
        }
    }
}
