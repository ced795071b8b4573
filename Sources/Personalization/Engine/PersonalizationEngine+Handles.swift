internal import LoRA
public import TensorCore

/// Which state of a user's adapter made an embedding.
public struct AppliedVersion: Sendable, Hashable {
    /// The version of the adapter; 0 when there was none.
    public var version: UInt64
    /// Whether an adapter was applied. If not, the embedding is the one that was given.
    public var isPersonalized: Bool
}

// Reads of users who were looked up once, into memory that is there: nothing is allocated.

extension PersonalizationEngine {
    /// Personalizes one embedding; to the bit as by id.
    ///
    /// - Parameters:
    ///   - embedding: `[dimension]`, finite.
    ///   - handle: The user. One without an adapter gets the embedding back as it is, unless the engine is strict.
    ///   - output: Receives the result, `[dimension]`; made that long where it is not. Unspecified after an error.
    /// - Throws: ``EngineError``: `refusedEmbedding`, `unknownUser` in strict mode, and what loading throws.
    /// - Complexity: O(rank · dimension).
    @discardableResult
    public func personalize(
        _ embedding: [Float], for handle: UserHandle, into output: inout [Float]
    ) async throws -> AppliedVersion {
        if output.count != shape.dimension { output = [Float](repeating: 0, count: shape.dimension) }
        do throws(EngineError) {
            if let applied = try readResident(embedding, handle, &output) { return applied }
        } catch {
            report(error)
            throw error
        }
        // Made or loaded in the user's line, where there is one.
        let result = try await personalize(embedding, for: handle.user)
        output = result.embedding
        return AppliedVersion(version: result.version, isPersonalized: result.isPersonalized)
    }

    private func readResident(
        _ embedding: [Float], _ handle: UserHandle, _ output: inout [Float]
    ) throws(EngineError) -> AppliedVersion? {
        do throws(LoRAError) {
            return try shard(of: handle.key).withLock { state throws(LoRAError) -> AppliedVersion? in
                guard let place = state.place(of: handle) else { return nil }
                var span = output.mutableSpan
                let applied = try forward(embedding.span, at: place, &state, &span)
                if applied != nil { state.statistics.reads += 1 }
                return applied
            }
        } catch {
            throw EngineError(.refusedEmbedding, "personalize", user: handle.user, cause: error)
        }
    }

    private func forward(
        _ x: Span<Float>, at place: Int32, _ state: inout ShardState, _ output: inout MutableSpan<Float>
    ) throws(LoRAError) -> AppliedVersion? {
        let epoch = resident.epoch
        return try state.withPlace(place) { slot throws(LoRAError) -> AppliedVersion? in
            guard slot.adapter != nil else { return nil }
            if slot.commit != nil {
                guard var before = slot.commit?.adapter else { return nil }
                let version = try before.lentForward(x, into: &output)
                return AppliedVersion(version: version, isPersonalized: true)
            }
            let version = try slot.adapter!.lentForward(x, into: &output)
            slot.lastUse = epoch
            return AppliedVersion(version: version, isPersonalized: true)
        }
    }

    /// Personalizes one embedding for each of many users in one call; to the bit as one by one.
    ///
    /// - Parameters:
    ///   - embeddings: One row for each user, shape `[users.count, dimension]`, finite.
    ///   - users: The users, in any order and with repetitions.
    ///   - output: Receives the results, `[users.count, dimension]`; made that shape where it is not. Unspecified after an error.
    ///   - applied: Receives what was applied to each row. Unspecified after an error.
    /// - Throws: ``EngineError`` with the row in ``EngineError/position``: the first one with a bad embedding if there is one, and
    ///   nobody's adapter is loaded then; otherwise as for one embedding.
    /// - Complexity: O(users.count · rank · dimension).
    public func personalize(
        _ embeddings: Matrix<Float>, for users: [UserHandle], into output: inout Matrix<Float>,
        applied: inout [AppliedVersion]
    ) async throws {
        guard embeddings.rows == users.count, embeddings.columns == shape.dimension else {
            let error = EngineError(
                .refusedEmbedding, "personalize",
                "the embeddings are [\(embeddings.rows), \(embeddings.columns)] where [\(users.count), "
                    + "\(shape.dimension)] are needed")
            report(error)
            throw error
        }
        if output.rows != users.count || output.columns != shape.dimension {
            output = Matrix(rows: users.count, columns: shape.dimension)
        }
        if applied.count != users.count {
            applied = [AppliedVersion](repeating: .none, count: users.count)
        }
        let reads: Int
        do throws(EngineError) {
            reads = try readResident(embeddings, users, &output, &applied)
        } catch {
            report(error)
            throw error
        }
        // Those who are not in memory, one after another.
        for i in users.indices where applied[i] == .none {
            do {
                let result = try await personalize(embeddings.row(i), for: users[i].user)
                output.withMutableRow(i) { row in
                    for j in row.indices { row[j] = result.embedding[j] }
                }
                applied[i] = AppliedVersion(version: result.version, isPersonalized: result.isPersonalized)
            } catch let error as EngineError {
                throw error.at(i)
            }
        }
        // All shards' numbers are added up, so one of them takes those of the whole call.
        if let first = users.first { shard(of: first.key).withLock { $0.statistics.reads += reads } }
    }

    /// Answers the rows of users in memory; the others are checked and marked with ``AppliedVersion/none``.
    ///
    /// - Returns: How many were answered.
    private func readResident(
        _ embeddings: Matrix<Float>, _ users: [UserHandle], _ output: inout Matrix<Float>,
        _ applied: inout [AppliedVersion]
    ) throws(EngineError) -> Int {
        let d = shape.dimension
        var reads = 0
        var failure: EngineError?
        embeddings.withSpan { inputs in
            output.withMutableSpan { outputs in
                let handles = users.span
                for i in users.indices {
                    let handle = handles[i]
                    let x = inputs.extracting((i * d)..<((i + 1) * d))
                    do throws(LoRAError) {
                        applied[i] = try shard(of: handle.key).withLock { state throws(LoRAError) in
                            guard let place = state.place(of: handle) else { return .none }
                            var y = outputs._mutatingExtracting((i * d)..<((i + 1) * d))
                            return try forward(x, at: place, &state, &y) ?? .none
                        }
                        if applied[i] == .none { try shape.check(x, "personalize") } else { reads += 1 }
                    } catch {
                        failure = EngineError(
                            .refusedEmbedding, "personalize", user: handle.user, position: i, cause: error)
                        return
                    }
                }
            }
        }
        if let failure { throw failure }
        return reads
    }
}

extension AppliedVersion {
    /// Nothing yet: no adapter has this version and was applied all the same.
    fileprivate static let none = AppliedVersion(version: .max, isPersonalized: false)
}
