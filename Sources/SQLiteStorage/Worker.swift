internal import Dispatch
internal import TensorCore

/// A connection that one uses at a time, on a serial queue of its own.
final class Worker: Sendable {
    private let queue: DispatchQueue
    /// Held as long as the connection is used.
    private let connection: Lock<Connection?>
    /// What was given to the queue and is not done.
    private let queued = Lock<Int>(0)

    init(queue: DispatchQueue, _ connection: Connection) {
        self.queue = queue
        self.connection = Lock(connection)
    }

    /// Runs what opens a connection on a queue of its own.
    static func opening<R: Sendable>(_ label: String, _ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: label).async { continuation.resume(with: Result { try body() }) }
        }
    }

    func run<R: Sendable>(
        _ operation: String, _ path: String, _ body: @escaping @Sendable (Connection) throws -> R
    ) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            schedule { connection in
                continuation.resume(
                    with: Result {
                        guard let connection else {
                            throw StorageError(.closed, operation, "the storage was closed: open it again", path: path)
                        }
                        return try body(connection)
                    })
            }
        }
    }

    /// Runs `body` some time, with the connection if it is open still.
    func schedule(_ body: @escaping @Sendable (Connection?) -> Void) {
        queued.withLock { $0 += 1 }
        queue.async {
            self.connection.withLock { body($0) }
            self.queued.withLock { $0 -= 1 }
        }
    }

    /// Runs `body` at once, on the caller's thread, if the connection is free and nobody waits for it; says whether it did. For
    /// what takes microseconds: a thread would take longer to wake.
    func runNow(_ body: (Connection?) -> Void) -> Bool {
        guard queued.withLock({ $0 == 0 }) else { return false }
        return connection.withLockIfFree { body($0) } != nil
    }

    func close() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            queue.async {
                self.connection.withLock { connection in
                    connection?.close()
                    connection = nil
                }
                continuation.resume()
            }
        }
    }
}
