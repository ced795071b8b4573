internal import LoRA
internal import Personalization
internal import Reasoning
internal import TensorCore

// Skills, populations, their trials and their starts, in a file.

/// Whose trials: a skill's, or a population's under the kind's number below zero.
private func owner(_ skill: SkillID) -> Value { .integer(Int64(bitPattern: skill.value)) }
private func owner(_ kind: Int64) -> Value { .integer(-kind) }

extension Connection {
    /// The skills and populations of a project, without trials.
    func knowledge(_ project: Int64, _ refs: [AdapterKind: Int64]) throws -> SkillShelf {
        var shelf = SkillShelf(remembersDonors: false)
        let kinds = Dictionary(uniqueKeysWithValues: refs.map { ($1, $0) })
        var skills: [(id: SkillID, kind: Int64, content: [UInt8])] = []
        try run("SELECT id, kind, content FROM skills WHERE project = ? ORDER BY id", [.integer(project)]) {
            skills.append((SkillID($0.version(0)), $0.integer(1), $0.bytes(2)))
        }
        func prior(_ hash: UInt64) throws -> AdapterPrior? { try self.prior(hash, project) }
        for skill in skills {
            guard let kind = kinds[skill.kind],
                let record = try SkillRecord(
                    encoded: skill.content, id: skill.id, kind: kind, members: try users(owner(skill.id)),
                    prior: prior)
            else { throw StorageError.impossible("skill \(skill.id) is none", path) }
            shelf.put(record)
        }
        var populations: [(kind: Int64, content: [UInt8])] = []
        try run("SELECT kind, content FROM populations WHERE project = ?", [.integer(project)]) {
            populations.append(($0.integer(0), $0.bytes(1)))
        }
        for population in populations {
            guard let kind = kinds[population.kind],
                let record = try PopulationRecord(
                    encoded: population.content, users: try users(owner(population.kind)), prior: prior)
            else { throw StorageError.impossible("a population is none", path) }
            shelf.put(record, for: kind)
        }
        // Identifiers are never used twice, those of an interrupted consolidation included.
        var last = UInt64(bitPattern: try integer("SELECT seq FROM sqlite_sequence WHERE name = 'skills'") ?? 0)
        // A file's skills are numbered together, whatever their project.
        for plan in try plans(nil).values { last = plan.newSkills.reduce(last) { max($0, $1.value) } }
        guard last < SkillID.limit else { throw StorageError.impossible("skills are numbered up to \(last)", path) }
        shelf.startIdentifiers(after: SkillID(last))
        return shelf
    }

    private func prior(_ hash: UInt64, _ project: Int64) throws -> AdapterPrior? {
        var bytes: [UInt8]?
        try run(
            "SELECT bytes FROM contents WHERE project = ? AND kind = ? AND hash = ?",
            [
                .integer(project), .integer(Int64(JournalContent.Kind.prior.rawValue)),
                .integer(Int64(bitPattern: hash)),
            ]
        ) { bytes = $0.bytes(0) }
        guard let bytes, Checksum.of(bytes[...]) == hash else { return nil }
        do throws(LoRAError) { return try AdapterPrior(encoded: bytes) } catch { return nil }
    }

    /// Those whose trials an owner has, ascending.
    private func users(_ owner: Value) throws(StorageError) -> [UserDigest] {
        var all: [UserDigest] = []
        let path = path
        try run("SELECT user FROM trials WHERE owner = ?", [owner]) { row throws(StorageError) in
            guard let user = UserDigest(row.bytes(0)) else { throw .impossible("a trial has no user", path) }
            all.append(user)
        }
        return all.sorted()
    }

    /// The trials of an owner, ascending by user.
    private func trials(
        _ owner: Value, _ configuration: ReasoningBankConfiguration
    ) throws(StorageError) -> [UserTrial] {
        var all: [UserTrial] = []
        let path = path
        try run("SELECT user, content FROM trials WHERE owner = ?", [owner]) { row throws(StorageError) in
            guard let user = UserDigest(row.bytes(0)),
                let trial = UserTrial(encoded: row.bytes(1), user: user, configuration)
            else { throw .impossible("a trial is none", path) }
            all.append(trial)
        }
        return all.sorted { $0.user < $1.user }
    }

