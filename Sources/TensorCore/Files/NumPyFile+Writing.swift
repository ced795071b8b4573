extension NumPyFile {
    /// Writes a matrix as a two-dimensional array: `<f4` for `Float`, `<f8` for `Double`; version 1.0, C order.
    ///
    /// The file appears under its path complete or not at all.
    ///
    /// - Throws: ``TensorFileError`` (`inputOutput`).
    public static func write<Element: TensorScalar>(
        _ matrix: Matrix<Element>, to path: String
    ) throws(TensorFileError) {
        let format = FloatFormat(holding: Element.self)
        let header = header(for: format, shape: [matrix.rows, matrix.columns])
        try AtomicFile.write(to: path) { file throws(TensorFileError) in
            try file.append(header)
            try matrix.withSpan { span throws(TensorFileError) in try file.append(span, as: format) }
        }
    }

    /// Writes a vector as a one-dimensional array; as for a matrix.
    ///
    /// - Throws: ``TensorFileError`` (`inputOutput`).
    public static func write<Element: TensorScalar>(
        _ vector: Vector<Element>, to path: String
    ) throws(TensorFileError) {
        let format = FloatFormat(holding: Element.self)
        let header = header(for: format, shape: [vector.count])
        try AtomicFile.write(to: path) { file throws(TensorFileError) in
            try file.append(header)
            try vector.withSpan { span throws(TensorFileError) in try file.append(span, as: format) }
        }
    }

    /// The bytes of the file that holds a matrix.
    public static func bytes<Element: TensorScalar>(of matrix: Matrix<Element>) -> [UInt8] {
        let format = FloatFormat(holding: Element.self)
        var bytes = header(for: format, shape: [matrix.rows, matrix.columns])
        matrix.withSpan { format.append($0, to: &bytes) }
        return bytes
    }

    /// The bytes of the file that holds a vector.
    public static func bytes<Element: TensorScalar>(of vector: Vector<Element>) -> [UInt8] {
        let format = FloatFormat(holding: Element.self)
        var bytes = header(for: format, shape: [vector.count])
        vector.withSpan { format.append($0, to: &bytes) }
        return bytes
    }

    /// Magic, version 1.0, length and dictionary, padded as NumPy does so that the data start at a multiple of 64.
    static func header(for format: FloatFormat, shape: [Int]) -> [UInt8] {
        let dimensions = shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? "," : "")
        let descriptor = format == .float32 ? ElementType.float32 : .float64
        var text = Array("{'descr': '\(descriptor.rawValue)', 'fortran_order': False, 'shape': (\(dimensions)), }".utf8)
        let unpadded = 10 + text.count + 1
        text += [UInt8](repeating: 0x20, count: (64 - unpadded % 64) % 64)
        text.append(0x0A)
        let magic: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0]
        return magic + [UInt8(text.count & 0xFF), UInt8(text.count >> 8)] + text
    }
}
