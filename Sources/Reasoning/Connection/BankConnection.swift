package import LoRA
internal import TensorCore

/// An engine's connection to one bank: look-ups through the cache and with a deadline, and the queue of episodes. A swap of
/// banks makes a new one, so no answer of one bank is ever served for another.
package final class BankConnection: Sendable {
    /// What a look-up without waiting gives.
    package enum Lookup: Sendable {
        /// The cache's answer.
        case found(CheckedAdvice)
        /// The bank has to be asked.
        case missing
        /// The bank is not to be asked now: it has failed repeatedly.
        case paused
    }

    private struct State: ~Copyable {
        var cache: TimedCache<AdviceKey, CheckedAdvice>
        var failuresInARow = 0
        var pausedUntil = -Double.infinity
        /// Misses after which the same update looked again.
        var repeatedMisses = 0

        init(capacity: Int, costLimit: Int, timeToLive: Double) {
            cache = TimedCache(capacity: capacity, costLimit: costLimit, timeToLive: timeToLive)
        }
    }

    /// The most look-ups that may be out at once.
    private static let mostLookups = 64
    /// After so many failures in a row the bank is left alone for a while: one second, doubling up to thirty-two.
    private static let patience = 3

    /// The bank.
    package let bank: any ReasoningBank
    package let configuration: ReasoningConfiguration
    private let isCacheEnabled: Bool
    private let clock: any ReasoningClock
    private let totals: ReasoningTotals
    private let state: Lock<State>
    private let executor: BankExecutor
    private let flights: SingleFlight<AdviceKey, CheckedAdvice>
    /// The episodes on their way to the bank. It outlives the connection until they are stored.
    package let queue: EpisodeQueue

    package init(
        bank: any ReasoningBank, configuration: ReasoningConfiguration, isCacheEnabled: Bool, sessionID: String,
        clock: any ReasoningClock, executor: BankExecutor, totals: ReasoningTotals
    ) {
        self.bank = bank
        self.configuration = configuration
        self.isCacheEnabled = isCacheEnabled
        self.clock = clock
        self.executor = executor
        self.totals = totals
        state = Lock(
            State(
                capacity: configuration.cacheCapacity, costLimit: configuration.cacheByteCapacity,
                timeToLive: configuration.cacheTimeToLive))
        flights = SingleFlight(limit: Self.mostLookups, operation: "look-up", executor: executor)
        queue = EpisodeQueue(
            bank: bank, configuration: configuration, sessionID: sessionID, executor: executor, totals: totals)
    }

    // MARK: - Look-ups

    /// Looks into the cache, without waiting.
    ///
    /// - Parameters:
    ///   - now: The clock's uptime.
    ///   - again: Whether this follows a miss of the same update, which then counts once.
    /// - Complexity: O(1).
    package func cached(_ key: AdviceKey, at now: Double, again: Bool = false) -> Lookup {
        state.withLock { state in
            if again, isCacheEnabled { state.repeatedMisses += 1 }
            if isCacheEnabled, let advice = state.cache.value(for: key, at: now) { return .found(advice) }
            return now < state.pausedUntil ? .paused : .missing
        }
    }

    /// Asks the bank, or joins those who are asking the same.
    ///
    /// - Returns: The checked answer; `nil` when there is none in time, which is counted and logged.
    /// - Throws: `CancellationError` when the asking task was cancelled meanwhile.
    package func ask(_ key: AdviceKey, task: AdaptationTask, shape: AdapterShape) async throws -> CheckedAdvice? {
        let now = clock.uptime
        let (isPaused, generation) = state.withLock { (now < $0.pausedUntil, $0.cache.generation) }
        if isPaused {
            totals.skipped()
            return nil
        }
        do {
            return try await flights.value(
                for: key, deadline: configuration.deadline,
                start: { [totals, bank, configuration] in
                    do {
                        return try await Self.question(bank, task, configuration, shape) { totals.queried() }.checked
                    } catch {
                        throw BankFailure(cause: error)
                    }
                },
                completion: { self.finish(key, generation, $0) })
        } catch let error as CancellationError where Task.isCancelled {
            throw error
        } catch let error as ReasoningError where error.code == .busy {
            totals.skipped()
            return nil
        } catch {
            // A bank's failure was counted once, when its call came back; being too late is each asker's own.
            if (error as? ReasoningError)?.code == .timedOut {
                totals.failed("look-up", error)
                noteFailure()
            }
            return nil
        }
    }

    /// The bank's strategy; and similar successes where it has none. Not both at once: a bank that has a strategy would read
    /// every episode for patterns that nobody looks at.
    ///
    /// - Parameter counting: Called before each question.
    private static func question(
        _ bank: any ReasoningBank, _ task: AdaptationTask, _ configuration: ReasoningConfiguration,
        _ shape: AdapterShape, counting: @Sendable () -> Void = {}
    ) async throws -> (advice: StrategyAdvice, checked: CheckedAdvice) {
        counting()
        let advice = try await bank.learnStrategy(task)
        var checked = try CheckedAdvice(advice, shape: shape)
        if checked.needsPatterns {
            counting()
            let query = PatternQuery(
                context: task.context, limit: configuration.retrievalLimit, minimumReward: configuration.minimumReward,
                onlySuccesses: true, excluding: task.excluding)
            try checked.follow(try await bank.retrievePatterns(query), asked: query)
        }
        return (advice, checked)
    }

    /// Asks as an update does, past the cache, for somebody who wants to see the answer.
    ///
    /// - Throws: What the bank throws; ``ReasoningError``: `malformedAnswer`, `timedOut`; `CancellationError`.
    package func strategy(_ task: AdaptationTask, shape: AdapterShape) async throws -> (StrategyAdvice, CheckedAdvice) {
        let configuration = configuration
        return try await call("learnStrategy", deadline: configuration.storeDeadline) { bank in
            try await Self.question(bank, task, configuration, shape)
        }
    }

    /// Calls the bank for somebody who waits for what it returns.
    ///
    /// - Parameter deadline: How long to wait; a day at most, and as long if not given.
    /// - Returns: What `body` returns.
    /// - Throws: What `body` throws; ``ReasoningError`` (`timedOut`) at the deadline; `CancellationError` as soon as the caller is
    ///   cancelled. The call is then cancelled too, and not waited for.
    package func call<Answer: Sendable>(
        _ operation: String, deadline: Duration? = nil,
        _ body: @escaping @Sendable (any ReasoningBank) async throws -> Answer
    ) async throws -> Answer {
        let flight = SingleFlight<Int, Answer>(limit: 1, operation: operation, executor: executor, endsDeserted: true)
        return try await flight.value(
            for: 0, deadline: deadline ?? .seconds(86_400), start: { [bank] in try await body(bank) },
            completion: { _ in })
    }

    /// Takes in what a call gave, also when nobody waits for it any more.
    private func finish(_ key: AdviceKey, _ generation: UInt64, _ result: Result<CheckedAdvice, any Error>) {
        switch result {
        case .success(let advice):
            let now = clock.uptime
            state.withLock { state in
                state.failuresInARow = 0
                state.pausedUntil = -.infinity
                // Not if the cache was emptied since the bank was asked.
                if isCacheEnabled {
                    state.cache.insert(advice, for: key, cost: advice.byteCount, at: now, asOf: generation)
                }
            }
            if !advice.ignored.isEmpty { totals.ignored(advice.ignored) }
        case .failure(let error):
            totals.failed("look-up", (error as? BankFailure)?.cause ?? error)
            noteFailure()
        }
    }

    private func noteFailure() {
        let now = clock.uptime
        state.withLock { state in
            state.failuresInARow += 1
            let excess = state.failuresInARow - Self.patience
            if excess >= 0 { state.pausedUntil = now + Double(1 << min(5, excess)) }
        }
    }

    /// Empties the cache; what is being asked is not put into it.
    package func clearCache() { state.withLock { $0.cache.removeAll() } }

    // MARK: - Episodes

    /// Takes an episode on its way to the bank. Calls nobody else's code, so that it may be done under a lock; what it returns
    /// may not.
    ///
    /// - Parameter next: The batch that came next, by which its outcome is judged.
    /// - Returns: What is left to do once the lock is released.
    package func take(_ pending: PendingEpisode, next: NextBatch) -> EpisodeQueue.Arrival {
        queue.append(EpisodeQueue.Item(pending: pending, next: next))
    }

    /// No engine asks through this connection any more: what it holds is let go as soon as its episodes are stored.
    package func close() {
        queue.close()
        var cache = ReasoningStatistics()
        addCache(to: &cache)
        clearCache()
        totals.add(cache: cache)
    }

    /// Adds what the cache has counted and what is in it.
    package func addCache(to statistics: inout ReasoningStatistics) {
        state.withLock { state in
            statistics.cacheEntries += state.cache.count
            statistics.cacheBytes += state.cache.byteCount
            statistics.cacheHits += state.cache.hits
            statistics.cacheMisses += state.cache.misses - state.repeatedMisses
            statistics.cacheEvictions += state.cache.evictions
            statistics.cacheExpirations += state.cache.expirations
        }
    }
}

/// What a bank threw, told apart from what the waiting for it throws: a bank may throw any error, ours too.
struct BankFailure: Error {
    let cause: any Error
}

extension CheckedAdvice {
    /// About how many bytes an answer takes, its prior included, though others may share that.
    var byteCount: Int {
        let prior = initialization.map { 8 * $0.prior.rank * $0.prior.dimension + 4 * $0.prior.dimension } ?? 0
        return 512 + ignored.reduce(0) { $0 + $1.text.utf8.count + 32 } + rateArms.count * 16 + prior
    }
}
