/// A `.safetensors` file, opened for reading.
///
/// Opening reads and checks the header, every tensor's place in the data included; numbers are read when a tensor is asked
/// for. Read as numbers are F16, BF16, F32 and F64; tensors of other types are listed. The format asks for bytes that belong
/// to exactly one tensor each: overlaps, gaps and bytes after the last tensor are refused, as are duplicate keys and unknown
/// keys of a tensor.
///
/// The file is not mapped. Someone truncating a mapped file would kill the process (SIGBUS), and the bytes would have to be
/// converted or aligned anyway; `pread` of one tensor at a time copies no more than what was asked for and turns a truncation
/// into an error.
///
/// ```swift
/// let file = try SafeTensorsFile(path: "adapter_model.safetensors")
/// for tensor in file.tensors { print(tensor.name, tensor.type, tensor.shape) }
/// let down = try file.matrix("lora_A", of: Float.self)
/// ```
///
/// **Source.** [Safetensors, format](https://github.com/huggingface/safetensors#format).
public struct SafeTensorsFile: Sendable {
    /// The type of a tensor's elements.
    public struct ElementType: Sendable, Hashable, CustomStringConvertible {
        /// The name in the file: `F32`, `BF16`, `I64`, …
        public let name: String
        /// The size of one element, in bits.
        public let bitCount: Int

        let format: FloatFormat?

        init(_ name: String, _ bitCount: Int, _ format: FloatFormat? = nil) {
            self.name = name
            self.bitCount = bitCount
            self.format = format
        }

        /// Whether the elements can be had as `Float` or `Double`.
        public var isReadable: Bool { format != nil }

        /// The name.
        public var description: String { name }

        /// IEEE 754 binary32.
        public static let float32 = ElementType("F32", 32, .float32)
        /// IEEE 754 binary64.
        public static let float64 = ElementType("F64", 64, .float64)
        /// IEEE 754 binary16.
        public static let float16 = ElementType("F16", 16, .float16)
        /// The upper half of binary32.
        public static let bfloat16 = ElementType("BF16", 16, .bfloat16)
        /// A signed integer of eight bits.
        public static let int8 = ElementType("I8", 8)

        static let all: [String: ElementType] = {
            let types = [
                float32, float64, float16, bfloat16, int8, ElementType("BOOL", 8), ElementType("U8", 8),
                ElementType("U16", 16), ElementType("I16", 16), ElementType("U32", 32), ElementType("I32", 32),
                ElementType("U64", 64), ElementType("I64", 64), ElementType("C64", 64), ElementType("F8_E4M3", 8),
                ElementType("F8_E5M2", 8), ElementType("F8_E8M0", 8), ElementType("F6_E2M3", 6),
                ElementType("F6_E3M2", 6),
                ElementType("F4", 4),
            ]
            return Dictionary(uniqueKeysWithValues: types.map { ($0.name, $0) })
        }()
    }

    /// What the header says of one tensor, checked.
    public struct Tensor: Sendable, Hashable {
        /// The name; may be empty.
        public let name: String
        /// The type of the elements.
        public let type: ElementType
        /// The dimensions; empty for a single number. The last varies fastest.
        public let shape: [Int]
        /// The number of elements, the product of ``shape``.
        public let count: Int
        /// Where the data lie, in bytes from the start of the file.
        public let byteRange: Range<Int>
    }

    let source: ByteSource
    private let indices: [String: Int]

    /// The file's path, or the name of the bytes.
    public var path: String { source.path }
    /// The tensors in the order of their data.
    public let tensors: [Tensor]
    /// The free texts under `__metadata__`; empty when there are none.
    public let metadata: [String: String]

    /// The limit on a header's size unless told otherwise: 16 MiB. The format's own is 100 MB.
    public static var defaultHeaderLimit: Int { 16 << 20 }

    /// Opens a file.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - headerLimit: The largest header to accept, in bytes; at most the format's 100,000,000 has effect.
    /// - Throws: ``TensorFileError``; its code, `tensor`, `byteOffset` and message say what is wrong where.
    /// - Complexity: Linear in the header's size, n log n in the number of tensors; reads no data.
    public init(path: String, headerLimit: Int = defaultHeaderLimit) throws(TensorFileError) {
        try self.init(source: ByteSource(path: path), headerLimit: headerLimit)
    }

    /// Reads a file that is in memory; `name` is what errors call it. Otherwise as ``init(path:headerLimit:)``.
    public init(
        bytes: [UInt8], name: String = "(memory)", headerLimit: Int = defaultHeaderLimit
    ) throws(TensorFileError) {
        try self.init(source: ByteSource(bytes: bytes, name: name), headerLimit: headerLimit)
    }

