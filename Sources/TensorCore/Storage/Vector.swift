/// A vector of numbers in 64-byte-aligned memory; a value with copy-on-write storage.
public struct Vector<Element: TensorScalar>: Sendable {
    private var storage: AlignedStorage<Element>

    /// The number of elements.
    public let count: Int

    /// A vector of zeros.
    ///
    /// - Parameter count: The number of elements, zero or more.
    public init(count: Int) {
        self.count = count
        storage = AlignedStorage(count: count)
    }

    /// A vector holding the given numbers in their order.
    public init(_ elements: some Collection<Element>) {
        self.init(count: elements.count)
        unsafe storage.withMutablePointer { base in
            for (i, element) in elements.enumerated() { unsafe base[i] = element }
        }
    }

    /// The element at `index`, in `0 ..< count`; traps outside.
    public subscript(index: Int) -> Element {
        get {
            precondition(index >= 0 && index < count, "Vector: index \(index) outside 0..<\(count)")
            return unsafe storage.withPointer { unsafe $0[index] }
        }
        set {
            precondition(index >= 0 && index < count, "Vector: index \(index) outside 0..<\(count)")
            makeUnique()
            unsafe storage.withMutablePointer { unsafe $0[index] = newValue }
        }
    }

    /// The elements as a standard array.
    public var array: [Element] { withSpan { $0.copied() } }

    /// Lends the elements for reading.
    public func withSpan<R, E: Error>(_ body: (Span<Element>) throws(E) -> R) throws(E) -> R {
        try unsafe storage.withPointer { base throws(E) in
            try body(unsafe Span(_unsafeStart: base, count: count))
        }
    }

    /// Lends the elements for writing, after making the storage unique.
    public mutating func withMutableSpan<R, E: Error>(
        _ body: (inout MutableSpan<Element>) throws(E) -> R
    ) throws(E) -> R {
        makeUnique()
        return try unsafe storage.withMutablePointer { base throws(E) in
            var span = unsafe MutableSpan(_unsafeStart: base, count: count)
            return try body(&span)
        }
    }

    /// A view of the whole vector.
    public var view: VectorView<Element> { VectorView(storage: storage, offset: 0, count: count, stride: 1) }

    private mutating func makeUnique() {
        if !isKnownUniquelyReferenced(&storage) { storage = storage.copy() }
    }
}

extension Vector: Equatable {
    /// Equal counts and equal elements (IEEE equality: NaN differs from itself, −0 equals +0).
    public static func == (left: Vector, right: Vector) -> Bool {
        left.count == right.count && (0..<left.count).allSatisfy { left[$0] == right[$0] }
    }
}

extension Vector: ExpressibleByArrayLiteral {
    /// A vector with the given elements.
    public init(arrayLiteral elements: Element...) { self.init(elements) }
}

/// A read-only, possibly strided window on the elements of a ``Vector`` or ``Matrix``, as they were when it was made.
///
/// The view keeps the memory alive; a later write to the vector or matrix copies first and does not show in the view.
public struct VectorView<Element: TensorScalar>: Sendable {
    package let storage: AlignedStorage<Element>
    package let offset: Int
    /// The number of elements.
    public let count: Int
    /// The distance between neighbouring elements, in elements; may be negative.
    public let stride: Int

    package init(storage: AlignedStorage<Element>, offset: Int, count: Int, stride: Int) {
        self.storage = storage
        self.offset = offset
        self.count = count
        self.stride = stride
    }

    /// The element at `index`, in `0 ..< count`; traps outside.
    public subscript(index: Int) -> Element {
        precondition(index >= 0 && index < count, "VectorView: index \(index) outside 0..<\(count)")
        return unsafe storage.withPointer { unsafe $0[offset + index * stride] }
    }

    /// The same elements from last to first; no memory is copied.
    public var reversed: VectorView {
        VectorView(storage: storage, offset: offset + max(count - 1, 0) * stride, count: count, stride: -stride)
    }

    /// A vector with memory of its own.
    public func copied() -> Vector<Element> { Vector((0..<count).map { self[$0] }) }
}
