internal import LoRA
internal import TensorCore

/// One user's place in the engine. Small: everything that not every user has is elsewhere.
struct Slot {
    let key: UserKey
    /// The adapter, once it was made or loaded.
    var adapter: LoRAAdapter?
    /// What is kept of the user while a bank is connected.
    var memory: UserMemory?
    /// When the adapter was last used, in epochs of the engine (``ResidentMemory``).
    var lastUse: UInt32 = 0
    /// Those in line or inside. While there are any, nothing overtakes them on the fast path.
    var holders: Int32 = 0
    /// The next place whose user has the same hash; −1 for none.
    fileprivate var next: Int32 = -1
    /// Whether the adapter has changes that no checkpoint has saved.
    var isUnsaved = false
    /// Whether the adapter stays in memory whatever else has to go.
    var isPinned = false

    var user: String { key.user }

    fileprivate init(key: UserKey) { self.key = key }

    /// Whether nothing would be lost with the slot.
    fileprivate var isIdle: Bool { holders == 0 && adapter == nil && !isPinned }
}

/// A part of the users: their slots and what updating them needs. Lives behind one lock.
struct ShardState: ~Copyable {
    /// The first place of each hash of users.
    private var index: [Int: Int32] = [:]
    private var slots = ChunkedArray<Slot?>()
    private var free: [Int32] = []
    /// Where work on a user that may suspend stands in line, while there is any.
    private var gates: [Int32: FIFOGate] = [:]
    var statistics = EngineStatistics()
    /// The calling thread's.
    var scratch: UpdateScratch { .ofThisThread }

    /// The place of the user's slot, if there is one.
    func place(of key: UserKey) -> Int32? {
        guard var place = index[key.hash] else { return nil }
        while place >= 0 {
            if slots[Int(place)]?.key.hasBytes(of: key.user) == true { return place }
            place = slots[Int(place)]?.next ?? -1
        }
        return nil
    }

    /// Whether a place is that of a user, who was found there before.
    func isPlace(_ place: Int32, of key: UserKey) -> Bool {
        guard place >= 0, Int(place) < slots.count, slots[Int(place)]?.key.hash == key.hash else { return false }
        return slots[Int(place)]?.key.hasBytes(of: key.user) ?? false
    }

    /// Whether there is a slot in a place.
    func isInUse(_ place: Int32) -> Bool { Int(place) < slots.count && slots[Int(place)] != nil }

    /// Runs `body` on the slot in a place in use.
    mutating func withPlace<R, E: Error>(_ place: Int32, _ body: (inout Slot) throws(E) -> R) throws(E) -> R {
        try body(&slots[Int(place)]!)
    }

    /// Runs `body` on the user's slot, if there is one.
    mutating func withSlot<R, E: Error>(_ key: UserKey, _ body: (inout Slot) throws(E) -> R) throws(E) -> R? {
        guard let place = place(of: key) else { return nil }
        return try body(&slots[Int(place)]!)
    }

    /// The same by id.
    mutating func withSlot<R, E: Error>(_ user: String, _ body: (inout Slot) throws(E) -> R) throws(E) -> R? {
        try withSlot(UserKey(user), body)
    }

    /// The user's gate, to be entered after the lock is released; makes a slot where there was none.
    mutating func joinLine(_ key: UserKey) -> FIFOGate {
        let place = place(of: key) ?? newPlace(for: key)
        slots[Int(place)]!.holders += 1
        if let gate = gates[place] { return gate }
        let gate = FIFOGate()
        gates[place] = gate
        return gate
    }

    /// How many stand in the user's line.
    func waiting(_ key: UserKey) -> Int { place(of: key).flatMap { gates[$0]?.waiting } ?? 0 }

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
        guard let slot = slots[Int(place)], slot.isIdle else { return }
        // Out of the chain of its hash.
        if index[slot.key.hash] == place {
            index[slot.key.hash] = slot.next >= 0 ? slot.next : nil
        } else {
            var before = index[slot.key.hash] ?? -1
            while before >= 0, let other = slots[Int(before)], other.next != place { before = other.next }
            if before >= 0 { slots[Int(before)]!.next = slot.next }
        }
        slots[Int(place)] = nil
        free.append(place)
    }

    /// The slots in use.
    var slotCount: Int { slots.count - free.count }

    /// The slots with an adapter.
    func forEach(_ body: (borrowing Slot) -> Void) {
        for place in 0..<slots.count { if let slot = slots[place], slot.adapter != nil { body(slot) } }
    }

    /// Changes every slot.
    mutating func updateAll(_ body: (Int32, inout Slot) -> Void) {
        for place in 0..<slots.count where slots[place] != nil { body(Int32(place), &slots[place]!) }
    }

    private mutating func newPlace(for key: UserKey) -> Int32 {
        var slot = Slot(key: key)
        slot.next = index[key.hash] ?? -1
        let place: Int32
        if let reused = free.popLast() {
            place = reused
            slots[Int(place)] = slot
        } else {
            precondition(slots.count < Int(Int32.max), "ShardState: too many users")
            place = Int32(slots.count)
            slots.append(slot)
        }
        index[key.hash] = place
        return place
    }
}

/// An array in chunks: it grows without moving what is there, and by no more than one chunk at a time.
struct ChunkedArray<Element> {
    private var chunks: [ContiguousArray<Element>] = []
    private(set) var count = 0
    private static var shift: Int { 8 }
    private static var mask: Int { (1 << shift) - 1 }

    subscript(index: Int) -> Element {
        _read { yield chunks[index >> Self.shift][index & Self.mask] }
        _modify { yield &chunks[index >> Self.shift][index & Self.mask] }
    }

    mutating func append(_ element: Element) {
        if count & Self.mask == 0 {
            chunks.append(ContiguousArray())
            // The first chunk grows as needed, for engines with few users; later ones have their size at once.
            if count > 0 { chunks[chunks.count - 1].reserveCapacity(1 << Self.shift) }
        }
        chunks[chunks.count - 1].append(element)
        count += 1
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
