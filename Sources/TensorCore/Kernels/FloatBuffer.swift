/// A bounds-checked window on floats that somebody else owns, for arithmetic within one call.
///
/// The kernels' currency: unlike `MutableSpan` it can be sliced into parts that are used together (factors A and B of one
/// slab). `@safe` because only ``AlignedStorage/withBuffer(_:)`` and ``ScratchArena`` make one, and neither lets it outlive
/// the closure in which it is lent; every access is checked against `count`.
@safe
@frozen
@usableFromInline
package struct FloatBuffer {
    @usableFromInline
    package let base: UnsafeMutablePointer<Float>
    @usableFromInline
    package let count: Int

    @unsafe
    @inlinable
    package init(base: UnsafeMutablePointer<Float>, count: Int) {
        unsafe self.base = base
        self.count = count
    }

    @inlinable
    package subscript(index: Int) -> Float {
        get {
            precondition(index >= 0 && index < count, "FloatBuffer: index outside the buffer")
            return unsafe base[index]
        }
        nonmutating set {
            precondition(index >= 0 && index < count, "FloatBuffer: index outside the buffer")
            unsafe base[index] = newValue
        }
    }

    /// The elements in `range`; traps outside.
    @inlinable
    package func slice(_ range: Range<Int>) -> FloatBuffer {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "FloatBuffer: slice outside the buffer")
        return unsafe FloatBuffer(base: base + range.lowerBound, count: range.count)
    }

    /// Overwrites all elements with those of `other`, which has the same count.
    package func copy(from other: FloatBuffer) {
        precondition(other.count == count, "FloatBuffer: copy of \(other.count) elements into \(count)")
        unsafe base.update(from: other.base, count: count)
    }

    /// Overwrites all elements with those of `span`, which has the same count.
    package func copy(from span: Span<Float>) {
        precondition(span.count == count, "FloatBuffer: copy of \(span.count) elements into \(count)")
        unsafe span.withUnsafeBufferPointer { source in
            if let first = source.baseAddress { unsafe base.update(from: first, count: count) }
        }
    }

    /// Lends the memory as half as many doubles, contents unspecified. It starts at a multiple of 8 bytes.
    @unsafe
    package func withDoubles<R>(_ body: (UnsafeMutablePointer<Double>) -> R) -> R {
        precondition(unsafe UInt(bitPattern: base) % 8 == 0, "FloatBuffer: not aligned for doubles")
        return unsafe UnsafeMutableRawPointer(base).withMemoryRebound(to: Double.self, capacity: count / 2) {
            unsafe body($0)
        }
    }

    package func fill(_ value: Float) { unsafe base.update(repeating: value, count: count) }

    package var array: [Float] { unsafe Array(UnsafeBufferPointer(start: base, count: count)) }
}

extension AlignedStorage where Element == Float {
    /// Lends all elements. Whoever writes owns the only reference to this storage.
    @inlinable
    package func withBuffer<R, E: Error>(_ body: (FloatBuffer) throws(E) -> R) throws(E) -> R {
        try unsafe withMutablePointer { base throws(E) in
            try body(unsafe FloatBuffer(base: base, count: count))
        }
    }
}

extension Span where Element == Float {
    /// Lends the span's elements to the kernels, which only read them.
    @inlinable
    package func withBuffer<R, E: Error>(_ body: (FloatBuffer) throws(E) -> R) throws(E) -> R {
        try unsafe withUnsafeBufferPointer { source throws(E) in
            // An empty span may have no address; any aligned one that nobody reads will do.
            guard let start = unsafe source.baseAddress ?? UnsafePointer(bitPattern: 64) else {
                preconditionFailure("the address 64 is not null")
            }
            return try body(unsafe FloatBuffer(base: UnsafeMutablePointer(mutating: start), count: source.count))
        }
    }
}

/// Scratch memory for one computation at a time: buffers are taken from the front, all given back at once.
///
/// Not `Sendable`: each shard of the engine and each thread of a benchmark has its own. Grows to the largest request and
/// then allocates no more.
@safe
@usableFromInline
package final class ScratchArena {
    private var storage = AlignedStorage<Float>(count: 0)
    /// The storage's window, behind a pointer: reading it is neither counted nor checked for exclusive access, which computations
    /// one at a time do not need.
    @usableFromInline
    let window: UnsafeMutablePointer<FloatBuffer>

    package init() {
        unsafe window = .allocate(capacity: 1)
        unsafe window.initialize(to: FloatBuffer(base: storage.base, count: 0))
    }

    deinit { unsafe window.deallocate() }

    /// The bytes held.
    package var byteCount: Int { AlignedStorage<Float>.byteCount(for: storage.count) }

    @usableFromInline
    func grow(to count: Int) {
        storage = AlignedStorage(count: count)
        unsafe window.pointee = FloatBuffer(base: storage.base, count: count)
    }

    /// Lends a taker of buffers with `capacity` floats in all, plus what rounding to whole cache lines needs for
    /// `buffers` buffers. Their contents are unspecified.
    @inlinable
    package func withScratch<R, E: Error>(
        capacity: Int, buffers: Int, _ body: (inout Taker) throws(E) -> R
    ) throws(E) -> R {
        // One line more, so that the last buffer's end is rounded up within the memory.
        let needed = capacity + 16 * (buffers + 1)
        if unsafe window.pointee.count < needed { grow(to: needed) }
        var taker = unsafe Taker(buffer: window.pointee)
        return try body(&taker)
    }

    @usableFromInline
    package struct Taker {
        @usableFromInline
        let buffer: FloatBuffer
        @usableFromInline
        var used = 0

        @inlinable
        init(buffer: FloatBuffer) { self.buffer = buffer }

        /// The next `count` floats, starting on a cache line. Traps when the declared capacity is exceeded.
        @inlinable
        package mutating func take(_ count: Int) -> FloatBuffer {
            let start = used
            precondition(count >= 0 && start + count <= buffer.count, "ScratchArena: more than was asked for")
            used = (start + count + 15) & ~15
            return unsafe FloatBuffer(base: buffer.base + start, count: count)
        }
    }
}
