import TensorCore
import Testing

/// A door that opens once; whoever waits in front of it goes through then.
final class Latch: Sendable {
    private struct State {
        var isOpen = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Lock<State>(State())

    var isOpen: Bool { state.withLock { $0.isOpen } }

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

/// Lets step 0, 1, 2, … through in this order, whoever carries them: how a test says in which order tasks do something.
final class Turns: Sendable {
    private struct State {
        var next = 0
        var waiting: [Int: CheckedContinuation<Void, Never>] = [:]
    }
    private let state = Lock<State>(State())

    func wait(for turn: Int) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isNow = state.withLock { state in
                if state.next != turn { state.waiting[turn] = continuation }
                return state.next == turn
            }
            if isNow { continuation.resume() }
        }
    }

    func finish() {
        let next = state.withLock { state in
            state.next += 1
            return state.waiting.removeValue(forKey: state.next)
        }
        next?.resume()
    }
}

/// A value that several tasks of a test add to.
final class Shared<Value: Sendable>: Sendable {
    private let state: Lock<Value>

    init(_ value: Value) { state = Lock(value) }

    var value: Value { state.withLock { $0 } }
    func change<R: Sendable>(_ body: (inout Value) -> R) -> R { state.withLock { body(&$0) } }
}

/// Comes back when `condition` holds; when it does not come to hold, that is an issue. Others go first half a million times:
/// a bound in turns, not in time.
func until(sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async -> Bool) async {
    for _ in 0..<500_000 {
        if await condition() { return }
        await Task.yield()
    }
    Issue.record("what the test waits for does not happen", sourceLocation: sourceLocation)
}
