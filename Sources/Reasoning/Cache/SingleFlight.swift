internal import TensorCore

/// Lets those who ask the same question at once share one answer: one query a key flies at a time, and whoever asks for the
/// key meanwhile waits for that one.
///
/// Nobody waits longer than their own deadline; the flight goes on without them, and its end reaches the completion that was
/// given by whoever started it. A flight that never ends holds up nobody: it costs each deadline once, one of the ``limit``
/// places, and the memory of its own task.
///
/// The flights run as detached tasks, on an executor of their own where one is given: a query that blocks its thread in place
/// of suspending then takes none of the few threads on which the deadlines are kept.
package final class SingleFlight<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private typealias Answer = CheckedContinuation<Value, any Error>

    private struct Waiter {
        let answer: Answer
        /// Ends the waiting at the deadline; `nil` until it has been made.
        var timer: Task<Void, Never>?
    }
    private struct Flight {
        var waiters: [UInt64: Waiter] = [:]
        /// Kept only where it is cancelled once nobody waits any more.
        var task: Task<Void, Never>?
        /// The longest deadline that it has missed.
        var missed: Duration = .zero
    }
    private struct State {
        var flights: [Key: Flight] = [:]
        var waitersSoFar: UInt64 = 0
        var flightsSoFar = 0
    }
    /// What becomes of one who asks.
    private enum Entry {
        case starts, joins
        case refused(any Error)
    }

    /// The most flights at once.
    package let limit: Int
    private let operation: String
    private let executor: (any TaskExecutor)?
    private let endsDeserted: Bool
    private let sleep: @Sendable (Duration) async throws -> Void
    private let state = Lock<State>(State())

    /// A place to ask at.
    ///
    /// - Parameters:
    ///   - limit: The most flights at once, at least 1.
    ///   - operation: What the errors call the query.
    ///   - executor: Where the flights run; `nil` for the global one.
    ///   - endsDeserted: Whether a flight is cancelled when nobody waits for it any more.
    ///   - sleep: What the deadlines are kept by. Cancelling it may make it throw or return; neither is heard any more.
    package init(
        limit: Int, operation: String, executor: (any TaskExecutor)? = nil, endsDeserted: Bool = false,
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        precondition(limit >= 1, "SingleFlight: a limit of \(limit) flights lets none start")
        self.limit = limit
        self.operation = operation
        self.executor = executor
        self.endsDeserted = endsDeserted
        self.sleep = sleep
    }

    /// The flights that have not ended.
    package var flightCount: Int { state.withLock { $0.flights.count } }
    /// Those who wait for a flight.
    package var waiterCount: Int { state.withLock { $0.flights.values.reduce(0) { $0 + $1.waiters.count } } }
    /// The flights that were ever started.
    package var startedCount: Int { state.withLock { $0.flightsSoFar } }

    /// The answer for `key`: of the flight that is under way, or of a new one.
    ///
    /// At its end a flight first calls its completion, then leaves, then gives its waiters the answer: whoever asks after it
    /// has left finds what the completion kept. One who looked into a cache just before may start another flight.
    ///
    /// - Parameters:
    ///   - key: Names the question; equal keys must have the same answer.
    ///   - deadline: How long to wait; a day at most. At 0 or less nobody waits, but the flight starts all the same. A
    ///     deadline that is no longer than one that this flight has already missed is taken as missed at once: a hanging
    ///     query delays one caller of each key, not each of them.
    ///   - start: The query. Called once, in a task of its own, if a flight has to start.
    ///   - completion: What to do at the end of the flight that `start` began, with the answer or the error; called once and
    ///     outside every lock, also when nobody waits any more. Not called for those who join.
    /// - Returns: The answer.
    /// - Throws: The flight's own error; ``ReasoningError`` `timedOut` at the deadline, `busy` when ``limit`` flights of
    ///   other keys have not ended; `CancellationError` as soon as the calling task is cancelled, and at once if it already
    ///   is: then no flight starts.
    /// - Complexity: O(1), and O(waiters) at the end of the flight. Makes one task for the deadline and one for the flight.
    package func value(
        for key: Key, deadline: Duration, start: @escaping @Sendable () async throws -> Value,
        completion: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) async throws -> Value {
        let waiter = state.withLock { state in
            state.waitersSoFar += 1
            return state.waitersSoFar
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { answer in
                switch enter(key, waiter, answer, deadline) {
                case .refused(let error):
                    answer.resume(throwing: error)
                    return
                case .starts:
                    // Without time to wait the answer is not waited for, however fast it comes.
                    if deadline <= .zero { keepDeadline(of: waiter, key, deadline) }
                    launch(key, start, completion)
                    if deadline <= .zero { return }
                case .joins: break
                }
                keepDeadline(of: waiter, key, deadline)
            }
        } onCancel: {
            release(waiter, from: key, CancellationError())
        }
    }

    /// Takes a place for a waiter, and for the flight if there is none.
    ///
    /// Cancellation marks the task before it calls the handler: if the handler was too early to find the waiter here, the
    /// mark is seen below; if it comes later, it finds them.
    private func enter(_ key: Key, _ waiter: UInt64, _ answer: Answer, _ deadline: Duration) -> Entry {
        state.withLock { state in
            if Task.isCancelled { return .refused(CancellationError()) }
            let flight = state.flights[key]
            if let flight {
                guard deadline > flight.missed else { return .refused(missed(deadline)) }
            } else {
                guard state.flights.count < limit else { return .refused(busy()) }
                state.flights[key] = Flight()
                state.flightsSoFar += 1
            }
            state.flights[key]?.waiters[waiter] = Waiter(answer: answer)
            return flight == nil ? .starts : .joins
        }
    }

    private func launch(
        _ key: Key, _ start: @escaping @Sendable () async throws -> Value,
        _ completion: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) {
        let task = Task.detached(executorPreference: executor, priority: Task.currentPriority) {
            let result: Result<Value, any Error>
            do { result = .success(try await start()) } catch { result = .failure(error) }
            completion(result)
            self.end(key, with: result)
        }
        guard endsDeserted else { return }
        let isDeserted = state.withLock { state in
            state.flights[key]?.task = task
            return state.flights[key]?.waiters.isEmpty ?? false
        }
        if isDeserted { task.cancel() }
    }

    private func end(_ key: Key, with result: Result<Value, any Error>) {
        let waiters = state.withLock { $0.flights.removeValue(forKey: key)?.waiters ?? [:] }
        for waiter in waiters.values {
            waiter.timer?.cancel()
            waiter.answer.resume(with: result)
        }
    }

    private func keepDeadline(of waiter: UInt64, _ key: Key, _ deadline: Duration) {
        guard deadline > .zero else {
            release(waiter, from: key, missed(deadline), missing: deadline)
            return
        }
        let timer = Task.detached(priority: Task.currentPriority) { [sleep] in
            // It throws when it is cancelled, and then the waiter is gone. Should it fail otherwise, there is no way to tell
            // the time: better to let the waiter go too early than never.
            do { try await sleep(min(deadline, .seconds(86_400))) } catch {}
            self.release(waiter, from: key, self.missed(deadline), missing: deadline)
        }
        let isWaiting = state.withLock { state in
            state.flights[key]?.waiters[waiter]?.timer = timer
            return state.flights[key]?.waiters[waiter] != nil
        }
        if !isWaiting { timer.cancel() }
    }

    /// Lets a waiter go with an error; nothing if they are gone.
    private func release(_ waiter: UInt64, from key: Key, _ error: any Error, missing deadline: Duration? = nil) {
        let (released, deserted) = state.withLock { state in
            let released = state.flights[key]?.waiters.removeValue(forKey: waiter)
            let isDeserted = released != nil && state.flights[key]?.waiters.isEmpty == true
            if released != nil, let deadline, let missed = state.flights[key]?.missed, missed < deadline {
                state.flights[key]?.missed = deadline
            }
            return (released, isDeserted ? state.flights[key]?.task : nil)
        }
        deserted?.cancel()
        released?.timer?.cancel()
        released?.answer.resume(throwing: error)
    }

    private func missed(_ deadline: Duration) -> ReasoningError {
        ReasoningError(.timedOut, operation, "no answer within \(deadline)")
    }

    private func busy() -> ReasoningError {
        ReasoningError(.busy, operation, "\(limit) queries have not come back; no other starts before one does")
    }
}