    func trials(of skill: SkillID, _ configuration: ReasoningBankConfiguration) throws(StorageError) -> [UserTrial] {
        try trials(owner(skill), configuration)
    }

    func trials(of kind: Int64, _ configuration: ReasoningBankConfiguration) throws(StorageError) -> [UserTrial] {
        try trials(owner(kind), configuration)
    }

    /// Reads the trials of a project's skills and populations, and forgets them.
    func verifyTrials(_ project: Int64) throws(StorageError) {
        var owners: [Value] = []
        try run(
            """
            SELECT id FROM skills WHERE project = ?1 UNION ALL SELECT -kind FROM populations WHERE project = ?1
            """, [.integer(project)]
        ) { owners.append(.integer($0.integer(0))) }
        for owner in owners { _ = try trials(owner, ReasoningBankConfiguration()) }
    }

    private func put(_ trials: [UserTrial], _ owner: Value) throws(StorageError) {
        try run("DELETE FROM trials WHERE owner = ?", [owner])
        for trial in trials {
            try run(
                "INSERT INTO trials (owner, user, content) VALUES (?, ?, ?)",
                [owner, .bytes(trial.user.bytes), .bytes(trial.encoded())])
        }
    }

    func put(_ record: SkillRecord, kind: Int64, _ project: Int64, _ noted: NotedDonors) throws {
        if let start = record.skill.initialization {
            let donors = Set(record.skill.donors).union(record.populationDonors)
            try keep(start.prior, donors.sorted(), project, noted)
        }
        try run(
            "INSERT OR REPLACE INTO skills (id, project, kind, content) VALUES (?, ?, ?, ?)",
            [owner(record.skill.id), .integer(project), .integer(kind), .bytes(record.encoded())])
        try put(record.members, owner(record.skill.id))
    }

    func put(_ record: PopulationRecord, kind: Int64, _ project: Int64, _ noted: NotedDonors) throws {
        try removePopulation(kind)
        if record.trials.isEmpty { return }
        for start in record.priors { try keep(start.prior, start.donors, project, noted) }
        try run(
            "INSERT INTO populations (kind, project, content) VALUES (?, ?, ?)",
            [.integer(kind), .integer(project), .bytes(record.encoded())])
        try put(record.trials, owner(kind))
    }

    func removeSkill(_ id: SkillID) throws(StorageError) {
        try run("DELETE FROM skills WHERE id = ?", [owner(id)])
        try run("DELETE FROM trials WHERE owner = ?", [owner(id)])
    }

    func removePopulation(_ kind: Int64) throws(StorageError) {
        try run("DELETE FROM populations WHERE kind = ?", [.integer(kind)])
        try run("DELETE FROM trials WHERE owner = ?", [owner(kind)])
    }

    // MARK: Starts

