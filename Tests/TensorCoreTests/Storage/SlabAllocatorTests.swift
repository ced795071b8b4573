import CKernels
import TestSupport
import Testing

@testable import TensorCore

/// Blocks of a few sizes that come and go: none is in another one's way, and empty slabs go back to the system.
struct SlabAllocatorTests {
    /// Whether this system and build have slabs at all.
    static let hasSlabs: Bool = {
        #if os(Linux)
            attune_address_sanitizer() == 0
        #else
            false
        #endif
    }()

    /// Storage filled with a number of its own.
    private func storage(_ count: Int, _ number: Int, _ slabs: SlabAllocator) -> AlignedStorage<Float> {
        let made = AlignedStorage<Float>(count: count, in: slabs)
        made.withBuffer { buffer in
            #expect((0..<count).allSatisfy { buffer[$0] == 0 }, "memory that is used again is zeroed")
            buffer.fill(Float(number))
        }
        return made
    }

    private func isWhole(_ storage: AlignedStorage<Float>, _ number: Int) -> Bool {
        storage.withBuffer { buffer in (0..<buffer.count).allSatisfy { buffer[$0] == Float(number) } }
    }

    @Test(arguments: [0, 1 << 16])
    func blocksKeepWhatIsInThem(firstFromHeap: Int) {
        let seed: UInt64 = 314_159
        var random = PhiloxGenerator(seed: seed, stream: UInt64(firstFromHeap))
        let slabs = SlabAllocator(firstFromHeap: firstFromHeap)
        // Below the least size that has slabs, at it, that of usual adapters, with a rest at the slab's end, above the largest.
        let sizes = [10, 256, 512, 6_144, 30_001, 262_145]
        var live: [(storage: AlignedStorage<Float>, number: Int)] = []
        for number in 0..<underSanitizer(250, otherwise: 3_000) {
            if live.count < 60 || random.bernoulli(0.5) {
                let size = random.bernoulli(0.9) ? sizes[random.integer(below: 4)] : sizes[random.integer(below: 6)]
                let made = storage(size, number, slabs)
                #expect(unsafe UInt(bitPattern: made.base) % 64 == 0)
                live.append((random.bernoulli(0.2) ? made.copy() : made, number))
            } else {
                let (storage, number) = live.remove(at: random.integer(below: live.count))
                #expect(isWhole(storage, number), "seed \(seed), block \(number)")
            }
        }
        #expect(live.allSatisfy { isWhole($0.storage, $0.number) }, "seed \(seed)")
        let most = slabs.slabBytes
        live.removeAll()
        print("slabs: seed \(seed), \(most) bytes, \(slabs.slabBytes) when all is freed")
        // One slab is kept for each size that had any.
        #expect(slabs.slabBytes <= most && slabs.slabBytes <= 4 * (4 << 20))
        #expect(slabs.slabBytes > 0 || !Self.hasSlabs)
    }

    @Test func theFirstBlocksOfASizeAreOnTheHeap() {
        let slabs = SlabAllocator(firstFromHeap: 1 << 20)
        var few = (0..<64).map { storage(4_096, $0, slabs) }
        #expect(slabs.slabBytes == 0)
        let more = (0..<64).map { storage(4_096, $0, slabs) }
        #expect(slabs.slabBytes == (Self.hasSlabs ? 2 << 20 : 0))
        // What the heap has room for again is taken from it.
        few.removeAll()
        _ = storage(4_096, 0, slabs)
        #expect(more.indices.allSatisfy { isWhole(more[$0], $0) })
        // A size of its own has a heap's share of its own.
        _ = storage(8_192, 1, slabs)
        #expect(slabs.slabBytes == (Self.hasSlabs ? 2 << 20 : 0))
    }

    @Test func slabsThatAreEmptyGoBackButForOne() {
        let slabs = SlabAllocator(firstFromHeap: 0)
        // 128 blocks of 16 KiB are a slab.
        let count = underSanitizer(300, otherwise: 1_000)
        var live = (0..<count).map { storage(4_096, $0, slabs) }
        let all = slabs.slabBytes
        #expect(all == (Self.hasSlabs ? (count + 127) / 128 * (2 << 20) : 0))
        // Every other one: no slab is empty.
        live = live.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
        #expect(slabs.slabBytes == all)
        #expect(live.indices.allSatisfy { isWhole(live[$0], 2 * $0) })
        // Their places are taken again before there is another slab.
        let again = (0..<count / 2).map { storage(4_096, -$0, slabs) }
        #expect(slabs.slabBytes == all)
        #expect(live.indices.allSatisfy { isWhole(live[$0], 2 * $0) })
        #expect(again.indices.allSatisfy { isWhole(again[$0], -$0) })
        live.removeAll()
        withExtendedLifetime(again) { #expect(slabs.slabBytes <= all) }
    }

    @Test func threadsShareAnAllocator() async {
        let slabs = SlabAllocator(firstFromHeap: 1 << 14)
        await withTaskGroup(of: Bool.self) { group in
            for task in 0..<4 {
                group.addTask {
                    var random = PhiloxGenerator(seed: 27, stream: UInt64(task))
                    var live: [(AlignedStorage<Float>, Int)] = []
                    for step in 0..<500 {
                        let number = task * 1_000 + step
                        live.append((self.storage(512 << random.integer(below: 3), number, slabs), number))
                        if live.count > 20 {
                            let (storage, number) = live.remove(at: random.integer(below: live.count))
                            if !self.isWhole(storage, number) { return false }
                        }
                    }
                    return live.allSatisfy { self.isWhole($0.0, $0.1) }
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}
