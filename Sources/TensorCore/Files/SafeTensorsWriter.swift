/// Collects tensors and writes them as one `.safetensors` file.
///
/// The same tensors and metadata give the same bytes whatever the order of adding: tensors lie by element size (largest
/// first), then by name, metadata by key. The header is padded with spaces so that the data start at a multiple of 64;
/// with that order every tensor is aligned to its element size.
///
/// ```swift
/// var writer = SafeTensorsWriter(metadata: ["format": "attune"])
/// try writer.add("lora_A", down)
/// try writer.write(to: "adapter_model.safetensors")
/// ```
///
/// **Source.** [Safetensors, format](https://github.com/huggingface/safetensors#format).
public struct SafeTensorsWriter: Sendable {
    private struct Entry: Sendable {
        let name: String
        let shape: [Int]
        let content: Content

        var type: SafeTensorsFile.ElementType {
            switch content {
            case .floats, .floatVector: .float32
            case .doubles, .doubleVector: .float64
            case .packed(let type, _): type
            }
        }
        /// Cannot overflow: the elements are in memory.
        var byteCount: Int { shape.reduce(1, *) * (type.bitCount / 8) }
    }

    private enum Content: Sendable {
        case floats(Matrix<Float>)
        case doubles(Matrix<Double>)
        case floatVector(Vector<Float>)
        case doubleVector(Vector<Double>)
        case packed(SafeTensorsFile.ElementType, [UInt8])
    }

    private var entries: [Entry] = []
    private var names = Set<String>()
    /// The free texts for `__metadata__`; left out when empty.
    public var metadata: [String: String]

    /// A file without tensors yet.
    public init(metadata: [String: String] = [:]) { self.metadata = metadata }

    /// Adds a matrix as F32, shape `[rows, columns]`; its memory is shared, not copied.
    ///
    /// - Throws: ``TensorFileError`` (`invalidArgument`) when the name is taken or is `__metadata__`.
    public mutating func add(_ name: String, _ matrix: Matrix<Float>) throws(TensorFileError) {
        try add(Entry(name: name, shape: [matrix.rows, matrix.columns], content: .floats(matrix)))
    }

    /// Adds a matrix as F64; as for `Float`.
    public mutating func add(_ name: String, _ matrix: Matrix<Double>) throws(TensorFileError) {
        try add(Entry(name: name, shape: [matrix.rows, matrix.columns], content: .doubles(matrix)))
    }

    /// Adds a vector as F32, shape `[count]`; as for a matrix.
    public mutating func add(_ name: String, _ vector: Vector<Float>) throws(TensorFileError) {
        try add(Entry(name: name, shape: [vector.count], content: .floatVector(vector)))
    }

    /// Adds a vector as F64, shape `[count]`; as for a matrix.
    public mutating func add(_ name: String, _ vector: Vector<Double>) throws(TensorFileError) {
        try add(Entry(name: name, shape: [vector.count], content: .doubleVector(vector)))
    }

    /// Adds numbers as F16, rounded to nearest (ties to even); beyond its range they become infinite.
    ///
    /// - Throws: ``TensorFileError`` (`invalidArgument`) when the name is taken or is `__metadata__`.
    package mutating func addHalves(_ name: String, shape: [Int], _ values: [Float]) throws(TensorFileError) {
        precondition(elementCount(ofShape: shape) == values.count, "SafeTensorsWriter: a shape of another count")
        var bytes: [UInt8] = []
        FloatFormat.float16.append(values.span, to: &bytes)
        try add(Entry(name: name, shape: shape, content: .packed(.float16, bytes)))
    }

    /// Adds small integers as I8; as for halves.
    package mutating func addIntegers(_ name: String, shape: [Int], _ values: [Int8]) throws(TensorFileError) {
        precondition(elementCount(ofShape: shape) == values.count, "SafeTensorsWriter: a shape of another count")
        let bytes = values.map { UInt8(bitPattern: $0) }
        try add(Entry(name: name, shape: shape, content: .packed(.int8, bytes)))
    }

