internal import TensorCore

/// Numbers of less precision, to tensors and back.
extension AdapterFile {
    /// What the name of a tensor's scales ends in.
    static let scaleSuffix = "_scale"

    /// Adds a tensor; its last dimension is a row.
    ///
    /// Int8: a row's scale is its largest magnitude / 127, so that no value is clipped and zero stays zero. Symmetric,
    /// -127...127. A row of zeros, or one so small that the scale would be subnormal (and its steps too coarse), has
    /// scale 0.
    static func add(
        _ name: String, _ shape: [Int], _ values: [Float], _ precision: AdapterPrecision, _ path: String,
        to writer: inout SafeTensorsWriter
    ) throws(TensorFileError) {
        let columns = shape.last ?? 1
        switch precision {
        case .float32 where shape.count == 1: try writer.add(name, Vector(values))
        case .float32:
            var matrix = Matrix<Float>(rows: shape[0], columns: columns)
            matrix.withMutableSpan { span in for i in span.indices { span[i] = values[i] } }
            try writer.add(name, matrix)
        case .float16:
            guard
                let index = values.firstIndex(where: {
                    !FloatFormat.float(float16: FloatFormat.word(float16: $0)).isFinite
                })
            else { return try writer.addHalves(name, shape: shape, values) }
            throw TensorFileError(
                .notFinite, path: path, tensor: name,
                "element \(index) is beyond the range of F16, ±65,504; write the adapter as int8 or float32")
        case .int8:
            var integers: [Int8] = []
            var scales: [Float] = []
            for start in stride(from: 0, to: values.count, by: columns) {
                let row = values[start..<start + columns]
                let scale = row.reduce(0) { max($0, $1.magnitude) } / 127
                scales.append(scale.isNormal ? scale : 0)
                integers += row.map { scale.isNormal ? Int8(min(127, max(-127, ($0 / scale).rounded()))) : 0 }
            }
            try writer.addIntegers(name, shape: shape, integers)
            try writer.add(name + scaleSuffix, Vector(scales))
        }
    }

    static func matrix(
        _ name: String, _ file: SafeTensorsFile, _ precision: AdapterPrecision
    ) throws(TensorFileError) -> Matrix<Float> {
        try require(precision, name, file)
        guard precision == .int8 else { return try file.matrix(name) }
        let shape = file[name]?.shape ?? []
        guard shape.count == 2 else {
            throw TensorFileError(
                .wrongShape, path: file.path, tensor: name, "a matrix has 2 dimensions, the tensor has shape \(shape)")
        }
        let (integers, scales) = (try file.integers(name), try Self.scales(name, rows: shape[0], file))
        var matrix = Matrix<Float>(rows: shape[0], columns: shape[1])
        matrix.withMutableSpan { span in
            for i in span.indices { span[i] = Float(integers[i]) * scales[i / shape[1]] }
        }
        return matrix
    }

    static func vector(
        _ name: String, _ file: SafeTensorsFile, _ precision: AdapterPrecision
    ) throws(TensorFileError) -> [Float] {
        try require(precision, name, file)
        guard precision == .int8 else { return try file.vector(name, of: Float.self).array }
        let shape = file[name]?.shape ?? []
        guard shape.count == 1 else {
            throw TensorFileError(
                .wrongShape, path: file.path, tensor: name, "a vector has 1 dimension, the tensor has shape \(shape)")
        }
        let scale = try Self.scales(name, rows: 1, file)[0]
        return try file.integers(name).map { Float($0) * scale }
    }

    private static func scales(
        _ name: String, rows: Int, _ file: SafeTensorsFile
    ) throws(TensorFileError) -> [Float] {
        let scales = try file.vector(name + scaleSuffix, of: Float.self).array
        guard scales.count == rows, scales.allSatisfy({ $0 >= 0 }) else {
            throw TensorFileError(
                .malformed, path: file.path, tensor: name + scaleSuffix,
                "\(rows) scales of at least 0 are needed, one for each row of \(name)")
        }
        return scales
    }

    /// Float32 files were always read from any type of floating-point numbers, and still are.
    private static func require(
        _ precision: AdapterPrecision, _ name: String, _ file: SafeTensorsFile
    ) throws(TensorFileError) {
        guard precision == .float16, let type = file[name]?.type, type != .float16 else { return }
        throw TensorFileError(
            .unsupportedType, path: file.path, tensor: name, "elements of type \(type) where F16 was announced")
    }
}
