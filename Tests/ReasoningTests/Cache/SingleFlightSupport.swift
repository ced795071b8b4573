import TensorCore
import Testing

extension SingleFlightTests {
    /// Holds up who comes until it is opened.
    final class Gate: Sendable {
        private struct State {
            var isOpen = false
            var waiting: [CheckedContinuation<Void, Never>] = []
        }
        private let state = Lock<State>(State())

        func open() {
            let waiting = state.withLock { state in
                state.isOpen = true
                defer { state.waiting = [] }
                return state.waiting
            }
            for continuation in waiting { continuation.resume() }
        }

        func wait() async {
            await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
                let isOpen = state.withLock { state in
                    if !state.isOpen { state.waiting.append(continuation) }
                    return state.isOpen
                }
                if isOpen { continuation.resume() }
            }
        }
    }

    /// What was noted down, in order.
    final class Tally<Element: Sendable>: Sendable {
        private let state = Lock<[Element]>([])
        var all: [Element] { state.withLock { $0 } }
        func add(_ element: Element) { state.withLock { $0.append(element) } }
    }

    /// Lets sleep until the hand is moved on. Time starts at 0 and stands still otherwise.
    final class HandTimer: Sendable {
        private struct State {
            var now = Duration.zero
            var asleep: [Int: (until: Duration, continuation: CheckedContinuation<Void, any Error>)] = [:]
            var sleepersSoFar = 0
        }
        private let state = Lock<State>(State())

        /// How many sleep.
        var sleepers: Int { state.withLock { $0.asleep.count } }

        var sleep: @Sendable (Duration) async throws -> Void { { try await self.holdUp(for: $0) } }

        func advance(to time: Duration) {
            let awake = state.withLock { state in
                state.now = time
                let awake = state.asleep.filter { $0.value.until <= time }
                for id in awake.keys { state.asleep[id] = nil }
                return awake.values.map(\.continuation)
            }
            for continuation in awake { continuation.resume() }
        }

        private func holdUp(for duration: Duration) async throws {
            let id = state.withLock { state in
                state.sleepersSoFar += 1
                return state.sleepersSoFar
            }
            try await withTaskCancellationHandler {
                try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                    let isCancelled = state.withLock { state in
                        // Read once: the mark may come between two looks.
                        let isCancelled = Task.isCancelled
                        if !isCancelled { state.asleep[id] = (state.now + duration, continuation) }
                        return isCancelled
                    }
                    if isCancelled { continuation.resume(throwing: CancellationError()) }
                }
            } onCancel: {
                state.withLock { $0.asleep.removeValue(forKey: id) }?.continuation.resume(throwing: CancellationError())
            }
        }
    }

    /// Comes back when `condition` holds; when it does not come to hold, that is an issue. Others go first two million times:
    /// a bound in turns, not in time.
    func turns(sourceLocation: SourceLocation = #_sourceLocation, _ condition: () -> Bool) async {
        for _ in 0..<2_000_000 {
            if condition() { return }
            await Task.yield()
        }
        Issue.record("what the test waits for does not happen", sourceLocation: sourceLocation)
    }
}