    /// Keeps a prior under the hash of its bytes, and whose adapters are in it.
    ///
    /// A donor who was not asked for now gave to a part that was made earlier, such as a population's start in a skill's. The row of
    /// that part has the version; the highest of the donor's rows is at least that. Without a row any of their feedback may be in it.
    private func keep(
        _ prior: AdapterPrior, _ donors: [UserDigest], _ project: Int64, _ noted: NotedDonors
    ) throws {
        let kept = KeptPrior(prior)
        let hash = Value.integer(Int64(bitPattern: kept.hash))
        try keep(JournalContent(kind: .prior, hash: kept.hash, bytes: kept.bytes), project)
        try run(
            "INSERT OR REPLACE INTO bank_starts (project, id, prior, is_given) VALUES (?, ?, ?, 1)",
            [.integer(project), .integer(Int64(bitPattern: prior.contentHash)), hash])
        // The same numbers again, of donors who are all there: what was stale of it is so no more.
        // Unless one of them has forgotten feedback since their adapter may have been read.
        let isStale = donors.contains(where: noted.haveForgotten)
        try run(
            """
            INSERT INTO merged_priors (project, prior, stale) VALUES (?1, ?2, ?3)
            ON CONFLICT (project, prior) DO UPDATE SET stale = ?3
            """, [.integer(project), hash, .integer(isStale ? 1 : 0)])
        for donor in donors {
            var version = noted.version(of: donor).map { Int64(clamping: $0) }
            if version == nil {
                version = try integer(
                    "SELECT max(version) FROM donors WHERE project = ? AND donor = ? HAVING max(version) IS NOT NULL",
                    [.integer(project), .bytes(donor.bytes)])
            }
            try run(
                """
                INSERT INTO donors (project, donor, prior, version) VALUES (?, ?, ?, ?)
                ON CONFLICT (project, donor, prior) DO UPDATE SET version = max(version, excluded.version)
                """, [.integer(project), .bytes(donor.bytes), hash, .integer(version ?? .max)])
        }
    }

    /// The starts that a user's adapter is in.
    func starts(from user: UserDigest, _ project: Int64) throws(StorageError) -> [PriorID] {
        var all: [PriorID] = []
        try run(
            "SELECT id FROM donors JOIN bank_starts USING (project, prior) WHERE project = ? AND donor = ?",
            [.integer(project), .bytes(user.bytes)]
        ) { all.append(PriorID($0.version(0))) }
        return all
    }

    /// Lets go of starts that the bank gives out no more: of their bytes where nobody has started from them. Those are refused from
    /// now on: an answer that was given before may still name one.
    func dropStarts(except kept: Set<PriorID>, _ project: Int64) throws(StorageError) {
        var old: [(id: UInt64, prior: Int64, isUsed: Bool)] = []
        try run(
            """
            SELECT id, prior, EXISTS (
                SELECT 1 FROM starters WHERE starters.project = ?1 AND starters.prior = bank_starts.prior)
            FROM bank_starts WHERE project = ?1
            """, [.integer(project)]
        ) { row in
            if !kept.contains(PriorID(row.version(0))) {
                old.append((row.version(0), row.integer(1), row.integer(2) != 0))
            }
        }
        for start in old {
            if start.isUsed {
                try run(
                    "UPDATE bank_starts SET is_given = 0 WHERE project = ? AND id = ?",
                    [.integer(project), .integer(Int64(bitPattern: start.id))])
                continue
            }
            try removeContent(of: UInt64(bitPattern: start.prior), project)
            try run(
                "UPDATE merged_priors SET stale = 1 WHERE project = ? AND prior = ?",
                [.integer(project), .integer(start.prior)])
        }
    }

    // MARK: An interrupted consolidation

    /// The plans of a project, or of all, by their kinds.
    func plans(_ project: Int64?) throws(StorageError) -> [Int64: KindPlan] {
        var plans: [Int64: KindPlan] = [:]
        let path = path
        let project = project.map { Value.integer($0) } ?? .null
        try run("SELECT kind, plan FROM consolidation_plans WHERE ?1 IS NULL OR project = ?1", [project]) {
            row throws(StorageError) in
            guard let plan = KindPlan(encoded: row.bytes(1)) else {
                throw .impossible("the plan of a consolidation is none", path)
            }
            plans[row.integer(0)] = plan
        }
        return plans
    }

    func keep(_ plan: KindPlan?, kind: Int64, _ project: Int64) throws(StorageError) {
        guard let plan else { return }
        try run(
            "INSERT OR REPLACE INTO consolidation_plans (project, kind, plan) VALUES (?, ?, ?)",
            [.integer(project), .integer(kind), .bytes(plan.encoded())])
    }

    /// The next consolidation begins anew.
    func forgetConsolidation(_ project: Int64) throws(StorageError) {
        try run("DELETE FROM consolidations WHERE project = ?", [.integer(project)])
        try run("DELETE FROM consolidation_plans WHERE project = ?", [.integer(project)])
    }
}
