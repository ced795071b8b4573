internal import CPageChecksums
public import Personalization
internal import LoRA
internal import TensorCore

extension SQLiteStorage: JournallingStore {
    /// The user's adapter and the entries that it has not seen; where none is stored, the base of the entries and all that follow.
    package func loadWithEntries(_ user: String) async throws -> (record: StoredAdapter?, entries: [JournalEntry]) {
        let project = projectRef
        // A user's first: found to have nothing at once, in the index that the commit after it looks into on the same thread.
        if isUnknown(user) { return (nil, []) }
        return try await reading("load") { connection in
            let record =
                try connection.adapter(of: user, in: .adapters, project)
                ?? connection.adapter(of: user, in: .bases, project)
            let version = record.map { Int64(clamping: $0.adapter.version) } ?? -1
            return (record, try connection.entries(of: user, after: version, project))
        }
    }
}

extension SQLiteStorage {
    /// Appends an entry, and a position in the same transaction; with others that come at the same time.
    ///
    /// - Throws: ``EngineError`` (`staleVersion`), ``StorageError``.
    public func append(
        _ entry: JournalEntry, durability: Durability, position: StreamPosition?
    ) async throws -> AppendOutcome {
        try await commits.append(entry, durability, position: position, path: path)
    }

    /// Appends entries, at most one of each user, in few transactions.
    public func append(_ entries: [JournalEntry], durability: Durability) async -> [Result<AppendOutcome, any Error>] {
        await commits.append(entries, durability, path: path)
    }

    /// How far a stream has been read.
    public func position(in stream: String) async throws -> Int64 {
        let project = projectRef
        return try await reading("position") { try $0.position(in: stream, project) }
    }

    /// Remembers how far a stream has been read.
    public func record(_ position: StreamPosition, durability: Durability) async throws {
        let project = projectRef
        try await writing("record", durability) { try $0.record(position, project) }
    }

    /// The entries of a user above a version.
    public func entries(of user: String, after version: UInt64?) async throws -> [JournalEntry] {
        let project = projectRef
        return try await reading("entries") { connection in
            try connection.entries(of: user, after: version.map { Int64(clamping: $0) } ?? -1, project)
        }
    }

    /// The users with entries, ascending; those too whose entries stand on a damaged page.
    public func journalledUsers() async throws -> [String] {
        var all: [String] = []
        try await withLastVersions { all += $0.map(\.user) }
        return all
    }

    /// The users whose first entry was recorded before a moment, ascending.
    ///
    /// - Complexity: O(users · log(entries)), and a look at each of the latest entries.
    public func users(withFirstEntryBefore moment: Int64) async throws -> [String] {
        let project = projectRef
        return try await reading("users") { connection in
            var all: [String] = []
            // Entries in `recent` come after those in `journal`, and a user's are there in the order of their numbers. What SQLite
            // says beside min(seq) is that row's.
            try connection.run(
                """
                SELECT id FROM users LEFT JOIN
                    (SELECT user AS recent_user, recorded_at AS recent_at, min(seq) FROM recent GROUP BY user)
                    ON recent_user = ref
                WHERE project = ? AND coalesce(
                    (SELECT recorded_at FROM journal WHERE journal.user = ref ORDER BY version LIMIT 1), recent_at) < ?
                ORDER BY id
                """, [.integer(project), .integer(moment)]
            ) { all.append($0.text(0)) }
            return all
        }
    }

    /// The users with entries, some thousand at a time, each with the version of the last: the highest number there is where that
    /// stands on a damaged page, since they may have entries that nobody has seen.
    ///
    /// - Complexity: O(users · log(entries)).
    public func withLastVersions(_ body: ([LastVersion]) async throws -> Void) async throws {
        var next: [UInt8]? = []
        while let after = next {
            let page = try await lastVersions(after: after)
            next = page.next
            if !page.users.isEmpty { try await body(page.users) }
        }
    }

    /// So many users are looked at in one transaction.
    private static let pageOfUsers = 4096

