internal import CKernels

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Memory for many blocks of few sizes, as adapters are, on huge pages where the system has them.
///
/// Users come in random order, and the translations of their adapters' addresses are in no cache then: a block of 24 KiB takes
/// seven of them on pages of 4 KiB, each a walk through tables that are in memory themselves, and one or two on pages of 2 MiB.
///
/// Blocks of one size are cut from slabs. A slab goes back to the system when its last block is freed, but for one that is kept
/// for each size. The first blocks of each size come from the heap, so that few adapters take no more than they need.
@usableFromInline
package final class SlabAllocator: Sendable {
    /// Where all adapters' memory comes from.
    package static let shared = SlabAllocator(firstFromHeap: hugePage)

    /// Where a block is.
    package enum Home {
        /// On the heap.
        case heap
        /// On the heap, as one of the first of its size.
        case first(SlabAllocator)
        case slab(Slab)

        /// Who takes the block back; `nil` for the heap.
        var allocator: SlabAllocator? {
            switch self {
            case .heap: nil
            case .first(let allocator): allocator
            case .slab(let slab): slab.allocator
            }
        }
    }

    /// An object, so that its list is changed in place. `@unchecked Sendable`: used under the lock alone.
    private final class BlocksOfOneSize: @unchecked Sendable {
        /// The bytes on the heap.
        var first = 0
        /// Slabs with free blocks, each of which knows its place here.
        private var open: [Slab] = []
        /// How many there are in all.
        var slabs = 0

        /// The slab to take a block from.
        var next: Slab? { open.last }
        /// Whether there is another one with free blocks than this.
        func isAnotherOpen(than slab: Slab) -> Bool { open.count > (slab.place == nil ? 0 : 1) }

        func add(_ slab: Slab) {
            slab.place = open.count
            open.append(slab)
        }

        func remove(_ slab: Slab) {
            guard let place = slab.place, let last = open.popLast() else {
                preconditionFailure("SlabAllocator: not open")
            }
            if last !== slab {
                open[place] = last
                last.place = place
            }
            slab.place = nil
        }
    }

    private static let hugePage = 2 << 20
    private let firstFromHeap: Int
    private let sizes = Lock<[Int: BlocksOfOneSize]>([:])

    /// - Parameter firstFromHeap: The bytes of each size that are left to the heap.
    package init(firstFromHeap: Int) { self.firstFromHeap = firstFromHeap }

    /// The bytes in slabs, used or not.
    package var slabBytes: Int {
        sizes.withLock { $0.reduce(0) { $0 + $1.value.slabs * Self.slabBytes(for: $1.key) } }
    }

    /// Blocks of this size have slabs: smaller ones share pages anyway, and larger ones have pages of their own.
    private static func hasSlabs(_ bytes: Int) -> Bool { bytes >= 1 << 10 && bytes <= 1 << 20 }

    /// What is left over at the end of a slab is at most 1/32 of it.
    private static func slabBytes(for bytes: Int) -> Int { (32 * bytes + hugePage - 1) / hugePage * hugePage }

    /// A block of `bytes`, a multiple of 64; contents unspecified. The allocator outlives it. `nil` where the memory cannot be had.
    package func allocate(_ bytes: Int) -> (memory: UnsafeMutableRawPointer, home: Home)? {
        let found = unsafe sizes.withLock { sizes -> (memory: UnsafeMutableRawPointer?, home: Home) in
            guard Self.isUseful, Self.hasSlabs(bytes) else { return (nil, .heap) }
            let blocks = sizes[bytes] ?? BlocksOfOneSize()
            sizes[bytes] = blocks
            if blocks.next == nil {
                if blocks.first + bytes <= firstFromHeap {
                    blocks.first += bytes
                    return (nil, .first(self))
                }
                guard let slab = Slab(self, bytes: Self.slabBytes(for: bytes), block: bytes, page: Self.hugePage) else {
                    return (nil, .heap)
                }
                blocks.slabs += 1
                blocks.add(slab)
            }
            guard let slab = blocks.next else { preconditionFailure("SlabAllocator: no slab") }
            let memory = unsafe slab.take()
            if slab.isFull { blocks.remove(slab) }
            return unsafe (memory, .slab(slab))
        }
        if let memory = unsafe found.memory { return unsafe (memory, found.home) }
        var memory: UnsafeMutableRawPointer?
        guard unsafe posix_memalign(&memory, 64, bytes) == 0, let memory = unsafe memory else {
            if case .first = unsafe found.home { sizes.withLock { $0[bytes]?.first -= bytes } }
            return nil
        }
        return unsafe (memory, found.home)
    }

    /// Takes back a block that ``allocate(_:)`` gave.
    package func free(_ memory: UnsafeMutableRawPointer, _ bytes: Int, _ home: Home) {
        switch home {
        case .heap: unsafe Self.freeOnHeap(memory)
        case .first:
            unsafe Self.freeOnHeap(memory)
            sizes.withLock { $0[bytes]?.first -= bytes }
        case .slab(let slab):
            sizes.withLock { sizes in
                guard let blocks = sizes[bytes] else { preconditionFailure("SlabAllocator: a block of no known size") }
                if slab.isFull { blocks.add(slab) }
                unsafe slab.giveBack(memory)
                if slab.isEmpty, blocks.isAnotherOpen(than: slab) {
                    blocks.remove(slab)
                    blocks.slabs -= 1
                }
            }
        }
    }

    private static func freeOnHeap(_ memory: UnsafeMutableRawPointer) {
        #if canImport(Glibc)
            unsafe Glibc.free(memory)
        #elseif canImport(Musl)
            unsafe Musl.free(memory)
        #else
            unsafe Darwin.free(memory)
        #endif
    }

    /// Whether slabs are of use: where there are huge pages to be had, and not where the address sanitizer watches blocks on the
    /// heap.
    private static let isUseful: Bool = {
        #if os(Linux)
            attune_address_sanitizer() == 0
        #else
            false
        #endif
    }()
}

