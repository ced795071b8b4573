internal import LoRA
internal import Personalization
internal import Reasoning
internal import TensorCore

/// Where the skills of a bank in a file go: each in one transaction, then to what is in memory.
struct FileShelf: SkillStore {
    let bank: SQLiteReasoningBank
    /// Whose adapters were asked for, and of which versions.
    let donors: NotedDonors

    func population(of kind: AdapterKind) async throws -> PopulationRecord? {
        bank.state.withLock { $0.knowledge.populations[kind] }
    }

    func put(_ record: PopulationRecord, for kind: AdapterKind, _ plan: KindPlan?) async throws {
        let donors = donors
        try await change(kind) { connection, ref, project in
            try connection.put(record, kind: ref, project, donors)
            try connection.keep(plan, kind: ref, project)
        } then: { knowledge in
            knowledge.populations[kind] = record.trials.isEmpty ? nil : record.withoutTrials
        }
    }

    func put(_ record: SkillRecord, _ plan: KindPlan?) async throws {
        let donors = donors
        try await change(record.skill.kind) { connection, ref, project in
            try connection.put(record, kind: ref, project, donors)
            try connection.keep(plan, kind: ref, project)
        } then: { knowledge in
            knowledge.put(record.withoutTrials)
        }
    }

    func retire(_ skills: [SkillID], of kind: AdapterKind, _ plan: KindPlan) async throws {
        try await change(kind) { connection, ref, project in
            for id in skills { try connection.removeSkill(id) }
            try connection.keep(plan, kind: ref, project)
        } then: { knowledge in
            for id in skills { knowledge.remove(id) }
        }
    }

    func begin(_ plan: KindPlan, for kind: AdapterKind) async throws -> KindPlan {
        // In memory first: an identifier that a failed transaction has taken is not used again, which does no harm.
        let named = bank.state.withLock { state in plan.naming { state.knowledge.takeIdentifier() } }
        try await change(kind) { connection, ref, project in
            try connection.keep(named, kind: ref, project)
        } then: {
            _ in
        }
        return named
    }

    private func change(
        _ kind: AdapterKind, _ body: @escaping @Sendable (Connection, Int64, Int64) throws -> Void,
        then: @escaping @Sendable (inout SkillShelf) -> Void
    ) async throws {
        let project = bank.storage.projectRef
        let bank = bank
        _ = try await bank.storage.writing("autoConsolidate", bank.durability) { connection in
            var refs = bank.state.withLock { $0.refs }
            let ref = try connection.ref(of: kind, project, &refs)
            try body(connection, ref, project)
            return refs
        } then: { refs in
            bank.state.withLock { state in
                state.refs = refs
                then(&state.knowledge)
            }
        }
    }
}

/// A consolidation of a bank in a file.
final class FileWorkshop: Workshop {
    private let bank: SQLiteReasoningBank
    private let run: SQLiteReasoningBank.Run
    private let shelf: FileShelf
    private let isDryRun: Bool
    /// What a dry run changes.
    private let draft: Lock<SkillShelf>
    private let progress: @Sendable (ConsolidationProgress) -> Void

    init(
        bank: SQLiteReasoningBank, donors: NotedDonors, run: SQLiteReasoningBank.Run, isDryRun: Bool, draft: SkillShelf,
        progress: @escaping @Sendable (ConsolidationProgress) -> Void
    ) {
        self.bank = bank
        shelf = FileShelf(bank: bank, donors: donors)
        self.run = run
        self.isDryRun = isDryRun
        self.draft = Lock(draft)
        self.progress = progress
    }

    private var knowledge: SkillShelf { isDryRun ? draft.withLock { $0 } : bank.state.withLock { $0.knowledge } }

    func kinds() async throws -> [AdapterKind] {
        let knowledge = knowledge
        let known = Set(knowledge.populations.keys).union(knowledge.list.map(\.kind))
        return Array(bank.state.withLock { known.union($0.kinds.keys) })
    }

