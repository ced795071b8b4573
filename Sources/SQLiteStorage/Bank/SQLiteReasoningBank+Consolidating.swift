internal import LoRA
internal import Personalization
public import Reasoning
internal import TensorCore

extension SQLiteReasoningBank {
    /// Turns what worked into skills and retires those that no longer do, as ``InMemoryReasoningBank`` does; each skill, and each
    /// population's starts, in one transaction.
    ///
    /// Where it was interrupted (a crash, an error, cancellation) and is asked for again with the same policy, it goes on: with the
    /// episodes that there were, and without what is done. Where an episode of them is gone meanwhile it begins anew.
    ///
    /// - Throws: ``ReasoningError`` (`invalidPolicy`), `CancellationError`, ``StorageError``, and what `donors` throws. What was made
    ///   until then stays.
    public func autoConsolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource
    ) async throws -> ConsolidationReport {
        try await consolidate(policy, donors: donors)
    }

    /// The same with progress, or without changing anything.
    ///
    /// - Parameters:
    ///   - isDryRun: Whether it only says what it would do.
    ///   - progress: Told how far it has come.
    public func consolidate(
        _ policy: ConsolidationPolicy, donors: any DonorSource, isDryRun: Bool = false,
        progress: @escaping @Sendable (ConsolidationProgress) -> Void = { _ in }
    ) async throws -> ConsolidationReport {
        try policy.validate()
        if !isDryRun { try storage.refuseReading("autoConsolidate") }
        return try await turns.withTurn {
            try Task.checkCancellation()
            let run = try await begin(policy, isDryRun: isDryRun)
            let donors = NotedDonors(donors, storage)
            let workshop = FileWorkshop(
                bank: self, donors: donors, run: run, isDryRun: isDryRun, draft: state.withLock { $0.knowledge },
                progress: progress)
            let maker = SkillMaker(donors: donors, configuration: configuration, now: run.startedAt)
            let report = try await Consolidator(workshop, maker).consolidate(policy)
            if !isDryRun { try await finish() }
            return report
        }
    }

    /// A consolidation as the file knows it.
    struct Run: Sendable {
        var startedAt: Timestamp
        var lastEpisode: Int64
        /// What was planned, where it was interrupted.
        var plans: [Int64: KindPlan] = [:]
    }

    /// The one that was interrupted, or a new one.
    private func begin(_ policy: ConsolidationPolicy, isDryRun: Bool) async throws -> Run {
        let project = storage.projectRef
        let now = clock.now
        let bytes = policy.encoded()
        if isDryRun {
            return try await storage.reading("autoConsolidate") { connection in
                guard try Schema.knowsBank(connection) else { return Run(startedAt: now, lastEpisode: 0) }
                return Run(startedAt: now, lastEpisode: try connection.lastEpisode(project))
            }
        }
        return try await storage.writing("autoConsolidate", durability) { connection in
            var run: Run?
            var count: Int64 = 0
            try connection.run(
                "SELECT started_at, last_episode, episodes FROM consolidations WHERE project = ? AND policy = ?",
                [.integer(project), .bytes(bytes)]
            ) {
                run = Run(startedAt: Timestamp(microseconds: $0.integer(0)), lastEpisode: $0.integer(1))
                count = $0.integer(2)
            }
            if var run, try connection.episodeCount(upTo: run.lastEpisode, project) == count {
                run.plans = try connection.plans(project)
                return run
            }
            try connection.forgetConsolidation(project)
            let last = try connection.lastEpisode(project)
            try connection.run(
                """
                INSERT INTO consolidations (project, started_at, last_episode, episodes, policy) VALUES (?, ?, ?, ?, ?)
                """,
                [
                    .integer(project), .integer(now.microseconds), .integer(last),
                    .integer(try connection.episodeCount(upTo: last, project)), .bytes(bytes),
                ])
            return Run(startedAt: now, lastEpisode: last)
        }
    }

    /// Everything is made: what it was made by, and starts that nobody needs, go.
    private func finish() async throws {
        let project = storage.projectRef
        let kept = state.withLock { $0.knowledge.starts }
        try await storage.writing("autoConsolidate", durability) { connection in
            try connection.forgetConsolidation(project)
            try connection.dropStarts(except: kept, project)
        }
    }

    // MARK: Forgetting

    /// Removes a user: their episodes at once, then their part in skills and starts; see ``InMemoryReasoningBank``.
    ///
    /// - Throws: `CancellationError`, ``StorageError``, and what `donors` throws. Where the first transaction failed nothing was
    ///   changed; after it nothing of the user is left, and what could not be made again stays withdrawn until the next
    ///   consolidation.
    public func forget(_ user: UserDigest, donors: any DonorSource) async throws -> ForgettingReport {
        try storage.refuseReading("forget")
        return try await turns.withTurn {
            var report = ForgettingReport()
            let withdrawn = try await withdraw(user)
            report.episodes = withdrawn.episodes
            report.stalePriors = withdrawn.stale
            let donors = NotedDonors(donors, storage)
            let maker = SkillMaker(donors: donors, configuration: configuration, now: clock.now)
            try await maker.makeAgain(
                without: user, skills: withdrawn.skills, populations: withdrawn.populations,
                in: FileShelf(bank: self, donors: donors), &report)
            return report
        }
    }

    /// What a user had a part in, as it was before it was taken away.
    private struct Withdrawn: Sendable {
        var episodes = 0
        var removed: [StoredEpisode] = []
        var skills: [SkillRecord] = []
        var populations: [(kind: AdapterKind, record: PopulationRecord)] = []
        var stale: [PriorID] = []
    }

    private func withdraw(_ user: UserDigest) async throws -> Withdrawn {
        let project = storage.projectRef
        let path = storage.path
        let configuration = configuration
        return try await storage.writing("forget", durability) { connection in
            let (refs, knowledge) = self.state.withLock { ($0.refs, $0.knowledge) }
            let kinds = Dictionary(uniqueKeysWithValues: refs.map { ($1, $0) })
            var withdrawn = Withdrawn()
            withdrawn.removed = try connection.episodes(of: user, project, kinds, path)
            withdrawn.episodes = withdrawn.removed.count
            try connection.run(
                "DELETE FROM episodes WHERE project = ? AND user = ?", [.integer(project), .bytes(user.bytes)])
            var rest = knowledge
            let (skills, populations) = rest.withdraw(user)
            var stale = Set(try connection.starts(from: user, project))
            for var record in skills {
                record.members = try connection.trials(of: record.skill.id, configuration)
                withdrawn.skills.append(record)
                let isDonor = (record.skill.donors + record.populationDonors).contains(user)
                if isDonor, let start = record.skill.initialization { stale.insert(start.id) }
                try connection.removeSkill(record.skill.id)
            }
            for (kind, record) in populations {
                guard let ref = refs[kind] else { continue }
                var record = record
                record.trials = try connection.trials(of: ref, configuration)
                withdrawn.populations.append((kind, record))
                for start in record.priors where start.donors.contains(user) { stale.insert(PriorID(of: start.prior)) }
                try connection.removePopulation(ref)
            }
            try connection.markStale(from: .bytes(user.bytes), learnedAt: 0, project)
            try connection.run(
                "DELETE FROM donors WHERE project = ? AND donor = ?", [.integer(project), .bytes(user.bytes)])
            try connection.forgetConsolidation(project)
            try connection.dropStarts(except: rest.starts, project)
            withdrawn.stale = stale.sorted { $0.value < $1.value }
            return withdrawn
        } then: { withdrawn in
            self.state.withLock { state in
                for stored in withdrawn.removed { state.remove(stored.id, stored.episode) }
                _ = state.knowledge.withdraw(user)
            }
        }
    }

    /// Those who were forgotten while nobody had the bank open. What they had a part in waits for the next consolidation.
    func forgetTheForgotten() async throws {
        let project = storage.projectRef
        let path = storage.path
        let knowledge = state.withLock { $0.knowledge }
        let forgotten = try await storage.reading("bank") { connection in
            var all: [UserDigest] = []
            try connection.run("SELECT digest FROM tombstones WHERE project = ?", [.integer(project)]) {
                row throws(StorageError) in
                guard let user = UserDigest(row.bytes(0)) else { throw .impossible("a tombstone is none", path) }
                let hasEpisodes =
                    try connection.integer(
                        "SELECT 1 FROM episodes WHERE project = ? AND user = ? LIMIT 1",
                        [.integer(project), .bytes(user.bytes)]) != nil
                if hasEpisodes || knowledge.involves(user) { all.append(user) }
            }
            return all
        }
        for user in forgotten { _ = try await withdraw(user) }
    }
}

extension Connection {
    fileprivate func lastEpisode(_ project: Int64) throws(StorageError) -> Int64 {
        try integer(
            "SELECT max(id) FROM episodes WHERE project = ? HAVING max(id) IS NOT NULL", [.integer(project)]) ?? 0
    }

    fileprivate func episodeCount(upTo id: Int64, _ project: Int64) throws(StorageError) -> Int64 {
        try integer(
            "SELECT count(*) FROM episodes WHERE id <= ? AND project = ?", [.integer(id), .integer(project)]) ?? 0
    }
}
