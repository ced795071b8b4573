#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// How long one call takes, from many chunks of calls.
struct Measurement {
    let name: String
    /// Nanoseconds of one call in the fastest chunk: the machine's speed with the least disturbance.
    let minimum: Double
    /// Nanoseconds of one call in the middle chunk.
    let median: Double
    let callsPerChunk: Int
    let chunks: Int
    /// Processor time over wall time: well below 1 says that something else had the core, and the figures are worth
    /// little.
    let share: Double
}

/// How much effort goes into a measurement.
struct Effort {
    let chunks: Int
    let chunkTime: Duration

    /// For figures to be quoted.
    static let full = Effort(chunks: 201, chunkTime: .milliseconds(5))
    /// To see that everything runs and that results are right.
    static let quick = Effort(chunks: 5, chunkTime: .milliseconds(1))

    /// Times `call`, which gets the number of the call so that it can take another input each time.
    ///
    /// Set-up belongs before this, checks of results after it. The number of calls in a chunk is found by doubling until
    /// a chunk lasts ``chunkTime``; these chunks also serve as warm-up and don't count.
    func measure(_ name: String, _ call: (Int) throws -> Void) rethrows -> Measurement {
        let clock = ContinuousClock()
        var number = 0
        func chunk(_ calls: Int) throws -> Duration {
            try clock.measure {
                for _ in 0..<calls {
                    try call(number)
                    number += 1
                }
            }
        }
        var calls = 1
        while try chunk(calls) < chunkTime { calls *= 2 }
        let processorBefore = processorTime()
        let start = clock.now
        var times: [Double] = []
        for _ in 0..<chunks { times.append(try chunk(calls) / .nanoseconds(1) / Double(calls)) }
        let wall = clock.now - start
        times.sort()
        return Measurement(
            name: name, minimum: times[0], median: times[times.count / 2], callsPerChunk: calls, chunks: chunks,
            share: (processorTime() - processorBefore) / wall)
    }

    /// Times several calls that may suspend, in turns: one chunk of each, again and again, so that they can be compared.
    ///
    /// - Parameters:
    ///   - calls: The calls in a chunk.
    ///   - rest: What is done between the chunks, outside the timer.
    func measure(
        _ cases: [(name: String, call: (Int) async throws -> Void)], calls: Int, rest: () async throws -> Void
    ) async throws -> [Measurement] {
        let clock = ContinuousClock()
        // Each case sees the same inputs in the same order.
        var numbers = [Int](repeating: 0, count: cases.count)
        var times = [[Double]](repeating: [], count: cases.count)
        let processorBefore = processorTime()
        let begin = clock.now
        // The first tenth warms up.
        for chunk in 0..<(chunks + chunks / 10) {
            for (i, item) in cases.enumerated() {
                let start = clock.now
                for _ in 0..<calls {
                    try await item.call(numbers[i])
                    numbers[i] += 1
                }
                let time = (clock.now - start) / .nanoseconds(1) / Double(calls)
                if chunk >= chunks / 10 { times[i].append(time) }
                try await rest()
            }
        }
        let share = (processorTime() - processorBefore) / (clock.now - begin)
        return cases.indices.map { i in
            let sorted = times[i].sorted()
            return Measurement(
                name: cases[i].name, minimum: sorted[0], median: sorted[sorted.count / 2], callsPerChunk: calls,
                chunks: chunks, share: share)
        }
    }
}

/// Processor time of the whole process.
private func processorTime() -> Duration {
    var time = timespec()
    unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
}

/// Takes a value where the optimiser can't see that nothing is done with it.
@inline(never)
@_optimize(none)
func blackHole<Value>(_ value: borrowing Value) {}
