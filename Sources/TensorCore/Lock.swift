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

    package init(_ initial: consuming sending Value) {
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        let status = unsafe pthread_mutex_init(mutex, nil)
        precondition(status == 0, "Lock: pthread_mutex_init failed with \(status)")
        unsafe value = .allocate(capacity: 1)
        unsafe value.initialize(to: initial)
    }

    deinit {
        unsafe value.deinitialize(count: 1)
        unsafe value.deallocate()
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
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

    @usableFromInline
    borrowing func lock() { unsafe pthread_mutex_lock(mutex) }

    @usableFromInline
    borrowing func unlock() { unsafe pthread_mutex_unlock(mutex) }
}