    private init(source: ByteSource, headerLimit: Int) throws(TensorFileError) {
        let header = try SafeTensorsHeader(source: source, limit: min(headerLimit, 100_000_000))
        self.source = source
        tensors = header.tensors
        metadata = header.metadata
        indices = Dictionary(uniqueKeysWithValues: zip(tensors.map(\.name), tensors.indices))
    }

    /// The names of the tensors in the order of their data.
    public var names: [String] { tensors.map(\.name) }

    /// The tensor with the given name, if there is one. O(1).
    public subscript(name: String) -> Tensor? { indices[name].map { tensors[$0] } }

    /// All numbers of a tensor in row-major order, whatever its shape.
    ///
    /// - Parameters:
    ///   - name: The tensor.
    ///   - type: `Float` or `Double`; wider numbers in the file are rounded to nearest.
    ///   - requireFinite: Whether NaN and infinities, also those that arise by rounding, are refused.
    /// - Throws: ``TensorFileError``: `missingTensor`; `unsupportedType` when the elements are no floating-point numbers;
    ///   `notFinite`, naming the first such element; `inputOutput`; `dataTooShort` when the file was truncated meanwhile.
    public func elements<Element: TensorScalar>(
        _ name: String, of type: Element.Type = Element.self, requireFinite: Bool = true
    ) throws(TensorFileError) -> Vector<Element> {
        let (tensor, format) = try readable(name)
        var result = Vector<Element>(count: tensor.count)
        try result.withMutableSpan { span throws(TensorFileError) in
            try source.readNumbers(
                at: tensor.byteRange.lowerBound, format: format, into: &span, requireFinite: requireFinite, tensor: name
            )
        }
        return result
    }

    /// The numbers of a one-dimensional tensor; as ``elements(_:of:requireFinite:)``.
    ///
    /// - Throws: ``TensorFileError``, `wrongShape` when the tensor has not exactly one dimension.
    public func vector<Element: TensorScalar>(
        _ name: String, of type: Element.Type = Element.self, requireFinite: Bool = true
    ) throws(TensorFileError) -> Vector<Element> {
        let (tensor, _) = try readable(name)
        try requireDimensions(1, "vector", tensor)
        return try elements(name, of: type, requireFinite: requireFinite)
    }

    /// The numbers of a two-dimensional tensor, shape `[rows, columns]`; as ``elements(_:of:requireFinite:)``.
    ///
    /// - Throws: ``TensorFileError``, `wrongShape` when the tensor has not exactly two dimensions.
    public func matrix<Element: TensorScalar>(
        _ name: String, of type: Element.Type = Element.self, requireFinite: Bool = true
    ) throws(TensorFileError) -> Matrix<Element> {
        let (tensor, format) = try readable(name)
        try requireDimensions(2, "matrix", tensor)
        var result = Matrix<Element>(rows: tensor.shape[0], columns: tensor.shape[1])
        try result.withMutableSpan { span throws(TensorFileError) in
            try source.readNumbers(
                at: tensor.byteRange.lowerBound, format: format, into: &span, requireFinite: requireFinite, tensor: name
            )
        }
        return result
    }

    /// The elements of an I8 tensor in row-major order.
    ///
    /// - Throws: ``TensorFileError``: `missingTensor`; `unsupportedType` for another type; `inputOutput`; `dataTooShort`.
    package func integers(_ name: String) throws(TensorFileError) -> [Int8] {
        let tensor = try existing(name)
        guard tensor.type == .int8 else {
            throw TensorFileError(
                .unsupportedType, path: path, tensor: name, byteOffset: tensor.byteRange.lowerBound,
                "elements of type \(tensor.type) where I8 is needed")
        }
        return try source.bytes(tensor.byteRange).map { Int8(bitPattern: $0) }
    }

    private func existing(_ name: String) throws(TensorFileError) -> Tensor {
        guard let tensor = self[name] else {
            throw TensorFileError(
                .missingTensor, path: path, tensor: name, "the file has no such tensor; it has \(tensors.count) others")
        }
        return tensor
    }

    private func readable(_ name: String) throws(TensorFileError) -> (Tensor, FloatFormat) {
        let tensor = try existing(name)
        guard let format = tensor.type.format else {
            throw TensorFileError(
                .unsupportedType, path: path, tensor: name, byteOffset: tensor.byteRange.lowerBound,
                "elements of type \(tensor.type) are not read as numbers; F16, BF16, F32 and F64 are")
        }
        return (tensor, format)
    }

    private func requireDimensions(_ dimensions: Int, _ kind: String, _ tensor: Tensor) throws(TensorFileError) {
        guard tensor.shape.count == dimensions else {
            throw TensorFileError(
                .wrongShape, path: path, tensor: tensor.name,
                "a \(kind) has \(dimensions) dimensions, the tensor has shape \(tensor.shape)")
        }
    }
}
