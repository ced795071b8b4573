import Dispatch

// An asynchronous `main` crashes callgrind 3.19, and what runs in another thread is not exactly repeatable. The engine's hot
// paths never wait, so that a task which starts at once, in this thread, also ends in it.

private final class Outcome: @unchecked Sendable {
    // Written by the task alone, read once it is done: `immediately` runs it in its own thread, `waiting` signals.
    var result: Result<Void, any Error>?
}

/// What a hot path may not do.
struct Suspended: Error, CustomStringConvertible {
    var description: String { "a hot path gave its thread up; it was to run without waiting" }
}

/// Runs asynchronous work in this thread to its end.
///
/// - Throws: ``Suspended`` if it waits for anything; what the work throws.
func immediately(_ work: @escaping @Sendable () async throws -> Void) throws {
    let outcome = Outcome()
    Task.immediate {
        do { outcome.result = .success(try await work()) } catch { outcome.result = .failure(error) }
    }
    guard let result = outcome.result else { throw Suspended() }
    try result.get()
}

/// Runs asynchronous work in other threads, and waits for it.
func waiting(_ work: @escaping @Sendable () async throws -> Void) throws {
    let outcome = Outcome()
    let done = DispatchSemaphore(value: 0)
    Task.detached {
        do { outcome.result = .success(try await work()) } catch { outcome.result = .failure(error) }
        done.signal()
    }
    done.wait()
    try outcome.result?.get()
}