    /// Read page by page: what is in memory at a time is a page, and the trials.
    func trials(of kind: AdapterKind, since window: Timestamp) async throws -> [UserTrial] {
        let (ref, total) = bank.state.withLock { ($0.refs[kind], $0.count) }
        guard let ref else { return [] }
        let (project, path, bound) = (bank.storage.projectRef, bank.storage.path, run.lastEpisode)
        var collector = TrialCollector(bank.configuration)
        var last: EpisodeID? = EpisodeID(0)
        var read = 0
        while let after = last {
            try Task.checkCancellation()
            let page = try await bank.storage.reading("autoConsolidate") { connection in
                try connection.episodes(after: after, of: kind, ref, project, path, upTo: bound)
            }
            for stored in page where stored.episode.recordedAt >= window { collector.count(stored.episode) }
            read += page.count
            last = page.count < SQLiteReasoningBank.pageOfEpisodes ? nil : page.last?.id
            progress(ConsolidationProgress(stage: .reading, done: min(read, total), total: total))
        }
        return collector.trials
    }

    func skills(of kind: AdapterKind) async throws -> [Skill] { knowledge.records(of: kind).map(\.skill) }
    func population(of kind: AdapterKind) async throws -> PopulationRecord? { knowledge.populations[kind] }

    func plan(for kind: AdapterKind) async throws -> KindPlan? {
        bank.state.withLock { $0.refs[kind] }.flatMap { run.plans[$0] }
    }

    func begin(_ plan: KindPlan, for kind: AdapterKind) async throws -> KindPlan {
        if isDryRun { return draft.withLock { draft in plan.naming { draft.takeIdentifier() } } }
        return try await shelf.begin(plan, for: kind)
    }

    func put(_ record: PopulationRecord, for kind: AdapterKind, _ plan: KindPlan?) async throws {
        if isDryRun {
            draft.withLock { $0.populations[kind] = record.trials.isEmpty ? nil : record.withoutTrials }
        } else {
            try await shelf.put(record, for: kind, plan)
        }
    }

    func put(_ record: SkillRecord, _ plan: KindPlan?) async throws {
        if isDryRun {
            draft.withLock { $0.put(record.withoutTrials) }
        } else {
            try await shelf.put(record, plan)
        }
    }

    func retire(_ skills: [SkillID], of kind: AdapterKind, _ plan: KindPlan) async throws {
        if isDryRun {
            draft.withLock { draft in for id in skills { draft.remove(id) } }
        } else {
            try await shelf.retire(skills, of: kind, plan)
        }
    }

    func report(_ progress: ConsolidationProgress) { self.progress(progress) }
}

/// Donors who are asked for while starts are made, with the versions of the adapters that were given: what is merged of a user is of no
/// later one.
final class NotedDonors: DonorSource {
    private let source: any DonorSource
    private let storage: SQLiteStorage
    private let versions = Lock<[UserDigest: UInt64]>([:])

    init(_ source: any DonorSource, _ storage: SQLiteStorage) {
        self.source = source
        self.storage = storage
        storage.corrected.withLock { $0[ObjectIdentifier(self)] = [] }
    }

    deinit { storage.corrected.withLock { $0[ObjectIdentifier(self)] = nil } }

    func adapter(of user: UserDigest) async throws -> LoRAAdapter? {
        guard let adapter = try await source.adapter(of: user) else { return nil }
        versions.withLock { versions in versions[user] = max(versions[user] ?? 0, adapter.version) }
        return adapter
    }

    /// The highest version that was given of a user's adapter; `nil` for a user of whom none was.
    func version(of user: UserDigest) -> UInt64? { versions.withLock { $0[user] } }

    /// Whether feedback of a user was forgotten since this began.
    func haveForgotten(_ user: UserDigest) -> Bool {
        storage.corrected.withLock { $0[ObjectIdentifier(self)]?.contains(user) ?? false }
    }
}
