public import LoRA
package import Reasoning

extension PersonalizationEngine {
    /// The priors that contain what was forgotten and from which users have started who have an adapter still; of those that
    /// ``isStale(_:)`` knows of.
    ///
    /// - Throws: ``EngineError`` (`journalFailed`, `storeFailed`).
    /// - Complexity: O(users), where there is a stale prior.
    public func stalePriors() async throws -> [StalePrior] {
        guard let hub = journalHub else { return [] }
        return try await reportingFailures {
            let all = try await journalling("stalePriors", nil) { try await hub.journal.stalePriors() }
            if all.isEmpty { return [] }
            let present = Set(try await presentUsers().map { UserKey($0) })
            return all.compactMap { prior in
                let users = prior.users.filter { present.contains(UserKey($0)) }
                return users.isEmpty ? nil : StalePrior(hash: prior.hash, users: users)
            }
        }
    }

    /// Makes the adapters of users who started from stale priors again, as if they had started from others: what they learned is
    /// replayed from the journal, with the rates that were recorded. To the bit they become the adapters of users who did start so;
    /// only their versions rise by one. A stale prior's bytes leave the journal with the last user of it.
    ///
    /// What others have of these users is not followed: a start that was merged from their adapters has what they learned through
    /// the stale prior until it is merged, or the bank consolidated, again.
    ///
    /// - Parameters:
    ///   - priors: What is stale, and whose adapters are made again: as receipts and ``stalePriors()`` have it.
    ///   - successors: What to start from instead, by the hash of the stale prior; without one from nothing.
    /// - Returns: Who was made again, and who was not: whose journal does not reach back to the start
    ///   (``EngineConfiguration/retention``), who has learned what it does not know of, or where a store or journal failed.
    /// - Throws: ``EngineError``: `invalidConfiguration` without a journal, or for a successor of another dimension or rank;
    ///   `stalePrior` for one that is stale itself. `CancellationError`; whoever was made again until then stays so.
    /// - Complexity: That of all updates of these users, twice.
    @discardableResult
    public func replayStarters(
        of priors: [StalePrior], from successors: [UInt64: AdapterPrior] = [:]
    ) async throws -> StarterReplay {
        guard journalHub != nil else {
            throw EngineError(
                .invalidConfiguration, "replayStarters", "only an engine with a journal can replay what users learned")
        }
        return try await reportingFailures {
            for (_, successor) in successors {
                do throws(LoRAError) {
                    _ = try WarmStart(successor, shape: shape)
                } catch {
                    throw EngineError(.invalidConfiguration, "replayStarters", error.message, cause: error)
                }
                if try await isStale(successor) {
                    throw EngineError(
                        .stalePrior, "replayStarters",
                        "a successor contains what was forgotten itself: merge adapters again")
                }
            }
            return try await replayStarters(of: priors) { hash, _ in successors[hash] }
        }
    }

    /// The same with the starts that a bank has made again when it forgot; users who gave to those themselves start from nothing.
    package func replayStarters(of priors: [StalePrior], after report: ForgettingReport?) async throws -> StarterReplay
    {
        guard let hub = journalHub else { return StarterReplay() }
        return try await reportingFailures {
            var stale: [UInt64: AdapterPrior] = [:]
            for prior in priors where !prior.users.isEmpty {
                let found = try await journalling("replayStarters", nil) {
                    try await hub.journal.content(.prior, prior.hash)
                }
                guard let found else { continue }
                do throws(LoRAError) {
                    stale[prior.hash] = try AdapterPrior(encoded: found)
                } catch {
                    throw EngineError(.damagedJournal, "replayStarters", "a prior cannot be read", cause: error)
                }
            }
            return try await replayStarters(of: priors) { [stale] hash, user in
                guard let prior = stale[hash] else { return nil }
                return report?.successor(of: prior, for: reasoning.digestKey.digest(of: user))
            }
        }
    }

    private func replayStarters(
        of priors: [StalePrior], _ successor: (UInt64, String) -> AdapterPrior?
    ) async throws -> StarterReplay {
        var concerned: [UserKey: [UInt64]] = [:]
        for prior in priors {
            for user in prior.users { concerned[UserKey(user), default: []].append(prior.hash) }
        }
        var result = StarterReplay()
        for (key, hashes) in concerned.sorted(by: { $0.key < $1.key }) {
            try Task.checkCancellation()
            let user = key.user
            let starts = Dictionary(hashes.map { ($0, successor($0, user)) }, uniquingKeysWith: { first, _ in first })
            do {
                let hasStart = try await restart(user, starts)
                result.replayed.append(user)
                if !hasStart { result.fromNothing.append(user) }
            } catch let error as EngineError {
                result.left.append(error.user == nil ? error.naming(user) : error)
            }
        }
        return result
    }

    /// - Returns: Whether the adapter starts from something now, or never did.
    private func restart(_ user: String, _ starts: [UInt64: AdapterPrior?]) async throws -> Bool {
        guard let hub = journalHub else { return true }
        try Self.check(user, "replayStarters")
        return try await withLine(user, "replayStarters") { shard in
            try await load(user, "replayStarters", shard)
            return try await storeGate.pass {
                try await journalling("replayStarters", user) { try await restartInTurn(user, starts, shard, hub) }
            }
        }
    }

    private func restartInTurn(
        _ user: String, _ starts: [UInt64: AdapterPrior?], _ shard: Shard, _ hub: JournalHub
    ) async throws -> Bool {
        let life = try await life(of: user, shard, hub)
        guard let current = life.current, let last = life.entries.last else {
            throw EngineError(.notRetained, "replayStarters", "the journal has no entries of the user", user: user)
        }
        let places = try life.entries.indices.filter { i in
            try JournalAction(encoded: life.entries[i].action).prior.map { starts.keys.contains($0) } ?? false
        }
        // A start that was recorded, and then not made: nothing of the prior is in the adapter, and only the record goes.
        guard !places.isEmpty || life.base == nil else {
            throw EngineError(
                .notRetained, "replayStarters", "the journal does not reach back to the start from the prior",
                user: user)
        }
        try await check(life, current, "replayStarters", hub)
        var names: [UInt64: UInt64] = [:]
        for (hash, successor) in starts {
            guard let successor, !places.isEmpty else { continue }
            let content = content(successor)
            try await hub.journal.keep(content)
            // One that is stale by now is none.
            if try await hub.journal.recordStart(of: user, from: content.hash) { names[hash] = content.hash }
        }
        var rest = life.entries
        var replacements: [JournalEntry] = []
        for i in places {
            var action = try JournalAction(encoded: rest[i].action)
            action.prior = action.prior.flatMap { names[$0] }
            rest[i].action = action.encoded()
            replacements.append(rest[i])
        }
        let action = JournalAction(
            configuration: try JournalAction(encoded: last.action).configuration, kind: .correction)
        rest.append(
            JournalEntry(
                user: user, version: current.version + 1, recordedAt: last.recordedAt, action: action.encoded()))
        let abandoned = starts.keys.sorted()
        _ = try await rewrite(life, as: rest, "replayStarters", shard, hub) { correction, adapter in
            JournalRewriting(
                replacements: replacements, abandoned: abandoned, correction: correction, adapter: adapter)
        }
        hub.forgetStarts(abandoned)
        return places.isEmpty || !names.isEmpty
    }
}
