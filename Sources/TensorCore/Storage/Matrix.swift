/// A dense row-major matrix in 64-byte-aligned memory; a value with copy-on-write storage.
///
/// Element (i, j) of a `[rows, columns]` matrix lies at `i * columns + j`.
public struct Matrix<Element: TensorScalar>: Sendable {
    private var storage: AlignedStorage<Element>

    /// The number of rows.
    public let rows: Int
    /// The number of columns.
    public let columns: Int

    /// A matrix of zeros, shape `[rows, columns]`; either may be zero. Traps when the product overflows.
    public init(rows: Int, columns: Int) {
        precondition(rows >= 0 && columns >= 0, "Matrix: a negative shape [\(rows), \(columns)]")
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
        precondition(!overflow, "Matrix: [\(rows), \(columns)] overflows Int")
        self.rows = rows
        self.columns = columns
        storage = AlignedStorage(count: count)
    }

    /// A matrix from `rows * columns` numbers in row-major order.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`) when the number of elements differs from `rows * columns`.
    public init(rows: Int, columns: Int, elements: some Collection<Element>) throws(TensorError) {
        self.init(rows: rows, columns: columns)
        guard elements.count == rows * columns else {
            throw TensorError.shapeMismatch("Matrix.init", expected: [rows, columns], actual: [elements.count])
        }
        unsafe storage.withMutablePointer { base in
            for (i, element) in elements.enumerated() { unsafe base[i] = element }
        }
    }

    /// A matrix whose rows are the given arrays.
    ///
    /// - Throws: ``TensorError`` (`shapeMismatch`) when the rows differ in length; the message names the first that does.
    public init(rows: [[Element]]) throws(TensorError) {
        let columns = rows.first?.count ?? 0
        self.init(rows: rows.count, columns: columns)
        for (i, row) in rows.enumerated() {
            guard row.count == columns else {
                throw TensorError.shapeMismatch("Matrix.init, row \(i)", expected: [columns], actual: [row.count])
            }
            unsafe storage.withMutablePointer { base in
                for (j, element) in row.enumerated() { unsafe base[i * columns + j] = element }
            }
        }
    }

    /// The element in row `i` and column `j`; traps outside the shape.
    public subscript(i: Int, j: Int) -> Element {
        get {
            checkIndex(i, j)
            return unsafe storage.withPointer { unsafe $0[i * columns + j] }
        }
        set {
            checkIndex(i, j)
            makeUnique()
            unsafe storage.withMutablePointer { unsafe $0[i * columns + j] = newValue }
        }
    }

    /// Row `i` as a standard array, length `columns`.
    public func row(_ i: Int) -> [Element] { withRow(i) { $0.copied() } }

    /// All elements in row-major order.
    public var array: [Element] { withSpan { $0.copied() } }

    /// Lends row `i` for reading.
    public func withRow<R, E: Error>(_ i: Int, _ body: (Span<Element>) throws(E) -> R) throws(E) -> R {
        precondition(i >= 0 && i < rows, "Matrix: row \(i) outside 0..<\(rows)")
        return try unsafe storage.withPointer { base throws(E) in
            try body(unsafe Span(_unsafeStart: base + i * columns, count: columns))
        }
    }

    /// Lends row `i` for writing, after making the storage unique.
    public mutating func withMutableRow<R, E: Error>(
        _ i: Int, _ body: (inout MutableSpan<Element>) throws(E) -> R
    ) throws(E) -> R {
        precondition(i >= 0 && i < rows, "Matrix: row \(i) outside 0..<\(rows)")
        makeUnique()
        return try unsafe storage.withMutablePointer { base throws(E) in
            var span = unsafe MutableSpan(_unsafeStart: base + i * columns, count: columns)
            return try body(&span)
        }
    }

    /// Lends all elements, row-major, for reading.
    public func withSpan<R, E: Error>(_ body: (Span<Element>) throws(E) -> R) throws(E) -> R {
        try unsafe storage.withPointer { base throws(E) in
            try body(unsafe Span(_unsafeStart: base, count: rows * columns))
        }
    }

