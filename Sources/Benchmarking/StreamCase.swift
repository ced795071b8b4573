internal import LoRA
internal import TensorCore

/// Updates over many adapters in random order: what memory allows.
final class StreamCase {
    private let work: Workload
    private let adapters: AdapterTable
    /// Whose turn it is, and where that adapter's numbers are: what an engine's handle remembers of its user.
    private let order: [(place: Int32, address: UInt)]
    /// As many as there are at most.
    static let mostAdapters = 100_000

    /// - Parameter bytes: The most that the adapters may take.
    init(_ work: Workload, bytes: Int) throws {
        self.work = work
        let count = max(2, min(Self.mostAdapters, bytes / work.parameterBytes))
        let parameters = work.adapter.parameters
        let adapters = AdapterTable(count: count) {
            var adapter = work.adapter
            adapter.parameters = parameters.copy()
            return adapter
        }
        var random = PhiloxGenerator(seed: 9, purpose: .shuffling)
        order = (0..<Int32(count)).shuffled(using: &random).map { place in
            (place, adapters.lend(Int(place)) { $0.lentAddress })
        }
        self.adapters = adapters
    }

    var benchmark: BenchmarkCase {
        let configuration = Workload.bareConfiguration()
        let scratch = UpdateScratch()
        let run = { [self] (range: Range<Int>) async throws in
            for number in range {
                let (place, address) = order[number % order.count]
                Kernels.prefetchKiB(address: address)
                _ = try adapters.lend(Int(place)) {
                    try $0.update(
                        with: work.feedback[number & (Workload.count - 1)], configuration: configuration,
                        overrides: UpdateOverrides(), scratch: scratch)
                }
            }
        }
        return BenchmarkCase(
            name: "update-stream", dimension: work.shape.dimension, rank: work.shape.rank, bytes: work.updateBytes(),
            operations: work.updateOperations, run: run,
            check: { [configuration] in
                let place = Int(self.order[0].place)
                var expected = PlainAdapter(self.adapters.lend(place) { $0 })
                let before = expected.parameters
                let sample = (self.work.embeddings[0], self.work.checkTargets[0])
                _ = try self.adapters.lend(place) {
                    try $0.update(with: self.work.checkFeedback[0], configuration: configuration)
                }
                expected.step([sample], rate: Double(Workload.rate))
                let parameters = self.adapters.lend(place) { $0.parameters }
                try WrongResult.unless(
                    parameters.withBuffer(\.array), from: before, moveTo: expected.parameters, "update-stream")
                // All of them once: a virtual machine may give memory only when it is first used, or used again.
                try await run(0..<self.order.count)
            })
    }
}

/// Adapters on huge pages, as an engine keeps them. Not for several threads at once.
@safe
private final class AdapterTable {
    private let slabs = SlabAllocator(firstFromHeap: 0)
    @safe
    private struct Block {
        let memory: UnsafeMutableRawPointer
        let home: SlabAllocator.Home
    }
    private var blocks: [Block] = []
    private let adapters: UnsafeMutablePointer<UnsafeMutablePointer<LoRAAdapter>>
    private let count: Int
    private static let blockBytes = 1 << 20
    private static var perBlock: Int { blockBytes / MemoryLayout<LoRAAdapter>.stride }

    init(count: Int, _ make: () -> LoRAAdapter) {
        self.count = count
        let blockCount = (count + Self.perBlock - 1) / Self.perBlock
        unsafe adapters = .allocate(capacity: blockCount)
        for i in 0..<blockCount {
            guard let block = unsafe slabs.allocate(Self.blockBytes) else { preconditionFailure("no memory") }
            blocks.append(unsafe Block(memory: block.memory, home: block.home))
            let base = unsafe block.memory.bindMemory(to: LoRAAdapter.self, capacity: Self.perBlock)
            unsafe (adapters + i).initialize(to: base)
        }
        for i in 0..<count { unsafe address(i).initialize(to: make()) }
    }

    deinit {
        for i in 0..<count { unsafe address(i).deinitialize(count: 1) }
        for block in blocks { unsafe slabs.free(block.memory, Self.blockBytes, block.home) }
        unsafe adapters.deallocate()
    }

    private func address(_ i: Int) -> UnsafeMutablePointer<LoRAAdapter> {
        precondition(i >= 0 && i < count)
        return unsafe adapters[i / Self.perBlock] + i % Self.perBlock
    }

    func lend<R>(_ i: Int, _ body: (inout LoRAAdapter) throws -> R) rethrows -> R {
        try unsafe body(&address(i).pointee)
    }
}
