internal import Synchronization
internal import TensorCore

/// A user who was looked up once: calls with a handle find the adapter without hashing and comparing the id.
///
/// Made by ``PersonalizationEngine/handle(for:)``. Always good: where the adapter has moved, for example because it was
/// evicted and loaded again, the next call finds it by id and the handle remembers the new place. With another engine than
/// the one that made it, a handle stands for the user of that id there.
public final class UserHandle: Sendable {
    /// The user's id.
    public var user: String { key.user }

    let key: UserKey
    private let knownPlace = Atomic<Int32>(-1)
    private let knownAddress = Atomic<UInt>(0)

    init(_ key: UserKey) { self.key = key }

    /// Where the user's slot was found last, in the shard of the key; −1 for nowhere yet.
    var place: Int32 { knownPlace.load(ordering: .relaxed) }

    /// Where the user's adapter was then.
    var trace: AdapterTrace { AdapterTrace(address: knownAddress.load(ordering: .relaxed)) }

    func remember(_ place: Int32, _ trace: AdapterTrace) {
        knownPlace.store(place, ordering: .relaxed)
        knownAddress.store(trace.address, ordering: .relaxed)
    }
}

extension PersonalizationEngine {
    /// Looks a user up, for calls to come.
    ///
    /// - Parameter user: The user's id; with or without an adapter.
    /// - Throws: ``EngineError`` (`invalidUser`).
    public func handle(for user: String) throws(EngineError) -> UserHandle {
        do throws(EngineError) {
            try Self.check(user, "handle")
        } catch {
            report(error)
            throw error
        }
        let handle = UserHandle(UserKey(user))
        shard(of: handle.key).withLock {
            if let place = $0.place(of: handle.key) { handle.remember(place, $0.trace(place)) }
        }
        return handle
    }
}

extension ShardState {
    /// The place of a handle's user, if there is one; the handle remembers it.
    mutating func place(of handle: UserHandle) -> Int32? {
        let (known, trace) = (handle.place, handle.trace)
        trace.prefetch()
        guard let place = isPlace(known, of: handle.key) ? known : place(of: handle.key) else { return nil }
        let now = self.trace(place)
        if place != known || now != trace { handle.remember(place, now) }
        return place
    }
}
