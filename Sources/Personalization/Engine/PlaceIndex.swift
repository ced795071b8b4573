internal import TensorCore

/// Where the slots of a shard's users are, by the hashes of their ids: open addressing with linear probing (Knuth, *The Art of
/// Computer Programming*, volume 3, §6.4, algorithms L and R).
///
/// One number of 8 bytes for each user, half of it the place and half of it bits of the hash: among a million users a lookup
/// reads one line of memory, where a dictionary reads three; and that on huge pages, as ``SlabAllocator`` gives them.
///
/// `@safe`: every number that is used as an index is masked to the table's size.
@safe
struct PlaceIndex: ~Copyable {
    /// The upper half: the hash's bits; the lower: the place and 1, so that 0 is nothing.
    private var entries: UnsafeMutablePointer<UInt64>
    private var home: SlabAllocator.Home
    /// The entries, a power of two, less 1.
    private var mask: Int
    private(set) var count = 0

    init() { unsafe (entries, home, mask) = Self.table(8) }

    deinit { unsafe Self.free(entries, home, mask) }

    /// A table of so many entries, all 0.
    private static func table(_ count: Int) -> (
        entries: UnsafeMutablePointer<UInt64>, home: SlabAllocator.Home, mask: Int
    ) {
        guard let block = unsafe SlabAllocator.shared.allocate(8 * count) else {
            preconditionFailure("PlaceIndex: cannot allocate \(8 * count) bytes")
        }
        let entries = unsafe block.memory.bindMemory(to: UInt64.self, capacity: count)
        unsafe entries.initialize(repeating: 0, count: count)
        return unsafe (entries, block.home, count - 1)
    }

    private static func free(_ entries: UnsafeMutablePointer<UInt64>, _ home: SlabAllocator.Home, _ mask: Int) {
        unsafe SlabAllocator.shared.free(entries, 8 * (mask + 1), home)
    }

    private subscript(i: Int) -> UInt64 {
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

    /// The next place of a walk, during which nothing is added or removed.
    @inline(__always)
    func next(_ probe: inout Probe) -> Int32? {
        while true {
            let entry = self[probe.at]
            guard entry != 0 else { return nil }
            probe.at &+= 1
            if entry >> 32 == probe.tag { return Self.place(entry) }
        }
    }

    /// Adds a place, which is not there yet.
    mutating func insert(_ hash: Int, _ place: Int32) {
        // At most three quarters are taken.
        if 4 * (count + 1) > 3 * (mask + 1) { grow() }
        put(Self.tag(hash) << 32 | UInt64(place) + 1)
        count += 1
    }

    /// Removes a place, which is there under this hash.
    mutating func remove(_ hash: Int, _ place: Int32) {
        let wanted = Self.tag(hash) << 32 | UInt64(place) + 1
        var hole = Int(truncatingIfNeeded: wanted >> 32)
        while self[hole] != wanted {
            precondition(self[hole] != 0, "PlaceIndex: the place \(place) is not there")
            hole &+= 1
        }
        // Whoever comes after and may be in the hole moves there.
        var i = hole &+ 1
        while self[i] != 0 {
            let home = Int(truncatingIfNeeded: self[i] >> 32)
            if (i &- home) & mask >= (i &- hole) & mask {
                self[hole] = self[i]
                hole = i
            }
            i &+= 1
        }
        self[hole] = 0
        count -= 1
    }

    private static func place(_ entry: UInt64) -> Int32 { Int32(truncatingIfNeeded: entry & 0xffff_ffff) - 1 }

    private mutating func put(_ entry: UInt64) {
        var i = Int(truncatingIfNeeded: entry >> 32)
        while self[i] != 0 { i &+= 1 }
        self[i] = entry
    }

    private mutating func grow() {
        let (old, oldHome, oldMask) = unsafe (entries, home, mask)
        unsafe (entries, home, mask) = Self.table(2 * (oldMask + 1))
        for i in 0...oldMask where unsafe old[i] != 0 { unsafe put(old[i]) }
        unsafe Self.free(old, oldHome, oldMask)
    }
}
