import TensorCore

/// A value that several tasks of a test add to.
final class Shared<Value: Sendable>: Sendable {
    private let state: Lock<Value>

    init(_ value: Value) { state = Lock(value) }

    var value: Value { state.withLock { $0 } }
    func change<R: Sendable>(_ body: (inout Value) -> R) -> R { state.withLock { body(&$0) } }
}
