internal import TensorCore

/// What happens to records that come faster than they are stored.
public enum OverflowPolicy: Sendable, Hashable {
    /// The oldest that waits gives way.
    case dropOldest
    /// The one that comes is dropped.
    case dropNewest
    /// The call that it is of waits for room, at most so long for the store and for files each; then the record is dropped.
    case block(upTo: Duration)
}

/// How many records wait for a sink at most, and how they get there.
public struct QueueConfiguration: Sendable, Hashable {
    /// The most records that wait or are being stored.
    public var capacity = 16_384
    /// The most bytes of contents that wait or are being stored.
    public var byteCapacity = 64 << 20
    /// What happens to those that come beyond these.
    public var overflow = OverflowPolicy.dropOldest
    /// The most records that are stored in one transaction.
    public var batch = 1_024

    /// 16,384 records or 64 MiB; the oldest give way.
    public init() {}

    func validate() throws(RecordError) {
        func refuse(_ message: String) -> RecordError { RecordError(.invalid, "configure", message) }
        guard (1...10_000_000).contains(capacity) else {
            throw refuse("the capacity \(capacity) is not in 1...10000000")
        }
        guard byteCapacity > 0 else { throw refuse("the capacity of \(byteCapacity) bytes is below 1") }
        guard (1...100_000).contains(batch) else { throw refuse("batches of \(batch) are not in 1...100000") }
        if case .block(let limit) = overflow, limit < .zero || limit > .seconds(60) {
            throw refuse("to block up to \(limit) is not in 0...60 s")
        }
    }
}

/// A bounded line of what waits for one sink, which one task takes from.
final class RecordQueue<Element: Sendable>: Sendable {
    private struct State {
        var items: [(element: Element?, bytes: Int)] = []
        /// Those that go first, give way to nothing, and take no room.
        var urgent: [Element] = []
        /// The place of the first of `items` that is there still.
        var head = 0
        var bytes = 0
        /// What was taken and is not stored yet.
        var (taken, takenBytes) = (0, 0)
        /// How many have left the line, and how many had when the present batch was taken.
        var (passed, passedBefore) = (UInt64(0), UInt64(0))
        /// The same of those that go first.
        var (urgentPassed, urgentPassedBefore) = (UInt64(0), UInt64(0))
        var dropped = 0
        var isClosed = false
        var waiter: CheckedContinuation<Void, Never>?

        /// Those that wait their turn.
        var count: Int { items.count - head }

        /// Shortens the list now and then: nothing is before the head any more.
        mutating func compact() {
            guard head > 1024, head * 2 > items.count else { return }
            items.removeFirst(head)
            head = 0
        }
    }

    private let configuration: QueueConfiguration
    private let state = Lock<State>(State())

    init(_ configuration: QueueConfiguration) { self.configuration = configuration }

    /// Puts one in line.
    ///
    /// - Parameter mayWait: Whether the caller tries again rather than have it dropped.
    /// - Returns: What gave way or was dropped: none, older ones, or this one; `full` for a caller who tries again.
    func append(_ element: Element, bytes: Int, mayWait: Bool = false) -> Arrival {
        let (arrival, waiter) = state.withLock { state -> (Arrival, CheckedContinuation<Void, Never>?) in
            func isFull(besides count: Int, _ held: Int) -> Bool {
                count >= configuration.capacity || (held + bytes > configuration.byteCapacity && count > 0)
            }
            func isFull() -> Bool { isFull(besides: state.count + state.taken, state.bytes + state.takenBytes) }
            var gone: [Element] = []
            // Nobody gives way where that would make no room, because of what is being stored.
            if configuration.overflow == .dropOldest, !isFull(besides: state.taken, state.takenBytes) {
                while isFull(), state.head < state.items.count {
                    let oldest = state.items[state.head]
                    state.items[state.head].element = nil
                    state.head += 1
                    state.bytes -= oldest.bytes
                    state.passed += 1
                    if let element = oldest.element { gone.append(element) }
                    state.compact()
                }
            }
            if mayWait, !state.isClosed, isFull() { return (.full, nil) }
            if state.isClosed || isFull() {
                state.dropped += gone.count + 1
                return (.dropped(gone + [element]), nil)
            }
            state.dropped += gone.count
            state.items.append((element, bytes))
            state.bytes += bytes
            defer { state.waiter = nil }
            return (gone.isEmpty ? .taken : .dropped(gone), state.waiter)
        }
        waiter?.resume()
        return arrival
    }

    /// Puts one before all others, whether there is room or not: what is rare, and must not be lost.
    func appendUrgent(_ element: Element) {
        let waiter = state.withLock { state in
            if !state.isClosed { state.urgent.append(element) }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    enum Arrival {
        case taken
        case full
        case dropped([Element])
    }

    /// How often an empty line is looked at again before the task lies down: until then nobody who brings something has to wake it,
    /// which would cost a call more than all else.
    private static var looks: Int { 20 }
    private static var pause: Duration { .milliseconds(2) }

    /// The next batch, when there is one; `nil` after the last of a closed line. Of one task alone.
    func next() async -> [Element]? {
        var looks = Self.looks
        while true {
            let (batch, isOver) = state.withLock { state -> ([Element], Bool) in
                let end = min(state.items.count, state.head + max(0, configuration.batch - state.urgent.count))
                var batch = state.urgent
                state.urgentPassedBefore = state.urgentPassed
                state.urgentPassed += UInt64(state.urgent.count)
                state.urgent.removeAll()
                state.passedBefore = state.passed
                state.passed += UInt64(end - state.head)
                state.takenBytes = 0
                for place in state.head..<end {
                    if let element = state.items[place].element { batch.append(element) }
                    state.items[place].element = nil
                    state.takenBytes += state.items[place].bytes
                }
                state.head = end
                state.taken = batch.count
                state.bytes -= state.takenBytes
                if state.head == state.items.count {
                    state.items.removeAll(keepingCapacity: true)
                    state.head = 0
                }
                defer { state.compact() }
                return (batch, state.isClosed)
            }
            if !batch.isEmpty { return batch }
            if isOver { return nil }
            if looks > 0 {
                looks -= 1
                // A task that was cancelled lies down at once.
                do { try await Task.sleep(for: Self.pause) } catch { looks = 0 }
                continue
            }
            await withCheckedContinuation { continuation in
                let resumes = state.withLock { state in
                    if state.count > 0 || !state.urgent.isEmpty || state.isClosed { return true }
                    state.waiter = continuation
                    return false
                }
                if resumes { continuation.resume() }
            }
        }
    }

    /// The batch that was taken last is settled.
    func settle() {
        state.withLock { state in (state.taken, state.takenBytes) = (0, 0) }
    }

    /// No more come; what is in line is taken still.
    func close() {
        let waiter = state.withLock { state in
            state.isClosed = true
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Waits until all that came before this call is settled, at most so long; says whether it is.
    func drain(within limit: Duration) async -> Bool {
        let (goal, urgent) = state.withLock { state in
            (state.passed + UInt64(state.count), state.urgentPassed + UInt64(state.urgent.count))
        }
        return await Waiting.until(limit) { [self] in
            state.withLock { state in
                state.passed >= goal && state.urgentPassed >= urgent
                    && (state.taken == 0 || (state.passedBefore >= goal && state.urgentPassedBefore >= urgent))
            }
        }
    }

    /// Those that wait or are being stored.
    var waiting: Int { state.withLock { $0.count + $0.urgent.count + $0.taken } }
    /// Those that were dropped.
    var dropped: Int { state.withLock { $0.dropped } }
}
