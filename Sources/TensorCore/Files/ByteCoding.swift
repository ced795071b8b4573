// Numbers as bytes, the least significant byte first, whatever the machine: what our own binary formats are made of.

/// Appends numbers to bytes.
@usableFromInline
package struct ByteWriter: ~Copyable {
    /// What was written so far.
    @usableFromInline
    package internal(set) var bytes: [UInt8] = []

    package init(capacity: Int) { bytes.reserveCapacity(capacity) }

    @inlinable
    package mutating func append(_ value: some FixedWidthInteger) {
        unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }

    package mutating func append(_ value: Float) { append(value.bitPattern) }
    package mutating func append(_ value: Double) { append(value.bitPattern) }

    package mutating func append(_ values: AlignedStorage<Float>) { values.withBuffer { append($0) } }

    package mutating func append(_ values: FloatBuffer) {
        #if _endian(little)
            unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: values.base, count: 4 * values.count))
        #else
            for i in 0..<values.count { append(values[i]) }
        #endif
    }

    /// Appends a number in as many bytes as it has groups of seven bits, the lowest group first; each byte but the last has its
    /// highest bit set (LEB128).
    package mutating func append(short value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    package mutating func append(short value: UInt) { append(short: UInt64(value)) }

    package mutating func append(bytes more: [UInt8]) { bytes.append(contentsOf: more) }

    /// Appends a text's UTF-8 bytes behind their count.
    package mutating func append(_ text: String) {
        append(short: UInt(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }
}

/// Takes numbers from the front of bytes. Every taking says whether there were enough.
@usableFromInline
package struct ByteReader {
    @usableFromInline
    let bytes: [UInt8]
    @usableFromInline
    var position = 0

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// How many bytes are left.
    @inlinable
    package var remaining: Int { bytes.count - position }

    /// The next number; `nil` where the bytes end before.
    @inlinable
    package mutating func take<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value? {
        let size = MemoryLayout<Value>.size
        guard remaining >= size else { return nil }
        var value: Value = 0
        for i in 0..<size { value |= Value(truncatingIfNeeded: bytes[position + i]) << Value(8 * i) }
        position += size
        return value
    }

    package mutating func takeFloat() -> Float? { take(UInt32.self).map(Float.init(bitPattern:)) }
    package mutating func takeDouble() -> Double? { take(UInt64.self).map(Double.init(bitPattern:)) }

    /// The next number that was appended short; `nil` where the bytes end before, or for more than 64 bits.
    package mutating func takeShort() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard let byte: UInt8 = take(), shift < 63 || byte <= 1 else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }

    /// The next text; `nil` where the bytes end before, or for more than `limit` bytes, or where they are no UTF-8.
    package mutating func takeText(limit: Int) -> String? {
        guard let count = takeShort(), count <= UInt64(limit), UInt64(remaining) >= count else { return nil }
        let range = position..<(position + Int(count))
        position = range.upperBound
        return String(validating: bytes[range], as: UTF8.self)
    }

    /// The next `count` floats; `nil` where the bytes end before.
    package mutating func takeFloats(_ count: Int) -> [Float]? {
        guard count >= 0, remaining / 4 >= count else { return nil }
        let start = position
        position += 4 * count
        return unsafe [Float](unsafeUninitializedCapacity: count) { values, initialized in
            unsafe bytes.withUnsafeBytes { source in
                for i in 0..<count {
                    let bits = unsafe source.loadUnaligned(fromByteOffset: start + 4 * i, as: UInt32.self)
                    unsafe values.initializeElement(at: i, to: Float(bitPattern: UInt32(littleEndian: bits)))
                }
            }
            initialized = count
        }
    }

    /// The next `count` floats, in memory of their own; `nil` where the bytes end before.
    package mutating func takeFloats(_ count: Int, in slabs: SlabAllocator?) -> AlignedStorage<Float>? {
        guard count >= 0, remaining / 4 >= count else { return nil }
        let values = AlignedStorage<Float>(count: count, in: slabs)
        let range = position..<(position + 4 * count)
        position = range.upperBound
        values.withBuffer { values in
            #if _endian(little)
                unsafe bytes.withUnsafeBytes { source in
                    unsafe UnsafeMutableRawBufferPointer(start: values.base, count: 4 * count)
                        .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range]))
                }
            #else
                var reader = self
                reader.position = range.lowerBound
                for i in 0..<count { values[i] = reader.takeFloat() ?? .nan }
            #endif
        }
        return values
    }
}
