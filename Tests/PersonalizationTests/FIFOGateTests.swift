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
