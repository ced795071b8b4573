internal import TensorCore

/// An array in chunks: it grows without moving what is there, by a chunk at a time of 8, 16, … and at last 256 elements each.
///
/// `@safe`: every access is checked against the count. The chunks begin on lines of the cache and are on huge pages where there
/// are many of them, as ``SlabAllocator`` gives memory; that is what an array of arrays would not do.
@safe
struct ChunkedArray<Element>: ~Copyable {
    @safe
    private struct Chunk {
        let base: UnsafeMutableRawPointer
        let bytes: Int
        let home: SlabAllocator.Home
    }

    private var chunks: [Chunk] = []
    private var capacity = 0
    private(set) var count = 0

    /// The first chunks have 8, 16, …, 128 elements, 248 in all.
    private static var growing: Int { 248 }

    private static func size(ofChunk i: Int) -> Int { i < 5 ? 8 << i : 256 }

    /// The chunk of an element, and its number there.
    @inline(__always)
    private static func locate(_ index: Int) -> (chunk: Int, offset: Int) {
        if index >= growing {
            let rest = index - growing
            return (5 + rest >> 8, rest & 255)
        }
        let chunk = Int.bitWidth - 1 - (index >> 3 + 1).leadingZeroBitCount
        return (chunk, index - (8 << chunk - 8))
    }

    @inline(__always)
    private func address(_ index: Int) -> UnsafeMutablePointer<Element> {
        precondition(index >= 0 && index < count, "ChunkedArray: \(index) is not in 0..<\(count)")
        let (chunk, offset) = Self.locate(index)
        return unsafe chunks[chunk].base.assumingMemoryBound(to: Element.self) + offset
    }

    /// Lends an element where it is.
    @inline(__always)
    mutating func lend<R, E: Error>(_ index: Int, _ body: (inout Element) throws(E) -> R) throws(E) -> R {
        try unsafe body(&address(index).pointee)
    }

    /// Asks for an element's second line of memory, which is read soon after the first.
    @inline(__always)
    func prefetchRest(of index: Int) {
        unsafe Kernels.prefetch(UnsafeRawPointer(address(index)) + 64)
    }

    mutating func append(_ element: Element) {
        if count == capacity { addChunk() }
        count += 1
        unsafe address(count - 1).initialize(to: element)
    }

    private mutating func addChunk() {
        let size = Self.size(ofChunk: chunks.count)
        let bytes = (size * MemoryLayout<Element>.stride + 63) / 64 * 64
        guard let block = unsafe SlabAllocator.shared.allocate(bytes) else {
            preconditionFailure("ChunkedArray: cannot allocate \(bytes) bytes")
        }
        chunks.append(unsafe Chunk(base: block.memory, bytes: bytes, home: block.home))
        capacity += size
    }

    deinit {
        for i in 0..<count { unsafe address(i).deinitialize(count: 1) }
        for chunk in chunks { unsafe SlabAllocator.shared.free(chunk.base, chunk.bytes, chunk.home) }
    }
}
