import Synchronization
import Testing

@testable import Reasoning

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

@Suite("Where banks run", .timeLimit(.minutes(10)))
struct BankExecutorTests {
    /// Blocks the thread until so many have come, or some minutes have passed; says whether they have come.
    private static func block(until count: Int, _ arrived: borrowing Atomic<Int>) -> Bool {
        arrived.add(1, ordering: .relaxed)
        for _ in 0..<300_000 where arrived.load(ordering: .relaxed) < count { usleep(1000) }
        return arrived.load(ordering: .relaxed) >= count
    }

    private final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    @Test("as many calls as there are lanes block their threads, and nobody waits for another")
    func blocksNobody() async {
        let executor = BankExecutor()
        let counter = Counter()
        let calls = (0..<BankExecutor.mostLanes).map { _ in
            // None comes back before all are there.
            Task.detached(executorPreference: executor) { Self.block(until: BankExecutor.mostLanes, counter.value) }
        }
        for call in calls { #expect(await call.value, "one of them has waited for another") }
        #expect(counter.value.load(ordering: .relaxed) == BankExecutor.mostLanes)
        #expect(executor.laneCount == BankExecutor.mostLanes)
    }

    @Test("more calls than lanes stand in line, and all are made")
    func hasABound() async {
        let executor = BankExecutor()
        let counter = Counter()
        let calls = (0..<200).map { i in
            Task.detached(executorPreference: executor) {
                if i < BankExecutor.mostLanes { _ = Self.block(until: BankExecutor.mostLanes, counter.value) }
                return i
            }
        }
        var sum = 0
        for call in calls { sum += await call.value }
        #expect(sum == 199 * 100)
        #expect(executor.laneCount == BankExecutor.mostLanes)
        // Lanes are used again.
        for _ in 0..<100 { await Task.detached(executorPreference: executor) {}.value }
        #expect(executor.laneCount == BankExecutor.mostLanes)
    }

    @Test("calls one after the other use the same few lanes")
    func reusesALane() async {
        let executor = BankExecutor()
        for _ in 0..<100 { await Task.detached(executorPreference: executor) { await Task.yield() }.value }
        // A job may still be leaving its lane when the next one comes, on a busy machine for long: a few lanes, never all.
        #expect(executor.laneCount < BankExecutor.mostLanes)
    }
}
