public import Personalization

// Whose adapters a prior was merged from, who started from it, and whether it still may be started from.
//
// Donors stand here under the keyed hash of their ids, as forgotten users do: a donor whose adapter was removed can be forgotten
// later, and until then no id is kept for that.

extension SQLiteStorage {
    /// Records whose adapters a prior was merged from.
    public func recordDonors(_ donors: [PriorDonor], of prior: UInt64) async throws {
        let users = commits.users
        let project = projectRef
        try await writing("recordDonors") { connection in
            let hash = Value.integer(Int64(bitPattern: prior))
            try connection.run(
                "INSERT OR IGNORE INTO merged_priors (project, prior, stale) VALUES (?, ?, 0)",
                [.integer(project), hash])
            for donor in donors {
                if try users.isForgotten(donor.user, connection) {
                    try connection.run(
                        "UPDATE merged_priors SET stale = 1 WHERE project = ? AND prior = ?", [.integer(project), hash])
                    continue
                }
                try connection.run(
                    """
                    INSERT INTO donors (project, donor, prior, version) VALUES (?, ?, ?, ?)
                    ON CONFLICT (project, donor, prior) DO UPDATE SET version = max(version, excluded.version)
                    """, [.integer(project), users.digest(donor.user), hash, .version(donor.version)])
            }
        }
    }

    /// Records that a user starts from a prior, whose donors may become known later.
    public func recordStart(of user: String, from prior: UInt64) async throws -> Bool {
        let users = commits.users
        let project = projectRef
        return try await writing("recordStart") { connection in
            let hash = Value.integer(Int64(bitPattern: prior))
            let stale = try connection.integer(
                "SELECT stale FROM merged_priors WHERE project = ? AND prior = ?", [.integer(project), hash])
            guard stale ?? 0 == 0 else { return false }
            // Their adapter is refused later, and nothing is to name them until then.
            if try users.isForgotten(user, connection) { return true }
            try connection.run(
                "INSERT OR IGNORE INTO starters (project, user, prior) VALUES (?, ?, ?)",
                [.integer(project), .text(user), hash])
            return true
        }
    }

    /// The priors that were merged from a user's adapter. None in a file whose tables know nothing of it.
    ///
    /// - Complexity: O(users who started from any prior).
    public func priors(from user: String) async throws -> [DerivedPrior] {
        let digest = commits.users.digest(user)
        let project = projectRef
        return try await reading("priors") { connection in
            guard try Schema.knowsPriors(connection) else { return [] }
            var all: [DerivedPrior] = []
            try connection.run(
                """
                SELECT prior, version, stale FROM donors JOIN merged_priors USING (project, prior)
                WHERE project = ? AND donor = ?
                """, [.integer(project), digest]
            ) { row in
                all.append(
                    DerivedPrior(
                        hash: row.version(0), version: row.version(1), isStale: row.integer(2) != 0, starters: []))
            }
            if all.isEmpty { return [] }
            var starters: [UInt64: [String]] = [:]
            try connection.run(
                """
                SELECT prior, user FROM starters WHERE project = ?1 AND prior IN (
                    SELECT prior FROM donors WHERE project = ?1 AND donor = ?2)
                ORDER BY user
                """, [.integer(project), digest]
            ) { starters[$0.version(0), default: []].append($0.text(1)) }
            for i in all.indices { all[i].starters = starters[all[i].hash] ?? [] }
            return all.sorted { $0.hash < $1.hash }
        }
    }

    /// The stale priors that users have started from.
    public func stalePriors() async throws -> [StalePrior] {
        let project = projectRef
        return try await reading("stalePriors") { connection in
            guard try Schema.knowsPriors(connection) else { return [] }
            var all: [StalePrior] = []
            try connection.run(
                """
                SELECT prior, user FROM merged_priors JOIN starters USING (project, prior)
                WHERE project = ? AND stale = 1 ORDER BY prior, user
                """, [.integer(project)]
            ) { row in
                let hash = row.version(0)
                if all.last?.hash != hash { all.append(StalePrior(hash: hash, users: [])) }
                all[all.count - 1].users.append(row.text(1))
            }
            return all.sorted { $0.hash < $1.hash }
        }
    }

    /// The priors that a user was recorded to start from, in ascending order of their hashes. None in a file whose tables know
    /// nothing of it.
    package func priors(startedFromBy user: String) async throws -> [(hash: UInt64, isStale: Bool)] {
        let project = projectRef
        return try await reading("priors") { connection in
            guard try Schema.knowsPriors(connection) else { return [] }
            var all: [(hash: UInt64, isStale: Bool)] = []
            try connection.run(
                """
                SELECT prior, stale FROM starters JOIN merged_priors USING (project, prior)
                WHERE project = ? AND user = ?
                """, [.integer(project), .text(user)]
            ) { all.append(($0.version(0), $0.integer(1) != 0)) }
            return all.sorted { $0.hash < $1.hash }
        }
    }

