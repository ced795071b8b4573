internal import TensorCore

/// A turnstile for work that has to wait in the middle: who comes first goes first, and nobody overtakes.
///
/// Not a lock to hold briefly: the holder may suspend. Whoever leaves hands over to the next in line directly, so that a
/// newcomer never slips in between.
package final class FIFOGate: Sendable {
    /// One who stands in line.
    ///
    /// `@unchecked Sendable`: everything of it is behind the gate's lock.
    private final class Waiter: @unchecked Sendable {
        /// Told whether the gate was passed; `nil` before the place in line is taken and after it is left.
        var continuation: CheckedContinuation<Bool, Never>?
        var isCancelled = false

        func take() -> CheckedContinuation<Bool, Never>? {
            defer { continuation = nil }
            return continuation
        }
    }
    private struct State: ~Copyable {
        var isHeld = false
        var line: [Waiter] = []
        /// How many at the front of `line` have been let in, or gave up.
        var served = 0
        /// How many behind them gave up.
        var gone = 0

        mutating func next() -> CheckedContinuation<Bool, Never>? {
            while served < line.count {
                served += 1
                if let next = line[served - 1].take() {
                    shorten()
                    return next
                }
                gone -= 1
            }
            line.removeAll(keepingCapacity: false)
            served = 0
            isHeld = false
            return nil
        }

        /// Takes one out of the line who is in it still.
        mutating func giveUp(_ waiter: Waiter) -> CheckedContinuation<Bool, Never>? {
            waiter.isCancelled = true
            guard let continuation = waiter.take() else { return nil }
            gone += 1
            shorten()
            return continuation
        }

        /// Those who were let in or gave up make room from time to time, so that a line that is never empty stays short.
        private mutating func shorten() {
            guard served + gone >= 64, (served + gone) * 2 >= line.count else { return }
            line.removeFirst(served)
            line.removeAll { $0.continuation == nil }
            (served, gone) = (0, 0)
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

    /// The same, but who is cancelled in line leaves it at once; those behind move up, and nobody's order changes.
    ///
    /// - Throws: `CancellationError` of who left the line; what `body` throws.
    func passUnlessCancelled<R>(_ body: () async throws -> R) async throws -> R {
        guard await enterUnlessCancelled() else { throw CancellationError() }
        defer { leave() }
        return try await body()
    }

    /// How many stand in line and have not been let in.
    var waiting: Int { state.withLock { $0.line.count - $0.served - $0.gone } }
    /// The places that the line takes up in memory.
    var placesHeld: Int { state.withLock { $0.line.count } }

    private func enter() async {
        _ = await withCheckedContinuation { stand(Waiter(), $0) }
    }

    private func enterUnlessCancelled() async -> Bool {
        let isIn = state.withLock { state in
            defer { state.isHeld = true }
            return !state.isHeld
        }
        if isIn { return true }
        let waiter = Waiter()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { stand(waiter, $0) }
        } onCancel: {
            state.withLock { $0.giveUp(waiter) }?.resume(returning: false)
        }
    }

    /// Takes a place in line, or goes in where nobody is.
    private func stand(_ waiter: Waiter, _ continuation: CheckedContinuation<Bool, Never>) {
        let isIn = state.withLock { state -> Bool? in
            if waiter.isCancelled { return false }
            if state.isHeld {
                waiter.continuation = continuation
                state.line.append(waiter)
                return nil
            }
            state.isHeld = true
            return true
        }
        if let isIn { continuation.resume(returning: isIn) }
    }

    /// Lets the next one in.
    func leave() {
        let next = state.withLock { $0.next() }
        next?.resume(returning: true)
    }
}
