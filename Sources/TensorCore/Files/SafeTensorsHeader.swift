/// The checked header of a `.safetensors` file.
struct SafeTensorsHeader {
    /// In the order of their data.
    private(set) var tensors: [SafeTensorsFile.Tensor] = []
    private(set) var metadata: [String: String] = [:]

    static let metadataKey = "__metadata__"
    private static let maximumDimensions = 64

    private let path: String
    /// Where the data start, and how many bytes there are.
    private let dataOffset: Int
    private let dataCount: Int

    init(source: ByteSource, limit: Int) throws(TensorFileError) {
        path = source.path
        guard source.count >= 8 else {
            throw TensorFileError(
                .dataTooShort, path: path, byteOffset: source.count,
                "the file ends in the header length of a .safetensors file")
        }
        let length = try source.bytes(0..<8).reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(max(limit, 0)) else {
            throw TensorFileError(
                .limitExceeded, path: path, byteOffset: 0, "a header of \(length) bytes exceeds the limit of \(limit)")
        }
        dataOffset = 8 + Int(length)
        guard dataOffset <= source.count else {
            throw TensorFileError(
                .dataTooShort, path: path, byteOffset: source.count, "the file ends in the header of \(length) bytes")
        }
        dataCount = source.count - dataOffset
        let text = try source.bytes(8..<dataOffset)
        guard text.first == UInt8(ascii: "{") else {
            throw TensorFileError(.malformed, path: path, byteOffset: 8, "the header does not start with '{'")
        }
        var limits = JSONLimits()
        limits.maximumBytes = text.count
        limits.maximumDepth = 4
        let root: JSONValue
        do throws(JSONError) {
            root = try StrictJSON.parse(text, limits: limits)
        } catch {
            let code: TensorFileError.Code =
                switch error.reason {
                case .syntax: .malformed
                case .duplicateKey: .duplicateKey
                case .limit: .limitExceeded
                }
            throw TensorFileError(code, path: path, byteOffset: 8 + error.offset, error.message)
        }
        guard case .object(let members) = root.content else { throw malformed(root, "the header is not a JSON object") }
        for member in members {
            if member.key == Self.metadataKey {
                metadata = try texts(member.value)
            } else {
                tensors.append(try tensor(member.key, member.value))
            }
        }
        try checkLayout()
    }

    private func malformed(_ value: JSONValue, tensor: String? = nil, _ message: String) -> TensorFileError {
        TensorFileError(.malformed, path: path, tensor: tensor, byteOffset: 8 + value.offset, message)
    }

    private func texts(_ value: JSONValue) throws(TensorFileError) -> [String: String] {
        guard case .object(let members) = value.content else {
            throw malformed(value, "the metadata are not a JSON object")
        }
        var result: [String: String] = [:]
        for member in members {
            guard case .string(let text) = member.value.content else {
                throw malformed(
                    member.value, "the metadata value of \(TensorFileError.quoted(member.key)) is not a string")
            }
            result[member.key] = text
        }
        return result
    }

    private func tensor(_ name: String, _ value: JSONValue) throws(TensorFileError) -> SafeTensorsFile.Tensor {
        guard case .object(let members) = value.content else {
            throw malformed(value, tensor: name, "a tensor is not described by a JSON object")
        }
        var type: SafeTensorsFile.ElementType?
        var shape: [Int]?
        var offsets: [Int]?
        for member in members {
            switch member.key {
            case "dtype":
                guard case .string(let typeName) = member.value.content else {
                    throw malformed(member.value, tensor: name, "the dtype is not a string")
                }
                guard let known = SafeTensorsFile.ElementType.all[typeName] else {
                    throw TensorFileError(
                        .unsupportedType, path: path, tensor: name, byteOffset: 8 + member.value.offset,
                        "an unknown dtype \(TensorFileError.quoted(typeName))")
                }
                type = known
            case "shape": shape = try integers(member.value, "shape", tensor: name, maximum: Self.maximumDimensions)
            case "data_offsets":
                offsets = try integers(member.value, "data_offsets", tensor: name, maximum: 2)
                guard offsets?.count == 2 else {
                    throw malformed(member.value, tensor: name, "data_offsets are not two")
                }
            default: throw malformed(member.value, tensor: name, "an unknown key \(TensorFileError.quoted(member.key))")
            }
        }
        guard let type, let shape, let offsets else {
            throw malformed(value, tensor: name, "a tensor needs dtype, shape and data_offsets")
        }
        func refusal(_ code: TensorFileError.Code, _ message: String) -> TensorFileError {
            TensorFileError(code, path: path, tensor: name, byteOffset: 8 + value.offset, message)
        }
        let (begin, end) = (offsets[0], offsets[1])
        guard begin <= end else {
            throw refusal(.offsetOutOfRange, "data_offsets end (\(end)) before they begin (\(begin))")
        }
        guard end <= dataCount else {
            throw refusal(
                .offsetOutOfRange,
                "data_offsets \(begin)..<\(end) lie outside the \(dataCount) bytes of data; is the file cut?")
        }
        guard let count = elementCount(ofShape: shape),
            case let (bits, overflow) = count.multipliedReportingOverflow(by: type.bitCount), !overflow
        else { throw refusal(.shapeOverflow, "the shape \(shape) overflows") }
        guard bits % 8 == 0, bits / 8 == end - begin else {
            throw refusal(
                .sizeMismatch, "shape \(shape) of \(type) takes \(bits) bits, data_offsets span \(end - begin) bytes")
        }
        return SafeTensorsFile.Tensor(
            name: name, type: type, shape: shape, count: count, byteRange: dataOffset + begin..<dataOffset + end)
    }

    private func integers(
        _ value: JSONValue, _ key: String, tensor: String, maximum: Int
    ) throws(TensorFileError) -> [Int] {
        guard case .array(let values) = value.content else {
            throw malformed(value, tensor: tensor, "\(key) is not an array")
        }
        guard values.count <= maximum else {
            throw TensorFileError(
                .limitExceeded, path: path, tensor: tensor, byteOffset: 8 + value.offset,
                "\(key) has \(values.count) entries, more than \(maximum)")
        }
        var result: [Int] = []
        for entry in values {
            guard case .integer(let number) = entry.content, let number = Int(exactly: number) else {
                throw malformed(entry, tensor: tensor, "\(key) holds something else than non-negative 63-bit integers")
            }
            result.append(number)
        }
        return result
    }

    /// Sorts the tensors by place and requires that they cover the data exactly.
    private mutating func checkLayout() throws(TensorFileError) {
        tensors.sort { a, b in
            (a.byteRange.lowerBound, a.byteRange.upperBound, a.name)
                < (b.byteRange.lowerBound, b.byteRange.upperBound, b.name)
        }
        var end = dataOffset
        var previous: String?
        for tensor in tensors {
            let begin = tensor.byteRange.lowerBound
            let place = previous.map { "tensor \(TensorFileError.quoted($0))" } ?? "the header"
            if begin < end {
                throw TensorFileError(
                    .overlap, path: path, tensor: tensor.name, byteOffset: begin,
                    "shares \(end - begin) bytes with \(place)")
            }
            if begin > end {
                throw TensorFileError(
                    .gap, path: path, tensor: tensor.name, byteOffset: end,
                    "\(begin - end) bytes between \(place) and this tensor belong to none")
            }
            end = tensor.byteRange.upperBound
            previous = tensor.name
        }
        guard end == dataOffset + dataCount else {
            throw TensorFileError(
                .dataTooLong, path: path, byteOffset: end,
                "\(dataOffset + dataCount - end) bytes follow the last tensor")
        }
    }
}
