import Testing

@testable import Personalization

@Suite(.timeLimit(.minutes(10)))
struct FIFOGateTests {
    @Test func whoComesFirstGoesFirst() async {
        let gate = FIFOGate()
        let order = Shared<[Int]>([])
        let inside = Latch()
        let go = Latch()
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await gate.pass {
                    inside.open()
                    await go.wait()
                }
            }
            await inside.wait()
            for i in 0..<100 {
                group.addTask { await gate.pass { order.change { $0.append(i) } } }
                await until { gate.waiting == i + 1 }
            }
            go.open()
        }
        #expect(order.value == Array(0..<100))
        #expect(gate.waiting == 0)
    }

    @Test func nobodyIsInsideBesideAnother() async {
        let gate = FIFOGate()
        let inside = Shared(0)
        let passed = Shared(0)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<64 {
                group.addTask {
                    for _ in 0..<50 {
                        await gate.pass {
                            #expect(
                                inside.change {
                                    $0 += 1; return $0
                                } == 1)
                            await Task.yield()
                            inside.change { $0 -= 1 }
                            passed.change { $0 += 1 }
                        }
                    }
                }
            }
        }
        #expect(passed.value == 64 * 50)
    }

    @Test func anErrorInsideLetsTheNextOneIn() async {
        struct Fault: Error {}
        let gate = FIFOGate()
        for _ in 0..<3 {
            await #expect(throws: Fault.self) { try await gate.pass { throw Fault() } }
        }
        #expect(await gate.pass { 7 } == 7)
    }

    @Test func aCancelledWaiterStillGetsItsTurnAndHoldsNobodyUp() async {
        let gate = FIFOGate()
        let inside = Latch()
        let go = Latch()
        let order = Shared<[Int]>([])
        let holder = Task {
            await gate.pass {
                inside.open()
                await go.wait()
            }
        }
        await inside.wait()
        var tasks: [Task<Void, any Error>] = []
        for i in 0..<200 {
            tasks.append(
                Task {
                    try await gate.pass {
                        try Task.checkCancellation()
                        order.change { $0.append(i) }
                    }
                })
            await until { gate.waiting == i + 1 }
        }
        for i in 0..<200 where i % 3 != 0 { tasks[i].cancel() }
        go.open()
        await holder.value
        for (i, task) in tasks.enumerated() {
            let result = await task.result
            #expect((try? result.get()) != nil || i % 3 != 0, "waiter \(i): \(result)")
        }
        #expect(order.value == Array(0..<200).filter { $0 % 3 == 0 })
    }

    @Test func whoIsCancelledInLineLeavesItAtOnce() async throws {
        let gate = FIFOGate()
        let (inside, go) = (Latch(), Latch())
        let order = Shared<[Int]>([])
        let holder = Task {
            try await gate.passUnlessCancelled {
                inside.open()
                await go.wait()
            }
        }
        await inside.wait()
        var tasks: [Task<Void, any Error>] = []
        for i in 0..<600 {
            tasks.append(Task { try await gate.passUnlessCancelled { order.change { $0.append(i) } } })
            await until { gate.waiting == i + 1 }
        }
        // From many tasks at once, while somebody is inside all the time.
        await withTaskGroup(of: Void.self) { group in
            for i in 0..<600 where i % 3 != 0 {
                let task = tasks[i]
                group.addTask {
                    task.cancel()
                    await #expect(throws: CancellationError.self) { try await task.value }
                }
            }
        }
        #expect(gate.waiting == 200 && order.value.isEmpty)
        // One who was cancelled before finds the gate closed to them, and open when nobody is there.
        let late = Task {
            unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
            try await gate.passUnlessCancelled { order.change { $0.append(-1) } }
        }
        await #expect(throws: CancellationError.self) { try await late.value }
        go.open()
        for i in 0..<600 where i % 3 == 0 { try await tasks[i].value }
        try await holder.value
        #expect(order.value == Array(0..<600).filter { $0 % 3 == 0 })
        #expect(gate.waiting == 0 && gate.placesHeld == 0)
        #expect(await gate.pass { 7 } == 7)
    }

    @Test func whoAreCancelledWhileTheyAreLetInCountAsEither() async throws {
        let gate = FIFOGate()
        let passed = Shared(0)
        var tasks: [Task<Bool, Never>] = []
        for i in 0..<2_000 {
            tasks.append(
                Task {
                    do {
                        try await gate.passUnlessCancelled {
                            passed.change { $0 += 1 }
                            await Task.yield()
                        }
                        return true
                    } catch {
                        return false
                    }
                })
            if i % 2 == 1 { tasks[i / 2].cancel() }
        }
        var count = 0
        for task in tasks where await task.value { count += 1 }
        #expect(count == passed.value && count >= 1_000)
        #expect(gate.waiting == 0 && gate.placesHeld == 0)
    }

    @Test func thoseWhoGaveUpTakeNoMoreAndMoreMemory() async throws {
        let gate = FIFOGate()
        var most = 0
        await gate.pass {
            for _ in 0..<3_000 {
                let task = Task { try await gate.passUnlessCancelled {} }
                await until { gate.waiting == 1 }
                task.cancel()
                _ = await task.result
                most = max(most, gate.placesHeld)
            }
        }
        #expect(most <= 256, "the line kept \(most) places")
    }

    @Test func tenThousandWaitersPass() async {
        let gate = FIFOGate()
        let inside = Latch()
        let go = Latch()
        let passed = Shared(0)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                await gate.pass {
                    inside.open()
                    await go.wait()
                }
            }
            await inside.wait()
            for _ in 0..<10_000 { group.addTask { await gate.pass { passed.change { $0 += 1 } } } }
            await until { gate.waiting == 10_000 }
            go.open()
        }
        #expect(passed.value == 10_000)
    }

    @Test func aLineThatIsNeverEmptyTakesNoMoreAndMoreMemory() async {
        let gate = FIFOGate()
        var most = 0
        await withTaskGroup(of: Void.self) { group in
            var leave = Latch()
            var inside = Latch()
            for i in 0..<3_000 {
                // The next one stands in line before the one inside leaves.
                let (nextInside, nextLeave) = (Latch(), Latch())
                group.addTask {
                    await gate.pass {
                        nextInside.open()
                        await nextLeave.wait()
                    }
                }
                if i > 0 { await until { gate.waiting == 1 } }
                leave.open()
                (inside, leave) = (nextInside, nextLeave)
                await inside.wait()
                most = max(most, gate.placesHeld)
            }
            leave.open()
        }
        #expect(most <= 256, "the line kept \(most) places where one waited at a time")
    }
}
