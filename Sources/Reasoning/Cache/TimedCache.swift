/// A bounded cache whose entries age: the least recently used goes first, and nothing is kept past its time.
///
/// Any value is kept as it is, an empty answer too. The time is given to each call, in seconds of a clock that does not run
/// backwards (``ReasoningClock/uptime``). Should it do so all the same, or not be finite, the latest time seen counts instead,
/// so that entries always expire in the order in which they were inserted.
///
/// Every entry stands in two lists over one array of slots: by last use, which says who is evicted, and by insertion, which
/// says who expires. As the time to live is the same for all, the expired stand at the front of the second list, whatever was
/// used in between; each operation removes them first, so that an entry is never kept because nobody asks for it again.
///
/// - Complexity: each operation O(1) amortised: an insertion pays for its own removal. Slots are reused, so that a full
///   cache allocates nothing but what its values bring with them.
package struct TimedCache<Key: Hashable & Sendable, Value: Sendable>: ~Copyable, Sendable {
    private struct Entry: Sendable {
        let key: Key
        var value: Value
        var cost: Int
        /// When it was inserted, in seconds.
        var birth: Double
    }

    /// The most entries.
    package let capacity: Int
    /// The most that the costs of all entries may sum to. An entry that alone costs more is not kept.
    package let costLimit: Int
    /// How long an entry is served, in seconds: an entry of exactly this age is not.
    package let timeToLive: Double
    /// How often an entry was asked for and found.
    package private(set) var hits = 0
    /// How often one was asked for and not found, expired ones among them.
    package private(set) var misses = 0
    /// How many entries made room for others.
    package private(set) var evictions = 0
    /// How many entries were removed because their time was over.
    package private(set) var expirations = 0
    /// The sum of the costs that were given with the entries.
    package private(set) var byteCount = 0
    /// Rises with every ``removeAll()`` and ``remove(where:)``.
    ///
    /// An answer that was asked for before a removal may hold what was to be removed. Note the generation when asking, and
    /// give it to ``insert(_:for:cost:at:asOf:)``: the answer is then dropped if something was removed meanwhile.
    package private(set) var generation: UInt64 = 0

    private var slots: [Key: Int] = [:]
    /// By slot, `[slots + 1]`; nothing at 0 and where a slot is free.
    private var entries: [Entry?] = [nil]
    private var free: [Int] = []
    private var byUse = SlotOrder()
    private var byAge = SlotOrder()
    /// The latest time seen.
    private var clock = -Double.greatestFiniteMagnitude

    /// An empty cache.
    ///
    /// - Parameters:
    ///   - capacity: The most entries, at least 1. Memory grows with the entries, not ahead of them.
    ///   - costLimit: The most that the costs of all entries may sum to.
    ///   - timeToLive: How long an entry is served, in seconds, above 0; may be infinite.
    package init(capacity: Int, costLimit: Int = .max, timeToLive: Double) {
        precondition(capacity >= 1, "TimedCache: a capacity of \(capacity) holds nothing")
        precondition(timeToLive > 0, "TimedCache: a time to live of \(timeToLive) s is not above 0")
        self.capacity = capacity
        self.costLimit = costLimit
        self.timeToLive = timeToLive
    }

    /// The number of entries; those whose time is over count until the next operation.
    package var count: Int { slots.count }

    /// How many links of its lists were written since the beginning.
    var linkWrites: Int { byUse.linkWrites + byAge.linkWrites }
    /// How many slots were ever made.
    var slotCount: Int { entries.count - 1 }

    /// The value of `key`, which thereby becomes the most recently used; its age stays.
    ///
    /// - Parameter now: The time in seconds.
    package mutating func value(for key: Key, at now: Double) -> Value? {
        removeExpired(at: now)
        guard let slot = slots[key] else {
            misses += 1
            return nil
        }
        hits += 1
        byUse.remove(slot)
        byUse.append(slot)
        return entries[slot]?.value
    }

    /// Keeps a value for `key`, in place of what was there; its age begins anew. In a full cache the least recently used
    /// entries go.
    ///
    /// - Parameters:
    ///   - cost: What the entry takes in memory, in bytes, as the caller estimates it; at least 0.
    ///   - now: The time in seconds.
    ///   - generation: The ``generation`` when the value was asked for; `nil` when that does not matter.
    /// - Returns: Whether it was kept: not if something was removed since `generation`, or it costs more than all entries may.
    @discardableResult
    package mutating func insert(
        _ value: Value, for key: Key, cost: Int = 0, at now: Double, asOf generation: UInt64? = nil
    ) -> Bool {
        precondition(cost >= 0, "TimedCache: a cost of \(cost) bytes is below 0")
        removeExpired(at: now)
        if let generation, generation != self.generation { return false }
        if let slot = slots[key] { release(slot) }
        if cost > costLimit { return false }
        while slots.count == capacity || byteCount > costLimit - cost {
            evictions += 1
            release(byUse.first)
        }
        let slot = vacantSlot()
        entries[slot] = Entry(key: key, value: value, cost: cost, birth: clock)
        slots[key] = slot
        byUse.append(slot)
        byAge.append(slot)
        byteCount += cost
        return true
    }

    /// Removes the entries whose time is over and counts them; every other operation does so by itself.
    ///
    /// - Parameter now: The time in seconds.
    package mutating func removeExpired(at now: Double) {
        if now > clock, now.isFinite { clock = now }
        while let oldest = entries[byAge.first], clock - oldest.birth >= timeToLive {
            expirations += 1
            release(byAge.first)
        }
    }

    /// Removes every entry and the memory for them; the counters stay.
    package mutating func removeAll() {
        generation += 1
        slots = [:]
        entries = [nil]
        free = []
        byUse.removeAll()
        byAge.removeAll()
        byteCount = 0
    }

    /// Removes the entries that `isRemoved` holds of, those of a user for example.
    ///
    /// - Returns: How many were removed.
    /// - Throws: What `isRemoved` throws; those that it had held of are then removed.
    /// - Complexity: O(``count``).
    @discardableResult
    package mutating func remove<E: Error>(where isRemoved: (Key, Value) throws(E) -> Bool) throws(E) -> Int {
        generation += 1
        var removed = 0
        var slot = byAge.first
        while let entry = entries[slot] {
            let next = byAge.successor(of: slot)
            if try isRemoved(entry.key, entry.value) {
                release(slot)
                removed += 1
            }
            slot = next
        }
        return removed
    }

    /// Takes the entry of a slot out of everything and lets go of its key and value.
    private mutating func release(_ slot: Int) {
        guard let entry = entries[slot] else { preconditionFailure("TimedCache: slot \(slot) is free") }
        slots[entry.key] = nil
        byteCount -= entry.cost
        entries[slot] = nil
        byUse.remove(slot)
        byAge.remove(slot)
        free.append(slot)
    }

    private mutating func vacantSlot() -> Int {
        if let slot = free.popLast() { return slot }
        entries.append(nil)
        byUse.grow()
        byAge.grow()
        return entries.count - 1
    }
}