    /// Lends all elements, row-major, for writing, after making the storage unique.
    public mutating func withMutableSpan<R, E: Error>(
        _ body: (inout MutableSpan<Element>) throws(E) -> R
    ) throws(E) -> R {
        makeUnique()
        return try unsafe storage.withMutablePointer { base throws(E) in
            var span = unsafe MutableSpan(_unsafeStart: base, count: rows * columns)
            return try body(&span)
        }
    }

    /// A view of the whole matrix.
    public var view: MatrixView<Element> {
        MatrixView(storage: storage, offset: 0, rows: rows, columns: columns, rowStride: columns, columnStride: 1)
    }

    private func checkIndex(_ i: Int, _ j: Int) {
        precondition(
            i >= 0 && i < rows && j >= 0 && j < columns, "Matrix: (\(i), \(j)) outside [\(rows), \(columns)]")
    }

    private mutating func makeUnique() {
        if !isKnownUniquelyReferenced(&storage) { storage = storage.copy() }
    }
}

extension Matrix: Equatable {
    /// Equal shapes and equal elements (IEEE equality).
    public static func == (left: Matrix, right: Matrix) -> Bool {
        guard left.rows == right.rows, left.columns == right.columns else { return false }
        return left.withSpan { a in right.withSpan { b in a.indices.allSatisfy { a[$0] == b[$0] } } }
    }
}

/// A read-only, strided window on a ``Matrix`` as it was when the view was made: a block, a transpose, every other row.
///
/// Element (i, j) lies at `offset + i * rowStride + j * columnStride` of the storage that the view keeps alive.
public struct MatrixView<Element: TensorScalar>: Sendable {
    package let storage: AlignedStorage<Element>
    package let offset: Int
    /// The number of rows.
    public let rows: Int
    /// The number of columns.
    public let columns: Int
    /// The distance between neighbouring rows, in elements.
    public let rowStride: Int
    /// The distance between neighbouring columns, in elements.
    public let columnStride: Int

    package init(
        storage: AlignedStorage<Element>, offset: Int, rows: Int, columns: Int, rowStride: Int, columnStride: Int
    ) {
        self.storage = storage
        self.offset = offset
        self.rows = rows
        self.columns = columns
        self.rowStride = rowStride
        self.columnStride = columnStride
    }

    /// The element in row `i` and column `j`; traps outside the shape.
    public subscript(i: Int, j: Int) -> Element {
        precondition(
            i >= 0 && i < rows && j >= 0 && j < columns, "MatrixView: (\(i), \(j)) outside [\(rows), \(columns)]")
        return unsafe storage.withPointer { unsafe $0[offset + i * rowStride + j * columnStride] }
    }

    /// The transpose; no memory is copied.
    public var transposed: MatrixView {
        MatrixView(
            storage: storage, offset: offset, rows: columns, columns: rows, rowStride: columnStride,
            columnStride: rowStride)
    }

    /// The block of the given rows and columns; no memory is copied. Traps outside the shape.
    public func block(rows r: Range<Int>, columns c: Range<Int>) -> MatrixView {
        precondition(
            r.lowerBound >= 0 && r.upperBound <= rows && c.lowerBound >= 0 && c.upperBound <= columns,
            "MatrixView: block [\(r), \(c)] outside [\(rows), \(columns)]")
        return MatrixView(
            storage: storage, offset: offset + r.lowerBound * rowStride + c.lowerBound * columnStride, rows: r.count,
            columns: c.count, rowStride: rowStride, columnStride: columnStride)
    }

    /// Row `i`, length `columns`.
    public func row(_ i: Int) -> VectorView<Element> {
        precondition(i >= 0 && i < rows, "MatrixView: row \(i) outside 0..<\(rows)")
        return VectorView(storage: storage, offset: offset + i * rowStride, count: columns, stride: columnStride)
    }

    /// Column `j`, length `rows`.
    public func column(_ j: Int) -> VectorView<Element> { transposed.row(j) }

    /// A contiguous row-major matrix with memory of its own.
    public func copied() -> Matrix<Element> {
        var result = Matrix<Element>(rows: rows, columns: columns)
        result.withMutableSpan { span in
            for i in 0..<rows { for j in 0..<columns { span[i * columns + j] = self[i, j] } }
        }
        return result
    }
}
