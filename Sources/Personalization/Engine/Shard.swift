internal import LoRA
internal import TensorCore

/// One user's place in the engine. Small: everything that not every user has is elsewhere.
struct Slot {
    let key: UserKey
    /// The adapter, once it was made or loaded.
    var adapter: LoRAAdapter?
    /// What is kept of the user while a bank is connected.
    var memory: UserMemory?
    /// What readers see while a change is on its way to the journal.
    var commit: PendingCommit?
    /// When the adapter was last used, in epochs of the engine (``ResidentMemory``).
    var lastUse: UInt32 = 0
    /// Those in line or inside. While there are any, nothing overtakes them on the fast path.
    var holders: Int32 = 0
    /// The journal's entries that no checkpoint has made superfluous.
    var unsavedEntries: UInt32 = 0
    /// Whether the adapter has changes that no checkpoint has saved.
    var isUnsaved = false
    /// Whether the adapter stays in memory whatever else has to go.
    var isPinned = false
    /// Whether the place is anybody's.
    fileprivate var isInUse = true

    var user: String { key.user }

    /// Whether the adapter that readers see has changes that no checkpoint has saved.
    var isUnsavedVisibly: Bool { commit?.wasUnsaved ?? isUnsaved }

    /// The adapter as readers see it: without a change that is on its way to the journal.
    var visible: LoRAAdapter? {
        if let commit { return commit.adapter }
        return adapter
    }

    fileprivate init(key: UserKey) { self.key = key }

    /// What is in a place that is nobody's.
    fileprivate static var vacant: Slot {
        var slot = Slot(key: UserKey("", hash: 0))
        slot.isInUse = false
        return slot
    }

    /// Whether nothing would be lost with the slot.
    fileprivate var isIdle: Bool { holders == 0 && adapter == nil && !isPinned }
}

/// A part of the users: their slots and what updating them needs. Lives behind one lock.
struct ShardState: ~Copyable {
    private var index = PlaceIndex()
    private var slots = ChunkedArray<Slot>()
    private var free: [Int32] = []
    /// Where work on a user that may suspend stands in line, while there is any.
    private var gates: [Int32: FIFOGate] = [:]
    var statistics = EngineStatistics()
    /// The calling thread's.
    var scratch: UpdateScratch { .ofThisThread }

    /// The place of the user's slot, if there is one. Changes nothing: a slot is lent as if to be changed, because one that is
    /// read is copied, with a reference to each of its parts.
    mutating func place(of key: UserKey) -> Int32? {
        var probe = PlaceIndex.Probe(key.hash)
        while let (place, trace) = index.next(&probe) {
            trace.prefetch()
            guard isPlace(place, of: key) else { continue }
            let now = self.trace(place)
            if now != trace { index.leave(now, probe) }
            return place
        }
        return nil
    }

    /// Where the adapter of a place in use is.
    mutating func trace(_ place: Int32) -> AdapterTrace { slots.lend(Int(place)) { AdapterTrace(&$0.adapter) } }

    /// Whether a place is that of a user, who was found there before.
    mutating func isPlace(_ place: Int32, of key: UserKey) -> Bool {
        guard place >= 0, Int(place) < slots.count else { return false }
        slots.prefetchRest(of: Int(place))
        return slots.lend(Int(place)) { $0.isInUse && $0.key.hash == key.hash && $0.key.hasBytes(of: key.user) }
    }

    /// Whether there is a slot in a place.
    mutating func isInUse(_ place: Int32) -> Bool {
        Int(place) < slots.count && slots.lend(Int(place)) { $0.isInUse }
    }

    /// Runs `body` on the slot in a place in use.
    mutating func withPlace<R, E: Error>(_ place: Int32, _ body: (inout Slot) throws(E) -> R) throws(E) -> R {
        try slots.lend(Int(place)) { slot throws(E) in
            precondition(slot.isInUse, "ShardState: nobody's place")
            return try body(&slot)
        }
    }

    /// Runs `body` on the user's slot, if there is one.
    mutating func withSlot<R, E: Error>(_ key: UserKey, _ body: (inout Slot) throws(E) -> R) throws(E) -> R? {
        guard let place = place(of: key) else { return nil }
        return try withPlace(place, body)
    }

    /// The same by id.
    mutating func withSlot<R, E: Error>(_ user: String, _ body: (inout Slot) throws(E) -> R) throws(E) -> R? {
        try withSlot(UserKey(user), body)
    }

    /// The user's gate, to be entered after the lock is released; makes a slot where there was none.
    mutating func joinLine(_ key: UserKey) -> FIFOGate {
        let place = place(of: key) ?? newPlace(for: key)
        let isHeld = withPlace(place) { slot in
            defer { slot.holders += 1 }
            return slot.holders > 0
        }
        if let gate = gates[place] { return gate }
        // Without a gate whoever is inside holds the place alone.
        let gate = FIFOGate(isHeld: isHeld)
        gates[place] = gate
        return gate
    }

