// Numbers as bytes, the least significant byte first, whatever the machine: what our own binary formats are made of.

/// Appends numbers to bytes.
package struct ByteWriter: ~Copyable {
    /// What was written so far.
    package private(set) var bytes: [UInt8] = []

    package init(capacity: Int) { bytes.reserveCapacity(capacity) }

    package mutating func append(_ value: some FixedWidthInteger) {
        unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }

    package mutating func append(_ value: Float) { append(value.bitPattern) }
    package mutating func append(_ value: Double) { append(value.bitPattern) }

    package mutating func append(_ values: AlignedStorage<Float>) {
        values.withBuffer { values in
            #if _endian(little)
                unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: values.base, count: 4 * values.count))
            #else
                for i in 0..<values.count { append(values[i]) }
            #endif
        }
    }
}

/// Takes numbers from the front of bytes. Every taking says whether there were enough.
package struct ByteReader {
    private let bytes: [UInt8]
    private var position = 0

    package init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// How many bytes are left.
    package var remaining: Int { bytes.count - position }

    /// The next number; `nil` where the bytes end before.
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
