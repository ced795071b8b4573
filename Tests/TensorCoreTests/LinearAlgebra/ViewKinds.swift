import TestSupport
import Testing

@testable import TensorCore

/// How a matrix operand may lie in memory.
enum MatrixKind: CaseIterable, Sendable {
    case contiguous, transposed, block, transposedBlock, strided, reversed

    /// A view of the shape with random elements.
    func view<E: BLASScalar>(_ rows: Int, _ columns: Int, _ generator: inout PhiloxGenerator) -> MatrixView<E> {
        func random(_ r: Int, _ c: Int) -> MatrixView<E> {
            var matrix = Matrix<E>(rows: r, columns: c)
            matrix.withMutableSpan { generator.fillNormal(&$0) }
            return matrix.view
        }
        switch self {
        case .contiguous: return random(rows, columns)
        case .transposed: return random(columns, rows).transposed
        case .block: return random(rows + 3, columns + 5).block(rows: 1..<1 + rows, columns: 2..<2 + columns)
        case .transposedBlock:
            return random(columns + 3, rows + 5).transposed.block(rows: 1..<1 + rows, columns: 2..<2 + columns)
        case .strided:
            let whole = random(2 * rows, 3 * columns)
            return MatrixView(
                storage: whole.storage, offset: 0, rows: rows, columns: columns, rowStride: 6 * columns, columnStride: 3
            )
        case .reversed:
            let whole = random(rows, columns)
            return MatrixView(
                storage: whole.storage, offset: max(rows * columns - 1, 0), rows: rows, columns: columns,
                rowStride: -columns, columnStride: -1)
        }
    }
}

/// How a vector operand may lie in memory.
enum VectorKind: CaseIterable, Sendable {
    case contiguous, column, reversed, reversedColumn

    func view<E: BLASScalar>(_ count: Int, _ generator: inout PhiloxGenerator) -> VectorView<E> {
        switch self {
        case .contiguous: return MatrixKind.block.view(1, count, &generator).row(0)
        case .column: return MatrixKind.block.view(count, 3, &generator).column(1)
        case .reversed: return VectorKind.contiguous.view(count, &generator).reversed
        case .reversedColumn: return VectorKind.column.view(count, &generator).reversed
        }
    }
}

/// A matrix in Float64, for naive loops.
struct Reference {
    let rows: Int
    let columns: Int
    var elements: [Double]

    init<E: BLASScalar>(_ view: MatrixView<E>) {
        rows = view.rows
        columns = view.columns
        elements = (0..<view.rows).flatMap { i in (0..<view.columns).map { j in Double(view[i, j]) } }
    }

    init<E: BLASScalar>(_ view: VectorView<E>) {
        rows = view.count
        columns = 1
        elements = (0..<view.count).map { Double(view[$0]) }
    }

    subscript(i: Int, j: Int) -> Double { elements[i * columns + j] }

    var transposed: Reference {
        var result = self
        result = Reference(rows: columns, columns: rows)
        for i in 0..<rows { for j in 0..<columns { result.elements[j * rows + i] = self[i, j] } }
        return result
    }

    init(rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
        elements = [Double](repeating: 0, count: rows * columns)
    }
}

/// Checks `result` against alpha·a·b + beta·c, element by element.
///
/// Tolerance: (inner dimension + 8) half ULPs of one of the sum of the terms' magnitudes, which bounds the rounding error of
/// any order of summation (Higham 2002, §3.1).
func expectProduct<E: BLASScalar>(
    _ result: MatrixView<E>, _ alpha: Double, _ a: Reference, _ b: Reference, _ beta: Double, _ c: Reference,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard result.rows == a.rows, result.columns == b.columns else {
        Issue.record("shape [\(result.rows), \(result.columns)]", sourceLocation: sourceLocation)
        return
    }
    let bT = b.transposed
    for i in 0..<a.rows {
        for j in 0..<b.columns {
            var sum = 0.0
            var magnitudes = 0.0
            for l in 0..<a.columns {
                let term = a.elements[i * a.columns + l] * bT.elements[j * a.columns + l]
                sum += term
                magnitudes += term.magnitude
            }
            var expected = alpha * sum
            magnitudes *= alpha.magnitude
            if beta != 0 {
                expected += beta * c[i, j]
                magnitudes += (beta * c[i, j]).magnitude
            }
            let tolerance = Double(a.columns + 8) * Double(E.ulpOfOne) / 2 * magnitudes
            let difference = abs(Double(result[i, j]) - expected)
            if !(difference <= tolerance) {
                Issue.record(
                    "\(E.self), element (\(i), \(j)) of [\(a.rows), \(b.columns)], inner \(a.columns): \(result[i, j]), not \(expected)",
                    sourceLocation: sourceLocation)
                return
            }
        }
    }
}

extension Vector {
    /// The vector as a matrix of one column.
    var columnView: MatrixView<Element> {
        MatrixView(storage: view.storage, offset: 0, rows: count, columns: 1, rowStride: 1, columnStride: 1)
    }
}

/// Under a sanitizer without the largest, which lengthens only the loops of these tests and those of OpenBLAS, which no
/// sanitizer looks into.
let testedSizes = [0, 1, 2, 3, 31] + underSanitizer([], otherwise: [127])

/// The code of the error that `body` throws.
func tensorErrorOf(_ body: () throws -> Void) -> TensorError? {
    do {
        try body()
        return nil
    } catch {
        return error as? TensorError
    }
}
