internal import LoRA
internal import Telemetry

extension PersonalizationEngine {
    /// Removes the journal's entries that are older than ``JournalRetention/days(_:)`` allows. With any other retention, or without
    /// a journal, nothing is done. Every first ``checkpoint()`` within an hour does the same.
    ///
    /// Each user's entries are removed in the user's turn, and in one step of the journal: updates before and after are not
    /// touched by it, and no adapter changes. Their ids stay known. An adapter whose first entries went is not made again from a
    /// bank's better start.
    ///
    /// - Returns: How many users' entries were removed, and how many entries. Its `failures` are empty: they are thrown.
    /// - Throws: ``EngineError``: `damagedJournal`, `numericsMismatch`, `journalFailed`, `storeFailed`; the first of them when there
    ///   are several (all are logged): nothing of the users concerned was changed, and all others are done. `CancellationError`.
    /// - Complexity: That of the updates that are removed; one look at each user's first entry.
    @discardableResult
    public func applyRetention() async throws -> JournalTrimming {
        guard let hub = journalHub, case .days(let days) = hub.retention else { return JournalTrimming() }
        _ = hub.beginRetention(evenIfNotDue: true)
        return try await applyRetention(days, hub)
    }

    /// The same at a checkpoint, once an hour. What was asked for is done: a failure is logged, not thrown, and the next hour
    /// tries again.
    func applyRetentionIfDue() async {
        guard let hub = journalHub, case .days(let days) = hub.retention, hub.beginRetention(evenIfNotDue: false)
        else { return }
        do {
            _ = try await applyRetention(days, hub)
        } catch is CancellationError {
            // Not its own fault: the next checkpoint goes on.
            hub.retentionIsDue()
        } catch {
            // Reported where it was thrown.
        }
    }

    private func applyRetention(_ days: Int, _ hub: JournalHub) async throws -> JournalTrimming {
        let moment = JournalRetention.moment(days: days, before: hub.now)
        let users = try await reportingFailures {
            try await journalling("applyRetention", nil) { try await hub.journal.users(withFirstEntryBefore: moment) }
        }
        var result = JournalTrimming()
        var firstFailure: EngineError?
        for user in users {
            do {
                try await trim(user, before: moment, hub, &result)
            } catch let error as EngineError {
                report(error)
                firstFailure = firstFailure ?? error
            }
        }
        if result.entries > 0 || hub.isErasureDue {
            result.isErased = await isErased()
            hub.isErasureDue = !result.isErased
        }
        if let firstFailure { throw firstFailure }
        return result
    }

    private func trim(
        _ user: String, before moment: Int64, _ hub: JournalHub, _ result: inout JournalTrimming
    ) async throws {
        try await withLine(user, "applyRetention") { shard in
            let plan = try await journalling("applyRetention", user) {
                try await JournalTrimming.plan(for: user, in: hub.journal, hub.replayer, before: moment)
            }
            switch plan {
            case .nothing: return
            case .held(let entries): result.heldEntries += entries
            case .cut(let base, let entries):
                // To make the adapter again from another start it would take the entries that go now.
                shard.withLock { state in
                    _ = state.withSlot(user) { $0.memory?.early = nil }
                }
                try await storeGate.pass {
                    let isSaved = try await storing("applyRetention", user: user) {
                        try await JournalTrimming.saveIfNewer(base, in: store)
                    }
                    if isSaved { noteSaved([base], shard) }
                    try await journalling("applyRetention", user) { try await hub.journal.trim(base) }
                }
                result.users += 1
                result.entries += entries
            }
        }
    }
}