/// Blocks of one size in memory from the system. Used under the allocator's lock alone.
@safe
package final class Slab: @unchecked Sendable {
    /// Lives as long as any storage from it.
    unowned let allocator: SlabAllocator
    private let base: UnsafeMutableRawPointer
    private let bytes: Int
    private let block: Int
    /// The places of the free blocks.
    private var free: [Int32]
    /// Its own place among the slabs with free blocks.
    fileprivate var place: Int?

    var isFull: Bool { free.isEmpty }
    var isEmpty: Bool { free.count == bytes / block }

    /// `nil` where the memory cannot be had.
    fileprivate init?(_ allocator: SlabAllocator, bytes: Int, block: Int, page: Int) {
        // One page more, of which what is before and behind whole pages goes back.
        guard let mapped = unsafe mmap(nil, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            unsafe mapped != MAP_FAILED
        else { return nil }
        let before = (page - Int(bitPattern: mapped) % page) % page
        if before > 0 { unsafe munmap(mapped, before) }
        if before < page { unsafe munmap(mapped + before + bytes, page - before) }
        unsafe base = mapped + before
        #if os(Linux)
            // A wish: refused, the memory is on small pages.
            unsafe madvise(base, bytes, Int32(MADV_HUGEPAGE))
        #endif
        self.allocator = allocator
        self.bytes = bytes
        self.block = block
        free = (0..<Int32(bytes / block)).reversed()
    }

    deinit { unsafe munmap(base, bytes) }

    /// The free block of the lowest address among those never used, or the one freed last.
    fileprivate func take() -> UnsafeMutableRawPointer { unsafe base + Int(free.removeLast()) * block }

    fileprivate func giveBack(_ memory: UnsafeMutableRawPointer) {
        let offset = unsafe memory - base
        precondition(offset >= 0 && offset < bytes && offset % block == 0, "Slab: not one of its blocks")
        free.append(Int32(offset / block))
    }
}
