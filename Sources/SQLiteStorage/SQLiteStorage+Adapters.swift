internal import LoRA
public import Personalization
internal import Reasoning

extension SQLiteStorage {
    /// The user's adapter, if there is one.
    ///
    /// - Throws: ``StorageError``; ``EngineError`` (`damagedAdapter`) where its bytes are not those that were saved.
    public func load(_ user: String) async throws -> StoredAdapter? {
        let project = projectRef
        do {
            return try await reading("load") { connection in
                try connection.adapter(of: user, in: .adapters, project)
            }
        } catch let error as StorageError where error.code == .damaged {
            // The journal may stand on pages that are whole.
            throw EngineError(.damagedAdapter, "load", error.message, user: user, cause: error)
        }
    }

    /// Stores adapters in one transaction, replacing older versions.
    ///
    /// - Throws: ``EngineError`` (`staleVersion`, `forgottenUser`), ``StorageError``; nothing is stored then.
    public func save(_ adapters: [StoredAdapter]) async throws {
        if adapters.isEmpty { return }
        // Bytes are made before the connection is taken.
        let snapshots = adapters.map { ($0, $0.adapter.snapshot()) }
        let users = commits.users
        try await writing("save") { connection in
            for (record, snapshot) in snapshots {
                if try users.ref(record.user, connection) == nil, try users.isForgotten(record.user, connection) {
                    throw EngineError.forgotten(record.user, "save")
                }
                let ref = try users.madeRef(record.user, connection)
                let held: Int64?
                do throws(StorageError) {
                    held = try connection.integer("SELECT version FROM adapters WHERE user = ?", [.integer(ref)])
                } catch {
                    guard error.code == .damaged else { throw error }
                    throw EngineError(.damagedAdapter, "save", error.message, user: record.user, cause: error)
                }
                if let held, UInt64(bitPattern: held) > record.adapter.version {
                    throw EngineError(
                        .staleVersion, "save",
                        "version \(held) is stored, newer than \(record.adapter.version)", user: record.user)
                }
                if !record.isJournalled {
                    try connection.recent.settle(ref, connection)
                    let last = try connection.integer(
                        "SELECT max(version) FROM journal WHERE user = ? HAVING max(version) IS NOT NULL",
                        [.integer(ref)])
                    if let last, last > held ?? -1 {
                        throw EngineError(
                            .staleVersion, "save",
                            "the journal has version \(last), which no saved adapter has seen: give the engine the journal too",
                            user: record.user)
                    }
                }
                try connection.put(record, snapshot, of: ref, in: .adapters)
                if !record.isJournalled {
                    // Nobody knows what it has come from: the journal begins anew with it.
                    try connection.put(record, snapshot, of: ref, in: .bases)
                    try connection.run("DELETE FROM journal WHERE user = ?", [.integer(ref)])
                    users.forget(record.user)
                }
            }
        }
    }

    /// Removes a user's adapter; says whether there was one.
    public func remove(_ user: String) async throws -> Bool {
        let users = commits.users
        let project = projectRef
        return try await writing("remove") { connection in
            try connection.removeFromPriors(user, users.digest(user), isForgotten: false, project)
            guard let ref = try users.ref(user, connection) else { return false }
            try connection.recent.settle(ref, connection)
            try connection.run("DELETE FROM adapters WHERE user = ?", [.integer(ref)])
            let wasThere = connection.changes > 0
            try connection.run("DELETE FROM bases WHERE user = ?", [.integer(ref)])
            try connection.run("DELETE FROM journal WHERE user = ?", [.integer(ref)])
            try connection.run("DELETE FROM feedback_ids WHERE user = ?", [.integer(ref)])
            try connection.run("DELETE FROM users WHERE ref = ?", [.integer(ref)])
            users.forget(user)
            return wasThere
        }
    }

    /// The users with an adapter, ascending; those too whose adapters stand on a damaged page.
    public func users() async throws -> [String] {
        try await eachUser("users") { connection, user, ref throws(StorageError) in
            try connection.integer("SELECT 1 FROM adapters WHERE user = ?", [.integer(ref)]) == nil ? nil : user
        } damaged: {
            $0
        }
    }
}

extension SQLiteStorage {
    /// The versions of users' adapters; `nil` where there is none, or where a page that says it is damaged.
    public func savedVersions(of users: [String]) async throws -> [UInt64?] {
        let project = projectRef
        return try await reading("savedVersions") { connection in
            try users.map { user in
                do throws(StorageError) {
                    return try connection.integer(
                        """
                        SELECT version FROM adapters WHERE user = (SELECT ref FROM users WHERE project = ? AND id = ?)
                        """, [.integer(project), .text(user)]
                    ).map { UInt64(bitPattern: $0) }
                } catch {
                    guard error.code == .damaged else { throw error }
                    return nil
                }
            }
        }
    }
}

/// The tables with an adapter for each user.
enum AdapterTable {
    /// The latest that was saved.
    case adapters
    /// Those that the journal's entries begin from.
    case bases
}

extension Connection {
    func put(_ record: StoredAdapter, _ snapshot: [UInt8], of user: Int64, in table: AdapterTable) throws(StorageError)
    {
        let values: [Value] = [
            .integer(user), .version(record.adapter.version), .text(record.embeddingModel), .bytes(snapshot),
        ]
        switch table {
        case .adapters:
            try run("INSERT OR REPLACE INTO adapters (user, version, model, snapshot) VALUES (?, ?, ?, ?)", values)
        case .bases:
            try run("INSERT OR REPLACE INTO bases (user, version, model, snapshot) VALUES (?, ?, ?, ?)", values)
        }
    }

    /// A user's adapter.
    ///
    /// - Throws: ``EngineError`` (`damagedAdapter`); ``StorageError``.
    func adapter(of user: String, in table: AdapterTable, _ project: Int64) throws -> StoredAdapter? {
        var found: (version: UInt64, model: String, snapshot: [UInt8])?
        func take(_ row: Row) { found = (row.version(0), row.text(1), row.bytes(2)) }
        let key: [Value] = [.integer(project), .text(user)]
        switch table {
        case .adapters:
            try run(
                """
                SELECT version, model, snapshot FROM adapters
                WHERE user = (SELECT ref FROM users WHERE project = ? AND id = ?)
                """, key, take)
        case .bases:
            try run(
                """
                SELECT version, model, snapshot FROM bases
                WHERE user = (SELECT ref FROM users WHERE project = ? AND id = ?)
                """, key, take)
        }
        guard let found else { return nil }
        func damaged(_ message: String, _ cause: (any Error)? = nil) -> EngineError {
            EngineError(.damagedAdapter, "load", message, user: user, cause: cause)
        }
        let adapter: LoRAAdapter
        do throws(LoRAError) { adapter = try LoRAAdapter(snapshot: found.snapshot) } catch {
            guard error.code == .malformedSnapshot else { throw error }
            throw damaged("the stored adapter is damaged: \(error.message)", error)
        }
        guard adapter.version == found.version else {
            throw damaged("the stored adapter has another version than its row")
        }
        return StoredAdapter(user: user, embeddingModel: found.model, adapter: adapter, isJournalled: true)
    }
}