    /// Holds a user's place with an adapter in it, without a gate, if nobody else does: later comers find it closed. For a change
    /// that is on its way to the journal.
    mutating func holdAlone(_ place: Int32) -> Bool {
        withPlace(place) { slot in
            guard slot.holders == 0, slot.commit == nil, slot.adapter != nil else { return false }
            slot.commit = PendingCommit(slot.adapter, wasUnsaved: slot.isUnsaved)
            slot.holders = 1
            return true
        }
    }

    /// Ends it; the gate of those who came meanwhile is to be left after the lock is released.
    mutating func leaveAlone(_ key: UserKey) -> FIFOGate? {
        let gate = place(of: key).flatMap { gates[$0] }
        leaveLine(key)
        return gate
    }

    /// How many stand in the user's line.
    mutating func waiting(_ key: UserKey) -> Int { place(of: key).flatMap { gates[$0]?.waiting } ?? 0 }

    /// Counts one out of the user's line; a slot with neither line nor adapter goes.
    mutating func leaveLine(_ key: UserKey) {
        guard let place = place(of: key) else { return }
        let isLast = withPlace(place) { slot in
            slot.holders -= 1
            if slot.adapter == nil { slot.memory = nil }
            return slot.holders == 0
        }
        if isLast { gates[place] = nil }
        removeIfIdle(place)
    }

    /// Lets go of a slot with nothing in it.
    mutating func removeIfIdle(_ place: Int32) {
        let hash = slots.lend(Int(place)) { $0.isInUse && $0.isIdle ? $0.key.hash : nil }
        guard let hash else { return }
        index.remove(hash, place)
        slots.lend(Int(place)) { $0 = .vacant }
        free.append(place)
    }

    /// The slots in use.
    var slotCount: Int { slots.count - free.count }

    /// The slots with an adapter.
    mutating func forEach(_ body: (borrowing Slot) -> Void) { updateAll { if $1.adapter != nil { body($1) } } }

    /// Changes every slot.
    mutating func updateAll(_ body: (Int32, inout Slot) -> Void) {
        for place in 0..<slots.count { slots.lend(place) { if $0.isInUse { body(Int32(place), &$0) } } }
    }

    private mutating func newPlace(for key: UserKey) -> Int32 {
        let slot = Slot(key: key)
        let place: Int32
        if let reused = free.popLast() {
            place = reused
            slots.lend(Int(place)) { $0 = slot }
        } else {
            precondition(slots.count < Int(Int32.max), "ShardState: too many users")
            place = Int32(slots.count)
            slots.append(slot)
        }
        index.insert(key.hash, place)
        return place
    }
}

/// A shard behind its lock: a place in ``Shards``, which the engine that is called keeps. It is no reference that is counted:
/// all threads would write to one count.
///
/// `@unchecked Sendable`: what it points to is a lock.
@safe
struct Shard: Hashable, @unchecked Sendable {
    private let lock: UnsafePointer<Lock<ShardState>>

    @unsafe
    fileprivate init(_ lock: UnsafePointer<Lock<ShardState>>) { unsafe self.lock = lock }

    /// Runs `body` on the shard while no one else can.
    @inline(__always)
    func withLock<R: ~Copyable, E: Error>(
        _ body: (inout sending ShardState) throws(E) -> sending R
    ) throws(E) -> sending R {
        try unsafe lock.pointee.withLock(body)
    }
}

extension Shard {
    static func == (left: Shard, right: Shard) -> Bool { unsafe left.lock == right.lock }
    func hash(into hasher: inout Hasher) { unsafe hasher.combine(lock) }
}

/// The shards of one engine.
///
/// `@unchecked Sendable`: the memory is written when it is made, and holds locks.
@safe
final class Shards: @unchecked Sendable {
    /// A power of two.
    let count: Int
    private let locks: UnsafeMutablePointer<Lock<ShardState>>

    init(count: Int) {
        precondition(count > 0 && count & (count - 1) == 0, "Shards: \(count) is no power of two")
        self.count = count
        unsafe locks = .allocate(capacity: count)
        for i in 0..<count { unsafe (locks + i).initialize(to: Lock(ShardState())) }
    }

    deinit {
        unsafe locks.deinitialize(count: count)
        unsafe locks.deallocate()
    }

    /// The shard that this hash falls to.
    subscript(hash: Int) -> Shard { unsafe Shard(locks + (hash & (count - 1))) }

    /// All of them, in a fixed order.
    var all: [Shard] { (0..<count).map { self[$0] } }
}
