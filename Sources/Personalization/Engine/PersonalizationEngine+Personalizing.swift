internal import LoRA
public import TensorCore

extension PersonalizationEngine {
    /// Personalizes one embedding.
    ///
    /// - Parameters:
    ///   - embedding: `[dimension]`, finite.
    ///   - user: The user's id. One without an adapter gets the embedding back as it is, marked so, unless the engine is strict.
    /// - Returns: The embedding with the version of the adapter that made it.
    /// - Throws: ``EngineError``: `refusedEmbedding`, `invalidUser`, `unknownUser` in strict mode, and what loading throws.
    /// - Complexity: O(rank · dimension).
    public func personalize(_ embedding: [Float], for user: String) async throws -> PersonalizedEmbedding {
        try await reportingFailures {
            try Self.check(user, "personalize")
            let key = UserKey(user)
            if let result = try shard(of: key).withLock({ state throws(EngineError) in
                let result = try read(embedding, key, &state, position: nil)
                if result != nil { state.statistics.reads += 1 }
                return result
            }) {
                return result
            }
            return try await withLoaded(user, "personalize") { shard in
                try shard.withLock { state throws(EngineError) in
                    if let result = try read(embedding, key, &state, position: nil) {
                        state.statistics.count(reads: 1, unpersonalized: 0)
                        return result
                    }
                    let result = try unpersonalized(embedding, user, position: nil)
                    state.statistics.count(reads: 1, unpersonalized: 1)
                    return result
                }
            }
        }
    }

    /// Personalizes many embeddings for one user, all with the same version of their adapter; to the bit as one by one.
    ///
    /// - Parameters:
    ///   - embeddings: Shape `[count, dimension]`.
    ///   - user: The user's id.
    /// - Returns: The embeddings, shape `[count, dimension]`, and the version; as given where the user has no adapter.
    /// - Throws: ``EngineError`` as for one, with the row in ``EngineError/position``.
    public func personalize(_ embeddings: Matrix<Float>, for user: String) async throws -> (
        embeddings: Matrix<Float>, version: UInt64, isPersonalized: Bool
    ) {
        try await reportingFailures {
            // A copy of the adapter is two references; the arithmetic runs outside the shard's lock.
            let adapter = try await adapter(for: user, "personalize")
            if adapter == nil, fixed.isStrict { throw unknownUser("personalize", user) }
            let result: Matrix<Float>
            do throws(LoRAError) {
                if let adapter {
                    result = try adapter.forward(embeddings)
                } else {
                    try checkRows(embeddings)
                    result = embeddings
                }
            } catch {
                throw EngineError(.refusedEmbedding, "personalize", user: user, cause: error)
            }
            let rows = embeddings.rows
            shard(of: user).withLock {
                $0.statistics.count(reads: rows, unpersonalized: adapter == nil ? rows : 0)
            }
            return (result, adapter?.version ?? 0, adapter != nil)
        }
    }

    /// Personalizes embeddings for many users in one call.
    ///
    /// - Parameter requests: Embeddings with their users, in any order and with repetitions.
    /// - Returns: One result a request, in the order of the requests; all of one user's with the same version.
    /// - Throws: ``EngineError`` with the request in ``EngineError/position``, the first one with a bad embedding or id if there
    ///   is one; no request is answered then.
    /// - Complexity: O(n · rank · dimension); each adapter is visited once.
    public func personalize(_ requests: [PersonalizationRequest]) async throws -> [PersonalizedEmbedding] {
        try await reportingFailures {
            do {
                let results = try await answer(requests)
                guard let first = requests.first else { return [] }
                // All shards' numbers are added up, so one of them takes those of the whole call.
                shard(of: first.user).withLock {
                    $0.statistics.count(
                        reads: results.count, unpersonalized: results.count { !$0.isPersonalized })
                }
                return results
            } catch let error as EngineError {
                throw earlierFault(requests, than: error) ?? error
            }
        }
    }

    /// The first request before the one that failed which is bad in itself: users are answered one by one, not in the order of
    /// all their requests.
    private func earlierFault(_ requests: [PersonalizationRequest], than error: EngineError) -> EngineError? {
        for (i, request) in requests.prefix(error.position ?? 0).enumerated() {
            do throws(EngineError) { try Self.check(request.user, "personalize") } catch { return error.at(i) }
            do throws(LoRAError) { try shape.check(request.embedding.span, "personalize") } catch {
                return EngineError(.refusedEmbedding, "personalize", user: request.user, position: i, cause: error)
            }
        }
        return nil
    }