    /// The users of a page who have entries, and after whom the next page begins; `nil` after the last.
    private func lastVersions(after id: [UInt8]) async throws -> (users: [LastVersion], next: [UInt8]?) {
        let project = projectRef
        return try await reading("lastVersions") { connection in
            try connection.recent.catchUp(connection)
            var page: [(id: [UInt8], ref: Int64)] = []
            try connection.run(
                "SELECT id, ref FROM users WHERE project = ? AND id > ? ORDER BY id LIMIT ?",
                [.integer(project), .bytes(id), .integer(Int64(Self.pageOfUsers))]
            ) { page.append(($0.bytes(0), $0.integer(1))) }
            let users = try page.compactMap { row in
                let version: UInt64?
                do throws(StorageError) {
                    version = try connection.lastVersion(of: row.ref)
                } catch {
                    // SQLite has ended the transaction: the others are looked at as they are now.
                    guard error.code == .damaged else { throw error }
                    version = .max
                }
                return version.map { LastVersion(user: String(decoding: row.id, as: UTF8.self), version: $0) }
            }
            return (users, page.count < Self.pageOfUsers ? nil : page.last?.id)
        }
    }

    /// The adapter that a user's entries begin from.
    public func base(of user: String) async throws -> StoredAdapter? {
        let project = projectRef
        return try await reading("base") { connection in try connection.adapter(of: user, in: .bases, project) }
    }

    /// Keeps content that entries will refer to.
    public func keep(_ content: JournalContent) async throws {
        let project = projectRef
        try await writing("keep") { try $0.keep(content, project) }
    }

    /// Content by its name.
    public func content(_ kind: JournalContent.Kind, _ hash: UInt64) async throws -> [UInt8]? {
        let project = projectRef
        return try await reading("content") { connection in
            var found: [UInt8]?
            try connection.run(
                "SELECT bytes FROM contents WHERE project = ? AND kind = ? AND hash = ?",
                [.integer(project), .integer(Int64(kind.rawValue)), .integer(Int64(bitPattern: hash))]
            ) { found = $0.bytes(0) }
            return found
        }
    }

    /// Makes an adapter the base of its user's entries, and removes those up to its version, in one transaction; their ids stay
    /// known.
    ///
    /// - Throws: ``EngineError`` (`forgottenUser`), ``StorageError``.
    public func trim(_ base: StoredAdapter) async throws {
        let snapshot = base.adapter.snapshot()
        let users = commits.users
        try await writing("trim") { connection in
            if try users.isForgotten(base.user, connection) { throw EngineError.forgotten(base.user, "trim") }
            let ref = try users.madeRef(base.user, connection)
            try connection.recent.settle(ref, connection)
            try connection.put(base, snapshot, of: ref, in: .bases)
            try connection.run(
                "DELETE FROM journal WHERE user = ? AND version <= ?", [.integer(ref), .version(base.adapter.version)])
            users.forget(base.user)
        }
    }

    /// Replaces a user's entries and adapter after a piece of feedback was forgotten.
    public func rewrite(_ rewriting: JournalRewriting) async throws {
        let users = commits.users
        let project = projectRef
        let user = rewriting.user
        let snapshot = rewriting.adapter.adapter.snapshot()
        try await writing("rewrite") { connection in
            func notThere() -> EngineError {
                EngineError(.unknownFeedback, "rewrite", "the entry is not in the journal", user: user)
            }
            guard let ref = try users.ref(user, connection) else { throw notThere() }
            try connection.recent.settle(ref, connection)
            let replaced = Set(rewriting.replacements.map(\.version))
            let gone = rewriting.removed.map { replaced.contains($0.version) ? [] : [$0.version] } ?? []
            for version in replaced.sorted() + gone {
                try connection.run(
                    "DELETE FROM journal WHERE user = ? AND version = ?", [.integer(ref), .version(version)])
                guard connection.changes == 1 else { throw notThere() }
            }
            for entry in rewriting.replacements { try connection.insert(entry, of: ref) }
            if let id = rewriting.forgottenID {
                try connection.run(
                    "UPDATE feedback_ids SET version = NULL WHERE user = ? AND id = ?", [.integer(ref), id.value])
            }
            try connection.insert(rewriting.correction, of: ref)
            try connection.put(rewriting.adapter, snapshot, of: ref, in: .adapters)
            if let removed = rewriting.removed {
                let digest = users.digest(of: user)
                self.corrected.withLock { runs in for run in Array(runs.keys) { runs[run]?.insert(digest) } }
                try connection.markStale(from: users.digest(user), learnedAt: removed.version, project)
            }
            for prior in rewriting.abandoned { try connection.abandon(prior, user, project) }
            users.forget(user)
        }
    }

