internal import LoRA
internal import Telemetry
internal import TensorCore

/// Episodes on their way to a bank: a bounded queue that a background task empties, so that storing is never on anybody's path.
///
/// The outcome of an episode is computed here too: it takes three passes over the next batch.
final class EpisodeQueue: Sendable {
    struct Item: Sendable {
        let pending: PendingEpisode
        let next: NextBatch
    }

    private struct State: ~Copyable {
        var items: [Item] = []
        /// How many at the front of `items` were taken.
        var taken = 0
        var isDraining = false
        /// Whether somebody waits for the queue to be empty.
        var isHurried = false
        var isClosed = false
        /// Whose episode is being stored.
        var inHand: UserDigest?
        /// Whose episodes the calls hold that have not come back, by the calls' numbers: given up on or not, they may still
        /// be stored.
        var held: [UInt64: UserDigest] = [:]
        /// The last gains, in a ring.
        var gains: [Double] = []
        var nextGain = 0

        var count: Int { items.count - taken }

        mutating func pop() -> Item? {
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
    private let totals: ReasoningTotals
    private let state = Lock<State>(State())
    private let calls = SingleFlight<UInt64, EpisodeID>(
        limit: EpisodeQueue.mostAbandoned, operation: "storePattern")

    init(bank: any ReasoningBank, configuration: ReasoningConfiguration, sessionID: String, totals: ReasoningTotals) {
        self.bank = bank
        self.configuration = configuration
        self.sessionID = sessionID
        self.totals = totals
    }

    /// The episodes that wait.
    var depth: Int { state.withLock { $0.count } }

    /// Takes an episode; the oldest makes room where the queue is full.
    func append(_ item: Item) {
        let (mustStart, dropped) = state.withLock { state in
            var dropped = 0
            if state.count >= configuration.queueCapacity {
                _ = state.pop()
                dropped = 1
            }
            state.items.append(item)
            let mustStart = !state.isDraining
            state.isDraining = true
            return (mustStart, dropped)
        }
        if dropped > 0 { totals.dropped(dropped) }
        if mustStart { Task.detached { await self.drain() } }
    }

    /// Gives up on a bank that does not answer any more, instead of waiting for it.
    func close() { state.withLock { $0.isClosed = true } }

    /// Takes a user's episodes out, and waits until the bank has none of theirs in hand, so that none is stored afterwards.
    ///
    /// - Returns: How many were taken out.
    /// - Throws: ``ReasoningError`` (`timedOut`) when the bank keeps one of theirs in hand; `CancellationError`.
    func forget(_ user: UserDigest) async throws -> Int {
        let count = state.withLock { state in
            let before = state.count
            let kept = state.items[state.taken...].filter { $0.pending.user != user }
            state.items = Array(kept)
            state.taken = 0
            return before - kept.count
        }
        let clock = ContinuousClock()
        let end = clock.now + configuration.storeDeadline
        while state.withLock({ $0.inHand == user || $0.held.values.contains(user) }) {
            guard clock.now < end else {
                throw ReasoningError(.timedOut, "forget", "the bank has not come back from storing an episode")
            }
            try await Task.sleep(for: .milliseconds(1))
        }
        return count
    }

    /// Waits until nothing is on its way any more.
    ///
    /// - Returns: Whether that was so before the deadline.
    func flush(deadline: Duration) async throws -> Bool {
        let clock = ContinuousClock()
        let end = clock.now + deadline
        while state.withLock({ state in
            state.isHurried = state.isDraining
            return state.isDraining
        }) {
            if clock.now >= end { return false }
            try await Task.sleep(for: .milliseconds(1))
        }
        return true
    }

    private func drain() async {
        await gather()
        var call: UInt64 = 0
        while let item = next() {
            let episode = resolve(item)
            var isDone = false
            while !isDone {
                call += 1
                do {
                    try await store(episode, call: call)
                    totals.stored()
                    isDone = true
                } catch let error as ReasoningError where error.code == .busy {
                    let refused = call
                    state.withLock { _ = $0.held.removeValue(forKey: refused) }
                    // Every call that may be out is out: wait for one to come back, unless nobody is interested any more.
                    isDone = await waitForBank()
                } catch {
                    totals.failed("storePattern", (error as? BankFailure)?.cause ?? error)
                    isDone = true
                    if (error as? ReasoningError)?.code == .timedOut, state.withLock({ $0.isClosed }) { giveUp() }
                }
            }
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

    /// The next episode; without one, draining has ended.
    private func next() -> Item? {
        state.withLock { state in
            let item = state.pop()
            if item == nil {
                state.isDraining = false
                state.isHurried = false
            }
            state.inHand = item?.pending.user
            return item
        }
    }

    private func store(_ episode: Episode, call: UInt64) async throws {
        let bank = bank
        state.withLock { $0.held[call] = episode.user }
        _ = try await calls.value(
            for: call, deadline: configuration.storeDeadline,
            start: {
                do {
                    return try await bank.storePattern(episode)
                } catch {
                    throw BankFailure(cause: error)
                }
            },
            completion: { [weak self] _ in self?.state.withLock { _ = $0.held.removeValue(forKey: call) } })
    }

    /// Says whether the episode in hand is to be given up.
    private func waitForBank() async -> Bool {
        if state.withLock({ $0.isClosed }) {
            totals.dropped(1)
            giveUp()
            return true
        }
        do {
            try await Task.sleep(for: min(configuration.storeDeadline, .seconds(1)))
            return false
        } catch {
            // Nobody cancels this task; if the runtime does, the episode is lost and counted.
            totals.dropped(1)
            return true
        }
    }

    private func giveUp() {
        let count = state.withLock { state in
            let count = state.count
            state.items = []
            state.taken = 0
            return count
        }
        if count > 0 { totals.dropped(count) }
    }

    /// The episode with its outcome.
    private func resolve(_ item: Item) -> Episode {
        let judgement: HeldBatch.Judgement
        do throws(LoRAError) {
            switch item.next {
            case .none: return item.pending.episode(outcome: nil, sessionID: sessionID)
            case .judged(let judged): judgement = judged
            case .held(let batch): judgement = try batch.judge()
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
