#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The sole owner of `count` contiguous numbers, aligned to 64 bytes (one cache line, one AVX-512 register) and zeroed.
///
/// A reference type on purpose: value types above it (``Vector``, ``Matrix``, adapters) share it and copy it when they are
/// about to write and it is not uniquely referenced.
///
/// `@unchecked Sendable`: whoever mutates goes through ``withMutablePointer(_:)`` after making sure that its reference is
/// unique, so no two threads ever see a write to shared storage.
@safe
@usableFromInline
package final class AlignedStorage<Element: TensorScalar>: @unchecked Sendable {
    package static var alignment: Int { 64 }

    @usableFromInline
    package let count: Int
    @usableFromInline
    package let base: UnsafeMutablePointer<Element>
    private let home: SlabAllocator.Home

    /// Allocates `count` zeros. Traps when the memory cannot be had, like the standard library's collections.
    ///
    /// - Parameter slabs: Where the memory comes from, for storage of which there may be very many of one size.
    @usableFromInline
    package init(count: Int, in slabs: SlabAllocator? = nil) {
        precondition(count >= 0, "AlignedStorage: a negative count (\(count))")
        self.count = count
        // At least one line, so that `base` is a valid pointer for empty storage too.
        let bytes = Self.byteCount(for: count)
        var raw: UnsafeMutableRawPointer?
        if let slabs, let block = unsafe slabs.allocate(bytes) {
            unsafe raw = block.memory
            unsafe home = block.home
        } else {
            let status = unsafe posix_memalign(&raw, Self.alignment, bytes)
            if status != 0 { unsafe raw = nil }
            home = .heap
        }
        guard let raw = unsafe raw else { preconditionFailure("AlignedStorage: cannot allocate \(bytes) bytes") }
        unsafe memset(raw, 0, bytes)
        unsafe base = raw.bindMemory(to: Element.self, capacity: max(count, 1))
    }

    deinit {
        if let slabs = home.allocator {
            unsafe slabs.free(base, Self.byteCount(for: count), home)
        } else {
            unsafe free(base)
        }
    }

    /// The bytes that `count` elements occupy on the heap, rounded up to whole lines.
    package static func byteCount(for count: Int) -> Int {
        let (product, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
        precondition(!overflow && product <= Int.max - alignment, "AlignedStorage: \(count) elements overflow Int")
        return max(alignment, (product + alignment - 1) / alignment * alignment)
    }

    package func copy() -> AlignedStorage {
        let other = AlignedStorage(count: count, in: home.allocator)
        unsafe other.base.update(from: base, count: count)
        return other
    }

    /// The memory for reading; must not escape `body`.
    @inlinable
    package func withPointer<R, E: Error>(_ body: (UnsafePointer<Element>) throws(E) -> R) throws(E) -> R {
        try unsafe body(UnsafePointer(base))
    }

    /// The memory for writing; the caller owns the only reference, or the storage is not shared yet.
    @inlinable
    package func withMutablePointer<R, E: Error>(
        _ body: (UnsafeMutablePointer<Element>) throws(E) -> R
    ) throws(E) -> R {
        try unsafe body(base)
    }
}

extension Span where Element: TensorScalar {
    /// The elements as a standard array, copied as a whole: one by one, a generic loop takes a hundred times as long.
    func copied() -> [Element] {
        unsafe withUnsafeBufferPointer { source in
            unsafe [Element](unsafeUninitializedCapacity: source.count) { target, count in
                if let from = source.baseAddress, let to = target.baseAddress {
                    unsafe memcpy(to, from, source.count * MemoryLayout<Element>.stride)
                }
                count = source.count
            }
        }
    }
}
