/// A floating-point format as it lies in files, little-endian.
package enum FloatFormat: Sendable, Hashable {
    case float16, bfloat16, float32, float64

    /// The format that keeps every value of `Element`: `float32` for `Float`, otherwise `float64`.
    package init<Element: TensorScalar>(holding type: Element.Type) { self = type == Float.self ? .float32 : .float64 }

    package var byteCount: Int {
        switch self {
        case .float16, .bfloat16: 2
        case .float32: 4
        case .float64: 8
        }
    }
}

extension FloatFormat {
    /// Decodes the first `destination.count` numbers of `bytes`; rounds to nearest where `Element` is narrower.
    fileprivate func decode<Element: TensorScalar>(
        _ bytes: [UInt8], into destination: UnsafeMutableBufferPointer<Element>
    ) {
        // The two cases that occur, so that the loops below are compiled for them whoever calls.
        if let target = unsafe destination as? UnsafeMutableBufferPointer<Float> {
            unsafe decodeElements(bytes, into: target)
        } else if let target = unsafe destination as? UnsafeMutableBufferPointer<Double> {
            unsafe decodeElements(bytes, into: target)
        } else {
            unsafe decodeElements(bytes, into: destination)
        }
    }

    @inline(__always)
    private func decodeElements<Element: TensorScalar>(
        _ bytes: [UInt8], into destination: UnsafeMutableBufferPointer<Element>
    ) {
        precondition(bytes.count >= destination.count * byteCount, "FloatFormat: too few bytes")
        unsafe bytes.withUnsafeBytes { source in
            for i in 0..<destination.count {
                switch self {
                case .float16:
                    let word = UInt16(littleEndian: unsafe source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
                    unsafe destination[i] = Element(Self.float(float16: word))
                case .bfloat16:
                    let word = UInt16(littleEndian: unsafe source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
                    unsafe destination[i] = Element(Float(bitPattern: UInt32(word) << 16))
                case .float32:
                    let word = UInt32(littleEndian: unsafe source.loadUnaligned(fromByteOffset: 4 * i, as: UInt32.self))
                    unsafe destination[i] = Element(Float(bitPattern: word))
                case .float64:
                    let word = UInt64(littleEndian: unsafe source.loadUnaligned(fromByteOffset: 8 * i, as: UInt64.self))
                    unsafe destination[i] = Element(Double(bitPattern: word))
                }
            }
        }
    }

    /// The value of an IEEE 754 binary16 word, exactly. (`Float16` itself is not there on every platform.)
    package static func float(float16 word: UInt16) -> Float {
        let sign: Float = word & 0x8000 == 0 ? 1 : -1
        let exponent = UInt32(word >> 10 & 0x1F)
        let fraction = UInt32(word & 0x3FF)
        switch exponent {
        case 0: return sign * Float(fraction) * 0x1p-24
        case 31: return fraction == 0 ? sign * .infinity : .nan
        default: return sign * Float(bitPattern: (exponent + 112) << 23 | fraction << 13)
        }
    }

    /// The IEEE 754 binary16 word nearest to a value, ties to even; infinity beyond ±65,520. A NaN stays one.
    package static func word(float16 value: Float) -> UInt16 {
        let sign = UInt16(value.bitPattern >> 16 & 0x8000)
        let size = value.magnitude
        guard size < 65_520 else { return sign | (size.isNaN ? 0x7E00 : 0x7C00) }
        // Below 2^-14 in steps of 2^-24; above, 13 bits are dropped, and a carry moves into the exponent.
        guard size >= 0x1p-14 else { return sign | UInt16((size * 0x1p24).rounded(.toNearestOrEven)) }
        let bits = size.bitPattern
        let rounded = bits + 0xFFF + (bits >> 13 & 1)
        return sign | UInt16(truncatingIfNeeded: (rounded >> 13) - (112 << 10))
    }

    /// Appends numbers, rounded to nearest where the format is narrower; `bfloat16` is not written.
    package func append<Element: TensorScalar>(_ elements: Span<Element>, to bytes: inout [UInt8]) {
        bytes.reserveCapacity(bytes.count + elements.count * byteCount)
        for i in elements.indices {
            switch self {
            case .float32: unsafe withUnsafeBytes(of: Float(elements[i]).bitPattern.littleEndian) { unsafe bytes += $0 }
            case .float64:
                unsafe withUnsafeBytes(of: Double(elements[i]).bitPattern.littleEndian) { unsafe bytes += $0 }
            case .float16:
                let word = Self.word(float16: Float(elements[i]))
                bytes.append(UInt8(truncatingIfNeeded: word))
                bytes.append(UInt8(truncatingIfNeeded: word >> 8))
            case .bfloat16: preconditionFailure("FloatFormat: \(self) is not written")
            }
        }
    }
}

extension ByteSource {
    /// Fills `destination` with the numbers that lie from `offset` on, 64 KiB at a time.
    ///
    /// - Throws: ``TensorFileError`` (`inputOutput`, `dataTooShort`; `notFinite`, naming the first such element, when
    ///   `requireFinite`).
    func readNumbers<Element: TensorScalar>(
        at offset: Int, format: FloatFormat, into destination: inout MutableSpan<Element>, requireFinite: Bool,
        tensor: String?
    ) throws(TensorFileError) {
        let size = format.byteCount
        let step = 65_536 / size
        var buffer = [UInt8](repeating: 0, count: min(step, destination.count) * size)
        var start = 0
        while start < destination.count {
            let count = min(step, destination.count - start)
            try read(at: offset + start * size, into: &buffer, count: count * size)
            unsafe destination.withUnsafeMutableBufferPointer { memory in
                unsafe format.decode(buffer, into: UnsafeMutableBufferPointer(rebasing: memory[start..<start + count]))
            }
            if requireFinite {
                for i in start..<start + count where !destination[i].isFinite {
                    throw TensorFileError(
                        .notFinite, path: path, tensor: tensor, byteOffset: offset + i * size,
                        "element \(i) (in row-major order) is \(destination[i].isNaN ? "NaN" : "infinite") as "
                            + "\(Element.self); repair the data, or allow it with requireFinite: false")
                }
            }
            start += count
        }
    }
}

/// The number of elements of a shape; `nil` when it overflows. A zero anywhere makes it zero, however large the rest.
func elementCount(ofShape shape: [Int]) -> Int? {
    if shape.contains(0) { return 0 }
    var product = 1
    for dimension in shape {
        let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
        if overflow { return nil }
        product = next
    }
    return product
}
