/// A view as BLAS can take it: rows (or, when transposed, columns) of contiguous elements.
///
/// Blocks and transposes of a matrix are passed as they lie; only what BLAS cannot express (neither stride one, or one not
/// positive) is copied.
struct BLASOperand<Element: BLASScalar> {
    private let storage: AlignedStorage<Element>
    private let offset: Int
    /// Whether memory holds the transpose of what was meant.
    let isTransposed: Bool
    /// The distance between rows in memory, at least one.
    let stride: Int32

    init(_ view: MatrixView<Element>) {
        // A single row or column leaves the stride between them free.
        let rowStride = view.rows <= 1 ? max(view.columns, 1) : view.rowStride
        let columnStride = view.columns <= 1 ? max(view.rows, 1) : view.columnStride
        if view.columns <= 1 || view.columnStride == 1, rowStride >= max(view.columns, 1),
            let stride = Int32(exactly: rowStride)
        {
            self.init(view.storage, view.offset, false, stride)
        } else if view.rows <= 1 || view.rowStride == 1, columnStride >= max(view.rows, 1),
            let stride = Int32(exactly: columnStride)
        {
            self.init(view.storage, view.offset, true, stride)
        } else {
            let copy = view.copied().view
            self.init(copy.storage, 0, false, Int32(truncatingIfNeeded: max(view.columns, 1)))
        }
    }

    private init(_ storage: AlignedStorage<Element>, _ offset: Int, _ isTransposed: Bool, _ stride: Int32) {
        self.storage = storage
        self.offset = offset
        self.isTransposed = isTransposed
        self.stride = stride
    }

    /// Lends the address of the first element.
    func withPointer<R>(_ body: (UnsafePointer<Element>) -> R) -> R {
        unsafe storage.withPointer { base in unsafe body(base + offset) }
    }
}

/// A vector view as BLAS can take it. BLAS wants the lowest address, also when the stride is negative.
struct BLASVector<Element: BLASScalar> {
    private let storage: AlignedStorage<Element>
    private let offset: Int
    let stride: Int32

    init(_ view: VectorView<Element>) {
        if view.stride != 0, let stride = Int32(exactly: view.stride) {
            storage = view.storage
            offset = view.stride > 0 ? view.offset : view.offset + max(view.count - 1, 0) * view.stride
            self.stride = stride
        } else {
            storage = view.copied().view.storage
            offset = 0
            stride = 1
        }
    }

    func withPointer<R>(_ body: (UnsafePointer<Element>) -> R) -> R {
        unsafe storage.withPointer { base in unsafe body(base + offset) }
    }
}

extension Vector {
    /// Lends the address of the first element for writing; `body` is not run when there is none.
    mutating func withMutablePointer(_ body: (UnsafeMutablePointer<Element>) -> Void) {
        withMutableSpan { span in
            unsafe span.withUnsafeMutableBufferPointer { memory in
                if let base = memory.baseAddress, !memory.isEmpty { unsafe body(base) }
            }
        }
    }
}

extension Matrix {
    /// Lends the address of the first element for writing; `body` is not run when there is none.
    mutating func withMutablePointer(_ body: (UnsafeMutablePointer<Element>) -> Void) {
        withMutableSpan { span in
            unsafe span.withUnsafeMutableBufferPointer { memory in
                if let base = memory.baseAddress, !memory.isEmpty { unsafe body(base) }
            }
        }
    }
}

/// A size as BLAS takes it.
func blasSize(_ size: Int, _ operation: String) throws(TensorError) -> Int32 {
    guard let result = Int32(exactly: size) else {
        throw TensorError(.invalidArgument, operation, "the size \(size) exceeds BLAS's 32-bit limit; work in blocks")
    }
    return result
}
