/// A `.npy` file of floating-point numbers, opened for reading.
///
/// Opening reads and checks the header and the file's size; the numbers are read when asked for. Read are versions 1.0 and
/// 2.0, little-endian Float16, Float32 and Float64 in C order. Refused, each with its ``TensorFileError``: Fortran order,
/// big-endian, integers, structured and pickled arrays, version 3, and a file whose data are shorter or longer than the shape
/// says. The numbers are read with `pread` rather than mapped: another process truncating the file leads to an error, not to
/// a SIGBUS.
///
/// ```swift
/// let embeddings = try NumPyFile(path: "embeddings.npy").matrix(of: Float.self)
/// ```
///
/// **Source.** NumPy, *The npy format*,
/// [numpy.lib.format](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
public struct NumPyFile: Sendable {
    /// How the numbers lie in the file.
    public enum ElementType: String, Sendable, Hashable, CaseIterable {
        /// IEEE 754 binary16.
        case float16 = "<f2"
        /// IEEE 754 binary32.
        case float32 = "<f4"
        /// IEEE 754 binary64.
        case float64 = "<f8"

        var format: FloatFormat {
            switch self {
            case .float16: .float16
            case .float32: .float32
            case .float64: .float64
            }
        }
    }

    private let source: ByteSource
    private let dataOffset: Int

    /// The file's path, or the name of the bytes.
    public var path: String { source.path }
    /// How the numbers lie in the file.
    public let elementType: ElementType
    /// The dimensions; empty for a single number. In C order: the last varies fastest.
    public let shape: [Int]
    /// The number of elements, the product of ``shape``.
    public let count: Int

    /// Opens a file.
    ///
    /// - Throws: ``TensorFileError``; its code, `byteOffset` and message say what is wrong where.
    public init(path: String) throws(TensorFileError) { try self.init(source: ByteSource(path: path)) }

    /// Reads a file that is in memory.
    ///
    /// - Parameters:
    ///   - bytes: The whole file.
    ///   - name: What errors call it.
    public init(bytes: [UInt8], name: String = "(memory)") throws(TensorFileError) {
        try self.init(source: ByteSource(bytes: bytes, name: name))
    }

    private init(source: ByteSource) throws(TensorFileError) {
        let header = try NumPyHeader(source: source)
        self.source = source
        elementType = header.elementType
        shape = header.shape
        dataOffset = header.dataOffset
        guard let count = elementCount(ofShape: shape),
            case let (bytes, overflow) = count.multipliedReportingOverflow(by: elementType.format.byteCount), !overflow
        else {
            throw TensorFileError(
                .shapeOverflow, path: source.path, byteOffset: header.textOffset, "the shape \(shape) overflows")
        }
        self.count = count
        let available = source.count - dataOffset
        guard available >= bytes else {
            throw TensorFileError(
                .dataTooShort, path: source.path, byteOffset: source.count,
                "the shape \(shape) of \(elementType.rawValue) needs \(bytes) bytes of data, the file has \(available)")
        }
        guard available == bytes else {
            throw TensorFileError(
                .dataTooLong, path: source.path, byteOffset: dataOffset + bytes,
                "\(available - bytes) bytes follow the data of shape \(shape)")
        }
    }

    /// All numbers in C order, whatever the shape.
    ///
    /// - Parameters:
    ///   - type: `Float` or `Double`; wider numbers in the file are rounded to nearest.
    ///   - requireFinite: Whether NaN and infinities, also those that arise by rounding, are refused.
    /// - Throws: ``TensorFileError`` (`notFinite`, naming the first such element; `inputOutput`; `dataTooShort` when the file
    ///   was truncated after it was opened).
    public func elements<Element: TensorScalar>(
        of type: Element.Type = Element.self, requireFinite: Bool = true
    ) throws(TensorFileError) -> Vector<Element> {
        var result = Vector<Element>(count: count)
        try result.withMutableSpan { span throws(TensorFileError) in
            try source.readNumbers(
                at: dataOffset, format: elementType.format, into: &span, requireFinite: requireFinite, tensor: nil)
        }
        return result
    }

    /// The numbers of a one-dimensional array; as ``elements(of:requireFinite:)``.
    ///
    /// - Throws: ``TensorFileError``, `wrongShape` when the array has not exactly one dimension.
    public func vector<Element: TensorScalar>(
        of type: Element.Type = Element.self, requireFinite: Bool = true
    ) throws(TensorFileError) -> Vector<Element> {
        try requireDimensions(1, "vector")
        return try elements(of: type, requireFinite: requireFinite)
    }

    /// The numbers of a two-dimensional array, shape `[rows, columns]`; as ``elements(of:requireFinite:)``.
    ///
    /// - Throws: ``TensorFileError``, `wrongShape` when the array has not exactly two dimensions.
    public func matrix<Element: TensorScalar>(
        of type: Element.Type = Element.self, requireFinite: Bool = true
    ) throws(TensorFileError) -> Matrix<Element> {
        try requireDimensions(2, "matrix")
        var result = Matrix<Element>(rows: shape[0], columns: shape[1])
        try result.withMutableSpan { span throws(TensorFileError) in
            try source.readNumbers(
                at: dataOffset, format: elementType.format, into: &span, requireFinite: requireFinite, tensor: nil)
        }
        return result
    }

    private func requireDimensions(_ dimensions: Int, _ name: String) throws(TensorFileError) {
        guard shape.count == dimensions else {
            throw TensorFileError(
                .wrongShape, path: path, "a \(name) has \(dimensions) dimensions, the array has shape \(shape)")
        }
    }
}
