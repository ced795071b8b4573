internal import LoRA
internal import Reasoning
internal import Synchronization
internal import Telemetry
internal import TensorCore

/// How many adapters are in memory, and when each was last used.
final class ResidentMemory: Sendable {
    /// The most adapters in memory; `nil` for no limit.
    let limit: Int?
    /// Orders sweeps: one at a time.
    let gate = FIFOGate()
    private let count = Atomic<Int>(0)
    /// Counts the adapters that came into memory. Two uses with none between them are equally old. Starts just before it wraps
    /// around: every engine does that soon, and not one in production after years.
    private let epochs = Atomic<UInt32>(.max - 63)

    init(limit: Int?) { self.limit = limit }

    var epoch: UInt32 { epochs.load(ordering: .relaxed) }
    var adapters: Int { count.load(ordering: .relaxed) }

    /// How many have to go, with some room for those to come; 0 within the limit.
    var excess: Int {
        guard let limit, adapters > limit else { return 0 }
        return adapters - max(1, limit - limit / 16)
    }

    /// - Parameter difference: The adapters that came, or went.
    /// - Returns: The epoch in which they did.
    @discardableResult
    func change(by difference: Int) -> UInt32 {
        count.wrappingAdd(difference, ordering: .relaxed)
        return difference > 0 ? epochs.wrappingAdd(1, ordering: .relaxed).newValue : epoch
    }
}

extension PersonalizationEngine {
    /// Keeps a user's adapter in memory, whatever else has to go, until ``unpin(_:)``; loads it if the store has one. An adapter
    /// that is made later is kept as well.
    ///
    /// - Returns: Whether there is one.
    /// - Throws: ``EngineError``: what loading throws; `CancellationError`.
    @discardableResult
    public func pin(_ user: String) async throws -> Bool {
        try await reportingFailures {
            try Self.check(user, "pin")
            return try await withLoaded(user, "pin") { shard in
                shard.withLock { state in
                    state.withSlot(user) { slot in
                        slot.isPinned = true
                        return slot.adapter != nil
                    } ?? false
                }
            }
        }
    }

    /// Lets a user's adapter go when its turn comes.
    public func unpin(_ user: String) {
        let key = UserKey(user)
        shard(of: key).withLock { state in
            guard let place = state.place(of: key) else { return }
            state.withPlace(place) { $0.isPinned = false }
            state.removeIfIdle(place)
        }
    }

    /// Loads the adapters of users who are known to be needed soon, several at a time, so that later calls find them in memory.
    ///
    /// - Parameter users: As many as fit in memory; of more the first ones are gone again when the last are loaded.
    /// - Returns: How many of them have an adapter, in memory now.
    /// - Throws: ``EngineError`` of the first that cannot be loaded; the others' loads that have begun are cancelled, and what
    ///   was loaded stays. `CancellationError`.
    @discardableResult
    public func prefetch(_ users: [String]) async throws -> Int {
        try await reportingFailures {
            try await withThrowingTaskGroup(of: Bool.self) { group in
                var rest = users.makeIterator()
                func begin() {
                    guard let user = rest.next() else { return }
                    group.addTask {
                        try Self.check(user, "prefetch")
                        return try await self.withLoaded(user, "prefetch") { shard in
                            shard.withLock { $0.withSlot(user) { $0.adapter != nil } ?? false }
                        }
                    }
                }
                for _ in 0..<Self.loadsAtOnce { begin() }
                var found = 0
                while let isThere = try await group.next() {
                    if isThere { found += 1 }
                    begin()
                }
                return found
            }
        }
    }

    private static var loadsAtOnce: Int { 16 }

    /// Counts an adapter that came into memory or left it in a user's line.
    ///
    /// - Returns: Whether one came that makes them too many.
    func noteResidency(of key: UserKey, in shard: Shard, hadAdapter: Bool) -> Bool {
        shard.withLock { state in
            state.withSlot(key) { slot in
                guard (slot.adapter != nil) != hadAdapter else { return false }
                let epoch = resident.change(by: hadAdapter ? -1 : 1)
                if hadAdapter { return false }
                slot.lastUse = epoch
                return resident.excess > 0
            } ?? false
        }
    }

