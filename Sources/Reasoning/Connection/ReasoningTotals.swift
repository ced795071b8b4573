package import Telemetry
internal import TensorCore

/// The counts over all banks that an engine was connected to; each is also a metric, and failures a log line.
package final class ReasoningTotals: Sendable {
    private let statistics = Lock<ReasoningStatistics>(ReasoningStatistics())
    private let reporting: Reporting

    package init(reporting: Reporting) { self.reporting = reporting }

    /// The counts so far.
    package var snapshot: ReasoningStatistics { statistics.withLock { $0 } }

    private func add(_ label: String, _ amount: Int, _ change: (inout ReasoningStatistics) -> Void) {
        statistics.withLock { change(&$0) }
        reporting.count("attune_bank_\(label)_total", by: amount)
    }

    func queried() { add("queries", 1) { $0.queries += 1 } }
    func stored() { add("stored", 1) { $0.stored += 1 } }
    package func skipped() { add("skipped", 1) { $0.skipped += 1 } }
    package func warmStarted() { add("warm_starts", 1) { $0.warmStarts += 1 } }
    package func restarted() { add("restarts", 1) { $0.restarts += 1 } }
    /// What an update made of its advice.
    package func applied(_ hints: AppliedHints) {
        if hints.isChanged { add("hinted_updates", 1) { $0.hinted += 1 } }
        if !hints.ignored.isEmpty { ignored(hints.ignored) }
    }
    func ignored(_ hints: [IgnoredHint]) { add("hints_ignored", hints.count) { $0.hintsIgnored += hints.count } }

    /// Folds in what a connection's cache counted.
    func add(cache: ReasoningStatistics) {
        statistics.withLock {
            $0.cacheHits += cache.cacheHits
            $0.cacheMisses += cache.cacheMisses
            $0.cacheEvictions += cache.cacheEvictions
            $0.cacheExpirations += cache.cacheExpirations
        }
    }

    func dropped(_ count: Int, isLogged: Bool = true) {
        add("dropped", count) { $0.dropped += count }
        guard isLogged else { return }
        reporting.log(
            .warning, "episodes were dropped because the bank stores too slowly", ["count": "\(snapshot.dropped)"],
            source: "Reasoning")
    }

    /// Counts and logs a call that failed. A bank's own errors may say anything, so only their type goes into the log.
    ///
    /// - Parameter count: What it failed for: so many episodes that went together.
    package func failed(_ operation: String, _ error: any Error, count: Int = 1) {
        let own = error as? ReasoningError
        if own?.code == .timedOut {
            add("timeouts", count) { $0.timedOut += count }
        } else {
            add("failures", count) { $0.failed += count }
        }
        reporting.log(
            .warning, "the reasoning bank failed; updates go on without it",
            ["operation": operation, "cause": own.map(\.description) ?? "\(type(of: error))"], source: "Reasoning")
    }
}
