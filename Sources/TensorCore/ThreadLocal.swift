#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// One object for each thread, made when a thread first asks for it and released when the thread ends.
///
/// For scratch memory: nothing that runs may keep the object over a suspension, after which it may be on another thread.
package final class ThreadLocal<Object: AnyObject>: Sendable {
    private let key: pthread_key_t
    private let make: @Sendable () -> Object

    package init(_ make: @escaping @Sendable () -> Object) {
        self.make = make
        var key = pthread_key_t()
        let status = unsafe pthread_key_create(&key) { object in
            if let object = unsafe object { unsafe Unmanaged<AnyObject>.fromOpaque(object).release() }
        }
        precondition(status == 0, "ThreadLocal: pthread_key_create failed with \(status)")
        self.key = key
    }

    /// The calling thread's object.
    package var value: Object {
        if let raw = unsafe pthread_getspecific(key) {
            return unsafe Unmanaged<Object>.fromOpaque(raw).takeUnretainedValue()
        }
        let object = make()
        let status = unsafe pthread_setspecific(key, Unmanaged.passRetained(object).toOpaque())
        precondition(status == 0, "ThreadLocal: pthread_setspecific failed with \(status)")
        return object
    }
}
