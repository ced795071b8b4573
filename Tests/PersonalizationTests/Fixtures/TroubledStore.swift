import Personalization
import TensorCore
import Testing

/// A store around another one that is slow, fails or hangs as a test wants it.
final class TroubledStore: AdapterStore {
    enum Call: Hashable { case load, save, remove, users }
    struct Fault: Error, CustomStringConvertible {
        var text = "the disk is on fire"
        var description: String { text }
    }
    /// A call that hangs until the test releases it.
    struct Hold: Sendable {
        private let reached = Latch()
        private let released = Latch()

        /// Comes back when the call hangs.
        func isReached(sourceLocation: SourceLocation = #_sourceLocation) async {
            await until(sourceLocation: sourceLocation) { reached.isOpen }
        }

        func release() { released.open() }

        fileprivate func hang() async {
            reached.open()
            await released.wait()
        }
    }
    private struct State {
        var faults: [Call: [any Error]] = [:]
        var holds: [Call: [Hold]] = [:]
        var calls: [Call: Int] = [:]
    }
    private let base: any AdapterStore
    /// How often every call lets others go first, before and after its work.
    private let pauses: Int
    private let state = Lock<State>(State())

    init(_ base: any AdapterStore = InMemoryAdapterStore(), pauses: Int = 0) {
        self.base = base
        self.pauses = pauses
    }

    /// Makes the next calls fail, one for each error.
    func fail(_ call: Call, with errors: any Error...) { state.withLock { $0.faults[call, default: []] += errors } }

    /// Lets calls that were to fail work after all.
    func work(_ call: Call) { state.withLock { $0.faults[call] = nil } }

    /// Makes the next call that is not held yet hang.
    func hold(_ call: Call) -> Hold {
        let hold = Hold()
        state.withLock { $0.holds[call, default: []].append(hold) }
        return hold
    }

    func count(of call: Call) -> Int { state.withLock { $0.calls[call] ?? 0 } }

    private func enter(_ call: Call) async throws {
        let (hold, fault): (Hold?, (any Error)?) = state.withLock { state in
            state.calls[call, default: 0] += 1
            let hold = state.holds[call]?.isEmpty == false ? state.holds[call]?.removeFirst() : nil
            let fault = state.faults[call]?.isEmpty == false ? state.faults[call]?.removeFirst() : nil
            return (hold, fault)
        }
        if let hold { await hold.hang() }
        await pause()
        if let fault { throw fault }
    }

    private func pause() async {
        for _ in 0..<pauses { await Task.yield() }
        if pauses > 0 { try? await Task.sleep(for: .microseconds(50)) }
    }

    func load(_ user: String) async throws -> StoredAdapter? {
        try await enter(.load)
        let record = try await base.load(user)
        await pause()
        return record
    }

    func save(_ adapters: [StoredAdapter]) async throws {
        try await enter(.save)
        try await base.save(adapters)
        await pause()
    }

    func remove(_ user: String) async throws -> Bool {
        try await enter(.remove)
        let was = try await base.remove(user)
        await pause()
        return was
    }

    func users() async throws -> [String] {
        try await enter(.users)
        return try await base.users()
    }

    func savedVersions(of users: [String]) async throws -> [UInt64?] { try await base.savedVersions(of: users) }
}
