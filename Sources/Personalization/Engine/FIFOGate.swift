internal import TensorCore

/// A turnstile for work that has to wait in the middle: who comes first goes first, and nobody overtakes.
///
/// Not a lock to hold briefly: the holder may suspend. Whoever leaves hands over to the next in line directly, so that a
/// newcomer never slips in between.
package final class FIFOGate: Sendable {
    private struct State: ~Copyable {
        var isHeld = false
        var line: [CheckedContinuation<Void, Never>] = []
        /// How many at the front of `line` have been let in.
        var served = 0

        mutating func next() -> CheckedContinuation<Void, Never>? {
            guard served < line.count else {
                line.removeAll(keepingCapacity: false)
                served = 0
                isHeld = false
                return nil
            }
            let next = line[served]
            served += 1
            // Those who were let in make room from time to time, so that a line that is never empty stays short.
            if served >= 64, served * 2 >= line.count {
                line.removeFirst(served)
                served = 0
            }
            return next
        }
    }
    private let state: Lock<State>

    package init() { state = Lock(State()) }

    /// A gate with somebody inside already, who ends with ``leave()``.
    init(isHeld: Bool) { state = Lock(State(isHeld: isHeld)) }

    /// Runs `body` when all who came before have left.
    package func pass<R>(_ body: () async throws -> R) async rethrows -> R {
        await enter()
        defer { leave() }
        return try await body()
    }

    /// How many stand in line and have not been let in.
    var waiting: Int { state.withLock { $0.line.count - $0.served } }
    /// The places that the line takes up in memory.
    var placesHeld: Int { state.withLock { $0.line.count } }

    private func enter() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isFree = state.withLock { state in
                if state.isHeld {
                    state.line.append(continuation)
                    return false
                }
                state.isHeld = true
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    /// Lets the next one in.
    func leave() {
        let next = state.withLock { $0.next() }
        next?.resume()
    }
}