    /// An adapter that may go.
    private struct Candidate {
        let lastUse: UInt32
        let shard: Int
        let place: Int32
    }

    /// Saves the adapters that were not used for the longest time, and lets go of them, until there is room. Those of pinned
    /// users and of users who stand in a line stay, and what cannot be saved: that failure is reported, and whoever waited for
    /// room goes on without.
    ///
    /// - Parameter newcomer: The one for whom there was no room. Stays: with more pinned than fit, it would be gone at once.
    /// - Complexity: O(adapters in memory), once for a sixteenth of the limit.
    func makeRoom(for newcomer: UserKey) async {
        await resident.gate.pass {
            let excess = resident.excess
            guard excess > 0 else { return }
            var candidates: [Candidate] = []
            for (i, shard) in allShards.enumerated() {
                shard.withLock { state in
                    state.updateAll { place, slot in
                        guard slot.adapter != nil, slot.holders == 0, !slot.isPinned, slot.key != newcomer else {
                            return
                        }
                        candidates.append(Candidate(lastUse: slot.lastUse, shard: i, place: place))
                    }
                }
            }
            // Epochs wrap around: the age counts.
            let now = resident.epoch
            candidates.sort { (now &- $0.lastUse, $1.shard, $1.place) > (now &- $1.lastUse, $0.shard, $0.place) }
            var byShard: [Int: [Candidate]] = [:]
            for candidate in candidates.prefix(excess) { byShard[candidate.shard, default: []].append(candidate) }
            var canSave = true
            for (i, chosen) in byShard.sorted(by: { $0.key < $1.key }) {
                canSave = await release(chosen, from: allShards[i], saving: canSave)
            }
        }
    }

    /// - Parameter isSaving: Whether to save what is not; it stays otherwise.
    /// - Returns: Whether there is a point in saving more: not after the store has failed, which one sweep finds out once.
    private func release(_ chosen: [Candidate], from shard: Shard, saving isSaving: Bool) async -> Bool {
        await storeGate.pass {
            var canSave = isSaving
            var records: [StoredAdapter] = []
            if isSaving {
                records = shard.withLock { state in
                    chosen.compactMap { candidate in
                        state.withUse(candidate.place, candidate.lastUse) { slot in
                            slot.isUnsaved
                                ? slot.adapter.map {
                                    StoredAdapter(
                                        user: slot.user, embeddingModel: fixed.embeddingModel, adapter: $0,
                                        isJournalled: isJournalling)
                                } : nil
                        } ?? nil
                    }
                }
            }
            do {
                if !records.isEmpty {
                    let failure = try await save(records, from: shard, "evict").failure
                    canSave = failure.map(\.concernsOneUser) ?? true
                }
            } catch {
                // Cancelled: the next load makes room.
                canSave = false
            }
            let released = shard.withLock { state in
                var arrivals: [EpisodeQueue.Arrival] = []
                var count = 0
                for candidate in chosen {
                    let isGone: Bool? = state.withUse(candidate.place, candidate.lastUse) { slot in
                        guard !slot.isUnsaved else { return false }
                        if let pending = slot.memory?.takePending() { arrivals.append(pending.settled()) }
                        slot.memory = nil
                        slot.adapter = nil
                        // Before anybody can load it again.
                        journalHub?.forgetReplayed([slot.user])
                        return true
                    }
                    guard isGone == true else { continue }
                    state.removeIfIdle(candidate.place)
                    state.statistics.evicted += 1
                    count += 1
                }
                return (count: count, arrivals: arrivals)
            }
            resident.change(by: -released.count)
            if released.count > 0 { reporting.count("attune_evictions_total", by: released.count) }
            for arrival in released.arrivals { arrival.finish() }
            return canSave
        }
    }
}

extension ShardState {
    /// Runs `body` on a slot that was seen before, unless it was used since, or left, or somebody stands in its line.
    fileprivate mutating func withUse<R>(_ place: Int32, _ lastUse: UInt32, _ body: (inout Slot) -> R) -> R? {
        guard isInUse(place) else { return nil }
        return withPlace(place) { slot in
            guard slot.adapter != nil, slot.lastUse == lastUse, slot.holders == 0, !slot.isPinned else { return nil }
            return body(&slot)
        }
    }
}
