#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A value behind a lock: `Synchronization.Mutex`'s interface over `pthread_mutex`.
///
/// Used in its place because ThreadSanitizer on Linux (Swift 6.3) knows pthread's mutex and not the futex code inside
/// `Mutex`; uncontended it takes about 1 ns more. Never hold it across an `await`.
///
/// `@unchecked Sendable`: the value is reachable only inside ``withLock(_:)``, which holds the mutex.
@safe
@usableFromInline
package struct Lock<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    @usableFromInline
    let value: UnsafeMutablePointer<Value>

    /// Mutex and value stand in cache lines that nothing else is in, in pairs, as processors fetch them: threads behind different
    /// locks never write to the same line.
    private static var alignment: Int { max(128, MemoryLayout<Value>.alignment) }
    private static var valueOffset: Int {
        let alignment = max(64, MemoryLayout<Value>.alignment)
        return unsafe (MemoryLayout<pthread_mutex_t>.size + alignment - 1) / alignment * alignment
    }

    package init(_ initial: consuming sending Value) {
        let size = (Self.valueOffset + MemoryLayout<Value>.size + Self.alignment - 1) / Self.alignment * Self.alignment
        let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: Self.alignment)
        unsafe mutex = memory.bindMemory(to: pthread_mutex_t.self, capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        let status = unsafe pthread_mutex_init(mutex, nil)
        precondition(status == 0, "Lock: pthread_mutex_init failed with \(status)")
        unsafe value = (memory + Self.valueOffset).bindMemory(to: Value.self, capacity: 1)
        unsafe value.initialize(to: initial)
    }

    deinit {
        unsafe value.deinitialize(count: 1)
        unsafe pthread_mutex_destroy(mutex)
        unsafe UnsafeMutableRawPointer(mutex).deallocate()
    }

    /// Runs `body` on the value while no one else can.
    @inlinable
    package borrowing func withLock<R: ~Copyable, E: Error>(
        _ body: (inout sending Value) throws(E) -> sending R
    ) throws(E) -> sending R {
        lock()
        defer { unlock() }
        return try unsafe body(&value.pointee)
    }

    /// The same if no one else has it now; `nil` otherwise, at once.
    package borrowing func withLockIfFree<R>(_ body: (inout sending Value) -> sending R) -> sending R? {
        guard unsafe pthread_mutex_trylock(mutex) == 0 else { return nil }
        defer { unlock() }
        return unsafe body(&value.pointee)
    }

    @usableFromInline
    borrowing func lock() { unsafe pthread_mutex_lock(mutex) }

    @usableFromInline
    borrowing func unlock() { unsafe pthread_mutex_unlock(mutex) }
}
