internal import CAllocations

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// How much effort goes into a measurement.
public struct Effort: Sendable {
    /// Chunks of calls that are timed.
    public let chunks: Int
    /// How long a chunk lasts at least.
    public let chunkTime: Duration
    /// The most bytes that the adapters of a case with many may take.
    public let streamBytes: Int

    /// For figures to be quoted.
    public static let full = Effort(chunks: 201, chunkTime: .milliseconds(1), streamBytes: 2_600_000_000)
    /// For a look: under a minute for everything.
    public static let quick = Effort(chunks: 41, chunkTime: .microseconds(400), streamBytes: 256_000_000)
    /// To see that everything runs and that results are right.
    public static let check = Effort(chunks: 3, chunkTime: .microseconds(50), streamBytes: 16_000_000)

    /// Times cases in turns, one chunk of each again and again, so that what disturbs the machine disturbs all of them. Results
    /// are checked first, and a wrong one is thrown instead of timed.
    ///
    /// The number of calls in a chunk is found by doubling until it lasts ``chunkTime``; that also warms up, and does not count.
    public func measure(_ cases: [BenchmarkCase]) async throws -> [BenchmarkResult] {
        var timers: [Timer] = []
        for item in cases {
            try await item.check()
            var timer = Timer(item)
            try await timer.warmUp(until: chunkTime)
            timers.append(timer)
        }
        for _ in 0..<chunks {
            for i in timers.indices { try await timers[i].time() }
        }
        return timers.map { $0.result(chunks: chunks) }
    }
}

private struct Timer {
    let item: BenchmarkCase
    var calls = 1
    var next = 0
    var times: [Double] = []
    var wall = Duration.zero
    var processor = Duration.zero
    var allocations: Double?

    init(_ item: BenchmarkCase) { self.item = item }

    private mutating func run() async throws -> Duration {
        let range = next..<(next + calls)
        next += calls
        let clock = ContinuousClock()
        let start = clock.now
        try await item.run(range)
        return clock.now - start
    }

    mutating func warmUp(until enough: Duration) async throws {
        while try await run() < enough { calls *= 2 }
        // What starting a chunk takes is not a call's: it is in both counts.
        if let once = try await allocations(of: calls), let twice = try await allocations(of: 2 * calls) {
            let each = Double(twice - once) / Double(calls)
            // Less is somebody else's, now and then.
            allocations = each < 0.01 ? 0 : each
        }
    }

    private mutating func allocations(of calls: Int) async throws -> Int? {
        guard attune_allocations_begin() != 0 else { return nil }
        let result: Result<Void, any Error>
        do { result = .success(try await item.run(next..<(next + calls))) } catch { result = .failure(error) }
        let count = attune_allocations_end()
        next += calls
        try result.get()
        return Int(count)
    }

    mutating func time() async throws {
        let before = Timer.processorTime
        let time = try await run()
        processor += Timer.processorTime - before
        wall += time
        times.append(time / .nanoseconds(1) / Double(calls))
    }

    func result(chunks: Int) -> BenchmarkResult {
        let sorted = times.sorted()
        return BenchmarkResult(
            name: item.name, implementation: item.implementation, dimension: item.dimension, rank: item.rank,
            batch: item.batch, threads: 1, minimum: sorted[0], median: sorted[sorted.count / 2],
            allocations: allocations, bytes: item.bytes, operations: item.operations, chunks: chunks,
            callsPerChunk: calls, share: processor / wall)
    }

    /// Processor time of the whole process.
    static var processorTime: Duration {
        var time = timespec()
        unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }
}

/// Takes a value where the optimiser can't see that nothing is done with it.
@inline(never)
@_optimize(none)
public func blackHole<Value>(_ value: borrowing Value) {}
