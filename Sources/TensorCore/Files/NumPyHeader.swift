/// The checked header of a `.npy` file.
struct NumPyHeader {
    var elementType = NumPyFile.ElementType.float32
    var shape: [Int] = []
    /// Where the dictionary starts.
    var textOffset = 0
    var dataOffset = 0

    /// No header of a float array comes near; a hostile one may announce 4 GB.
    static let maximumBytes = 65_536
    /// NumPy's own limit since 2.0.
    static let maximumDimensions = 64

    init(source: ByteSource) throws(TensorFileError) {
        let path = source.path
        func shorter(_ part: String) -> TensorFileError {
            TensorFileError(
                .dataTooShort, path: path, byteOffset: source.count, "the file ends in the \(part) of a .npy file")
        }
        let prefix = try source.bytes(0..<min(12, source.count))
        let magic: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]
        guard prefix.prefix(6).elementsEqual(magic.prefix(prefix.count)) else {
            throw TensorFileError(
                .malformed, path: path, byteOffset: 0, "not a .npy file: it does not start with \\x93NUMPY")
        }
        guard prefix.count >= 8 else { throw shorter("magic") }
        let lengthBytes: Int
        switch (prefix[6], prefix[7]) {
        case (1, 0): lengthBytes = 2
        case (2, 0): lengthBytes = 4
        default:
            throw TensorFileError(
                .unsupported, path: path, byteOffset: 6,
                "version \(prefix[6]).\(prefix[7]) of the .npy format; 1.0 and 2.0 are read")
        }
        textOffset = 8 + lengthBytes
        guard prefix.count >= textOffset else { throw shorter("header length") }
        let length = prefix[8..<textOffset].reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= Self.maximumBytes else {
            throw TensorFileError(
                .limitExceeded, path: path, byteOffset: 8,
                "a header of \(length) bytes exceeds the limit of \(Self.maximumBytes)")
        }
        guard length <= source.count - textOffset else { throw shorter("header") }
        dataOffset = textOffset + length
        var parser = Parser(text: try source.bytes(textOffset..<dataOffset), start: textOffset, path: path)
        (elementType, shape) = try parser.header()
    }
}

extension NumPyHeader {
    /// Reads the header's Python dictionary: the literals NumPy writes, in any order and spacing, and nothing else.
    private struct Parser {
        let text: [UInt8]
        let start: Int
        let path: String
        var position = 0

        init(text: [UInt8], start: Int, path: String) {
            self.text = text
            self.start = start
            self.path = path
        }

        func refusal(_ message: String, code: TensorFileError.Code = .malformed, at place: Int? = nil)
            -> TensorFileError
        {
            TensorFileError(code, path: path, byteOffset: start + (place ?? position), message)
        }

        mutating func header() throws(TensorFileError) -> (NumPyFile.ElementType, [Int]) {
            var type: NumPyFile.ElementType?
            var fortranOrder: Bool?
            var shape: [Int]?
            guard take("{") else { throw refusal("the header is not a Python dictionary") }
            while !take("}") {
                skipSpace()
                let keyPosition = position
                let key = try string()
                guard take(":") else { throw refusal("a colon should stand here") }
                skipSpace()
                let seen: Bool
                switch key {
                case "descr":
                    seen = type != nil
                    type = try elementType()
                case "fortran_order":
                    seen = fortranOrder != nil
                    fortranOrder = try order()
                case "shape":
                    seen = shape != nil
                    shape = try dimensions()
                default: throw refusal("an unknown key \(TensorFileError.quoted(key))", at: keyPosition)
                }
                guard !seen else {
                    throw refusal("the key '\(key)' stands here again", code: .duplicateKey, at: keyPosition)
                }
                if !take(",") {
                    guard take("}") else { throw refusal("a comma or '}' should stand here") }
                    break
                }
            }
            skipSpace()
            guard position == text.count else { throw refusal("unexpected text after the dictionary") }
            guard let type, let shape, fortranOrder != nil else {
                throw refusal("the header must have the keys 'descr', 'fortran_order' and 'shape'", at: 0)
            }
            return (type, shape)
        }

        private mutating func elementType() throws(TensorFileError) -> NumPyFile.ElementType {
            let place = position
            guard text[position...].first != UInt8(ascii: "[") else {
                throw refusal("a structured array; save each field as an array of its own", code: .unsupported)
            }
            let descriptor = try string()
            if let type = NumPyFile.ElementType(rawValue: descriptor) { return type }
            let reason =
                switch descriptor.first {
                case ">": "big-endian elements; convert with a.astype(a.dtype.newbyteorder('<'))"
                case "|" where descriptor.hasSuffix("O"): "pickled Python objects, which are never read"
                default: "elements that are no floating-point numbers of a kind read here; convert with a.astype('<f4')"
                }
            throw refusal("dtype \(TensorFileError.quoted(descriptor)): \(reason)", code: .unsupported, at: place)
        }

        private mutating func order() throws(TensorFileError) -> Bool {
            if takeWord("False") { return false }
            guard takeWord("True") else { throw refusal("True or False should stand here") }
            throw refusal("Fortran order; convert with numpy.ascontiguousarray(a)", code: .unsupported)
        }

        private mutating func dimensions() throws(TensorFileError) -> [Int] {
            guard take("(") else { throw refusal("the shape is not a tuple") }
            var shape: [Int] = []
            while !take(")") {
                guard shape.count < NumPyHeader.maximumDimensions else {
                    throw refusal("more than \(NumPyHeader.maximumDimensions) dimensions", code: .limitExceeded)
                }
                skipSpace()
                let first = position
                while position < text.count, text[position] >= 0x30, text[position] <= 0x39 { position += 1 }
                guard position > first else { throw refusal("a dimension is not a non-negative integer") }
                // Python has no literal such as 007.
                guard text[first] != 0x30 || position == first + 1 else {
                    throw refusal("a dimension starts with 0", at: first)
                }
                guard let dimension = Int(String(decoding: text[first..<position], as: UTF8.self)) else {
                    throw refusal("a dimension overflows", code: .shapeOverflow, at: first)
                }
                shape.append(dimension)
                if !take(",") {
                    // (5) is a number in Python; a tuple of one needs its comma.
                    guard shape.count > 1, take(")") else { throw refusal("a comma should stand here") }
                    break
                }
            }
            return shape
        }

        private mutating func string() throws(TensorFileError) -> String {
            guard position < text.count, text[position] == 0x22 || text[position] == 0x27 else {
                throw refusal("a string should stand here")
            }
            let quote = text[position]
            let first = position + 1
            position = first
            while position < text.count, text[position] != quote {
                guard text[position] >= 0x20, text[position] < 0x7F, text[position] != 0x5C else {
                    throw refusal("an escape or a character that is not ASCII")
                }
                position += 1
            }
            guard position < text.count else { throw refusal("a string without end", at: first - 1) }
            defer { position += 1 }
            return String(decoding: text[first..<position], as: UTF8.self)
        }

        private mutating func skipSpace() {
            while position < text.count, [0x20, 0x09, 0x0A, 0x0D].contains(text[position]) { position += 1 }
        }

        private mutating func take(_ character: Unicode.Scalar) -> Bool {
            skipSpace()
            guard position < text.count, text[position] == UInt8(ascii: character) else { return false }
            position += 1
            return true
        }

        private mutating func takeWord(_ word: String) -> Bool {
            guard text[position...].starts(with: word.utf8) else { return false }
            position += word.utf8.count
            return true
        }
    }
}
