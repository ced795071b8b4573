internal import TensorCore

extension InMemoryReasoningBank {
    /// Turns what worked into skills and retires those that no longer do; see ``ConsolidationPolicy``.
    ///
    /// Per kind of adapter: each user's resolved episodes of the window are one trial; users are grouped by the
    /// direction of their latest taste (``ConsolidationReport/refused`` names groups that do not pass, and why). A
    /// group near the centroid of a skill that is there (a cosine of at least 0.75, the nearest pair first)
    /// makes that skill again; others make new ones. A skill is retired when no group matches it any more, or its group
    /// is refused and the upper bound of the gain is below 0; a skill whose group is refused for less stays as it is.
    ///
    /// The same episodes, donors and policy give the same skills, to the byte, in whatever order the episodes were
    /// stored.
    ///
    /// - Throws: ``ReasoningError`` (`invalidPolicy`), `CancellationError`, and what `donors` throws. Nothing was
    ///   changed then.
    /// - Complexity: O(episodes + users) beside the merges; the lock is held for 1,024 episodes at a time. Two
    ///   consolidations take turns.
    public func autoConsolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource
    ) async throws -> ConsolidationReport {
        try policy.validate()
        return try await turns.withTurn {
            try Task.checkCancellation()
            let draft = ShelfDraft(self)
            let report = try await Consolidator(draft, maker(donors)).consolidate(policy)
            let shelf = draft.shelf.withLock { $0 }
            state.withLock { $0.knowledge = shelf }
            return report
        }
    }

    /// Removes a user: their episodes at once, then their part in skills and starts.
    ///
    /// Every skill whose users they were among, and every start that their adapter went into, is withdrawn before
    /// donors are asked, and made again from the others: their trials as they were, and their adapters as they are now.
    /// Where too few users are left, or what they show no longer passes the policy, it stays withdrawn.
    ///
    /// A consolidation that runs is waited for, since it may have read the user's episodes.
    ///
    /// - Returns: What was removed; ``ForgettingReport/stalePriors`` names all starts ever given out (of the last
    ///   1,024) to which the user gave, replaced ones too.
    /// - Throws: `CancellationError`, and what `donors` throws. Nothing of the user is left even then: what could not
    ///   be made again stays withdrawn until the next consolidation.
    public func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        var report = ForgettingReport()
        report.episodes = state.withLock { $0.removeEpisodes(of: user) }
        return try await turns.withTurn { [report] in
            var report = report
            let (skills, populations) = state.withLock { state in
                // What came in between.
                report.episodes += state.removeEpisodes(of: user)
                return state.knowledge.withdraw(user)
            }
            report.stalePriors = state.withLock { $0.knowledge.takeStale(user) }
            try await maker(donors).makeAgain(
                without: user, skills: skills, populations: populations, in: LiveShelf(bank: self), &report)
            return report
        }
    }

    private func maker(_ donors: any DonorSource) -> SkillMaker {
        SkillMaker(donors: donors, configuration: configuration, now: clock.now)
    }
}

/// A copy of a bank's shelf that a consolidation works on: the bank gets it when all is done.
private final class ShelfDraft: Workshop {
    let bank: InMemoryReasoningBank
    let shelf: Lock<SkillShelf>

    init(_ bank: InMemoryReasoningBank) {
        self.bank = bank
        shelf = Lock(bank.state.withLock { $0.knowledge })
    }

    func kinds() async throws -> [AdapterKind] {
        let known = shelf.withLock { Set($0.populations.keys).union($0.list.map(\.kind)) }
        return Array(bank.state.withLock { known.union($0.kinds.keys) })
    }

    func trials(of kind: AdapterKind, since window: Timestamp) async throws -> [UserTrial] {
        var collector = TrialCollector(bank.configuration)
        var last = EpisodeID(0)
        while true {
            let part = bank.state.withLock { [last] in $0.episodes(of: kind, after: last, limit: 1024) }
            guard let end = part.last?.id else { return collector.trials }
            try Task.checkCancellation()
            for stored in part where stored.episode.recordedAt >= window { collector.count(stored.episode) }
            last = end
            await Task.yield()
        }
    }

    func skills(of kind: AdapterKind) async throws -> [Skill] { shelf.withLock { $0.records(of: kind).map(\.skill) } }
    func population(of kind: AdapterKind) async throws -> PopulationRecord? { shelf.withLock { $0.populations[kind] } }
    func plan(for kind: AdapterKind) async throws -> KindPlan? { nil }

    func begin(_ plan: KindPlan, for kind: AdapterKind) async throws -> KindPlan {
        shelf.withLock { shelf in plan.naming { shelf.takeIdentifier() } }
    }

    func put(_ record: PopulationRecord, for kind: AdapterKind, _ plan: KindPlan?) async throws {
        shelf.withLock { shelf in
            shelf.populations[kind] = nil
            if !record.trials.isEmpty { shelf.put(record, for: kind) }
        }
    }

    func put(_ record: SkillRecord, _ plan: KindPlan?) async throws { shelf.withLock { $0.put(record) } }

    func retire(_ skills: [SkillID], of kind: AdapterKind, _ plan: KindPlan) async throws {
        shelf.withLock { shelf in for id in skills { shelf.remove(id) } }
    }

    func report(_ progress: ConsolidationProgress) {}
}

/// A bank's shelf itself, for what is made again after a user was forgotten.
private struct LiveShelf: SkillStore {
    let bank: InMemoryReasoningBank

    func population(of kind: AdapterKind) async throws -> PopulationRecord? {
        bank.state.withLock { $0.knowledge.populations[kind] }
    }

    func put(_ record: PopulationRecord, for kind: AdapterKind, _ plan: KindPlan?) async throws {
        bank.state.withLock { $0.knowledge.put(record, for: kind) }
    }

    func put(_ record: SkillRecord, _ plan: KindPlan?) async throws { bank.state.withLock { $0.knowledge.put(record) } }
}
