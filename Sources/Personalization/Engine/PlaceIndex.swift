internal import LoRA
internal import TensorCore

/// Where the slots of a shard's users are, by the hashes of their ids: open addressing with linear probing (Knuth, *The Art of
/// Computer Programming*, volume 3, §6.4, algorithms L and R).
///
/// 16 bytes for each entry, a quarter of them the place and a quarter bits of the hash; a third to three quarters of the entries
/// are taken. Among a million users a lookup reads one line of memory, where a dictionary reads three; and that on huge pages,
/// as ``SlabAllocator`` gives them. The other half of an entry is an ``AdapterTrace``.
///
/// `@safe`: every number that is used as an index is masked to the table's size.
@safe
struct PlaceIndex: ~Copyable {
    private struct Entry {
        /// The upper half: the hash's bits; the lower: the place and 1, so that 0 is nothing.
        var place: UInt64 = 0
        var trace = AdapterTrace()
    }

    private var entries: UnsafeMutablePointer<Entry>
    private var home: SlabAllocator.Home
    /// The entries, a power of two, less 1.
    private var mask: Int
    private(set) var count = 0

    init() { unsafe (entries, home, mask) = Self.table(8) }

    deinit { unsafe Self.free(entries, home, mask) }

    /// A table of so many entries, all of nothing.
    private static func table(_ count: Int) -> (
        entries: UnsafeMutablePointer<Entry>, home: SlabAllocator.Home, mask: Int
    ) {
        let bytes = MemoryLayout<Entry>.stride * count
        guard let block = unsafe SlabAllocator.shared.allocate(bytes) else {
            preconditionFailure("PlaceIndex: cannot allocate \(bytes) bytes")
        }
        let entries = unsafe block.memory.bindMemory(to: Entry.self, capacity: count)
        unsafe entries.initialize(repeating: Entry(), count: count)
        return unsafe (entries, block.home, count - 1)
    }

    private static func free(_ entries: UnsafeMutablePointer<Entry>, _ home: SlabAllocator.Home, _ mask: Int) {
        unsafe SlabAllocator.shared.free(entries, MemoryLayout<Entry>.stride * (mask + 1), home)
    }

    private subscript(i: Int) -> Entry {
        get { unsafe entries[i & mask] }
        nonmutating set { unsafe entries[i & mask] = newValue }
    }

    /// The bits of a hash that an entry keeps, of which the lower ones say where it belongs. A shard is chosen by other ones.
    private static func tag(_ hash: Int) -> UInt64 { UInt64(UInt(bitPattern: hash)) >> (Int.bitWidth - 32) }

    /// A walk over the places under one hash, and seldom under others.
    struct Probe {
        fileprivate let tag: UInt64
        fileprivate var at: Int

        init(_ hash: Int) {
            tag = PlaceIndex.tag(hash)
            at = Int(truncatingIfNeeded: tag)
        }
    }

    /// The next place of a walk, during which nothing is added or removed, and what was left there.
    @inline(__always)
    func next(_ probe: inout Probe) -> (place: Int32, trace: AdapterTrace)? {
        while true {
            let entry = self[probe.at]
            guard entry.place != 0 else { return nil }
            probe.at &+= 1
            if entry.place >> 32 == probe.tag { return (Self.place(entry.place), entry.trace) }
        }
    }

    /// Leaves a trace with the place that a walk found last.
    func leave(_ trace: AdapterTrace, _ probe: Probe) {
        self[probe.at &- 1].trace = trace
    }

    /// Adds a place, which is not there yet.
    mutating func insert(_ hash: Int, _ place: Int32) {
        // At most three quarters are taken.
        if 4 * (count + 1) > 3 * (mask + 1) { grow() }
        put(Entry(place: Self.tag(hash) << 32 | UInt64(place) + 1))
        count += 1
    }

    /// Removes a place, which is there under this hash.
    mutating func remove(_ hash: Int, _ place: Int32) {
        let wanted = Self.tag(hash) << 32 | UInt64(place) + 1
        var hole = Int(truncatingIfNeeded: wanted >> 32)
        while self[hole].place != wanted {
            precondition(self[hole].place != 0, "PlaceIndex: the place \(place) is not there")
            hole &+= 1
        }
        // Whoever comes after and may be in the hole moves there.
        var i = hole &+ 1
        while self[i].place != 0 {
            let home = Int(truncatingIfNeeded: self[i].place >> 32)
            if (i &- home) & mask >= (i &- hole) & mask {
                self[hole] = self[i]
                hole = i
            }
            i &+= 1
        }
        self[hole] = Entry()
        count -= 1
    }

    private static func place(_ entry: UInt64) -> Int32 { Int32(truncatingIfNeeded: entry & 0xffff_ffff) - 1 }

    private mutating func put(_ entry: Entry) {
        var i = Int(truncatingIfNeeded: entry.place >> 32)
        while self[i].place != 0 { i &+= 1 }
        self[i] = entry
    }

    private mutating func grow() {
        let (old, oldHome, oldMask) = unsafe (entries, home, mask)
        unsafe (entries, home, mask) = Self.table(2 * (oldMask + 1))
        for i in 0...oldMask where unsafe old[i].place != 0 { unsafe put(old[i]) }
        unsafe Self.free(old, oldHome, oldMask)
    }
}

/// Where an adapter's numbers were when somebody looked last: good for fetching them into the cache while the slot that knows
/// where they are is still on its way, and for nothing else. They may have moved since.
struct AdapterTrace: Equatable, Sendable {
    fileprivate(set) var address: UInt = 0

    init() {}
    init(address: UInt) { self.address = address }
    init(_ adapter: inout LoRAAdapter?) { address = adapter?.lentAddress ?? 0 }

    /// Asks for the first KiB there.
    @inline(__always)
    func prefetch() { Kernels.prefetchKiB(address: address) }
}
