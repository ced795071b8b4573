import TensorCore
import Testing

@testable import Reasoning

@Suite("Queries that are shared", .timeLimit(.minutes(10)))
struct SingleFlightTests {
    typealias Flights = SingleFlight<String, Int>

    struct Fault: Error, Equatable {}

    @Test("a hundred who ask at once send one query")
    func aHundredShareOneQuery() async throws {
        let flights = Flights(limit: 4, operation: "test")
        let (gate, queries, completions) = (Gate(), Tally<Int>(), Tally<Int>())
        let answers = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<100 {
                group.addTask {
                    try await flights.value(for: "a", deadline: .seconds(600)) {
                        queries.add(1)
                        await gate.wait()
                        return 7
                    } completion: { result in
                        if case .success(let value) = result { completions.add(value) }
                    }
                }
            }
            await turns { flights.waiterCount == 100 }
            gate.open()
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers == Array(repeating: 7, count: 100))
        #expect(queries.all == [1])
        #expect(completions.all == [7])
        #expect(flights.flightCount == 0)
        #expect(flights.startedCount == 1)
    }

    @Test("different keys fly beside each other, and the next question starts anew")
    func differentKeysFlyBesideEachOther() async throws {
        let flights = Flights(limit: 3, operation: "test")
        let gate = Gate()
        try await withThrowingTaskGroup(of: Int.self) { group in
            for (i, key) in ["a", "b", "c"].enumerated() {
                group.addTask {
                    try await flights.value(for: key, deadline: .seconds(600)) {
                        await gate.wait()
                        return i
                    } completion: { _ in
                    }
                }
            }
            await turns { flights.flightCount == 3 }
            gate.open()
            let answers = try await group.reduce(into: Set<Int>()) { $0.insert($1) }
            #expect(answers == [0, 1, 2])
        }
        let again = try await flights.value(for: "a", deadline: .seconds(600), start: { 9 }, completion: { _ in })
        #expect(again == 9)
        #expect(flights.startedCount == 4)
    }

    @Test("the completion has run before anyone has the answer, and before another flight may start")
    func theCompletionComesFirst() async throws {
        let flights = Flights(limit: 1, operation: "test")
        for i in 0..<200 {
            let kept = Tally<Int>()
            let answer = try await flights.value(for: "a", deadline: .seconds(600)) {
                i
            } completion: { result in
                // While it runs, the flight still holds its place.
                if case .success(let value) = result { kept.add(value + flights.flightCount) }
            }
            #expect(kept.all == [answer + 1])
        }
    }

    @Test("an error reaches all who wait, and the next question starts anew")
    func anErrorReachesAll() async throws {
        let flights = Flights(limit: 4, operation: "test")
        let (gate, completions) = (Gate(), Tally<Bool>())
        let faults = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    do {
                        _ = try await flights.value(for: "a", deadline: .seconds(600)) {
                            await gate.wait()
                            throw Fault()
                        } completion: { result in
                            if case .failure(let error) = result { completions.add(error is Fault) }
                        }
                        return false
                    } catch {
                        return error is Fault
                    }
                }
            }
            await turns { flights.waiterCount == 20 }
            gate.open()
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(faults == Array(repeating: true, count: 20))
        #expect(completions.all == [true])
        let again = try await flights.value(for: "a", deadline: .seconds(600), start: { 9 }, completion: { _ in })
        #expect(again == 9)
    }

    @Test("each waiter is let go at their own deadline, and the flight goes on to its completion")
    func eachHasTheirOwnDeadline() async throws {
        let time = HandTimer()
        let flights = Flights(limit: 4, operation: "look-up", sleep: time.sleep)
        let (gate, completions) = (Gate(), Tally<Int>())
        let ask: @Sendable (Int) async throws -> Int = { seconds in
            try await flights.value(for: "a", deadline: .seconds(seconds)) {
                await gate.wait()
                return 7
            } completion: { result in
                if case .success(let value) = result { completions.add(value) }
            }
        }
        let short = Task { try await ask(1) }
        await turns { flights.waiterCount == 1 && time.sleepers == 1 }
        let long = Task { try await ask(5) }
        await turns { flights.waiterCount == 2 && time.sleepers == 2 }
        time.advance(to: .seconds(1))
        let error = await #expect(throws: ReasoningError.self) { try await short.value }
        #expect(error?.code == .timedOut)
        #expect(error?.operation == "look-up")
        #expect(flights.waiterCount == 1)

        // Who would wait no longer than one who waited in vain is told at once; who would wait longer, waits.
        let late = await #expect(throws: ReasoningError.self) { try await ask(1) }
        #expect(late?.code == .timedOut)
        let longer = Task { try await ask(2) }
        await turns { flights.waiterCount == 2 && time.sleepers == 2 }
        time.advance(to: .seconds(3))
        let second = await #expect(throws: ReasoningError.self) { try await longer.value }
        #expect(second?.code == .timedOut)

        #expect(completions.all.isEmpty)
        gate.open()
        #expect(try await long.value == 7)
        #expect(completions.all == [7])
        // The timer of one who has the answer does not stay behind.
        await turns { time.sleepers == 0 }
        // The next flight has missed nothing yet.
        #expect(try await ask(1) == 7)
        #expect(flights.startedCount == 2)
    }

    @Test("without time to wait the flight starts all the same")
    func withoutTimeTheFlightStarts() async {
        let flights = Flights(limit: 4, operation: "test")
        let completions = Tally<Int>()
        for (i, deadline) in [Duration.zero, .seconds(-1)].enumerated() {
            let error = await #expect(throws: ReasoningError.self) {
                try await flights.value(for: "\(i)", deadline: deadline) {
                    7
                } completion: { result in
                    if case .success(let value) = result { completions.add(value) }
                }
            }
            #expect(error?.code == .timedOut)
        }
        await turns { flights.flightCount == 0 }
        #expect(completions.all == [7, 7])
    }

    @Test("the longest deadline there is does not overflow the clock")
    func theLongestDeadline() async throws {
        let flights = Flights(limit: 4, operation: "test")
        let answer = try await flights.value(for: "a", deadline: .seconds(Int64.max)) {
            await Task.yield()
            return 7
        } completion: { _ in
        }
        #expect(answer == 7)
    }

    @Test("the deadline is kept on the real clock")
    func theDeadlineIsKept() async {
        let flights = Flights(limit: 4, operation: "test")
        let gate = Gate()
        let error = await #expect(throws: ReasoningError.self) {
            try await flights.value(for: "a", deadline: .milliseconds(1)) {
                await gate.wait()
                return 7
            } completion: { _ in
            }
        }
        #expect(error?.code == .timedOut)
        gate.open()
    }

    @Test("who is cancelled is released at once, and the others get their answer")
    func whoIsCancelledIsReleased() async throws {
        let time = HandTimer()
        let flights = Flights(limit: 4, operation: "test", sleep: time.sleep)
        let (gate, completions) = (Gate(), Tally<Int>())
        let tasks = (0..<50).map { _ in
            Task {
                try await flights.value(for: "a", deadline: .seconds(600)) {
                    await gate.wait()
                    return 7
                } completion: { result in
                    if case .success(let value) = result { completions.add(value) }
                }
            }
        }
        await turns { flights.waiterCount == 50 && time.sleepers == 50 }
        for task in tasks where task != tasks[49] { task.cancel() }
        for task in tasks[..<49] {
            await #expect(throws: CancellationError.self) { try await task.value }
        }
        #expect(flights.waiterCount == 1)
        await turns { time.sleepers == 1 }
        // The starter is gone too, most likely; the flight is not.
        gate.open()
        #expect(try await tasks[49].value == 7)
        #expect(completions.all == [7])
    }

    @Test("a flight that all have left still ends")
    func aFlightThatAllHaveLeft() async {
        let flights = Flights(limit: 1, operation: "test")
        let (gate, completions) = (Gate(), Tally<Int>())
        let task = Task {
            try await flights.value(for: "a", deadline: .seconds(600)) {
                await gate.wait()
                return 7
            } completion: { result in
                if case .success(let value) = result { completions.add(value) }
            }
        }
        await turns { flights.waiterCount == 1 }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(flights.flightCount == 1)
        gate.open()
        await turns { flights.flightCount == 0 }
        #expect(completions.all == [7])
    }

    @Test("who was cancelled before asking starts nothing")
    func whoWasCancelledBeforeStartsNothing() async {
        let flights = Flights(limit: 4, operation: "test")
        let gate = Gate()
        let task = Task {
            await gate.wait()
            return try await flights.value(for: "a", deadline: .seconds(600), start: { 7 }, completion: { _ in })
        }
        task.cancel()
        gate.open()
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(flights.startedCount == 0)
        #expect(flights.flightCount == 0)
    }

    @Test("a query that never ends holds up nobody and keeps no waiter; past the bound no other starts")
    func aQueryThatNeverEnds() async throws {
        let time = HandTimer()
        let flights = Flights(limit: 2, operation: "test", sleep: time.sleep)
        let never = Gate()
        let hang: @Sendable (String) async throws -> Int = { key in
            try await flights.value(for: key, deadline: .seconds(1)) {
                await never.wait()
                return 0
            } completion: { _ in
            }
        }
        let first = Task { try await hang("a") }
        await turns { time.sleepers == 1 }
        let other = try await flights.value(for: "b", deadline: .seconds(9), start: { 8 }, completion: { _ in })
        #expect(other == 8)
        let second = Task { try await hang("c") }
        await turns { time.sleepers == 2 && flights.flightCount == 2 }
        for key in ["d", "e"] {
            let error = await #expect(throws: ReasoningError.self) { try await hang(key) }
            #expect(error?.code == .busy)
        }
        time.advance(to: .seconds(1))
        for task in [first, second] {
            let error = await #expect(throws: ReasoningError.self) { try await task.value }
            #expect(error?.code == .timedOut)
        }
        // A thousand more neither wait nor stay.
        for _ in 0..<1_000 {
            let error = await #expect(throws: ReasoningError.self) { try await hang("a") }
            #expect(error?.code == .timedOut)
        }
        #expect(flights.waiterCount == 0)
        #expect(flights.flightCount == 2)
        #expect(time.sleepers == 0)
        never.open()
        await turns { flights.flightCount == 0 }
        #expect(try await hang("d") == 0)
    }

    @Test("a timer that fails lets go too early, not never")
    func aTimerThatFails() async {
        let flights = Flights(limit: 2, operation: "test", sleep: { _ in throw Fault() })
        let gate = Gate()
        let error = await #expect(throws: ReasoningError.self) {
            try await flights.value(for: "a", deadline: .seconds(600)) {
                await gate.wait()
                return 7
            } completion: { _ in
            }
        }
        #expect(error?.code == .timedOut)
        gate.open()
    }

    @Test("answers, deadlines and cancellations at the same moment end each wait once")
    func everythingAtOnce() async {
        let flights = Flights(limit: 8, operation: "test")
        let ends = Tally<String>()
        await withTaskGroup(of: Void.self) { group in
            for i in 0..<4_000 {
                group.addTask {
                    let task = Task {
                        do {
                            let deadline: Duration = i % 5 == 0 ? .microseconds(i % 50) : .seconds(600)
                            let value = try await flights.value(for: "\(i % 11)", deadline: deadline) {
                                for _ in 0..<i % 7 { await Task.yield() }
                                if i % 13 == 0 { throw Fault() }
                                return i % 11
                            } completion: { _ in
                            }
                            ends.add(value == i % 11 ? "answer" : "wrong answer")
                        } catch let error as ReasoningError {
                            ends.add("\(error.code)")
                        } catch {
                            ends.add("\(type(of: error))")
                        }
                    }
                    if i % 3 == 0 {
                        await Task.yield()
                        task.cancel()
                    }
                    await task.value
                }
            }
        }
        await turns { flights.flightCount == 0 }
        #expect(ends.all.count == 4_000)
        let kinds: Set<String> = ["answer", "timedOut", "busy", "CancellationError", "Fault"]
        #expect(Set(ends.all).isSubset(of: kinds), "\(Set(ends.all))")
        #expect(ends.all.contains("answer"))
        #expect(flights.waiterCount == 0)
    }

    @Test("a flight is cancelled when nobody waits for it any more, where that is wanted", arguments: [true, false])
    func endsDeserted(isWanted: Bool) async {
        let flights = SingleFlight<Int, Bool>(limit: 1, operation: "test", endsDeserted: isWanted)
        let gate = Gate()
        let ended = Tally<Bool>()
        let tasks = (0..<2).map { _ in
            Task {
                try await flights.value(for: 1, deadline: .seconds(600)) {
                    await gate.wait()
                    return Task.isCancelled
                } completion: {
                    if case .success(let isCancelled) = $0 { ended.add(isCancelled) }
                }
            }
        }
        await turns { flights.waiterCount == 2 }
        // One is still there.
        tasks[0].cancel()
        await turns { flights.waiterCount == 1 }
        tasks[1].cancel()
        for task in tasks { await #expect(throws: CancellationError.self) { try await task.value } }
        gate.open()
        await turns { flights.flightCount == 0 }
        #expect(ended.all == [isWanted])
    }

    @Test("refuses a bound that lets none start")
    func refusesABoundOfNone() async {
        await #expect(processExitsWith: .failure) { _ = SingleFlight<Int, Int>(limit: 0, operation: "test") }
    }
}
