internal import LoRA
internal import Telemetry
internal import TensorCore

// MARK: - Standing in line, loading

extension PersonalizationEngine {
    static func check(_ user: String, _ operation: String) throws(EngineError) {
        guard !user.isEmpty, user.utf8.count <= 1024 else {
            throw EngineError(.invalidUser, operation, "a user id has 1 to 1024 bytes; this one has \(user.utf8.count)")
        }
    }

    /// Runs `body` when all work on this user that came before is done; nothing overtakes it. Who is cancelled before that leaves the
    /// line at once.
    func withLine<R>(_ user: String, _ operation: String, _ body: (Shard) async throws -> R) async throws -> R {
        let key = UserKey(user)
        var isTooMany = false
        let result: Result<R, any Error>
        do {
            result = .success(try await inLine(key, shard(of: key), &isTooMany, body))
        } catch {
            result = .failure(error)
        }
        // Out of the line: who comes next in it does not wait for others' adapters to be saved.
        if isTooMany { await makeRoom(for: key) }
        return try result.get()
    }

    private func inLine<R>(
        _ key: UserKey, _ shard: Shard, _ isTooMany: inout Bool, _ body: (Shard) async throws -> R
    ) async throws -> R {
        let gate = shard.withLock { $0.joinLine(key) }
        defer { shard.withLock { $0.leaveLine(key) } }
        return try await gate.passUnlessCancelled {
            try Task.checkCancellation()
            let hadAdapter = shard.withLock { $0.withSlot(key) { $0.adapter != nil } ?? false }
            defer { isTooMany = noteResidency(of: key, in: shard, hadAdapter: hadAdapter) }
            return try await body(shard)
        }
    }

    /// The same after making sure that the user's adapter is in memory if the store has one.
    func withLoaded<R>(_ user: String, _ operation: String, _ body: (Shard) throws -> R) async throws -> R {
        try await withLine(user, operation) { shard in
            try await load(user, operation, shard)
            return try body(shard)
        }
    }

    /// Makes sure that the user's adapter is in memory if the store has one. In the user's line only.
    func load(_ user: String, _ operation: String, _ shard: Shard) async throws {
        let epoch = resident.epoch
        let isResident = shard.withLock { state in
            state.withSlot(user) { slot in
                slot.lastUse = epoch
                return slot.adapter != nil
            } ?? false
        }
        if isResident { return }
        if let (record, entries) = try await recovered(user, operation) {
            if entries > 0, !isJournalling { journalHub?.keepReplayed(record) }
            shard.withLock { state in
                _ = state.withSlot(user) { slot in
                    slot.adapter = record.adapter
                    slot.isUnsaved = entries > 0 && isJournalling
                    slot.unsavedEntries = UInt32(clamping: entries)
                }
                state.statistics.loaded += 1
            }
        }
        // Loading takes time; who gave up meanwhile changes nothing.
        try Task.checkCancellation()
    }

    func check(_ record: StoredAdapter, of user: String, _ operation: String) throws(EngineError) {
        guard UserKey(record.user) == UserKey(user) else {
            throw EngineError(
                .storeFailed, operation, "the adapter store gave another user's adapter; nothing was changed",
                user: user)
        }
        guard record.embeddingModel == fixed.embeddingModel else {
            throw EngineError(
                .modelMismatch, operation,
                "the stored adapter learned with the embedding model \(record.embeddingModel), the engine is configured for "
                    + "\(fixed.embeddingModel): use that model, or remove the adapter", user: record.user)
        }
        let stored = record.adapter.shape
        guard stored == shape else {
            throw EngineError(
                .shapeMismatch, operation,
                "the stored adapter has \(stored.summary), the engine is configured for \(shape.summary): "
                    + "configure the engine for it, or remove the adapter", user: record.user)
        }
    }

    /// Calls the store; a failure is thrown as the engine's. A store that gives up although nobody asked it to has failed.
    func storing<R>(_ operation: String, user: String?, _ call: () async throws -> R) async throws -> R {
        do {
            return try await call()
        } catch let error as CancellationError where Task.isCancelled {
            throw error
        } catch let error as EngineError where error.code == .staleVersion {
            throw error
        } catch {
            throw EngineError(
                .storeFailed, operation, "the adapter store failed; the adapters concerned are as they were",
                user: user,
                cause: error)
        }
    }

    /// Runs a whole public operation; its failure is logged and counted once.
    func reportingFailures<R>(_ body: () async throws -> R) async throws -> R {
        do {
            return try await body()
        } catch let error as EngineError {
            report(error)
            throw error
        }
    }

    /// Logs and counts a failure.
    func report(_ error: EngineError) {
        reporting.count("attune_failures_total")
        reporting.count("attune_failures_\(error.code)_total")
        reporting.log(
            error.code == .storeFailed ? .error : .warning, "\(error.operation) failed: \(error.message)",
            [
                "code": error.code.description,
                "user_hash": error.user.map { String(StableHash.hash($0), radix: 16) } ?? "none",
                "cause": error.cause.map(Self.summary) ?? "none",
            ], source: "Personalization")
    }

    /// Our own errors describe themselves without users; what those of a store say may hold anything, so only their type goes
    /// into the log. The caller has the whole error.
    private static func summary(_ cause: any Error) -> String {
        switch cause {
        case let cause as LoRAError: cause.description
        case let cause as EngineError: cause.description
        default: "\(type(of: cause))"
        }
    }
}

extension AdapterShape {
    /// The shape in words, for messages.
    package var summary: String {
        "dimension \(dimension), rank \(rank), scale \(scale) (alpha \(alpha), \(scaling.rawValue))"
            + (hasBias ? ", a bias" : "")
            + (normalizesOutput ? ", normalised output" : "")
    }
}