    private func answer(_ requests: [PersonalizationRequest]) async throws -> [PersonalizedEmbedding] {
        var byUser: [UserKey: [Int]] = [:]
        for (i, request) in requests.enumerated() { byUser[UserKey(request.user), default: []].append(i) }
        var results = [PersonalizedEmbedding?](repeating: nil, count: requests.count)
        // Users in the order of their first request.
        for (i, request) in requests.enumerated() {
            guard let positions = byUser.removeValue(forKey: UserKey(request.user)) else { continue }
            do throws(EngineError) { try Self.check(request.user, "personalize") } catch { throw error.at(i) }
            let key = UserKey(request.user)
            var found = try shard(of: key).withLock { state throws(EngineError) in
                try readAll(requests, positions, key, &state)
            }
            if found == nil {
                do {
                    found = try await withLoaded(request.user, "personalize") { shard in
                        try shard.withLock { state throws(EngineError) in
                            if let found = try readAll(requests, positions, key, &state) { return found }
                            var given: [PersonalizedEmbedding] = []
                            for position in positions {
                                given.append(
                                    try unpersonalized(requests[position].embedding, request.user, position: position))
                            }
                            return given
                        }
                    }
                } catch let error as EngineError where error.position == nil {
                    throw error.at(i)
                }
            }
            for (position, result) in zip(positions, found ?? []) { results[position] = result }
        }
        return results.compactMap { $0 }
    }

    /// Reads all of one user's requests through their resident adapter; `nil` when there is none in memory.
    private func readAll(
        _ requests: [PersonalizationRequest], _ positions: [Int], _ key: UserKey, _ state: inout ShardState
    ) throws(EngineError) -> [PersonalizedEmbedding]? {
        var found: [PersonalizedEmbedding] = []
        found.reserveCapacity(positions.count)
        for position in positions {
            guard let result = try read(requests[position].embedding, key, &state, position: position) else {
                return nil
            }
            found.append(result)
        }
        return found
    }

    /// Reads through a resident adapter; `nil` when there is none in memory.
    private func read(_ embedding: [Float], _ key: UserKey, _ state: inout ShardState, position: Int?)
        throws(EngineError) -> PersonalizedEmbedding?
    {
        guard let place = state.place(of: key) else { return nil }
        let epoch = resident.epoch
        do throws(LoRAError) {
            return try state.withPlace(place) { slot throws(LoRAError) -> PersonalizedEmbedding? in
                guard slot.adapter != nil else { return nil }
                if slot.commit != nil { return try readBefore(slot.commit?.adapter, embedding, key.user) }
                let (y, version) = try slot.adapter!.lentForward(embedding)
                slot.lastUse = epoch
                return PersonalizedEmbedding(embedding: y, user: key.user, version: version, isPersonalized: true)
            }
        } catch {
            throw EngineError(.refusedEmbedding, "personalize", user: key.user, position: position, cause: error)
        }
    }

    /// Reads through the adapter before a change that is on its way to the journal; `nil` when there was none, and whoever reads
    /// waits for it.
    private func readBefore(
        _ adapter: LoRAAdapter?, _ embedding: [Float], _ user: String
    ) throws(LoRAError) -> PersonalizedEmbedding? {
        guard var adapter else { return nil }
        let (y, version) = try adapter.lentForward(embedding)
        return PersonalizedEmbedding(embedding: y, user: user, version: version, isPersonalized: true)
    }

    func unpersonalized(_ embedding: [Float], _ user: String, position: Int?) throws(EngineError)
        -> PersonalizedEmbedding
    {
        if fixed.isStrict { throw unknownUser("personalize", user, position: position) }
        do throws(LoRAError) { try shape.check(embedding.span, "personalize") } catch {
            throw EngineError(.refusedEmbedding, "personalize", user: user, position: position, cause: error)
        }
        return PersonalizedEmbedding(embedding: embedding, user: user, version: 0, isPersonalized: false)
    }

    private func checkRows(_ embeddings: Matrix<Float>) throws(LoRAError) {
        guard embeddings.columns == shape.dimension else {
            throw .length("a row", "personalize", expected: shape.dimension, actual: embeddings.columns)
        }
        for i in 0..<embeddings.rows {
            try embeddings.withRow(i) { row throws(LoRAError) in
                do throws(LoRAError) { try shape.check(row, "personalize") } catch { throw error.at(i) }
            }
        }
    }

    func unknownUser(_ operation: String, _ user: String, position: Int? = nil) -> EngineError {
        EngineError(
            .unknownUser, operation, "the user has no adapter, and the engine is strict: create one first", user: user,
            position: position)
    }
}
