internal import TensorCore

/// A value that tasks share.
final class Shared<Value: Sendable>: Sendable {
    let value: Lock<Value>

    init(_ value: Value) { self.value = Lock(value) }
}

/// Waiting for what nobody announces.
enum Waiting {
    /// Waits until something holds, at most so long; says whether it does. Whoever is cancelled waits all the same.
    static func until(_ limit: Duration, _ holds: @escaping @Sendable () -> Bool) async -> Bool {
        if holds() { return true }
        // Not the caller's task: one that was cancelled would not wait.
        return await Task.detached {
            let deadline = ContinuousClock.now + limit
            var pause = Duration.microseconds(100)
            while !holds() {
                guard ContinuousClock.now < deadline else { return false }
                do { try await Task.sleep(for: pause) } catch { return holds() }
                // What takes a minute may be noticed a moment later.
                pause = min(
                    pause * 2, ContinuousClock.now < deadline - limit + .seconds(10) ? .milliseconds(5) : .seconds(1))
            }
            return true
        }.value
    }
}
