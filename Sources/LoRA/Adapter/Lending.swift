internal import TensorCore

// Memory lent to the kernels for the time of a closure. In this module and always inlined: a generic function of another one is
// called with its closure and its types, which takes longer than a small kernel.

extension Array<Float> {
    /// Lends the numbers to the kernels, which only read them.
    @inline(__always)
    func withFloats<R, E: Error>(_ body: (FloatBuffer) throws(E) -> R) throws(E) -> R {
        try unsafe withUnsafeBufferPointer { source throws(E) in try body(unsafe FloatBuffer(lending: source)) }
    }

    /// The numbers, which stay where they are for as long as something holds the array: as long as that has to be certain.
    @unsafe
    @inline(__always)
    var heldFloats: FloatBuffer { unsafe withUnsafeBufferPointer { unsafe FloatBuffer(lending: $0) } }
}

extension Feedback.Signal {
    /// The numbers of a target, likewise.
    @unsafe
    @inline(__always)
    var heldTarget: FloatBuffer? {
        guard case .target(let target) = self else { return nil }
        return unsafe target.heldFloats
    }
}

extension RowList {
    /// An empty list in memory of the stack.
    @inline(__always)
    static func temporary<R>(dimension: Int, _ body: (RowList) -> R) -> R {
        unsafe withUnsafeTemporaryAllocation(of: UnsafePointer<Float>.self, capacity: limit) { memory in
            guard let first = memory.baseAddress else { preconditionFailure("no stack memory") }
            return body(unsafe RowList(pointers: first, dimension: dimension))
        }
    }
}

extension Span<Float> {
    /// Lends the numbers to the kernels, which only read them.
    @inline(__always)
    func withFloats<R, E: Error>(_ body: (FloatBuffer) throws(E) -> R) throws(E) -> R {
        try unsafe withUnsafeBufferPointer { source throws(E) in try body(unsafe FloatBuffer(lending: source)) }
    }
}

/// The storage of an adapter's parameters, and where it is: an adapter that nobody has used for a while is in no cache, and its
/// numbers are found without asking the storage first.
///
/// `@unchecked Sendable`: as the storage is, whose memory it points to.
@safe
struct ParameterMemory: @unchecked Sendable {
    private(set) var storage: AlignedStorage<Float>
    fileprivate let base: UnsafeMutablePointer<Float>

    init(_ storage: AlignedStorage<Float>) {
        self.storage = storage
        unsafe base = storage.base
    }

    /// Asks for what ``makeUnique()`` looks at.
    @inline(__always)
    func prefetch() { Kernels.prefetch(storage) }

    /// Copies the numbers if others refer to them.
    mutating func makeUnique() {
        if !isKnownUniquelyReferenced(&storage) { self = ParameterMemory(storage.copy()) }
    }
}

extension LoRAAdapter {
    /// Lends the parameters without a reference of its own: as it is mutating, nobody else can let go of them meanwhile. Whoever
    /// writes owns the only reference.
    @inline(__always)
    mutating func lendParameters<R>(_ body: (FloatBuffer) -> R) -> R {
        unsafe body(FloatBuffer(base: memory.base, count: shape.parameterCount))
    }

    /// Where the parameters are, to be fetched into the cache.
    @inline(__always)
    package var lentAddress: UInt { mutating get { unsafe UInt(bitPattern: memory.base) } }

    /// The same, and the extras.
    @inline(__always)
    mutating func lendAll<R>(_ body: (FloatBuffer, inout AdapterExtras.Contents) -> R) -> R {
        let all = unsafe FloatBuffer(base: memory.base, count: shape.parameterCount)
        return lendExtras { body(all, &$0) }
    }
}

extension FloatBuffer {
    @unsafe
    @inline(__always)
    fileprivate init(lending source: UnsafeBufferPointer<Float>) {
        // Nothing may have no address; any aligned one that nobody reads will do.
        guard let start = unsafe source.baseAddress ?? UnsafePointer(bitPattern: 64) else {
            preconditionFailure("the address 64 is not null")
        }
        unsafe self.init(base: UnsafeMutablePointer(mutating: start), count: source.count)
    }

    /// Lends `count` floats of the stack, contents unspecified; up to 256 of them are certain not to come from the heap.
    @inline(__always)
    static func temporary<R>(_ count: Int, _ body: (FloatBuffer) -> R) -> R {
        unsafe withUnsafeTemporaryAllocation(of: Float.self, capacity: max(count, 1)) { memory in
            guard let base = memory.baseAddress else { preconditionFailure("no stack memory") }
            return body(unsafe FloatBuffer(base: base, count: count))
        }
    }
}
