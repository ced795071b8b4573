internal import LoRA
internal import Personalization
internal import Reasoning
internal import TensorCore

/// Episodes on their way into the file.
struct Arrivals {
    struct Waiting {
        let episodes: [Episode]
        let continuation: CheckedContinuation<[Result<EpisodeID, any Error>], Never>
    }
    var waiting: [Waiting] = []
    var isWorking = false
}

/// What a transaction did: applied to what is in memory when it stands.
private struct Stored: Sendable {
    var results: [Result<EpisodeID, any Error>] = []
    var added: [StoredEpisode] = []
    var evicted: [StoredEpisode] = []
    var refs: [AdapterKind: Int64] = [:]
}

extension SQLiteReasoningBank {
    /// With so many episodes a transaction is full.
    static let largestGroup = 4096

    /// Those that come while others are being stored wait, and are stored together.
    func append(_ episodes: [Episode]) async -> [Result<EpisodeID, any Error>] {
        if episodes.isEmpty { return [] }
        return await withCheckedContinuation { continuation in
            let begins = arrivals.withLock { arrivals in
                arrivals.waiting.append(Arrivals.Waiting(episodes: episodes, continuation: continuation))
                defer { arrivals.isWorking = true }
                return !arrivals.isWorking
            }
            if begins { Task.detached { await self.work() } }
        }
    }

    private func work() async {
        while true {
            let group = arrivals.withLock { arrivals in
                var episodes = 0
                let group = Array(
                    arrivals.waiting.prefix { waiting in
                        defer { episodes += waiting.episodes.count }
                        return episodes < Self.largestGroup
                    })
                arrivals.waiting.removeFirst(group.count)
                arrivals.isWorking = !group.isEmpty
                return group
            }
            if group.isEmpty { return }
            var results = await store(group.flatMap(\.episodes))[...]
            for waiting in group {
                waiting.continuation.resume(returning: Array(results.prefix(waiting.episodes.count)))
                results.removeFirst(waiting.episodes.count)
            }
            indexIfDue()
        }
    }

    /// What became of each.
    private func store(_ episodes: [Episode]) async -> [Result<EpisodeID, any Error>] {
        do {
            let project = storage.projectRef
            let (held, oldest, refs) = state.withLock { ($0.count, $0.oldest, $0.refs) }
            let capacity = capacity
            return try await storage.writing("storePattern", durability) { connection in
                var stored = Stored(refs: refs)
                for episode in episodes { try connection.store(episode, project, &stored) }
                let excess = held + stored.added.count - capacity
                if excess > 0 { try connection.evict(excess, from: oldest, project, &stored) }
                return stored
            } then: { stored in
                self.state.withLock { state in
                    state.refs = stored.refs
                    for new in stored.added { state.append(new.id, new.episode) }
                    for old in stored.evicted { state.remove(old.id, old.episode) }
                    state.evicted += stored.evicted.count
                }
            }.results
        } catch {
            // A damaged page concerns those whose rows are on it.
            if episodes.count > 1, (error as? StorageError)?.code == .damaged {
                var results: [Result<EpisodeID, any Error>] = []
                for episode in episodes { results += await store([episode]) }
                return results
            }
            return Array(repeating: .failure(error), count: episodes.count)
        }
    }

    /// Episodes of a kind by their identifiers; `nil` where one is not there any more.
    func episodes(_ ids: [EpisodeID], of kind: AdapterKind, _ operation: String) async throws -> [Episode?] {
        let path = storage.path
        return try await storage.readingNow(operation) { connection in
            try ids.map { id in
                var found: Episode?
                try connection.run(
                    "SELECT user, version, recorded_at, content FROM episodes WHERE id = ?",
                    [.integer(Int64(bitPattern: id.value))]
                ) { row throws(StorageError) in
                    found = try row.episode(0, kind, id, path)
                }
                return found
            }
        }
    }
}

