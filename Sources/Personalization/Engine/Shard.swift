internal import LoRA
internal import TensorCore

/// One user's place in the engine.
struct Slot {
    let user: String
    /// The adapter, once it was made or loaded.
    var adapter: LoRAAdapter?
    /// Whether the adapter has changes that no checkpoint has saved.
    var isUnsaved = false
    /// What is kept of the user while a bank is connected.
    var memory: UserMemory?
    /// Where work on this user that may suspend stands in line; present while `holders` is above 0.
    var gate: FIFOGate?
    /// Those in line or inside. While there are any, nothing overtakes them on the fast path.
    var holders = 0
}

/// A part of the users: their slots and what updating them needs. Lives behind one lock.
struct ShardState: ~Copyable {
    private var index: [UserKey: Int] = [:]
    private var slots: [Slot?] = []
    private var free: [Int] = []
    let scratch = UpdateScratch()
    var statistics = EngineStatistics()

    /// Runs `body` on the user's slot, if there is one.
    mutating func withSlot<R, E: Error>(_ user: String, _ body: (inout Slot) throws(E) -> R) throws(E) -> R? {
        guard let place = index[UserKey(user)], slots[place] != nil else { return nil }
        return try body(&slots[place]!)
    }

    /// The user's gate, to be entered after the lock is released; makes a slot where there was none.
    mutating func joinLine(_ user: String) -> FIFOGate {
        let place = index[UserKey(user)] ?? newPlace(for: user)
        slots[place]?.holders += 1
        if let gate = slots[place]?.gate { return gate }
        let gate = FIFOGate()
        slots[place]?.gate = gate
        return gate
    }

    /// Counts one out of the user's line; a slot with neither line nor adapter goes.
    mutating func leaveLine(_ user: String) {
        guard let place = index[UserKey(user)], var slot = slots[place] else { return }
        slots[place] = nil
        slot.holders -= 1
        if slot.holders == 0 { slot.gate = nil }
        if slot.adapter == nil { slot.memory = nil }
        if slot.holders == 0, slot.adapter == nil {
            index[UserKey(user)] = nil
            free.append(place)
        } else {
            slots[place] = slot
        }
    }

    /// The slots in use.
    var slotCount: Int { slots.count - free.count }

    /// The slots with an adapter.
    func forEach(_ body: (borrowing Slot) -> Void) {
        for case .some(let slot) in slots where slot.adapter != nil { body(slot) }
    }

    /// Changes every slot.
    mutating func updateAll(_ body: (inout Slot) -> Void) {
        for place in slots.indices where slots[place] != nil { body(&slots[place]!) }
    }

    private mutating func newPlace(for user: String) -> Int {
        let slot = Slot(user: user)
        let place: Int
        if let reused = free.popLast() {
            place = reused
            slots[place] = slot
        } else {
            place = slots.count
            slots.append(slot)
        }
        index[UserKey(user)] = place
        return place
    }
}

/// A shard behind its lock.
final class Shard: Sendable {
    let state = Lock<ShardState>(ShardState())
}
