internal import LoRA
public import Reasoning
internal import TensorCore

extension SQLiteReasoningBank {
    /// So many episodes are read in one transaction.
    static let pageOfEpisodes = 4096

    /// Reads what look-ups ask of all episodes, and the skills.
    func readContents(_ progress: @Sendable (Int) -> Void) async throws {
        let project = storage.projectRef
        let path = storage.path
        let bound = try await storage.reading("bank") { connection -> Int64 in
            guard try Schema.knowsBank(connection) else { return 0 }
            let refs = try connection.bankKinds(project)
            let knowledge = try connection.knowledge(project, refs)
            self.state.withLock { state in
                state.refs = refs
                state.knowledge = knowledge
            }
            // What another process stores meanwhile is not read.
            return try connection.integer("SELECT max(id) FROM episodes HAVING max(id) IS NOT NULL") ?? 0
        }
        let kinds = state.withLock { Dictionary(uniqueKeysWithValues: $0.refs.map { ($1, $0) }) }
        var last: EpisodeID? = bound == 0 ? nil : EpisodeID(0)
        while let after = last {
            last = try await storage.reading("bank") { connection in
                let page = try connection.episodes(after: after, project, kinds, path, upTo: bound, readsTexts: false)
                self.state.withLock { state in
                    for stored in page { state.append(stored.id, stored.episode) }
                }
                return page.count < Self.pageOfEpisodes ? nil : page.last?.id
            }
            progress(state.withLock { $0.count })
        }
    }

    /// The episodes held.
    public var episodeCount: Int { state.withLock { $0.count } }

    /// A user's episodes, ascending by identifier.
    public func episodes(of user: UserDigest) async throws -> [StoredEpisode] {
        try await storage.bankEpisodes(of: user)
    }

    /// Up to `limit` episodes that come after an identifier, ascending; fewer at the end.
    public func episodes(after id: EpisodeID, limit: Int) async throws -> [StoredEpisode] {
        try await storage.bankEpisodes(after: id, limit: limit)
    }

    /// The skills, ascending by identifier.
    public var skills: [Skill] { state.withLock { $0.knowledge.list } }

    /// The start of the whole population of a kind; `nil` before a consolidation found enough donors.
    public func populationInitialization(of kind: AdapterKind) -> Initialization? {
        state.withLock { $0.knowledge.populations[kind]?.initialization }
    }

    /// The kinds of adapters that episodes or starts are there for, in an order that is the same on every machine.
    public var kinds: [AdapterKind] {
        state.withLock { Set($0.kinds.keys).union($0.knowledge.populations.keys) }.sorted(by: AdapterKind.isBefore)
    }

    /// How much the bank holds.
    ///
    /// - Complexity: O(episodes) for the users.
    public func statistics() async throws -> ReasoningBankStatistics {
        let project = storage.projectRef
        let users = try await storage.reading("statistics") { connection in
            guard try Schema.knowsBank(connection) else { return Int64(0) }
            return try connection.integer(
                "SELECT count(DISTINCT user) FROM episodes WHERE project = ?", [.integer(project)]) ?? 0
        }
        return state.withLock { state in
            ReasoningBankStatistics(
                state.kinds.values, state.knowledge, users: Int(users), evicted: state.evicted,
                lookups: state.lookups)
        }
    }
}

extension Connection {
    /// The kinds of a project with their numbers.
    func bankKinds(_ project: Int64) throws(StorageError) -> [AdapterKind: Int64] {
        var refs: [AdapterKind: Int64] = [:]
        let path = path
        try run(
            "SELECT ref, objective, dimension, rank, model FROM bank_kinds WHERE project = ?", [.integer(project)]
        ) { row throws(StorageError) in
            guard let objective = ObjectiveKind(rawValue: row.text(1)), row.integer(2) >= 1, row.integer(3) >= 1 else {
                throw .impossible("a kind of adapters is none", path)
            }
            let kind = AdapterKind(
                objective: objective, dimension: Int(row.integer(2)), rank: Int(row.integer(3)), model: row.version(4))
            refs[kind] = row.integer(0)
        }
        return refs
    }

    /// A page of a project's episodes, ascending by identifier. By the table itself: the index on users begins with the project too, and
    /// SQLite would read all of it for each page.
    func episodes(
        after id: EpisodeID, _ project: Int64, _ kinds: [Int64: AdapterKind], _ path: String,
        upTo bound: Int64 = .max, limit: Int = SQLiteReasoningBank.pageOfEpisodes, readsTexts: Bool = true
    ) throws(StorageError) -> [StoredEpisode] {
        var page: [StoredEpisode] = []
        try run(
            """
            SELECT id, kind, user, version, recorded_at, content FROM episodes NOT INDEXED
            WHERE id > ? AND id <= ? AND project = ? ORDER BY id LIMIT ?
            """, [.version(id.value), .integer(bound), .integer(project), .integer(Int64(limit))]
        ) { row throws(StorageError) in
            page.append(try Self.stored(row, kinds, path, readsTexts: readsTexts))
        }
        return page
    }

    /// A page of a kind's episodes, ascending by identifier, without texts.
    func episodes(
        after id: EpisodeID, of kind: AdapterKind, _ ref: Int64, _ project: Int64, _ path: String, upTo bound: Int64
    ) throws(StorageError) -> [StoredEpisode] {
        var page: [StoredEpisode] = []
        try run(
            """
            SELECT id, kind, user, version, recorded_at, content FROM episodes NOT INDEXED
            WHERE id > ? AND id <= ? AND project = ? AND kind = ? ORDER BY id LIMIT ?
            """,
            [
                .version(id.value), .integer(bound), .integer(project), .integer(ref),
                .integer(Int64(SQLiteReasoningBank.pageOfEpisodes)),
            ]
        ) { row throws(StorageError) in
            page.append(try Self.stored(row, [ref: kind], path, readsTexts: false))
        }
        return page
    }

    /// A user's episodes, ascending by identifier.
    func episodes(
        of user: UserDigest, _ project: Int64, _ kinds: [Int64: AdapterKind], _ path: String
    ) throws(StorageError) -> [StoredEpisode] {
        var all: [StoredEpisode] = []
        try run(
            """
            SELECT id, kind, user, version, recorded_at, content FROM episodes WHERE project = ? AND user = ? ORDER BY id
            """, [.integer(project), .bytes(user.bytes)]
        ) { row throws(StorageError) in all.append(try Self.stored(row, kinds, path)) }
        return all
    }

    private static func stored(
        _ row: Row, _ kinds: [Int64: AdapterKind], _ path: String, readsTexts: Bool = true
    ) throws(StorageError) -> StoredEpisode {
        let id = EpisodeID(row.version(0))
        guard let kind = kinds[row.integer(1)] else { throw .impossible("episode \(id) has no kind", path) }
        return StoredEpisode(id: id, episode: try row.episode(2, kind, id, path, readsTexts: readsTexts))
    }
}
