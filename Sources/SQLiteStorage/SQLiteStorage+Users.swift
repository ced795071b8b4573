internal import LoRA
package import Personalization
internal import TensorCore

// One user as a whole: for looking, carrying elsewhere and changing what there is of them.

extension SQLiteStorage {
    /// What there is of a user, as of one moment; `nil` where there is nothing.
    ///
    /// - Throws: ``EngineError`` (`damagedAdapter`) where the base's bytes are not those that were stored; ``StorageError``.
    /// - Complexity: O(entries + bytes).
    package func record(of user: String) async throws -> UserRecord? {
        let project = projectRef
        let path = path
        return try await reading("record") { connection in
            var ref: Int64?
            try connection.run(
                "SELECT ref FROM users WHERE project = ? AND id = ?", [.integer(project), .text(user)]
            ) { ref = $0.integer(0) }
            guard let ref else { return nil }
            var record = UserRecord(user: user, saved: nil, base: nil, entries: [], feedback: [])
            do {
                record.saved = try connection.adapter(of: user, in: .adapters, project)
            } catch let error as EngineError where error.code == .damagedAdapter {
                // The journal may make it again.
                record.damage = error
            } catch let error as StorageError where error.code == .damaged {
                record.damage = EngineError(.damagedAdapter, "load", error.message, user: user, cause: error)
            }
            record.base = try connection.adapter(of: user, in: .bases, project)
            record.entries = try connection.entries(of: user, after: -1, project)
            func take(_ row: Row) throws(StorageError) {
                guard let id = FeedbackID(row.bytes(0)) else {
                    throw StorageError(.damaged, "record", "an id does not have 16 bytes", path: path)
                }
                record.feedback.append(.init(id: id, version: row.isNull(1) ? nil : row.version(1)))
            }
            try connection.run("SELECT id, version FROM feedback_ids WHERE user = ?", [.integer(ref)], take)
            for place in connection.recent.places(of: ref) {
                try connection.run(
                    "SELECT id, version FROM recent WHERE seq = ? AND id IS NOT NULL", [.integer(place)], take)
            }
            record.feedback.sort { ($0.id.high, $0.id.low) < ($1.id.high, $1.id.low) }
            let isEmpty = record.saved == nil && record.damage == nil && record.base == nil && record.entries.isEmpty
            return isEmpty ? nil : record
        }
    }

    /// Whether a user was forgotten and not readmitted since.
    package func isForgotten(_ user: String) async throws -> Bool {
        let project = projectRef
        let digest = commits.users.digest(user)
        return try await reading("isForgotten") { connection in
            try connection.integer(
                "SELECT 1 FROM tombstones WHERE project = ? AND digest = ?", [.integer(project), digest]) != nil
        }
    }

    /// The highest version that anything of a user has: the saved adapter, the base, an entry. `nil` where there is nothing.
    package func highestVersion(of user: String) async throws -> UInt64? {
        let project = projectRef
        return try await reading("highestVersion") { connection in
            try connection.integer(
                "SELECT ref FROM users WHERE project = ? AND id = ?", [.integer(project), .text(user)]
            ).flatMap { try connection.highestVersion(of: $0) }
        }
    }

    /// Makes an adapter all that there is of its user: the saved one, and the base that later entries begin from. The entries so
    /// far go. All of it is done or nothing. No engine may have the user in memory meanwhile.
    ///
    /// - Parameters:
    ///   - record: The adapter; its version must be above every one that the user has had.
    ///   - keepsFeedbackIDs: Whether feedback that was learned, or forgotten, before is still known by its name, so that it is
    ///     not learned again.
    ///   - readmits: Whether a user who was forgotten is known again.
    /// - Returns: How many entries were removed.
    /// - Throws: ``EngineError``: `staleVersion`; `forgottenUser`. ``StorageError``. Nothing is changed then.
    /// - Complexity: O(bytes of the adapter + entries).
    @discardableResult
    package func replace(
        with record: StoredAdapter, keepsFeedbackIDs: Bool, readmits: Bool = false
    ) async throws -> Int {
        // Bytes are made before the connection is taken.
        let snapshot = record.adapter.snapshot()
        let users = commits.users
        let project = projectRef
        return try await writing("replace") { connection in
            if readmits {
                try connection.run(
                    "DELETE FROM tombstones WHERE project = ? AND digest = ?",
                    [.integer(project), users.digest(record.user)])
            } else if try users.isForgotten(record.user, connection) {
                throw EngineError.forgotten(record.user, "replace")
            }
            let ref = try users.madeRef(record.user, connection)
            try connection.recent.settle(ref, connection)
            if let highest = try connection.highestVersion(of: ref), highest >= record.adapter.version {
                throw EngineError(
                    .staleVersion, "replace",
                    "version \(highest) is stored, and \(record.adapter.version) is not above it", user: record.user)
            }
            try connection.run("DELETE FROM journal WHERE user = ?", [.integer(ref)])
            let removed = connection.changes
            if !keepsFeedbackIDs {
                try connection.run("DELETE FROM feedback_ids WHERE user = ?", [.integer(ref)])
            }
            try connection.put(record, snapshot, of: ref, in: .bases)
            try connection.put(record, snapshot, of: ref, in: .adapters)
            // What is known of the user's last version no longer holds.
            users.forget(record.user)
            return removed
        }
    }
}

extension Connection {
    /// The highest version of a user's adapter, base and entries.
    fileprivate func highestVersion(of user: Int64) throws(StorageError) -> UInt64? {
        try recent.catchUp(self)
        // Versions rise: that of the last is the highest.
        if let last = try lastRecentVersion(of: user) { return last }
        let version = try integer(
            """
            SELECT max(version) FROM (
                SELECT version FROM adapters WHERE user = ?1 UNION ALL SELECT version FROM bases WHERE user = ?1
                UNION ALL SELECT max(version) FROM journal WHERE user = ?1)
            HAVING max(version) IS NOT NULL
            """, [.integer(user)])
        return version.map { UInt64(bitPattern: $0) }
    }

    /// The entries of a user above a version, by version.
    func entries(of user: String, after version: Int64, _ project: Int64) throws(StorageError) -> [JournalEntry] {
        let ref = try integer(
            "SELECT ref FROM users WHERE project = ? AND id = ?", [.integer(project), .text(user)])
        guard let ref else { return [] }
        var all: [JournalEntry] = []
        let path = path
        func take(_ row: Row) throws(StorageError) {
            let id = row.isNull(2) ? nil : FeedbackID(row.bytes(2))
            guard row.isNull(2) || id != nil else {
                throw StorageError(.damaged, "entries", "an id does not have 16 bytes", path: path)
            }
            all.append(
                JournalEntry(
                    user: user, version: row.version(0), id: id, recordedAt: row.integer(1), action: row.bytes(3)))
        }
        try run(
            """
            SELECT version, recorded_at, id, action FROM journal WHERE user = ? AND version > ? ORDER BY version
            """, [.integer(ref), .integer(version)], take)
        try recent.catchUp(self)
        for place in recent.places(of: ref) {
            try run(
                "SELECT version, recorded_at, id, action FROM recent WHERE seq = ? AND version > ?",
                [.integer(place), .integer(version)], take)
        }
        return all
    }
}