    /// Whether a prior is stale.
    public func isStale(_ prior: UInt64) async throws -> Bool {
        let project = projectRef
        return try await reading("isStale") { connection in
            guard try Schema.knowsPriors(connection) else { return false }
            return try connection.integer(
                "SELECT stale FROM merged_priors WHERE project = ? AND prior = ?",
                [.integer(project), .integer(Int64(bitPattern: prior))]) == 1
        }
    }
}

extension Connection {
    /// Keeps content that entries name; once.
    func keep(_ content: JournalContent, _ project: Int64) throws {
        var held: [UInt8]?
        let key: [Value] = [
            .integer(project), .integer(Int64(content.kind.rawValue)), .integer(Int64(bitPattern: content.hash)),
        ]
        try run("SELECT bytes FROM contents WHERE project = ? AND kind = ? AND hash = ?", key) { held = $0.bytes(0) }
        if let held {
            guard held == content.bytes else {
                throw EngineError(.damagedJournal, "keep", "another \(content.kind) has the same hash")
            }
            return
        }
        try run("INSERT INTO contents (project, kind, hash, bytes) VALUES (?, ?, ?, ?)", key + [.bytes(content.bytes)])
    }

    /// Marks the priors stale that were merged from a user's adapter of a version or a later one.
    func markStale(from donor: Value, learnedAt version: UInt64, _ project: Int64) throws(StorageError) {
        try run(
            """
            UPDATE merged_priors SET stale = 1 WHERE project = ?1 AND prior IN (
                SELECT prior FROM donors WHERE project = ?1 AND donor = ?2 AND version >= ?3)
            """, [.integer(project), donor, .version(version)])
    }

    /// A user's entries name a prior no more.
    func abandon(_ prior: UInt64, _ user: String, _ project: Int64) throws(StorageError) {
        try run(
            "DELETE FROM starters WHERE project = ? AND prior = ? AND user = ?",
            [.integer(project), .integer(Int64(bitPattern: prior)), .text(user)])
        try removeIfUnused(prior, project)
    }

    /// What is stale goes with the last user who has started from it, once no bank gives it out.
    private func removeIfUnused(_ prior: UInt64, _ project: Int64) throws(StorageError) {
        let isUnused =
            try integer(
                """
                SELECT 1 FROM merged_priors WHERE project = ?1 AND prior = ?2 AND stale = 1
                    AND NOT EXISTS (SELECT 1 FROM starters WHERE starters.project = ?1 AND starters.prior = ?2)
                    AND NOT EXISTS (
                        SELECT 1 FROM bank_starts
                        WHERE bank_starts.project = ?1 AND bank_starts.prior = ?2 AND is_given = 1)
                """, [.integer(project), .integer(Int64(bitPattern: prior))]) != nil
        if isUnused { try removeContent(of: prior, project) }
    }

    /// Removes the bytes of a prior, and who gave to it. That it is stale stays known.
    func removeContent(of prior: UInt64, _ project: Int64) throws(StorageError) {
        let key: [Value] = [.integer(project), .integer(Int64(bitPattern: prior))]
        try run("DELETE FROM bank_starts WHERE project = ? AND prior = ?", key)
        try run(
            "DELETE FROM contents WHERE project = ? AND hash = ? AND kind = ?",
            key + [.integer(Int64(JournalContent.Kind.prior.rawValue))])
        try run("DELETE FROM donors WHERE project = ? AND prior = ?", key)
    }

    /// Lets go of what a user has to do with priors, beside what is in them; in the transaction that removes the user.
    ///
    /// - Parameter isForgotten: Whether the priors that were merged from the user's adapter become stale. If not, that they were is
    ///   kept for the day on which the user is forgotten.
    func removeFromPriors(
        _ user: String, _ donor: Value, isForgotten: Bool, _ project: Int64
    ) throws(StorageError) {
        var priors: [UInt64] = []
        try run("SELECT prior FROM starters WHERE project = ? AND user = ?", [.integer(project), .text(user)]) {
            priors.append($0.version(0))
        }
        try run("DELETE FROM starters WHERE project = ? AND user = ?", [.integer(project), .text(user)])
        if isForgotten { try markStale(from: donor, learnedAt: 0, project) }
        for prior in priors { try removeIfUnused(prior, project) }
        if isForgotten {
            try run("DELETE FROM donors WHERE project = ? AND donor = ?", [.integer(project), donor])
        } else {
            // A later adapter of the user begins at version 0 again: no feedback of it is in these priors.
            try run("UPDATE donors SET version = 0 WHERE project = ? AND donor = ?", [.integer(project), donor])
        }
    }
}