    private mutating func add(_ entry: Entry) throws(TensorFileError) {
        guard entry.name != SafeTensorsHeader.metadataKey else {
            throw TensorFileError(
                .invalidArgument, path: "(new file)", tensor: entry.name, "the format keeps this name for the metadata")
        }
        guard names.insert(entry.name).inserted else {
            throw TensorFileError(
                .invalidArgument, path: "(new file)", tensor: entry.name, "a tensor of this name was added before")
        }
        entries.append(entry)
    }

    /// Writes the file; it appears under its path complete or not at all.
    ///
    /// - Throws: ``TensorFileError`` (`inputOutput`; `limitExceeded` when the header exceeds the format's 100 MB).
    public func write(to path: String) throws(TensorFileError) { try write(to: path, isPrivate: false) }

    /// The same for a file that its owner alone may read.
    package func write(to path: String, isPrivate: Bool) throws(TensorFileError) {
        let (header, ordered) = layout()
        guard header.count - 8 <= 100_000_000 else {
            throw TensorFileError(.limitExceeded, path: path, "the header would exceed the format's limit of 100 MB")
        }
        try AtomicFile.write(to: path, isPrivate: isPrivate) { file throws(TensorFileError) in
            try file.append(header)
            for entry in ordered {
                switch entry.content {
                case .floats(let matrix):
                    try matrix.withSpan { span throws(TensorFileError) in try file.append(span, as: .float32) }
                case .doubles(let matrix):
                    try matrix.withSpan { span throws(TensorFileError) in try file.append(span, as: .float64) }
                case .floatVector(let vector):
                    try vector.withSpan { span throws(TensorFileError) in try file.append(span, as: .float32) }
                case .doubleVector(let vector):
                    try vector.withSpan { span throws(TensorFileError) in try file.append(span, as: .float64) }
                case .packed(_, let bytes): try file.append(bytes)
                }
            }
        }
    }

    /// The bytes of the file.
    public func bytes() -> [UInt8] {
        var (bytes, ordered) = layout()
        for entry in ordered {
            switch entry.content {
            case .floats(let matrix): matrix.withSpan { FloatFormat.float32.append($0, to: &bytes) }
            case .doubles(let matrix): matrix.withSpan { FloatFormat.float64.append($0, to: &bytes) }
            case .floatVector(let vector): vector.withSpan { FloatFormat.float32.append($0, to: &bytes) }
            case .doubleVector(let vector): vector.withSpan { FloatFormat.float64.append($0, to: &bytes) }
            case .packed(_, let packed): bytes += packed
            }
        }
        return bytes
    }

    /// The header with its length, and the entries in the order of their data.
    private func layout() -> (header: [UInt8], ordered: [Entry]) {
        let ordered = entries.sorted {
            ($1.type.bitCount, $0.name) < ($0.type.bitCount, $1.name)
        }
        var members: [String] = []
        if !metadata.isEmpty {
            let texts = metadata.sorted { $0.key < $1.key }.map { "\(Self.json($0.key)):\(Self.json($0.value))" }
            members.append("\(Self.json(SafeTensorsHeader.metadataKey)):{\(texts.joined(separator: ","))}")
        }
        var offset = 0
        for entry in ordered {
            let shape = entry.shape.map(String.init).joined(separator: ",")
            let end = offset + entry.byteCount
            members.append(
                "\(Self.json(entry.name)):{\"dtype\":\"\(entry.type)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(offset),\(end)]}"
            )
            offset = end
        }
        var text = Array("{\(members.joined(separator: ","))}".utf8)
        text += [UInt8](repeating: 0x20, count: (64 - (8 + text.count) % 64) % 64)
        let length = UInt64(text.count)
        return ((0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + text, ordered)
    }

    /// A JSON string.
    package static func json(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\0"..<" ":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
