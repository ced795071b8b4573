internal import LoRA
internal import Telemetry
internal import TensorCore

/// Episodes on their way to a bank: a bounded queue that a background task empties, so that storing is never on anybody's path.
///
/// The outcome of an episode is computed there too: it takes three passes over the next batch.
///
/// One runner at a time stores, one episode after the other where banks do not ask for several at once, where banks run. A watch looks after it from elsewhere: a runner
/// whose call does not come back within the deadline is given up on, and another one goes on. Those given up on end when their
/// call does; when ``mostAbandoned`` are out, nothing is stored until one has ended.
package final class EpisodeQueue: Sendable {
    struct Item: Sendable {
        let pending: PendingEpisode
        let next: NextBatch
    }

    private struct State: ~Copyable {
        var items: [(number: UInt64, item: Item)] = []
        /// How many at the front of `items` were taken.
        var taken = 0
        /// The episodes that ever came; each has the number that this had then.
        var arrivals: UInt64 = 0
        /// The episodes that were dropped.
        var dropped = 0
        var isDraining = false
        /// Whether somebody waits for the queue to be empty.
        var isHurried = false
        var isClosed = false
        /// Whether the watch is there.
        var isWatched = false
        /// The runner that counts.
        var runner: UInt64 = 0
        /// What it has in hand, and since when the bank has been asked to store it.
        var inHand: (first: UInt64, count: Int, users: Set<UserDigest>, since: ContinuousClock.Instant?)?
        /// Runners that were given up on, and whose episodes their calls hold: those may still be stored.
        var abandoned: [UInt64: Set<UserDigest>] = [:]
        /// The last gains, in a ring.
        var gains: [Double] = []
        var nextGain = 0

        var count: Int { items.count - taken }

        /// Whether an episode that came no later than this is still here.
        func holds(upTo number: UInt64) -> Bool {
            inHand?.first ?? .max <= number || (taken < items.count && items[taken].number <= number)
        }

        mutating func pop() -> (number: UInt64, item: Item)? {
            guard taken < items.count else {
                items.removeAll(keepingCapacity: items.capacity <= 256)
                taken = 0
                return nil
            }
            let item = items[taken]
            taken += 1
            if taken >= 64, taken * 2 >= items.count {
                items.removeFirst(taken)
                taken = 0
            }
            return item
        }

        /// Lets all go that wait; returns their number.
        mutating func removeAll() -> Int {
            defer {
                items = []
                taken = 0
                isDraining = false
            }
            return count
        }
    }

    /// How many gains a new one is ranked among.
    private static let window = 1024
    /// So many episodes are stored at once,
    private static let gathering = 256
    /// or those that have come in so many milliseconds.
    private static let longestGathering = 20
    /// The most calls that may be out at once without having come back.
    private static let mostAbandoned = 8

    private let bank: any ReasoningBank
    private let configuration: ReasoningConfiguration
    private let sessionID: String
    private let executor: BankExecutor
    private let totals: ReasoningTotals
    private let state = Lock<State>(State())

    init(
        bank: any ReasoningBank, configuration: ReasoningConfiguration, sessionID: String, executor: BankExecutor,
        totals: ReasoningTotals
    ) {
        self.bank = bank
        self.configuration = configuration
        self.sessionID = sessionID
        self.executor = executor
        self.totals = totals
    }

    /// The episodes that wait.
    package var depth: Int { state.withLock { $0.count } }

    /// What is left to do after an episode was taken: waking the background, and telling what was dropped for it.
    package struct Arrival: Sendable {
        fileprivate let queue: EpisodeQueue
        /// The runner to start.
        fileprivate let runner: UInt64?
        /// Which one was dropped, counted from 1.
        fileprivate let dropped: Int?

        /// Does it; to be called once, outside every lock.
        package func finish() {
            // A log line for the 1st, 2nd, 4th, 8th, … only: where one is dropped, more will be.
            if let dropped { queue.totals.dropped(1, isLogged: dropped & (dropped - 1) == 0) }
            if let runner { queue.start(runner) }
        }
    }

    /// Takes an episode; the oldest makes room where the queue is full.
    func append(_ item: Item) -> Arrival {
        state.withLock { state in
            var dropped: Int?
            if state.count >= configuration.queueCapacity {
                _ = state.pop()
                state.dropped += 1
                dropped = state.dropped
            }
            state.arrivals += 1
            state.items.append((state.arrivals, item))
            guard !state.isDraining else { return Arrival(queue: self, runner: nil, dropped: dropped) }
            state.isDraining = true
            // With too many calls out, the one that comes back starts it.
            let canStart = state.abandoned.count < Self.mostAbandoned
            state.runner += 1
            return Arrival(queue: self, runner: canStart ? state.runner : nil, dropped: dropped)
        }
    }

    /// Nobody asks the bank any more: once a call does not come back, the others are given up too.
    func close() {
        let dropped = state.withLock { state in
            state.isClosed = true
            return state.abandoned.count < Self.mostAbandoned ? 0 : state.removeAll()
        }
        if dropped > 0 { totals.dropped(dropped) }
    }

    /// Takes a user's episodes out, and waits until the bank has none of theirs in hand, so that none is stored afterwards.
    ///
    /// - Returns: How many were taken out.
    /// - Throws: ``ReasoningError`` (`timedOut`) when the bank keeps one of theirs in hand; `CancellationError`.
    package func forget(_ user: UserDigest) async throws -> Int {
        let count = state.withLock { state in
            let before = state.count
            let kept = state.items[state.taken...].filter { $0.item.pending.user != user }
            state.items = Array(kept)
            state.taken = 0
            return before - kept.count
        }
        let clock = ContinuousClock()
        let end = clock.now + configuration.storeDeadline
        while state.withLock({
            $0.inHand?.users.contains(user) == true || $0.abandoned.values.contains { $0.contains(user) }
        }) {
            guard clock.now < end else {
                throw ReasoningError(.timedOut, "forget", "the bank has not come back from storing an episode")
            }
            try await Task.sleep(for: .milliseconds(1))
        }
        return count
    }

    /// Waits until nothing that is on its way now is so any more; what comes meanwhile is not waited for.
    ///
    /// - Returns: Whether that was so before the deadline.
    package func flush(deadline: Duration) async throws -> Bool {
        let clock = ContinuousClock()
        let end = clock.now + deadline
        let last = state.withLock { $0.arrivals }
        while state.withLock({ state in
            let isHeld = state.holds(upTo: last)
            state.isHurried = isHeld
            return isHeld
        }) {
            if clock.now >= end { return false }
            try await Task.sleep(for: .milliseconds(1))
        }
        return true
    }

    private func start(_ runner: UInt64) {
        Task.detached(executorPreference: executor, priority: .utility) { await self.drain(runner) }
        let mustWatch = state.withLock { state in
            defer { state.isWatched = true }
            return !state.isWatched
        }
        if mustWatch { Task.detached(priority: .utility) { await self.watch() } }
    }

    private func drain(_ runner: UInt64) async {
        await gather()
        let most = max(1, min(bank.storesTogether, Self.gathering))
        while true {
            let items = next(runner, most)
            if items.isEmpty { return }
            let episodes = items.map(resolve)
            state.withLock { $0.inHand?.since = .now }
            let results: [Result<EpisodeID, any Error>]
            if episodes.count == 1 {
                do { results = [.success(try await bank.storePattern(episodes[0]))] } catch {
                    results = [.failure(error)]
                }
            } else {
                results = await bank.storePatterns(episodes)
            }
            guard hasReturned(runner) else { return }
            tell(results, of: episodes.count)
            // Who waits for what is on its way finds it counted.
            state.withLock { state in if state.runner == runner { state.inHand = nil } }
        }
    }

    private func tell(_ results: [Result<EpisodeID, any Error>], of count: Int) {
        for result in results.prefix(count) {
            switch result {
            case .success: totals.stored()
            case .failure(let error): totals.failed("storePattern", error)
            }
        }
        for _ in min(count, results.count)..<count {
            totals.failed(
                "storePattern",
                ReasoningError(.malformedAnswer, "storePatterns", "the bank says nothing of what became of an episode"))
        }
    }

    /// Lets some episodes come together: waking this task costs their caller more than handing them over.
    private func gather() async {
        for _ in 0..<Self.longestGathering {
            if state.withLock({ $0.isHurried || $0.isClosed || $0.count >= Self.gathering }) { return }
            // Nobody cancels this task; if the runtime does, it goes on at once.
            do { try await Task.sleep(for: .milliseconds(1)) } catch { return }
        }
    }

    /// The next episodes; without any, draining has ended. None for a runner that was given up on.
    private func next(_ runner: UInt64, _ most: Int) -> [Item] {
        state.withLock { state in
            guard state.runner == runner else { return [] }
            guard let first = state.pop() else {
                state.isDraining = false
                state.isHurried = false
                return []
            }
            var items = [first.item]
            while items.count < most, let next = state.pop() { items.append(next.item) }
            state.inHand = (first.number, items.count, Set(items.map(\.pending.user)), nil)
            return items
        }
    }

    /// A runner's call has come back; says whether it still counts. One that was given up on was counted then.
    private func hasReturned(_ runner: UInt64) -> Bool {
        let (counts, next) = state.withLock { state -> (Bool, UInt64?) in
            guard state.runner != runner else {
                state.inHand?.since = nil
                return (true, nil)
            }
            let wasStalled = state.abandoned.count >= Self.mostAbandoned
            state.abandoned[runner] = nil
            return (false, wasStalled && state.isDraining ? state.runner : nil)
        }
        if let next { start(next) }
        return counts
    }

    /// Gives up on runners whose call takes too long; ends when nothing is on its way.
    private func watch() async {
        let clock = ContinuousClock()
        while let due = state.withLock({ state -> ContinuousClock.Instant? in
            state.isWatched = state.isDraining
            return state.isDraining ? (state.inHand?.since ?? clock.now) + configuration.storeDeadline : nil
        }) {
            // Nobody cancels this task; if the runtime does, calls are given up on when they are due all the same.
            do { try await Task.sleep(until: due, clock: clock) } catch { await Task.yield() }
            giveUpIfDue(at: clock.now)
        }
    }

    private func giveUpIfDue(at now: ContinuousClock.Instant) {
        let (givenUp, dropped, next) = state.withLock { state -> (Int, Int, UInt64?) in
            guard let inHand = state.inHand, let since = inHand.since, since + configuration.storeDeadline <= now else {
                return (0, 0, nil)
            }
            state.abandoned[state.runner] = inHand.users
            state.inHand = nil
            state.runner += 1
            if state.isClosed { return (inHand.count, state.removeAll(), nil) }
            return (inHand.count, 0, state.abandoned.count < Self.mostAbandoned ? state.runner : nil)
        }
        guard givenUp > 0 else { return }
        totals.failed(
            "storePattern",
            ReasoningError(.timedOut, "storePattern", "no answer within \(configuration.storeDeadline)"), count: givenUp
        )
        if dropped > 0 { totals.dropped(dropped) }
        if let next { start(next) }
    }

    /// The episode with its outcome.
    private func resolve(_ item: Item) -> Episode {
        let judgement: HeldBatch.Judgement
        do throws(LoRAError) {
            switch item.next {
            case .none: return item.pending.episode(outcome: nil, sessionID: sessionID)
            case .judged(let judged): judgement = judged
            case .held(let batch): judgement = try batch.judge()
            case .failed(let error): throw error
            }
        } catch {
            // The next batch was refused, or is beyond the range of Float: nothing is known of this one then.
            totals.failed("outcome", error)
            return item.pending.episode(outcome: nil, sessionID: sessionID)
        }
        let scale = max(abs(judgement.without), 1e-6)
        let gain = (judgement.before - judgement.after) / scale
        let benefit =
            judgement.shareBelow.map { $0.after - $0.without } ?? (judgement.without - judgement.after) / scale
        let outcome = AdaptationOutcome(
            gain: gain, benefit: benefit, reward: rank(gain),
            success: gain > configuration.successMargin)
        return item.pending.episode(outcome: outcome, sessionID: sessionID)
    }

    /// The share of the recent gains below this one, ties counting half; takes it in.
    private func rank(_ gain: Double) -> Double {
        state.withLock { state in
            var below = 0.0
            for other in state.gains { below += other < gain ? 1 : other == gain ? 0.5 : 0 }
            let rank = state.gains.isEmpty ? 0.5 : below / Double(state.gains.count)
            if state.gains.count < Self.window {
                state.gains.append(gain)
            } else {
                state.gains[state.nextGain] = gain
                state.nextGain = (state.nextGain + 1) % Self.window
            }
            return rank
        }
    }
}