    /// Removes a user's adapter, base and entries.
    public func removeEntries(of user: String, isForgotten: Bool) async throws -> Int {
        let users = commits.users
        let project = projectRef
        return try await writing("removeEntries") { connection in
            if isForgotten {
                try connection.run(
                    "INSERT OR IGNORE INTO tombstones (project, digest) VALUES (?, ?)",
                    [.integer(project), users.digest(user)])
            }
            try connection.removeFromPriors(user, users.digest(user), isForgotten: isForgotten, project)
            guard let ref = try users.ref(user, connection) else { return 0 }
            try connection.recent.settle(ref, connection)
            try connection.run("DELETE FROM journal WHERE user = ?", [.integer(ref)])
            let entries = connection.changes
            try connection.run("DELETE FROM bases WHERE user = ?", [.integer(ref)])
            try connection.run("DELETE FROM feedback_ids WHERE user = ?", [.integer(ref)])
            try connection.run("DELETE FROM adapters WHERE user = ?", [.integer(ref)])
            try connection.run("DELETE FROM users WHERE ref = ?", [.integer(ref)])
            users.forget(user)
            return entries
        }
    }

    /// Lets a forgotten user be known again.
    public func readmit(_ user: String) async throws -> Bool {
        let users = commits.users
        let project = projectRef
        return try await writing("readmit") { connection in
            try connection.run(
                "DELETE FROM tombstones WHERE project = ? AND digest = ?", [.integer(project), users.digest(user)])
            return connection.changes > 0
        }
    }

    /// Writes everything from the log into the file, where deleted rows are overwritten with zeros, and empties the log.
    ///
    /// - Throws: ``StorageError`` (`locked`) while somebody reads for longer than two seconds, a backup for instance: call again.
    public func erase() async throws {
        let health = health
        try await writer.run("erase", path) { connection in
            try health.check("erase")
            let isEmpty: Bool
            do throws(StorageError) {
                isEmpty = try connection.emptyLog()
            } catch {
                health.note(error)
                throw error
            }
            guard isEmpty else {
                throw StorageError(
                    .locked, "erase",
                    "what was removed stands in the log still, because somebody reads the file: call again",
                    path: connection.path)
            }
            // Pages in memory hold in their unused parts what was overwritten in the file, and would bring it into the log again.
            connection.dropPages()
        }
    }
}

extension Connection {
    /// A stream's name in the table of positions, where others of the file have shorter ones.
    private func name(_ stream: String, _ project: Int64) -> Value { .string("stream of \(project): \(stream)") }

    func position(in stream: String, _ project: Int64) throws(StorageError) -> Int64 {
        try integer("SELECT value FROM positions WHERE name = ?", [name(stream, project)]) ?? 0
    }

    /// - Parameter isForward: Whether it counts only where it is further than before.
    func record(_ position: StreamPosition, isForward: Bool = false, _ project: Int64) throws(StorageError) {
        try run(
            """
            INSERT INTO positions (name, value) VALUES (?1, ?2)
            ON CONFLICT (name) DO UPDATE SET value = ?2 WHERE value < ?2 OR NOT ?3
            """, [name(position.stream, project), .integer(position.sequence), .integer(isForward ? 1 : 0)])
    }

    /// The version of a user's last entry; after a look at the latest. `nil` without one.
    func lastVersion(of user: Int64) throws(StorageError) -> UInt64? {
        // Versions rise, and those in `recent` come after those in `journal`.
        if let recent = try lastRecentVersion(of: user) { return recent }
        let version = try integer(
            "SELECT max(version) FROM journal WHERE user = ? HAVING max(version) IS NOT NULL", [.integer(user)])
        return version.map { UInt64(bitPattern: $0) }
    }

    /// The version of a user's last entry in `recent`, as it was looked at last; `nil` without one there.
    func lastRecentVersion(of user: Int64) throws(StorageError) -> UInt64? {
        guard let place = recent.places(of: user).last else { return nil }
        let version = try integer("SELECT version FROM recent WHERE seq = ?", [.integer(place)])
        return version.map { UInt64(bitPattern: $0) }
    }
}