extension Connection {
    fileprivate func store(_ episode: Episode, _ project: Int64, _ stored: inout Stored) throws(StorageError) {
        let user = Value.bytes(episode.user.bytes)
        let isForgotten = try integer(
            "SELECT 1 FROM tombstones WHERE project = ? AND digest = ?", [.integer(project), user])
        if isForgotten != nil {
            stored.results.append(
                .failure(ReasoningError(.forgottenUser, "storePattern", "the episode's user was forgotten")))
            return
        }
        let name: [Value] = [
            .integer(project), user, .version(episode.version), .integer(episode.recordedAt.microseconds),
        ]
        let known = try integer(
            "SELECT id FROM episodes WHERE project = ? AND user = ? AND version = ? AND recorded_at = ?", name)
        if let known {
            stored.results.append(.success(EpisodeID(UInt64(bitPattern: known))))
            return
        }
        let kind = try ref(of: AdapterKind(episode.context), project, &stored.refs)
        try run(
            """
            INSERT INTO episodes (project, user, version, recorded_at, kind, content) VALUES (?, ?, ?, ?, ?, ?)
            """, name + [.integer(kind), .bytes(episode.encoded())])
        let id = EpisodeID(UInt64(bitPattern: lastInsertedRow))
        stored.results.append(.success(id))
        stored.added.append(StoredEpisode(id: id, episode: episode))
    }

    /// A kind's number, made where there is none.
    func ref(
        of kind: AdapterKind, _ project: Int64, _ known: inout [AdapterKind: Int64]
    ) throws(StorageError) -> Int64 {
        if let ref = known[kind] { return ref }
        let values: [Value] = [
            .integer(project), .text(kind.objective.rawValue), .integer(Int64(kind.dimension)),
            .integer(Int64(kind.rank)), .integer(Int64(bitPattern: kind.model)),
        ]
        try run("INSERT INTO bank_kinds (project, objective, dimension, rank, model) VALUES (?, ?, ?, ?, ?)", values)
        known[kind] = lastInsertedRow
        return lastInsertedRow
    }

    /// Removes the oldest episodes; none is older than `oldest`.
    fileprivate func evict(
        _ count: Int, from oldest: EpisodeID, _ project: Int64, _ stored: inout Stored
    ) throws(StorageError) {
        let kinds = Dictionary(uniqueKeysWithValues: stored.refs.map { ($1, $0) })
        let path = path
        var evicted: [StoredEpisode] = []
        try run(
            """
            SELECT id, kind, user, version, recorded_at, content FROM episodes NOT INDEXED
            WHERE id >= ? AND project = ? ORDER BY id LIMIT ?
            """, [.version(oldest.value), .integer(project), .integer(Int64(count))]
        ) { row throws(StorageError) in
            let id = EpisodeID(row.version(0))
            guard let kind = kinds[row.integer(1)] else { throw .impossible("episode \(id) has no kind", path) }
            evicted.append(
                StoredEpisode(id: id, episode: try row.episode(2, kind, id, path, readsTexts: false)))
        }
        for old in evicted { try run("DELETE FROM episodes WHERE id = ?", [.version(old.id.value)]) }
        // What an interrupted consolidation had read is no longer what there is.
        try forgetConsolidation(project)
        stored.evicted = evicted
    }
}

extension Row {
    /// An episode of a row with user, version, time and content from a column on.
    func episode(
        _ column: Int32, _ kind: AdapterKind, _ id: EpisodeID, _ path: String, readsTexts: Bool = true
    ) throws(StorageError) -> Episode {
        guard let user = UserDigest(bytes(column)),
            let episode = Episode(
                encoded: bytes(column + 3), user: user, version: version(column + 1),
                recordedAt: Timestamp(microseconds: integer(column + 2)), kind: kind, readsTexts: readsTexts)
        else { throw .impossible("episode \(id) is none", path) }
        return episode
    }
}

extension StorageError {
    /// Bytes that passed their checksums and yet are not what is stored there.
    static func impossible(_ message: String, _ path: String) -> StorageError {
        StorageError(.damaged, "bank", "\(message): another program wrote it, or a newer Attune", path: path)
    }
}
